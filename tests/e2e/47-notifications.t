#!/usr/bin/python3
"""Notifications by somebody who may connect and nothing else: they say where to look, and that is all."""

import json
import select
import threading
import time
import uuid

from lab import IMAGE, Lab, is_, main, ok, test, wait_for
from lab.postgres import SUPERUSER

POLLS = 8 # in a flood, which hints ask for each time


def prepared(lab=None, **keys):
    lab = lab or Lab(settings=["track_functions = all"])
    lab.postgres.execute("CREATE ROLE lowly LOGIN", "postgres")
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.sim.fault("create", {"processing_ms": 600000}, match="endless", count=-1)
    return lab, lab.daemon(**keys)


def say(cursor, what, to):
    cursor.execute("SELECT pg_notify('meshify_control', %s)", (json.dumps({what: str(to)}),))


def running(lab, name):
    job, _ = lab.insert_job(name, f"{IMAGE}?endless-{name}")
    return job, wait_for(lambda: lab.value("SELECT prediction_id FROM meshify.predictions WHERE job_id = %s AND prediction_id IS NOT NULL", job), 30,
                         f"the purchase of {name}")


def status_of(lab, prediction):
    return next(p["status"] for p in lab.sim.predictions() if p["id"] == prediction)


def cancelled_within(lab, name):
    """Asks for a cancel as a user does; how long until it reaches Replicate."""
    job, prediction = running(lab, name)
    began = time.monotonic()
    lab.value("SELECT meshify.cancel(%s)", job)
    wait_for(lambda: status_of(lab, prediction) == "canceled", 30, f"the cancel of {name}")
    took = time.monotonic() - began
    lab.wait_status(job, "canceled")
    return took


