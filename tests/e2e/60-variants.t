#!/usr/bin/python3
"""Databases as they are in the field: each is migrated, works, and is as before when everything of ours is taken out."""

import os
import re
import threading
import time

from lab import IMAGE, Lab, is_, main, ok, test, wait_for
from lab.postgres import ROOT, SUPERUSER, printed_schema
from lab.schema import LAST, migrate, migrated, same, schema


def told(lab):
    if lab.value("SELECT to_regclass('public.notifications')") is None:
        return None
    return sorted(t for (t,) in lab.query("SELECT title FROM public.notifications WHERE user_id = %s", lab.user))


def jobs_end(lab, label, canceled):
    """With the real daemon: one job done, one failed, one canceled while it runs, one while it waits; others' left alone."""
    values = ", ".join(["'export'"] * len(lab.types))
    other = lab.value(f"INSERT INTO public.jobs ({', '.join(lab.types)}, user_id, project_id, asset_id, input_data) "
                      f"SELECT {values}, %s, %s, id, '{{}}' FROM public.mesh_assets LIMIT 1 RETURNING id", lab.user, lab.project)
    if lab.value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'public.jobs'::regclass AND attname IN ('type', 'job_type')") == 2:
        lab.query("UPDATE public.jobs SET type = 'export', job_type = 'meshify' WHERE id = %s", other) # `type` says it
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.sim.fault("create", {"status": 422}, match="no=1", count=-1)
    before = lab.credits_of()
    daemon = lab.daemon()
    good, mesh = lab.insert_job("good")
    bad, lost = lab.insert_job("bad", f"{IMAGE}?no=1")
    row = lab.wait_status(good, "done")
    asset = lab.asset(mesh)
    is_((asset["status"], asset["size"], asset["output_path"]),
        ("done", row["output_data"]["file_size"], f"{lab.user}/{lab.project}/mesh_{mesh}.glb"), f"{label}: a job is done")
    row = lab.wait_status(bad, "error")
    is_((row["error"][:3], lab.asset(lost)["status"], lab.credits_of()), ("The", "error", before - 25), f"{label}: one fails, with a refund")
    lab.sim.config(processing_ms=600000)
    stopped, gone = lab.insert_job("stopped", IMAGE)
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE job_id = %s AND prediction_id IS NOT NULL", stopped), 20, "the purchase")
    is_(lab.value("SELECT meshify.cancel(%s)", stopped), "asked", f"{label}: a cancel")
    row = lab.wait_status(stopped, canceled, seconds=20)
    is_((lab.asset(gone)["status"], lab.credits_of(), lab.value("SELECT meshify.cancel(%s)", stopped)), ("error", before - 25, "ended"),
        f"{label}: is {canceled}, with a refund")
    is_(daemon.stop(), 0, f"{label}: the daemon stops")
    waits = lab.value("SELECT job_id FROM meshify.enqueue(%s, %s, NULL, %s)", lab.user, lab.project, IMAGE)
    is_(lab.value("SELECT meshify.cancel(%s)", waits), "canceled", f"{label}: enqueued without a prompt, canceled while it waits")
    is_((lab.job(waits)["status"], lab.credits_of()), (canceled, before - 25), f"{label}: that is {canceled} too")
    deleted, asset = lab.insert_job("deleted", IMAGE)
    lab.query("DELETE FROM public.mesh_assets WHERE id = %s", asset)
    is_(lab.credits_of(), before - 25, f"{label}: an asset is deleted, with a refund")
    row = lab.job(deleted)
    ok(row is None or row["status"] == canceled, f"{label}: and its job is {canceled}, or gone with it", row)
    is_((lab.job(other)["status"], lab.job(other)["attempts"]), ("pending", 0), f"{label}: a job of another type is left alone")


def reverse(lab, db="meshify"):
    return lab.postgres.psql(os.path.join(ROOT, "sql/dev/reverse.sql"), "postgres", db)


