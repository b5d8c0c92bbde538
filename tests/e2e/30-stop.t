#!/usr/bin/python3
"""Stopping and dying with a hundred jobs in flight: nothing is lost, nothing is bought twice."""

import signal
import time

from lab import IMAGE, VARIANT, WRAPPER, Lab, accounts, is_, main, ok, test, wait_for

JOBS = 100


def start(lab, **keys):
    jobs = [lab.insert_job(f"job {i}", IMAGE if i % 2 else None) for i in range(JOBS)]
    lab.sim.config(starting_ms=200, processing_ms=10000 if WRAPPER else 2500)
    first = lab.daemon("first", **keys)
    wait_for(lambda: lab.value("SELECT count(*) FROM public.jobs WHERE started_at IS NOT NULL") == JOBS, 60, "all jobs in flight")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE prediction_id IS NOT NULL") > JOBS // 2,
             90, "half of them bought")
    return jobs, first


@test
def sigterm_hands_over():
    lab = Lab()
    jobs, first = start(lab, **{"worker.drain_timeout": "20s"})
    began = time.monotonic()
    first.signal(signal.SIGTERM)
    is_(first.wait(40), 0, "term: the first instance ends cleanly")
    ok(time.monotonic() - began < 20, "term: within drain_timeout")
    is_(lab.count("running"), 0, "term: no job is left running")
    lab.daemon("second")
    accounts.all_done(lab, jobs, "term: ")
    is_(lab.value("SELECT max(attempts) FROM public.jobs"), 1, "term: a stop costs no attempt")
    lab.sim.stop()


@test
def sigkill_and_restart():
    lab = Lab()
    # Some answers to purchases are lost just before.
    lab.sim.fault("create", {"lose_answer": True}, skip=10, count=10)
    jobs, first = start(lab)
    first.signal(signal.SIGKILL)
    first.wait()
    ok(lab.count("running") > 0, "kill: jobs were left running")
    lab.daemon("first")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.events WHERE event = 'taken_over'") > 0, 30,
             "the restart to take its predecessor's jobs")
    lease = lab.value("SELECT extract(epoch FROM expires_at - heartbeat_at) FROM meshify.workers WHERE NOT dead")
    ok(lease >= 60, "kill: a proven dead predecessor's jobs are taken long before its lease runs out", lease)
    accounts.all_done(lab, jobs, "kill: ", seconds=180)
    lab.sim.stop()


@test
def a_lost_answer_is_looked_for():
    lab = Lab()
    lab.sim.fault("create", {"lose_answer": True}, count=1)
    daemon = lab.daemon()
    job, _ = lab.insert_job("lost", IMAGE)
    lab.wait_status(job, "done", seconds=60)
    is_(len(lab.sim.predictions()), 1, "lost answer: one prediction")
    is_(lab.sim.stats()["received"]["create"], 1, "lost answer: one POST")
    ok(daemon.wait_event("JOB_ADOPTED", seconds=5), "lost answer: the log says that it was found")
    lab.sim.stop()


@test
def curl_does_not_repeat_a_purchase():
    lab = Lab()
    daemon = lab.daemon(**{"worker.max_jobs": "1"})
    first, _ = lab.insert_job("one", "https://images.example/1.png")
    lab.wait_status(first, "done")
    # The reused connection dies before a byte of the answer: curl would send the request again.
    lab.sim.fault("create", {"close_on_reuse": True}, count=1)
    before = lab.sim.stats()["received"]["create"]
    second, _ = lab.insert_job("two", "https://images.example/2.png")
    wait_for(lambda: lab.sim.stats()["received"]["create"] > before, 20, "the second purchase")
    daemon.wait_event("JOB_UNSURE", seconds=20)
    is_(lab.sim.stats()["received"]["create"], before + 1, "reuse: the POST went out once")
    daemon.kill()
    lab.sim.stop()


@test
def nobody_is_woken():
    """Without LISTEN a cancel and a drain come with the heartbeat, which does not wait for a third of the lease."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    daemon = lab.daemon(**{"database.lease": "10min", "database.listen": "off"})
    jobs = [lab.insert_job(what, f"https://images.example/{what}.png")[0] for what in ("canceled", "kept")]
    wait_for(lambda: len(lab.sim.predictions()) == 2, 30, "both bought")
    lab.query("SELECT meshify.cancel(%s)", jobs[0])
    wait_for(lambda: sorted(p["status"] for p in lab.sim.predictions()) == ["canceled", "processing"], 15, "the cancel")
    lab.wait_status(jobs[0], "error" if {"check", "triggers"} & set(VARIANT) else "canceled", seconds=15)
    answer = lab.ctl("drain", "one")
    is_(answer.returncode, 0, "drain: it is asked")
    is_(daemon.wait(20), 0, "drain: it hears of it, and stops")
    is_((daemon.told("STOPPING", text="operator"), daemon.told("STOPPED", level="warning")), (1, 0), "drain: once")
    is_(lab.job(jobs[1])["status"], "pending", "drain: what it had goes back")
    lab.sim.stop()


@test
def a_dump_while_stopping():
    lab = Lab()
    lab.sim.fault("create", {"stall_ms": 20000}, count=-1)
    daemon = lab.daemon()
    job, _ = lab.insert_job("slow", IMAGE)
    wait_for(lambda: lab.sim.stats()["received"]["create"] > 0, 60, "the purchase")
    daemon.signal(signal.SIGUSR1)
    daemon.wait_event("DUMP", text="ready; 1 jobs")
    daemon.wait_event("DUMP", job=job, state="predicting", text=r"wishes: none\b")
    daemon.signal(signal.SIGTERM)
    daemon.wait_event("STOPPING")
    daemon.signal(signal.SIGUSR1)
    daemon.wait_event("DUMP", text="stopping; 1 jobs")
    daemon.wait_event("DUMP", job=job, state="predicting", text=r"wishes: drain\b")
    ok(True, "dump: it says that it stops, and what its job waits to do")
    is_(daemon.wait(60), 0, "dump: and it does")
    lab.sim.stop()


main()