@test
def forged():
    lab, daemon = prepared()
    worker = lab.value("SELECT id FROM meshify.workers")
    job, prediction = running(lab, "victim")
    credits = lab.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", lab.user)
    lowly = lab.postgres.connect("lowly").cursor()
    for what, to in (("cancel", job), ("cancel", uuid.uuid4()), ("drain", worker), ("prediction", prediction), ("ping", worker), ("ping", uuid.uuid4())):
        say(lowly, what, to)
    # What is asked for afterwards is heard afterwards.
    took = cancelled_within(lab, "asked-for")
    ok(took < 3, f"a cancel that a row asks for reaches Replicate in {took:.2f} s")
    is_(lab.wait_status(lab.insert_job("good", IMAGE)[0], "done")["status"], "done", "a good job is done")
    is_((lab.job(job)["status"], lab.job(job)["cancel_requested_at"], status_of(lab, prediction)), ("running", None, "processing"),
        "one that nobody asked to cancel goes on")
    is_(lab.value("SELECT count(*) FROM meshify.refunds WHERE job_id = %s", job), 0, "nothing is given back for it")
    is_(lab.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", lab.user), credits - 25, "credits stay")
    ok(daemon.alive() and not daemon.told("STOPPING") and not lab.value("SELECT draining FROM meshify.workers"), "the instance runs")
    is_(lab.value("SELECT meshify.canceled(%s, %s)", worker, job), "lost", "nor may a worker cancel what nobody asked to be")
    is_(lab.job(job)["status"], "running", "which runs on")
    is_(lab.ctl("drain", "one").returncode, 0, "an operator drains the instance")
    began = time.monotonic()
    is_(daemon.wait(20), 0, "which stops")
    ok(time.monotonic() - began < 10, "soon")
    is_(lab.job(job)["status"], "pending", "and hands its job back")


@test
def a_worker_that_believes_in_a_cancel():
    """The request was taken back: the job goes on where it stands."""
    lab, daemon = prepared(**{"database.lease": "6s"})
    job, _ = running(lab, "changed-mind")
    lab.query("ALTER TABLE public.jobs DISABLE TRIGGER meshify_cancel")
    lab.sim.fault("cancel", {"stall_ms": 3000})
    lab.query("UPDATE public.jobs SET cancel_requested_at = now() WHERE id = %s", job)
    wait_for(lambda: lab.sim.stats()["received"].get("cancel", 0) > 0, 30, "the heartbeat's news")
    lab.query("UPDATE public.jobs SET cancel_requested_at = NULL WHERE id = %s", job)
    wait_for(lambda: lab.job(job)["status"] in ("done", "error") or lab.value("SELECT count(*) FROM meshify.predictions WHERE job_id = %s", job) > 1, 60,
             "the job's next step")
    ok(lab.job(job)["status"] != "canceled", "it is not canceled")
    ok(daemon.alive(), "and the daemon runs")


def calls(lab, name):
    return lab.value("SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE schemaname = 'meshify' AND funcname = %s", name)


def counted(lab, names):
    """A session tells its calls about once a second, all at once: those until now stand there with the next heartbeats."""
    beats = calls(lab, "heartbeat")
    wait_for(lambda: calls(lab, "heartbeat") >= beats + 2, 60, "heartbeats to be counted")
    return {n: calls(lab, n) for n in names}


def flood(lab, stop, sql):
    cursor = lab.postgres.connect("lowly").cursor()
    n = 0
    while not stop.is_set():
        cursor.execute(sql)
        n += 1
    return n


@test
def floods():
    lab, daemon = prepared(**{"replicate.poll_min": "1s", "replicate.poll_max": "600s", "database.lease": "6s"})
    job, prediction = running(lab, "victim")
    worker = lab.value("SELECT id FROM meshify.workers")
    names = ("claim", "news", "heartbeat")
    before, polls = counted(lab, names), lab.sim.stats()["received"].get("get", 0)
    stop = threading.Event()
    kinds = ["SELECT pg_notify('meshify_jobs', i::text) FROM generate_series(1, 200) i",
             "SELECT pg_notify('meshify_control', json_build_object('cancel', gen_random_uuid())::text) FROM generate_series(1, 200)",
             f"SELECT pg_notify('meshify_control', json_build_object('cancel', '{job}', 'i', i)::text) FROM generate_series(1, 50) i",
             f"SELECT pg_notify('meshify_control', json_build_object('drain', '{worker}', 'i', i)::text) FROM generate_series(1, 50) i",
             f"SELECT pg_notify('meshify_control', json_build_object('prediction', '{prediction}', 'i', i)::text) FROM generate_series(1, 50) i",
             "SELECT pg_notify('meshify_control', json_build_object('prediction', md5(i::text))::text) FROM generate_series(1, 200) i"]
    threads = [threading.Thread(target=flood, args=(lab, stop, sql), daemon=True) for sql in kinds]
    began = time.monotonic()
    for t in threads:
        t.start()
    try:
        polled = wait_for(lambda: (n := lab.sim.stats()["received"].get("get", 0) - polls) >= POLLS and n, 60, "polls that hints ask for")
        lasted = time.monotonic() - began
        good, _ = lab.insert_job("good", IMAGE)
        asked = time.monotonic()
        is_(lab.wait_status(good, "done")["status"], "done", "in a flood of notifications a job is done")
        took = time.monotonic() - asked
        ok(took < 40, f"in its usual time: {took:.1f} s")
        took = cancelled_within(lab, "in-the-flood")
        ok(took < 10, f"a cancel reaches Replicate in {took:.2f} s")
    finally:
        stop.set()
        for t in threads:
            t.join(30)
    after = counted(lab, names)
    lasted_all = time.monotonic() - began # with what lay unread when the flood ended
    made = {n: after[n] - before[n] for n in names}
    print(f"# {lasted_all:.1f} s of it: {made}, {polled} polls in {lasted:.1f} s")
    for n in ("claim", "news"):
        ok(made[n] <= 11 * lasted_all + 20, f"at most ten {n} queries a second", made)
    ok(made["news"] > 0, "a hint is looked after")
    ok(polled <= lasted + 4, f"a prediction is read no oftener than poll_min: {polled} times in {lasted:.1f} s")
    ok(daemon.alive() and daemon.state(10), "the daemon answers")
    is_(lab.job(job)["status"], "running", "and the job that all of it was about runs on")


@test
def pings():
    lab, daemon = prepared(Lab(bouncer="")) # an instance that only polls sends none
    worker = str(lab.value("SELECT id FROM meshify.workers"))
    ear = lab.postgres.connect("lowly")
    ear.cursor().execute("LISTEN meshify_control")
    heard = []

    def more(n):
        def there():
            select.select([ear], [], [], 0.1)
            ear.poll()
            while ear.notifies:
                heard.append(json.loads(ear.notifies.pop(0).payload).get("ping"))
            return len(heard) >= n
        return there
    for n in (1, 2, 3):
        lab.postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'meshifyd listen%'", SUPERUSER)
        wait_for(more(n), 30, f"ping {n}")
        wait_for(lambda n=n: daemon.told("LISTEN_UP") == n + 1, 30, "its proof")
    ok(len(set(heard)) == len(heard) and worker not in heard, "each ping is another number, and none is the worker's id", heard)


main()
