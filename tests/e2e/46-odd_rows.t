#!/usr/bin/python3
"""Odd values in rows, and sessions that somebody else has set up: what concerns one job stays with it."""

import json
import subprocess
import urllib.parse

import psycopg2

from lab import IMAGE, Lab, clean_environment, is_, main, ok, program, test, wait_for
from lab.bouncer import Bouncer
from lab.postgres import SUPERUSER

PROMPTS = ("une chaise é", "漢字の椅子 🪑", "a plain one behind")
# All that a role, a database or a URL may set, and that would change what our statements do.
SETTINGS = {"client_encoding": "LATIN1", "TimeZone": "America/St_Johns", "DateStyle": "SQL, DMY", "IntervalStyle": "sql_standard",
            "row_security": "off", "default_transaction_isolation": "serializable", "default_transaction_read_only": "on",
            "default_transaction_deferrable": "on", "statement_timeout": "1s", "lock_timeout": "1ms",
            "idle_in_transaction_session_timeout": "20ms", "idle_session_timeout": "1s", "search_path": "nowhere",
            "standard_conforming_strings": "off", "bytea_output": "escape", "extra_float_digits": "-15", "synchronous_commit": "off"}


def set_all(lab, whom):
    """On a role (or a database): all that this version of the server knows."""
    cursor = lab.postgres.connect(SUPERUSER).cursor()
    for name, value in SETTINGS.items():
        cursor.execute("SELECT 1 FROM pg_settings WHERE name = %s", (name,))
        if cursor.fetchall():
            cursor.execute(f"ALTER {whom} SET {name} = '{value}'")


def insert_prompts(lab, prompts=PROMPTS):
    """One of them ends in more time than SETTINGS give a statement, and in less than ours do."""
    lab.query("CREATE OR REPLACE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.pg_sleep(1.5); RETURN NEW; END $$; "
              "DROP TRIGGER IF EXISTS slow ON public.jobs; CREATE TRIGGER slow BEFORE UPDATE ON public.jobs FOR EACH ROW "
              f"WHEN (NEW.status = 'done' AND NEW.input_data ->> 'prompt' = '{PROMPTS[-1]}') EXECUTE FUNCTION public.slow()")
    return [lab.insert_job(p)[0] for p in prompts]


def ctl_works(lab, path, label, *, job):
    """Each command that reads or writes."""
    for command in (("status",), ("jobs",), ("jobs", "--json"), ("show", job), ("show", job, "--json"), ("stats",), ("purchases",), ("settings",),
                    ("settings", "price", "25"), ("top",), ("retry", "--stuck")):
        r = lab.ctl(*command, config=path)
        ok(r.returncode == 0 and not r.stderr, f"{label}: meshifyctl {' '.join(command[:1])}", f"{command} {r.returncode}\n{r.stdout}{r.stderr}")
    r = lab.ctl("enqueue", "--user", lab.user, "--project", lab.project, "--prompt", PROMPTS[1], "--json", config=path)
    ok(r.returncode == 0 and lab.value("SELECT input_data ->> 'prompt' FROM public.jobs WHERE id = %s", json.loads(r.stdout)["job_id"]) == PROMPTS[1],
       f"{label}: meshifyctl enqueue", r.stdout + r.stderr)


def session_of(lab, label, *, environment=None, url=None, bouncer=None, ctl=True):
    """A daemon whose session is what the test has made of it: all its jobs are done, in their usual time."""
    lab.sim.control("POST", "reset")
    lab.sim.config(starting_ms=0, processing_ms=50)
    keys = {"database.url": url} if url else {}
    if bouncer:
        keys["database.listen"] = "off"
    daemon = lab.daemon(label.replace(" ", "-"), environment=environment, wait=False, **keys)
    daemon.wait_event("STARTED", level="notice")
    jobs = insert_prompts(lab)
    show = jobs[0]
    for job in jobs:
        lab.wait_status(job, "done", seconds=60)
    if ctl:
        path = lab.write_config("ctl", **keys)
        ctl_works(lab, path, label, job=show)
        lab.wait_all_ended(60)
    bought = sorted({p["input"]["prompt"].split(",")[0] for p in lab.sim.predictions() if "prompt" in p["input"]})
    is_(bought, sorted(PROMPTS), f"{label}: each prompt arrived as it was written")
    is_([e.text for e in daemon.events("DB_DOWN", "DB_REFUSED")], [], f"{label}: nothing was refused")
    daemon.stop()
    lab.query("DELETE FROM public.jobs")
    lab.query("DELETE FROM public.mesh_assets")