def variant(*names, canceled="canceled", notes=(), titles=True, kept=(), types=None):
    label = " and ".join(names) or "main"
    lab = Lab(variant=names, migrate=False)
    lab.types = types or lab.types
    before = schema(lab)
    is_(re.findall(rf"version {LAST}\b", migrate(lab).stdout), [f"version {LAST}"], f"{label}: migrates")
    after = schema(lab)
    said = migrated(lab, f"{label}: twice")
    ok(len(said) == len(notes) and all(n in s for n, s in zip(notes, said)), f"{label}: what there is to know", said)
    lab.query("UPDATE meshify.schema_version SET version = 0")
    migrated(lab, f"{label}: and each file again")
    same(schema(lab), after, f"{label}: with the same result")
    lab.postgres.grant()
    lab.insert_job("first") # an asset for the other feature's job
    lab.query("SELECT meshify.cancel(id) FROM meshify.jobs")
    jobs_end(lab, label, canceled)
    if titles:
        is_(told(lab), ["Mesh Generation Canceled"] * 4 + ["Mesh Generation Complete", "Mesh Generation Failed", "Mesh Generation Started"],
            f"{label}: the user is told")
    else:
        ok(not told(lab), f"{label}: nobody is told", told(lab))
    # What is advised can be run, and then it is not advised any more.
    advised = [s[s.index("ALTER "):] for s in said if "ALTER " in s]
    for sql in advised:
        lab.query(sql)
    if advised:
        left = [s for s in migrated(lab, f"{label}: after what was advised") if "ALTER " in s]
        is_(left, [], f"{label}: nothing more is")
        job, _ = lab.insert_job("canceled at last")
        lab.query("SELECT meshify.cancel(%s)", job)
        is_(lab.job(job)["status"], "canceled", f"{label}: and canceled is canceled")
    r = reverse(lab)
    is_((r.returncode, r.stderr), (0, ""), f"{label}: everything is taken out")
    if not advised:
        got = schema(lab)
        for line in kept:
            got = "\n".join(got).replace(line, "").split("\n")
        same(got, before, f"{label}: the database is as it was")
    is_(lab.value("SELECT count(*) FROM pg_roles WHERE rolname = 'meshify_worker'"), 0, f"{label}: the role is gone")
    ok(lab.value("SELECT count(*) FROM public.jobs") > 4, f"{label}: the jobs are not")
    migrated(lab, f"{label}: and back again")
    lab.sim.stop()


@test
def the_main_form():
    variant()


@test
def kinds_of_jobs():
    variant("job_type")
    variant("both_types")
    variant("both_types", types=["job_type"])


@test
def statuses():
    variant("check", canceled="error", notes=["can't say canceled"])
    variant("enum", kept=[",\n    'canceled'"])


@test
def everything_not_null():
    variant("not_null", "both_types_not_null")


@test
def triggers_of_theirs():
    variant("triggers", canceled="error", notes=["search_path of public.credits_changed", "search_path of public.log_job"])


@test
def a_size_too_large():
    """For an integer: the job ends nevertheless."""
    lab = Lab(variant=["integers"], migrate=True)
    job, asset = lab.insert_job("large")
    worker = "00000000-0000-0000-0000-000000000001"
    lab.query("SELECT meshify.register(%s, 'i', 'h', 'm', 'b', 'n', 1, '1', 9, '60 s'); SELECT meshify.claim(%s, 9, 0, false)", worker, worker)
    done = "SELECT meshify.done(%s, %s, 'x.glb', 3000000000, 'model/gltf-binary', '{}', '{}')"
    is_(lab.value(done, worker, job), "ok", "3 GB, where the size is an integer: done")
    is_(lab.asset(asset)["size"], 2147483647, "as large as can be said")
    lab.query("ALTER TABLE public.mesh_assets ALTER COLUMN size TYPE bigint")
    lab.query("UPDATE public.jobs SET status = 'running'")
    lab.query(done, worker, job)
    is_(lab.asset(asset)["size"], 3000000000, "once it is wider: the size")
    is_(lab.query("SELECT count, bytes FROM meshify.storage_usage"), [(1, 3000000000)], "summed up for the owner")
    lab.sim.stop()


@test
def all_at_once():
    variant("job_type", "enum", "integers", "no_notifications", notes=["size is an integer", "no table public.notifications"],
            titles=False, kept=[",\n    'canceled'"])


@test
def columns_nobody_knows():
    """The daemon works; what can't is said."""
    lab = Lab(variant=["unknown_columns"], migrate=False)
    before = schema(lab)
    said = migrated(lab, "unknown columns: migrates")
    ok(["enqueue() can't work" in s or "not notified" in s for s in said] == [True, True], "unknown columns: what can't work", said)
    lab.postgres.grant()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.query("ALTER TABLE public.jobs ALTER COLUMN tenant SET DEFAULT 'me'") # the edge function fills it
    job, _ = lab.insert_job("x", IMAGE)
    lab.query("ALTER TABLE public.jobs ALTER COLUMN tenant DROP DEFAULT")
    daemon = lab.daemon()
    lab.wait_status(job, "done")
    is_(told(lab), [], "unknown columns: a job is done, though nobody can be told")
    r = reverse(lab)
    ok(r.returncode != 0 and "a meshifyd is at work" in r.stderr, "nothing is taken out while one works", r.stderr)
    daemon.stop()
    for s in said:
        lab.query(s[s.index("ALTER "):])
    is_(migrated(lab, "unknown columns: after what was advised"), [], "unknown columns: nothing more is")
    job = lab.value("SELECT job_id FROM meshify.enqueue(%s, %s, 'x', NULL)", lab.user, lab.project)
    is_((lab.job(job)["tenant"], told(lab)), ("", ["Mesh Generation Started"]), "unknown columns: enqueue works")
    lab.query("ALTER TABLE public.jobs ALTER COLUMN tenant DROP DEFAULT; ALTER TABLE public.notifications ALTER COLUMN channel DROP DEFAULT")
    is_(reverse(lab).returncode, 0, "unknown columns: taken out")
    same(schema(lab), before, "unknown columns: the database is as it was")
    pasted(lab)
    refused(lab)
    lab.sim.stop()


