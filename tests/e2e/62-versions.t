#!/usr/bin/python3
"""Migrating while others write and daemons work: from nothing, once more, and from each released version."""

import glob
import json
import os
import subprocess
import threading
import time
import urllib.request

import psycopg2

from lab import BUILD, IMAGE, TRELLIS, Lab, Process, clean_environment, is_, main, ok, test, wait_for
from lab.postgres import ROOT, SUPERUSER
from lab.schema import LAST, listing, migrate, migrated, same, schema

# The commits that released versions of the schema were made by: where the history is there, their programs are built.
RELEASED = {31: "c81d37f5b83bcbeb618df6cc7d1ccaef6aa68b83"}

# What frontends and edge functions do with their tables; each is undone again.
WRITES = {
    "insert": [],
    "take": ["UPDATE public.jobs SET status = 'running'", "UPDATE public.mesh_assets SET status = 'running'"],
    "end": ["UPDATE public.jobs SET status = 'done', output_data = '{}', completed_at = now()", "UPDATE public.mesh_assets SET status = 'done', output_path = 'x'"],
    "delete a job": ["DELETE FROM public.jobs"],
    "delete an asset": ["DELETE FROM public.mesh_assets"],
    "delete a project": ["DELETE FROM public.projects"],
}


def writer_of(lab, stop, wrote, failed):
    db = lab.postgres.connect("postgres", autocommit=False)
    cursor = db.cursor()
    kind = ", ".join(lab.types)
    while not stop.is_set():
        for what, statements in WRITES.items():
            try:
                cursor.execute("INSERT INTO public.mesh_assets (project_id, owner_id, prompt, status, credits_cost) VALUES (%s, %s, 'x', 'pending', 25) RETURNING id",
                               (lab.project, lab.user))
                cursor.execute(f"INSERT INTO public.jobs ({kind}, user_id, project_id, asset_id, status, input_data) "
                               f"VALUES ({', '.join(repr('meshify') for _ in lab.types)}, %s, %s, %s, 'pending', '{{\"prompt\": \"x\"}}')",
                               (lab.user, lab.project, cursor.fetchone()))
                for statement in statements:
                    cursor.execute(statement)
                wrote.append(what)
            except psycopg2.Error as error:
                failed.append((what, str(error).splitlines()[0]))
            db.rollback()
    db.close()


@test
def a_first_migration():
    """Whoever writes meanwhile sees nothing of it, or all of it: each write works."""
    lab = Lab(migrate=False)
    stop, wrote, failed = threading.Event(), [], []
    writer = threading.Thread(target=writer_of, args=(lab, stop, wrote, failed), daemon=True)
    writer.start()
    migrated(lab, "a first migration, while others write")
    before, last = len(wrote), time.monotonic() + 60
    while len(wrote) < before + 2 * len(WRITES) and time.monotonic() < last: # and by what it made
        time.sleep(0.05)
    stop.set()
    writer.join(60)
    ok(not failed and len(wrote) > before > 0, "a first migration: each write works", failed[:5] or (before, len(wrote)))
    lab.sim.stop()


@test
def again_while_all_goes_on():
    """All functions once more, as after a column was widened: nobody who writes sees anything of it, nor does a daemon."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=100)
    daemon = lab.daemon()
    errors, stop, jobs = [], threading.Event(), []

    def write():
        db = lab.postgres.connect()
        cursor = db.cursor()
        while not stop.is_set():
            try:
                cursor.execute("SELECT asset_id, job_id FROM meshify.enqueue(%s, %s, 'a chair', NULL)", (lab.user, lab.project))
                asset, job = cursor.fetchone()
                if len(jobs) % 3 == 0:
                    cursor.execute("SELECT meshify.cancel(%s)", (job,))
                elif len(jobs) % 3 == 1:
                    cursor.execute("DELETE FROM public.mesh_assets WHERE id = %s", (asset,))
                jobs.append(job)
            except psycopg2.Error as error:
                if error.pgcode != "55P03": # its lock was held for too long, which is said
                    errors.append(str(error))
            stop.wait(0.05)
        db.close()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    times, last = 0, time.monotonic() + 120
    while times < 3 or (len(jobs) <= 20 and time.monotonic() < last): # a slow machine writes less meanwhile
        lab.postgres.execute("UPDATE meshify.schema_version SET version = 0", "postgres")
        migrated(lab, "again while all goes on")
        times += 1
    stop.set()
    writer.join(60)
    ok(not errors and len(jobs) > 20, "again while all goes on: each write works", errors[:5] or len(jobs))
    lab.wait_all_ended(120)
    is_(lab.query("SELECT DISTINCT status::text FROM public.jobs ORDER BY 1"), [("canceled",), ("done",)], "again while all goes on: what was not canceled is done")
    is_([e.text for e in daemon.events("DB_REFUSED", "DB_DOWN") if "lock timeout" not in e.text], [],
        "again while all goes on: the daemon is refused nothing but a lock")
    lab.sim.stop()


def rows(lab, db):
    """All rows of ours and of the project's, but for what a migration is there to change."""
    connection = lab.postgres.connect(SUPERUSER, db)
    cursor = connection.cursor()
    cursor.execute("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relname NOT IN ('schema_version', 'schema_files') "
                   "AND relnamespace IN ('meshify'::regnamespace, 'public'::regnamespace) ORDER BY 1")
    found = {}
    for (table,) in cursor.fetchall():
        cursor.execute(f"SELECT to_jsonb(t) FROM {table} t")
        found[table] = sorted(json.dumps(row, sort_keys=True) for (row,) in cursor.fetchall())
    connection.close()
    return found