@test
def the_role():
    lab = Lab(bouncer="")
    set_all(lab, "ROLE meshifyd")
    session_of(lab, "the role")
    lab.sim.stop()


@test
def the_database():
    lab = Lab(bouncer="")
    set_all(lab, "DATABASE meshify")
    session_of(lab, "the database", ctl=False)
    lab.sim.stop()


@test
def the_url_and_the_environment():
    lab = Lab(bouncer="")
    known = [n for (n,) in lab.query("SELECT name FROM pg_settings WHERE name = ANY (%s)", list(SETTINGS))]
    options = " ".join(f"-c {n}={SETTINGS[n]}".replace(", ", ",") for n in known if n != "DateStyle")
    url = lab.postgres.url("meshifyd") + "&client_encoding=WIN1252&options=" + urllib.parse.quote(options)
    session_of(lab, "the url", url=url, ctl=False)
    r = subprocess.run([program("meshifyd"), "--check", "-c", lab.write_config("check", **{"database.url": url})], capture_output=True, text=True,
                       timeout=60, env=clean_environment(), check=False)
    ok(r.returncode == 0, "the url: the doctor, who has the daemon's eyes, finds nothing wrong", r.stdout + r.stderr)
    environment = {"PGCLIENTENCODING": "LATIN1", "PGTZ": "America/St_Johns", "PGDATESTYLE": "SQL, DMY", "PGOPTIONS": options}
    session_of(lab, "the environment", environment=environment, ctl=False)
    lab.sim.stop()


@test
def a_transaction_pooler():
    """Which refuses start-up parameters, and keeps sessions that the role has set up."""
    lab = Lab(bouncer="")
    set_all(lab, "ROLE meshifyd")
    bouncer = Bouncer(lab.postgres)
    session_of(lab, "a pooler", url=bouncer.url() + "?client_encoding=WIN1252", bouncer=bouncer)

    def settings():
        """What the next client finds; the pooler gives it up where its own SET takes longer than the role allows."""
        try:
            with psycopg2.connect(bouncer.url()) as session:
                cursor = session.cursor()
                cursor.execute("SELECT current_setting('lock_timeout'), current_setting('search_path')")
                return cursor.fetchall()
        except psycopg2.Error: # its end within `with` is one of its own
            return None
    is_(wait_for(settings, 60, "a session"), [("1ms", "nowhere")], "a pooler: nothing of ours stays in its sessions")
    bouncer.stop()
    lab.sim.stop()


# What one row may hold: column and value, and where the job may stand afterwards.
ODD = (("run_after", "'infinity'", "pending"), ("run_after", "'-infinity'", "done"), ("run_after", "'294270-01-01'", "pending"),
       ("run_after", "'4000-01-01 BC'", "done"), ("created_at", "'infinity'", "done"), ("created_at", "'-infinity'", "error"),
       ("created_at", "'4000-01-01 BC'", "error"), ("created_at", "'294270-01-01'", "done"), ("created_at", "NULL", "done"),
       ("started_at", "'infinity'", "done"), ("started_at", "'-infinity'", "done"), ("claimed_at", "'-infinity'", "done"),
       ("completed_at", "'infinity'", "done"), ("worked", "'178000000 years'", "done|error"), ("worked", "'-178000000 years'", "done"),
       ("attempts", "2147483647", "done"), ("attempts", "-2147483648", "done"), ("crashes", "2147483647", "error"),
       ("crashes", "-5", "done"), ("priority", "2147483647", "done"), ("priority", "-2147483648", "done"), ("progress", "'NaN'", "done"),
       ("progress", "'-Infinity'", "done"), ("progress", "3e38", "done"), ("updated_at", "'infinity'", "done"), ("updated_at", "'-infinity'", "done"),
       ("input_data", "'null'", "error"), ("input_data", "'[1, 2]'", "error"), ("input_data", "'\"text\"'", "error"), ("input_data", "'7'", "error"),
       ("input_data", "NULL", "error"), ("input_data", "'{\"prompt\": {\"a\": []}}'", "error"),
       ("input_data", "('{\"prompt\": ' || repeat('[', 3000) || repeat(']', 3000) || '}')::jsonb", "error"),
       ("input_data", "('{\"prompt\": \"deep beside it\", \"x\": ' || repeat('[', 3000) || repeat(']', 3000) || '}')::jsonb", "done"),
       ("input_data", "('{\"prompt\": \"a number\", \"x\": 1e4000, \"y\": 99999999999999999999999}')::jsonb", "done"),
       ("output_data", "('[' || repeat('{\"a\": [', 2000) || repeat(']}', 2000) || ', 1e400]')::jsonb", "done"),
       ("error", "repeat('x', 20000000)", "done"))