def pasted(lab):
    """What migrate --print says, as one query, as an SQL editor sends it."""
    lab.postgres.create_database("pasted")
    lab.postgres.create_database("applied")
    migrated(lab, "an ordinary migration", "applied")
    lab.postgres.execute(printed_schema(), "postgres", "pasted")
    same(schema(lab, "pasted"), schema(lab, "applied"), "what --print says, pasted, does the same")
    db = lab.postgres.connect("postgres", "pasted")
    cursor = db.cursor()
    cursor.execute("SELECT count(*) FROM meshify.missing_indexes()")
    is_(cursor.fetchone()[0], 0, "indexes included")
    db.close()


def refused(lab):
    """What can't be adapted is refused, with what to run."""
    lab.postgres.create_database("odd")
    lab.postgres.execute("ALTER TABLE public.jobs DROP COLUMN completed_at, DROP COLUMN type, ADD COLUMN priority text, ADD COLUMN attempts int, "
                         "ALTER COLUMN output_data TYPE text; ALTER TABLE public.mesh_assets DROP COLUMN mime", "postgres", "odd")
    before = schema(lab, "odd")
    r = migrate(lab, "odd")
    ok(r.returncode == 1 and "nothing of it was kept" in r.stderr, "a table that is too different is refused", r.stdout + r.stderr)
    same(schema(lab, "odd"), before, "and nothing is changed")
    todo = [line for line in r.stderr.splitlines() if line.startswith(("ALTER", "UPDATE"))]
    ok(len(todo) == 8, "with what to run", r.stderr)
    for line in todo:
        lab.postgres.execute(line, "postgres", "odd")
    migrated(lab, "which is all that is needed", "odd")


@test
def a_large_busy_table():
    """200,000 old rows; inserts and a long transaction go on throughout."""
    lab = Lab(migrate=False)
    r = lab.postgres.psql(os.path.join(ROOT, "sql/dev/variants/old_rows.sql"), "postgres", "meshify", "-v", "rows=200000")
    is_(r.returncode, 0, "old rows")
    slowest, held, over = [0.0], threading.Event(), threading.Event()

    def insert(table, values):
        db = lab.postgres.connect()
        cursor = db.cursor()
        while not over.is_set():
            start = time.monotonic()
            cursor.execute(f"INSERT INTO public.{table} VALUES {values}")
            slowest[0] = max(slowest[0], time.monotonic() - start)
            time.sleep(0.005)
        db.close()

    def waiting():
        watcher.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return watcher.fetchone()[0]

    watcher = lab.postgres.connect().cursor()

    def hold():
        """One transaction after the other reads both tables, and goes on for seconds."""
        for seconds in (3.5, 0.8):
            db = lab.postgres.connect(autocommit=False)
            cursor = db.cursor()
            cursor.execute("SELECT count(*) FROM public.jobs, public.mesh_assets WHERE false")
            held.set()
            if seconds > 1: # from the moment at which somebody waits for it
                wait_for(lambda: over.is_set() or waiting(), 60, "a lock that is waited for")
            over.wait(seconds)
            db.close()

    threads = [threading.Thread(target=insert, args=("jobs (type, status)", "('export', 'done')")),
               threading.Thread(target=insert, args=("mesh_assets (project_id, owner_id)", f"('{lab.project}', '{lab.user}')")),
               threading.Thread(target=hold)]
    for t in threads:
        t.start()
    held.wait(30)
    r = migrate(lab)
    over.set()
    for t in threads:
        t.join()
    ok(r.returncode == 0 and "is busy" in r.stdout, "a busy table is migrated", r.stdout + r.stderr)
    ok(r.stdout.count("running CREATE INDEX CONCURRENTLY") == 6, "a large one, too", r.stdout)
    ok(0.25 < slowest[0] < 2, "no insert waited for two seconds", slowest[0])
    ok("20 running jobs have no worker" in r.stdout and "16 jobs are pending" in r.stdout, "what the old worker left is counted", r.stdout)
    is_(lab.query("SELECT status, count(*) FROM meshify.jobs WHERE created_at < now() - interval '1 day' GROUP BY 1 HAVING count(*) < 100 ORDER BY 1"),
        [("pending", 16), ("running", 20)], "and left")
    plan = "\n".join(line for (line,) in lab.query("EXPLAIN SELECT id FROM meshify.jobs j WHERE status = 'pending' AND run_after <= now() "
                     "ORDER BY priority DESC, run_after, created_at LIMIT 9 FOR UPDATE SKIP LOCKED"))
    ok("Index Scan using meshify_jobs_pending" in plan and "Sort" not in plan, "a claim walks the index", plan)
    # An index that broke off is built again.
    lab.postgres.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.meshify_jobs_running'::regclass", SUPERUSER)
    r = migrate(lab)
    ok("DROP INDEX CONCURRENTLY public.meshify_jobs_running" in r.stdout and r.returncode == 0, "a broken index is replaced", r.stdout + r.stderr)
    is_(lab.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.meshify_jobs_running'::regclass"), True, "by a good one")
    lab.sim.stop()


main()
