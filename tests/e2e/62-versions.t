#!/usr/bin/python3
"""From every earlier version of the schema, with jobs under way: the same schema as a new one, and the same rows."""

import os
import threading
import time

import psycopg2

from lab import Lab, is_, main, ok, test
from lab.schema import FILES, LAST, listing, migrated, same

STATES = ("pending", "running", "done", "error")


def rows(cursor):
    """Jobs and assets, with only the columns that every version has."""
    cursor.execute("SELECT to_jsonb(j) FROM public.jobs j ORDER BY id")
    jobs = [j for (j,) in cursor.fetchall()]
    cursor.execute("SELECT to_jsonb(a) FROM public.mesh_assets a ORDER BY id")
    return jobs, [a for (a,) in cursor.fetchall()]


def from_versions(versions, *variant):
    label = " and ".join(variant) or "main"
    lab = Lab(variant=variant, migrate=False)
    kind = ", ".join(lab.types)
    lab.postgres.create_database("fresh", variant=variant)
    migrated(lab, f"{label}: a new one", "fresh")
    fresh = listing(lab.postgres, "fresh")
    for version in versions:
        name = f"v{version}"
        lab.postgres.create_database(name, variant=variant)
        for path in FILES[:version]:
            lab.postgres.apply(path, "postgres", name, one_transaction=True)
        db = lab.postgres.connect("postgres", name)
        cursor = db.cursor()
        cursor.execute("INSERT INTO public.projects (id, owner_id) VALUES (%s, %s)", (lab.project, lab.user))
        cursor.execute("INSERT INTO public.profiles (id, credits_remaining) VALUES (%s, 975)", (lab.user,))
        cursor.execute("INSERT INTO meshify.workers (id, instance, host, pid, version, max_jobs, expires_at) "
                       "VALUES (gen_random_uuid(), 'old', 'h', 1, '0', 9, now() + interval '1 min') RETURNING id")
        (worker,) = cursor.fetchone()
        for status in STATES:
            cursor.execute("INSERT INTO public.mesh_assets (project_id, owner_id, prompt, status, credits_cost) VALUES (%s, %s, 'x', %s, 25) RETURNING id",
                           (lab.project, lab.user, status))
            (asset,) = cursor.fetchone()
            cursor.execute(f"INSERT INTO public.jobs ({kind}, user_id, project_id, asset_id, status, input_data, worker_id, attempts) "
                           f"VALUES ({', '.join(repr('meshify') for _ in lab.types)}, %s, %s, %s, %s, '{{\"prompt\": \"x\"}}', %s, 1) RETURNING id",
                           (lab.user, lab.project, asset, status, None if status == "pending" else worker))
            (job,) = cursor.fetchone()
            cursor.execute("INSERT INTO meshify.predictions (job_id, step, purchase, attempt, worker_id, state, give_up_after, prediction_id) "
                           "VALUES (%s, 'paint', 1, 1, %s, 'bought', now(), %s)", (job, worker, f"p-{job}"))
        before = rows(cursor)
        cursor.execute("SELECT version FROM meshify.schema_version")
        is_(cursor.fetchone(), (version,), f"{label}: a database at version {version}")
        migrated(lab, f"{label}: from version {version}", name)
        same(listing(lab.postgres, name), fresh, f"{label}: from version {version}, the same schema as a new one")
        after = rows(cursor)
        is_(after, before, f"{label}: from version {version}, the same jobs and assets")
        cursor.execute("SELECT count(*), count(prediction_id) FROM meshify.predictions")
        is_(cursor.fetchone(), (4, 4), f"{label}: from version {version}, the same purchases")
        # What ran goes on under the worker that had it.
        cursor.execute("SELECT answer, held FROM meshify.heartbeat(%s, '1 min', 1, false)", (worker,))
        is_(cursor.fetchone(), ("ok", 1), f"{label}: from version {version}, the worker still holds its job")
        cursor.execute("SELECT count(job_id) FROM meshify.claim(%s, 9, 0, false)", (worker,))
        is_(cursor.fetchone(), (1,), f"{label}: from version {version}, and claims what waited")
        db.close()
    ok(len(versions) > 5, f"{label}: all of them", versions)
    lab.sim.stop()