ODD_ASSETS = (("credits_cost", "'NaN'"), ("credits_cost", "-25"), ("credits_cost", "1e400"), ("size", "-1"), ("prompt", "repeat('long ', 4000000)"),
              ("created_at", "'infinity'"), ("output_path", "repeat('p', 100000)"))


@test
def odd_values():
    """Each beside a good job, which is done in its usual time; meshifyctl shows them all."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.query("ALTER TABLE public.jobs ALTER created_at DROP NOT NULL; ALTER TABLE public.jobs ALTER input_data DROP NOT NULL")
    odd = [(*lab.insert_job(f"odd {column} {i}", f"{IMAGE}?{i}"), table, column, value, then)
           for i, (table, column, value, then) in enumerate([("jobs", *o) for o in ODD] + [("mesh_assets", *o, "done") for o in ODD_ASSETS])]
    for job, asset, table, column, value, _ in odd:
        lab.query(f"UPDATE public.{table} SET {column} = {value} WHERE id = %s", job if table == "jobs" else asset)
    daemon = lab.daemon(**{"worker.max_age": "24h"})
    good, _ = lab.insert_job("a good one", IMAGE)
    lab.wait_status(good, "done", seconds=60)
    for job, _, table, column, value, then in odd:
        if then != "pending":
            wait_for(lambda j=job: lab.value("SELECT status IN ('done', 'error') FROM public.jobs WHERE id = %s", j), 60, f"the end of {column} = {value[:40]}")
        status = lab.value("SELECT status FROM public.jobs WHERE id = %s", job)
        ok(status in then.split("|"), f"{table}.{column} = {value[:40]}", f"{status}, not {then}")
    for command in (("status",), ("jobs",), ("jobs", "--json"), ("stats",), ("stats", "--json"), ("top",), ("status", "--json")):
        r = lab.ctl(*command)
        ok(r.returncode == 0 and not r.stderr and (command[-1] != "--json" or json.loads(r.stdout) is not None),
           f"meshifyctl {' '.join(command)}", f"{r.returncode}\n{r.stdout[:500]}{r.stderr}")
    shown = [(c, r.returncode, r.stdout[:200], r.stderr) for job, _, _, c, _, _ in odd for r in (lab.ctl("show", job), lab.ctl("show", job, "--json")) if r.returncode or r.stderr]
    is_(shown, [], "meshifyctl show: each")
    again = lab.daemon("later") # whatever ended as it did, the next instance claims
    good, _ = lab.insert_job("another good one", IMAGE)
    lab.wait_status(good, "done", seconds=60)
    is_([e.text for d in (daemon, again) for e in d.events("DB_DOWN", "DB_REFUSED")], [], "nothing was refused to all")
    lab.sim.stop()


@test
def times_without_a_zone():
    """They count in the zone that others write in; whoever looks after the database is told."""
    lab = Lab(bouncer="", migrate=False)
    columns = (("jobs", "created_at"), ("jobs", "updated_at"), ("jobs", "completed_at"), ("mesh_assets", "created_at"))
    for table, column in columns:
        lab.query(f"ALTER TABLE public.{table} ALTER {column} TYPE timestamp")
    admin = lab.write_config("admin", **{"database.url": lab.postgres.url("postgres")})
    lab.postgres.execute("ALTER DATABASE meshify SET timezone = 'Pacific/Marquesas'", SUPERUSER)
    r = lab.ctl("migrate", config=admin)
    said = [f"{t}.{c}" for t, c in columns if f"note: {t}.{c} has no time zone: its times are taken as those of Pacific/Marquesas" in r.stdout]
    is_((r.returncode, said), (0, [f"{t}.{c}" for t, c in columns]), "no zone: migrate names each column")
    lab.postgres.grant()
    lab.postgres.execute("ALTER ROLE meshifyd SET timezone = 'Pacific/Kiritimati'", SUPERUSER)
    lab.query("SET timezone = 'Pacific/Marquesas'")
    lab.sim.config(starting_ms=0, processing_ms=50)
    job, _ = lab.insert_job("a chair", IMAGE)
    old, _ = lab.insert_job("too old", IMAGE)
    lab.query("UPDATE public.jobs SET created_at = now() - interval '90 min' WHERE id = %s", old)
    daemon = lab.daemon(wait=False, **{"worker.max_age": "1h"})
    lab.wait_status(job, "done", seconds=60)
    lab.wait_status(old, "error", seconds=60)
    ok(lab.value("SELECT completed_at BETWEEN now() - interval '5 min' AND now() FROM public.jobs WHERE id = %s", job), "no zone: what is written is right")
    r = subprocess.run([program("meshifyd"), "--check", "-c", lab.write_config("check")], capture_output=True, text=True, timeout=60,
                       env=clean_environment(), check=False)
    ok(r.returncode == 0 and r.stdout.count("has no time zone") == 4 and "USING created_at AT TIME ZONE 'Pacific/Marquesas'" in r.stdout,
       "no zone: the doctor, too", r.stdout)
    daemon.stop()
    lab.sim.stop()


LONG_ZONE = "<+03ABCDEFGHIJKLMNOPQRSTUVWXYZABC>-3<+04ABCDEFGHIJKLMNOPQRSTUVWXYZ>,M3.5.0,M10.5.0"


@test
def odd_zones():
    """A zone that the server does not know any more is said and not used; a long one is used."""
    lab = Lab(bouncer="")
    lab.sim.config(starting_ms=0, processing_ms=50)
    for zone, whom, known in (("Mars/Base", "DATABASE meshify", False), (LONG_ZONE, "DATABASE meshify", True), ("Mars/Base", "ROLE authenticator", False)):
        label = f"the zone {zone[:10]} of {whom}"
        lab.postgres.execute("DELETE FROM pg_db_role_setting WHERE setconfig::text ILIKE '%%timezone=%%'", SUPERUSER)
        lab.postgres.execute(f"ALTER {whom} SET timezone = '{zone if known else 'Pacific/Marquesas'}'", SUPERUSER)
        if not known:
            lab.postgres.execute("UPDATE pg_db_role_setting SET setconfig = ARRAY['TimeZone=Mars/Base'] WHERE 'TimeZone=Pacific/Marquesas' = ANY (setconfig)",
                                 SUPERUSER)
        daemon = lab.daemon(wait=False)
        job, _ = lab.insert_job("a chair", IMAGE)
        lab.wait_status(job, "done", seconds=60)
        is_((daemon.told("DB_SAYS", text="Mars.Base.* not known"), daemon.told("DB_DOWN")), (0 if known else 1, 0), f"{label}: said once")
        r = lab.ctl("show", job)
        is_((r.returncode, r.stderr.count("not known to the server")), (0, 0 if known else 1), f"{label}: meshifyctl")
        daemon.stop()
    lab.sim.stop()


@test
def refused_at_the_end():
    """A deferred constraint of theirs refuses one job when its transaction ends: the others have theirs."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.query("CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
              "IF NEW.status = 'done' AND NEW.input_data ->> 'prompt' = 'refused' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NULL; END $$; "
              "CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON public.jobs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.refuse()")
    bad, _ = lab.insert_job("refused", IMAGE)
    daemon = lab.daemon()
    jobs = [lab.insert_job(f"good {i}", f"{IMAGE}?{i}")[0] for i in range(5)]
    for job in jobs:
        lab.wait_status(job, "done", seconds=60)
    ok(lab.job(bad)["status"] != "done", "a deferred constraint: the job is not done")
    is_(daemon.told("DB_DOWN"), 0, "a deferred constraint: the connection is kept")
    lab.query("DROP TRIGGER refuse ON public.jobs")
    lab.sim.stop()


main()