def restored(lab, path, db):
    """A database of an earlier version, from its dump."""
    lab.postgres.create_database(db, supabase=False)
    lab.postgres.execute("DO $$ BEGIN CREATE ROLE meshify_worker NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$", "postgres", db)
    with open(path, encoding="utf-8") as text:
        r = lab.postgres.psql_text(text.read(), SUPERUSER, db)
    ok(r.returncode == 0, f"{db}: its dump is read", r.stderr[-2000:])


def a_prediction(lab):
    """One that runs at Replicate, bought by nobody who is still there."""
    body = {"version": TRELLIS.split(":")[1], "input": {"images": [IMAGE], "generate_model": True}}
    request = urllib.request.Request(f"{lab.sim.url}/v1/predictions", json.dumps(body).encode(),
                                     {"Authorization": "Bearer test-token", "Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as reply:
        return json.load(reply)["id"]


@test
def from_each_release():
    """Its dump with jobs under way: the same schema as a new one, the same rows, and each job ends, with what was bought for it."""
    dumps = sorted(glob.glob(os.path.join(ROOT, "tests/sql/released/*.sql")))
    is_([os.path.basename(p) for p in dumps], [f"{v}.sql" for v in RELEASED], "there is a dump of each release")
    lab = Lab(migrate=False, bouncer="") # a pooler is that of one database
    lab.postgres.create_database("fresh")
    migrated(lab, "a new one", "fresh")
    for path in dumps:
        db = f"version_{os.path.basename(path).removesuffix('.sql')}"
        restored(lab, path, db)
        before = rows(lab, db)
        ok(len(before) > 14 and [t for t, r in before.items() if not r] == [], f"{db}: each table has rows", {t: len(r) for t, r in before.items()})
        migrated(lab, f"{db}: migrated", db)
        same(schema(lab, db), schema(lab, "fresh"), f"{db}: the same schema as a new one")
        same(listing(lab.postgres, db), listing(lab.postgres, "fresh"), f"{db}: to the last privilege")
        is_(rows(lab, db), before, f"{db}: the same rows")
        its_jobs_end(lab, db)
    lab.sim.stop()


def its_jobs_end(lab, db):
    lab.db, lab.user = lab.postgres.connect("postgres", db), "00000000-0000-0000-0000-00000000000a"
    lab.postgres.grant(db)
    lab.sim.config(starting_ms=0, processing_ms=300)
    running = a_prediction(lab)
    lab.query("UPDATE meshify.predictions SET prediction_id = %s WHERE prediction_id = 'prediction-running'", running)
    lab.query("UPDATE public.jobs SET created_at = now()") # it was migrated at once
    lab.daemon(**{"database.url": lab.postgres.url("meshifyd", db), "database.lease": "3s"})
    lab.wait_all_ended(90)
    is_(dict(lab.query("SELECT input_data ->> 'prompt', status FROM public.jobs")),
        {"failed": "error", **{p: "done" for p in ("running", "stored", "refused", "pending", "moved", "retried", "done")}}, f"{db}: its jobs end")
    is_(lab.query("SELECT prediction_id FROM meshify.predictions p JOIN public.jobs j ON j.id = p.job_id WHERE j.input_data ->> 'prompt' = 'running'"),
        [(running,)], f"{db}: what ran is used")
    is_(len(lab.sim.predictions()), 4, f"{db}: bought is only what was not")
    is_(lab.credits_of(), 825.0, f"{db}: nobody is charged again")


def programs_of(version):
    """Where the programs of a released version are, built from the history; None where that is not there."""
    git = ["git", "-c", "safe.directory=*", "-C", ROOT]
    place = os.path.join(BUILD, f"released-{version}")
    if subprocess.run([*git, "cat-file", "-e", f"{RELEASED[version]}^{{commit}}"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return None
    if not os.path.exists(os.path.join(place, "done")):
        os.makedirs(place, exist_ok=True)
        archive = subprocess.run([*git, "archive", RELEASED[version]], stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["tar", "-x", "-C", place], input=archive, check=True)
        subprocess.run(["make", "-s", "build/meshifyd", "build/meshifyctl"], cwd=place, env=clean_environment(), stdout=subprocess.DEVNULL, check=True)
        with open(os.path.join(place, "done"), "w", encoding="utf-8"):
            pass
    return os.path.join(place, "build")


class Writer(threading.Thread):
    """A user who goes on enqueueing jobs."""

    def __init__(self, lab):
        super().__init__(daemon=True) # a test that fails ends all the same
        self.lab, self.errors, self.over, self.jobs = lab, [], threading.Event(), 0
        self.start()

    def run(self):
        db = self.lab.postgres.connect()
        cursor = db.cursor()
        while not self.over.is_set():
            try:
                cursor.execute("SELECT job_id FROM meshify.enqueue(%s, %s, NULL, %s)", (self.lab.user, self.lab.project, IMAGE))
                self.jobs += 1
            except psycopg2.Error as error:
                if error.pgcode != "55P03":
                    self.errors.append(str(error))
            self.over.wait(0.05)
        db.close()

    def stop(self):
        self.over.set()
        self.join(60)


@test
def a_rolling_upgrade():
    """Jobs come and end all the time: an old daemon alone, migrate, a new one beside it, the new one alone. Nothing is bought twice."""
    old = programs_of(31)
    if not old:
        ok(True, "a rolling upgrade: without the history of the tree there is no old program; only its dump was tested, above")
        return
    ok(True, f"a rolling upgrade: the programs of version 31 were built from {RELEASED[31][:7]}")
    lab = Lab(migrate=False)
    admin = lab.write_config("admin", **{"database.url": lab.postgres.url("postgres")})

    def old_migrate():
        return subprocess.run([f"{old}/meshifyctl", "migrate", "-c", admin], capture_output=True, text=True, env=clean_environment(), check=False)

    def more_end(n, what):
        end = lab.count("done") + n
        wait_for(lambda: lab.count("done") >= end, 60, f"{what}: jobs end")

    is_((old_migrate().returncode, lab.value("SELECT version FROM meshify.schema_version")), (0, 31), "a database of version 31")
    lab.postgres.grant()
    lab.sim.config(starting_ms=0, processing_ms=200)
    first = Process([f"{old}/meshifyd", "-c", lab.write_config("old")], clean_environment())
    lab.daemons.append(first)
    writer = Writer(lab)
    more_end(10, "the old one alone")
    r = migrate(lab)
    is_((r.returncode, lab.value("SELECT version FROM meshify.schema_version")), (0, LAST), f"migrated while it works: {r.stderr}")
    more_end(20, "the old one on the new schema")
    second = lab.daemon("new")
    more_end(20, "both")
    is_(lab.value("SELECT count(*) FROM meshify.workers WHERE NOT dead AND expires_at > now()"), 2, "both work on it")
    r = old_migrate()
    ok(r.returncode == 1 and "upgrade the program" in r.stderr, "the old meshifyctl refuses", r.stdout + r.stderr)
    lab.postgres.execute("UPDATE meshify.schema_version SET compatible_from = 32", "postgres")
    is_(first.wait(60), 0, "when the schema asks for newer programs, the old one drains")
    more_end(20, "the new one alone")
    writer.stop()
    lab.wait_all_ended(120)
    is_((writer.errors, lab.query("SELECT status, count(*)::int FROM public.jobs GROUP BY 1")), ([], [("done", writer.jobs)]), "all jobs are done")
    is_((len(lab.sim.predictions()), lab.bought()), (writer.jobs, writer.jobs), "each was bought once")
    ok(first.said("refuse(?!.*lock timeout)") == 0, "the old one was refused nothing but a lock", first.log())
    lab.postgres.execute("UPDATE meshify.schema_version SET compatible_from = 999", "postgres")
    is_(second.wait(60), 0, "so does the new one when its time has come")
    second.wait_event("STOPPING", text="made for newer programs")
    lab.sim.stop()


main()
