#!/usr/bin/python3
"""Migrating while others write and daemons work: from nothing, once more, and from each released version."""

import threading
import time

import psycopg2

from lab import Lab, is_, main, ok, test
from lab.schema import migrated

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
    writer = threading.Thread(target=writer_of, args=(lab, stop, wrote, failed))
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

    writer = threading.Thread(target=write)
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
    ok(daemon.said("The database refuse(?!.*lock timeout)") == 0, "again while all goes on: the daemon is refused nothing but a lock", daemon.log())
    lab.sim.stop()


main()
