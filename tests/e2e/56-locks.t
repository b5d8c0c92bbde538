#!/usr/bin/python3
"""Rows and tables that somebody else has locked: nobody waits for them but who needs them."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lab as testing
from lab import Lab, is_, ok, wait_for

IMAGE = "https://images.example/x.png"
QUERIES = {
    "assets": "SELECT FROM public.mesh_assets WHERE prompt = 'locked' FOR UPDATE",
    "jobs": "SELECT FROM public.jobs WHERE input_data ->> 'prompt' = 'locked' FOR UPDATE",
    "profiles": "SELECT FROM public.profiles p WHERE EXISTS (SELECT FROM public.jobs j WHERE j.user_id = p.id AND j.input_data ->> 'prompt' = 'locked') FOR UPDATE",
}


def unrelated(lab, name, n=50):
    """How long some jobs take that nobody has locked."""
    begun = time.monotonic()
    jobs = [lab.insert_job(f"free {i}", f"{IMAGE}?{name}{i}")[0] for i in range(n)]
    wait_for(lambda: lab.value("SELECT count(*) FROM public.jobs WHERE status = 'done' AND id = ANY (%s::uuid[])", jobs) == n, 90, "the end of the others")
    return time.monotonic() - begun


def beside_locked(lab, daemon, what, n, usual):
    lab.sim.config(starting_ms=0, processing_ms=50 if what == "assets" else 4000)
    user, project = lab.add_user()
    lab.query("WITH a AS (INSERT INTO public.mesh_assets (project_id, owner_id, prompt, credits_cost) SELECT %s, %s, 'locked', 25 FROM generate_series(1, %s) RETURNING id) "
              "INSERT INTO public.jobs (type, user_id, project_id, asset_id, run_after, input_data) "
              "SELECT 'meshify', %s, %s, a.id, now() + interval '1 h', jsonb_build_object('prompt', 'locked', 'input_image_url', %s || a.id) FROM a",
              project, user, n, user, project, f"{IMAGE}?")
    locked = [j for (j,) in lab.query("SELECT id FROM public.jobs WHERE user_id = %s", user)]
    holder = lab.postgres.connect(autocommit=False)
    if what == "assets": # keeps nobody from buying
        holder.cursor().execute(QUERIES[what])
    lab.query("UPDATE public.jobs SET run_after = now() WHERE user_id = %s; NOTIFY meshify_jobs", user)
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE state = 'bought' AND job_id = ANY (%s::uuid[])", locked) == n, 60,
             "their purchases")
    holder.cursor().execute(QUERIES[what])
    lab.sim.config(starting_ms=0, processing_ms=50)
    # Until all of them want to be closed.
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE finished_at IS NOT NULL AND job_id = ANY (%s::uuid[])", locked) == n, 60,
             "their meshes")
    took = unrelated(lab, f"{what}{n}")
    ok(took < 2 * usual + 5, f"{n} locked {what}: the others are done in their time", f"{took:.1f} s, usually {usual:.1f} s")
    if what != "profiles":
        is_(lab.value("SELECT count(*) FROM public.jobs WHERE status = 'running' AND id = ANY (%s::uuid[])", locked), n, f"{n} locked {what}: they wait")
    holder.rollback()
    holder.close()
    wait_for(lambda: lab.value("SELECT count(*) FROM public.jobs WHERE status = 'done' AND id = ANY (%s::uuid[])", locked) == n, 60, "the end of the locked")
    is_(lab.value("SELECT max(attempts) FROM public.jobs WHERE id = ANY (%s::uuid[])", locked), 1, f"{n} locked {what}: then they are done, at the first attempt")
    is_(daemon.said("The database is away|was refused|The lease is lost|not sent"), 0, f"{n} locked {what}: nothing was given up")


def rows():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon = lab.daemon(**{"worker.max_jobs": "300"})
    unrelated(lab, "warm", 10)
    usual = max(unrelated(lab, "usual"), unrelated(lab, "again"))
    for what, n in (("assets", 40), ("jobs", 40), ("profiles", 40), ("assets", 200)):
        beside_locked(lab, daemon, what, n, usual)
    lab.sim.stop()


def sessions(lab):
    return lab.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'meshifyd'")


def behind_a_lock(mode, table="jobs"):
    """As an index is built, for several times what the lease lasts: heartbeats go on, no session is left behind, and when
    it is over no more than max_jobs run."""
    label = f"{table} locked, {mode.lower()}"
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=1500)
    keys = {"worker.max_jobs": "20", "database.lease": "6s", "database.poll_interval": "1s"}
    daemon, other = lab.daemon(**keys), lab.daemon("two", **keys)
    first = [lab.insert_job("under way", f"{IMAGE}?first{i}")[0] for i in range(10)]
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE state = 'bought'") == 10, 60, "their purchases")
    before = sessions(lab)
    for i in range(80):
        lab.insert_job("behind", f"{IMAGE}?{i}")
    holder = lab.postgres.connect(autocommit=False)
    holder.cursor().execute(f"LOCK TABLE public.{table} IN {mode} MODE")
    watch = lab.postgres.connect()
    most, begun, beats = 0, time.monotonic(), set()
    while time.monotonic() < begun + 20:
        cursor = watch.cursor()
        cursor.execute("SELECT (SELECT count(*) FROM pg_stat_activity WHERE usename = 'meshifyd'), max(heartbeat_at) FROM meshify.workers")
        n, beat = cursor.fetchone()
        most = max(most, n)
        beats.add(beat)
        time.sleep(0.2)
    holder.rollback()
    running = 0
    while lab.unended() > 0 and time.monotonic() < begun + 100:
        running = max(running, lab.value("SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM public.jobs WHERE status = 'running' GROUP BY worker_id) x"))
        time.sleep(0.02)
    ok(most <= before, f"{label}: no session more than before", f"{most}, before {before}")
    ok(len(beats) >= 8, f"{label}: heartbeats go on", f"{len(beats)} in 20 s")
    is_(daemon.said("The lease is lost|The database is away|holding still|No heartbeat") + other.said("The lease is lost|The database is away|No heartbeat"), 0,
        f"{label}: no lease is in doubt")
    ok(running <= 20, f"{label}: no more than max_jobs run at once in an instance", running)
    is_(lab.query("SELECT status, count(*), max(attempts) FROM public.jobs GROUP BY 1"), [("done", 90, 1)], f"{label}: all are done, {len(first)} that were under way too")
    is_(len(lab.sim.predictions()), 90, f"{label}: nothing is bought twice")
    ok(time.monotonic() - begun < 60, f"{label}: soon after", time.monotonic() - begun)
    lab.sim.stop()


def an_index_is_built():
    behind_a_lock("SHARE")


def a_table_is_altered():
    behind_a_lock("ACCESS EXCLUSIVE")


def assets_are_altered():
    behind_a_lock("ACCESS EXCLUSIVE", "mesh_assets")


TESTS = [rows, an_index_is_built, a_table_is_altered, assets_are_altered]

if __name__ == "__main__":
    testing.main(*TESTS)
