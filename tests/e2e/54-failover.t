#!/usr/bin/python3
"""The primary dies with commits that its asynchronous standby has not seen, while a purchase is under way: nobody gets what
was made for another, and what was paid and has no row of its own is written down and cancelled."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lab as testing
from lab import Lab, is_, ok, wait_for
from postgres import SUPERUSER

IMAGE = "https://images.example/x.png"
LONG = {"database.lease": "6s", "replicate.create_timeout": "20s"}


def lagging(lab):
    """A streaming standby for which no commit waits, and that has seen all there is; it can be held back."""
    standby = lab.postgres.standby()
    lab.postgres.execute("ALTER SYSTEM RESET synchronous_standby_names", SUPERUSER, "postgres")
    lab.postgres.run("pg_ctl", "-D", lab.postgres.data, "reload")
    replication = lab.postgres.connect(SUPERUSER).cursor()

    def in_step():
        replication.execute("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'async' AND replay_lsn >= pg_current_wal_flush_lsn()")
        return replication.fetchone() == (1,)
    wait_for(in_step, 60, "the standby to follow")
    return standby, in_step


def hold_back(lab, standby):
    """From now on the standby is told nothing."""
    standby.execute("ALTER SYSTEM SET primary_conninfo = ''", SUPERUSER, "postgres")
    standby.run("pg_ctl", "-D", standby.data, "reload")
    replication = lab.postgres.connect(SUPERUSER).cursor()

    def is_cut():
        replication.execute("SELECT count(*) FROM pg_stat_replication")
        return replication.fetchone() == (0,)
    wait_for(is_cut, 60, "the end of the replication")


def fail_over(lab, standby):
    lab.postgres.stop("immediate")
    standby.promote()
    lab.db = standby.connect()


def of(lab, tag):
    return [p for p in lab.sim.predictions() if tag in p["input"]["images"][0]]


def an_answer_that_comes_after_it():
    """A's create is answered when the new primary has given the same number to B's purchase."""
    lab = Lab(bouncer="")
    lab.sim.config(starting_ms=0, processing_ms=3000)
    standby, in_step = lagging(lab)
    user, project = lab.add_user()
    a, _ = lab.insert_job("for A", f"{IMAGE}?for-a")
    b, asset = lab.insert_job("for B", f"{IMAGE}?for-b", user=user, project=project)
    lab.query("UPDATE public.jobs SET run_after = now() + interval '1 hour' WHERE id = %s", b)
    wait_for(in_step, 60, "both jobs on the standby")
    hold_back(lab, standby)
    lab.sim.fault("create", {"stall_ms": 12000}, match="for-a", count=1)
    lab.sim.fault("create", {"stall_ms": 15000}, match="for-b", count=1)
    url = f"postgresql://meshifyd@127.0.0.1:{lab.postgres.port},127.0.0.1:{standby.port}/meshify"
    lab.daemon("one", **LONG, **{"database.url": url})
    wait_for(lambda: len(of(lab, "for-a")) == 1, 60, "A's purchase")
    fail_over(lab, standby)
    is_(lab.value("SELECT count(*) FROM meshify.predictions"), 0, "the intent of A is lost with its primary")
    # Somebody else works on B, and gets the number.
    lab.query("UPDATE public.jobs SET run_after = now() + interval '1 hour' WHERE id = %s", a)
    lab.query("UPDATE public.jobs SET run_after = now() WHERE id = %s", b)
    lab.daemon("two", **LONG, **{"database.url": standby.url("meshifyd")})
    lab.wait_status(b, "done", "error", seconds=60)
    used = lab.value("SELECT result_meta ->> 'replicate_prediction_id' FROM public.mesh_assets WHERE id = %s", asset)
    is_(lab.job(b)["status"], "done", "B's job is done")
    is_([p["id"] for p in of(lab, "for-b")], [used], "with what was made for B")
    (first,) = [p["id"] for p in of(lab, "for-a")]
    wait_for(lambda: lab.query("SELECT state FROM meshify.predictions WHERE prediction_id = %s", first) == [("surplus",)], 60, "a row of A's first purchase")
    is_(lab.query("SELECT job_id::text, state FROM meshify.predictions WHERE prediction_id = %s", first), [(a, "surplus")],
        "what was paid for A stands in a row of its own, as surplus")
    wait_for(lambda: next(p["status"] for p in of(lab, "for-a") if p["id"] == first) in ("canceled", "succeeded"), 30, "its cancel")
    lab.query("UPDATE public.jobs SET run_after = now() WHERE id = %s AND status = 'pending'", a)
    lab.wait_status(a, "done", "error", seconds=60)
    is_((lab.job(a)["status"], len(of(lab, "for-a"))), ("done", 2), "A's job is done, with a purchase that is known")
    known = {i for (i,) in lab.query("SELECT prediction_id FROM meshify.predictions")}
    is_({p["id"] for p in lab.sim.predictions()} - known, set(), "each prediction has its row")
    lab.sim.stop()


def what_runs_when_it_comes():
    """Predictions that the daemon polls, and of which the new primary knows nothing, not even that they were begun."""
    lab = Lab(bouncer="")
    lab.sim.config(starting_ms=0, processing_ms=600000)
    lab.sim.fault("create", {"processing_ms": 20000}, match="known", count=1)
    standby, in_step = lagging(lab)
    url = f"postgresql://meshifyd@127.0.0.1:{lab.postgres.port},127.0.0.1:{standby.port}/meshify"
    known, _ = lab.insert_job("known", f"{IMAGE}?known")
    daemon = lab.daemon("one", **LONG, **{"database.url": url})
    bought = lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE prediction_id IS NOT NULL")
    wait_for(lambda: bought() == 1, 60, "a purchase")
    lab.query("UPDATE meshify.settings SET value = 'on' WHERE key = 'paused'")
    lost = [lab.insert_job(f"lost {n}", f"{IMAGE}?lost{n}")[0] for n in range(5)]
    wait_for(in_step, 60, "all that on the standby")
    hold_back(lab, standby)
    lab.query("UPDATE meshify.settings SET value = 'off' WHERE key = 'paused'")
    lab.query("SELECT pg_notify('meshify_jobs', '')")
    wait_for(lambda: bought() == 6, 60, "five purchases more")
    fail_over(lab, standby)
    is_((lab.value("SELECT count(*) FROM meshify.predictions WHERE state <> 'surplus'"), lab.count("pending")), (1, 5), "five purchases and their claims are lost with their primary")
    wait_for(lambda: [p["status"] for p in of(lab, "lost")] == ["canceled"] * 5, 60, "the cancel of what runs for nobody")
    is_(daemon.said("is in no row any more after a fail-over"), 5, "what was paid and is in no row is cancelled, which is said")
    is_(sorted(lab.query("SELECT job_id::text, state, purchase FROM meshify.predictions WHERE state = 'surplus'")),
        sorted((j, "surplus", None) for j in lost), "and written down")
    lab.wait_status(known, "done", "error", seconds=60)
    is_((lab.job(known)["status"], len(of(lab, "known"))), ("done", 1), "what the new primary knows goes on")
    lab.sim.config(starting_ms=0, processing_ms=100)
    lab.query("UPDATE meshify.settings SET value = 'off' WHERE key = 'paused'")
    lab.query("SELECT pg_notify('meshify_jobs', '')")
    lab.wait_all_ended(60)
    is_((lab.count("done"), len(of(lab, "lost"))), (6, 10), "the others are bought for again")
    rows = {i for (i,) in lab.query("SELECT prediction_id FROM meshify.predictions")}
    is_({p["id"] for p in lab.sim.predictions()} - rows, set(), "each prediction has its row")
    lab.sim.stop()


testing.main(an_answer_that_comes_after_it, what_runs_when_it_comes)