@test
def numbers_for_keys():
    """A table whose key is a number, as versions before 27 made it, with rows that a daemon works on meanwhile."""
    lab = Lab()
    fresh = listing(lab.postgres)
    db = lab.postgres.connect("postgres")
    cursor = db.cursor()
    cursor.execute("ALTER TABLE meshify.predictions DROP CONSTRAINT predictions_pkey, DROP CONSTRAINT predictions_n_key, DROP COLUMN id, "
                   "DROP CONSTRAINT predictions_of_a_purchase, DROP COLUMN pipeline, DROP COLUMN output_pointer, DROP COLUMN last_step, "
                   "ALTER COLUMN purchase SET NOT NULL; "
                   "ALTER TABLE meshify.predictions RENAME COLUMN n TO id; ALTER TABLE meshify.predictions ADD PRIMARY KEY (id); "
                   "UPDATE meshify.schema_version SET version = 26")
    for n in range(3):
        cursor.execute("INSERT INTO meshify.predictions (job_id, step, purchase, attempt, state, give_up_after, prediction_id) "
                       "VALUES (gen_random_uuid(), 'paint', 1, 1, 'bought', now(), %s)", (f"old{n}",))
    cursor.execute("SELECT array_agg(prediction_id ORDER BY id) FROM meshify.predictions")
    before = cursor.fetchone()
    migrated(lab, "numbers for keys: migrated")
    same(listing(lab.postgres), fresh, "numbers for keys: the same schema as a new one")
    cursor.execute("SELECT array_agg(prediction_id ORDER BY n), count(DISTINCT id)::int FROM meshify.predictions")
    is_(cursor.fetchone(), (*before, 3), "numbers for keys: the same purchases in the same order, each with a key")
    cursor.execute("INSERT INTO meshify.predictions (job_id, step, purchase, attempt, state, give_up_after) "
                   "VALUES (gen_random_uuid(), 'paint', 1, 1, 'intended', now()) RETURNING n")
    is_(cursor.fetchone(), (4,), "numbers for keys: numbers go on")
    db.close()
    lab.sim.stop()


# What frontends and edge functions do with their tables; each is undone again.
WRITES = {
    "insert": [],
    "take": ["UPDATE public.jobs SET status = 'running'", "UPDATE public.mesh_assets SET status = 'running'"],
    "end": ["UPDATE public.jobs SET status = 'done', output_data = '{}', completed_at = now()", "UPDATE public.mesh_assets SET status = 'done', output_path = 'x'"],
    "delete a job": ["DELETE FROM public.jobs"],
    "delete an asset": ["DELETE FROM public.mesh_assets"],
    "delete a project": ["DELETE FROM public.projects"],
}


@test
def between_two_files():
    """A first migration takes a second, file after file, and whoever writes meanwhile sees what stands between two: each write works."""
    lab = Lab(migrate=False)
    db = lab.postgres.connect("postgres", autocommit=False)
    cursor = db.cursor()
    kind = ", ".join(lab.types)
    failed = []
    for path in FILES:
        lab.postgres.apply(path, "postgres", "meshify", one_transaction=True)
        for what, statements in WRITES.items():
            try:
                cursor.execute("INSERT INTO public.mesh_assets (project_id, owner_id, prompt, status, credits_cost) VALUES (%s, %s, 'x', 'pending', 25) RETURNING id",
                               (lab.project, lab.user))
                cursor.execute(f"INSERT INTO public.jobs ({kind}, user_id, project_id, asset_id, status, input_data) "
                               f"VALUES ({', '.join(repr('meshify') for _ in lab.types)}, %s, %s, %s, 'pending', '{{\"prompt\": \"x\"}}')",
                               (lab.user, lab.project, cursor.fetchone()))
                for statement in statements:
                    cursor.execute(statement)
            except psycopg2.Error as error:
                failed.append((os.path.basename(path), what, str(error).splitlines()[0]))
            db.rollback()
    db.close()
    ok(not failed, "between two files: each write works", failed)
    lab.sim.stop()


@test
def again_while_all_goes_on():
    """All files once more, as after a column was widened: nobody who writes sees anything of it, nor does a daemon."""
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


@test
def the_main_form():
    from_versions(range(1, LAST))


@test
def other_forms():
    """The forms differ in the project's tables, of which a version changes little: some versions do."""
    some = sorted({*range(1, LAST, 6), LAST - 1})
    from_versions(some, "job_type", "enum", "integers", "not_null")
    from_versions(some, "both_types")
    from_versions(some, "both_types", "check", "not_null")
    from_versions(some, "triggers", "integers", "no_notifications")


main()
