#!/usr/bin/python3
"""Odd values in rows, and sessions that somebody else has set up: what concerns one job stays with it."""

import json
import os
import subprocess
import sys
import urllib.parse

import psycopg2

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lab as testing
from bouncer import Bouncer
from lab import Lab, clean_environment, is_, ok, program, wait_for
from postgres import SUPERUSER

IMAGE = "https://images.example/x.png"
PROMPTS = ("une chaise é", "漢字の椅子 🪑", "a plain one behind")
# All that a role, a database or a URL may set, and that would change what our statements do.
SETTINGS = {"client_encoding": "LATIN1", "TimeZone": "America/St_Johns", "DateStyle": "SQL, DMY", "IntervalStyle": "sql_standard",
            "row_security": "off", "default_transaction_isolation": "serializable", "default_transaction_read_only": "on",
            "default_transaction_deferrable": "on", "statement_timeout": "100ms", "lock_timeout": "1ms",
            "idle_in_transaction_session_timeout": "20ms", "idle_session_timeout": "1s", "search_path": "nowhere",
            "standard_conforming_strings": "off", "bytea_output": "escape", "extra_float_digits": "-15", "synchronous_commit": "off"}


def set_all(lab, whom):
    """On a role (or a database): all that this version of the server knows."""
    cursor = lab.postgres.connect(SUPERUSER).cursor()
    for name, value in SETTINGS.items():
        cursor.execute("SELECT 1 FROM pg_settings WHERE name = %s", (name,))
        if cursor.fetchall():
            cursor.execute(f"ALTER {whom} SET {name} = '{value}'")


def insert(lab, prompts=PROMPTS):
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
    daemon.wait_line("is ready as", 30)
    jobs = insert(lab)
    show = jobs[0]
    for job in jobs:
        lab.wait_status(job, "done", seconds=60)
    if ctl:
        path = lab.write_config("ctl", **keys)
        ctl_works(lab, path, label, job=show)
        lab.wait_all_ended(60)
    bought = sorted({p["input"]["prompt"].split(",")[0] for p in lab.sim.predictions() if "prompt" in p["input"]})
    is_(bought, sorted(PROMPTS), f"{label}: each prompt arrived as it was written")
    is_(daemon.said("The database is away|was refused|refuses"), 0, f"{label}: nothing was refused")
    daemon.stop()
    lab.query("DELETE FROM public.jobs")
    lab.query("DELETE FROM public.mesh_assets")


def the_role():
    lab = Lab(bouncer="")
    set_all(lab, "ROLE meshifyd")
    session_of(lab, "the role")
    lab.sim.stop()


def the_database():
    lab = Lab(bouncer="")
    set_all(lab, "DATABASE meshify")
    session_of(lab, "the database", ctl=False)
    lab.sim.stop()


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


def a_transaction_pooler():
    """Which refuses start-up parameters, and keeps sessions that the role has set up."""
    lab = Lab(bouncer="")
    set_all(lab, "ROLE meshifyd")
    bouncer = Bouncer(lab.postgres)
    session_of(lab, "a pooler", url=bouncer.url() + "?client_encoding=WIN1252", bouncer=bouncer)
    with psycopg2.connect(bouncer.url()) as session:
        cursor = session.cursor()
        cursor.execute("SELECT current_setting('lock_timeout'), current_setting('search_path')")
        is_(cursor.fetchall(), [("1ms", "nowhere")], "a pooler: nothing of ours stays in its sessions")
    bouncer.stop()
    lab.sim.stop()


TESTS = [the_role, the_database, the_url_and_the_environment, a_transaction_pooler]

if __name__ == "__main__":
    testing.main(*TESTS)
