#!/usr/bin/python3
"""What a worker does not know of its jobs: that another has them by now, or that they are its own."""

import signal

from lab import IMAGE, Lab, is_, main, test, wait_for


@test
def it_slept_through_job_timeout():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    keys = {"database.lease": "3s", "worker.job_timeout": "15s"}
    first = lab.daemon(**keys)
    job, _ = lab.insert_job("slept", IMAGE)
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE state = 'bought'") == 1, 20, "the purchase")
    first.signal(signal.SIGSTOP)

    def past(seconds):
        return lab.value("SELECT now() - started_at > %s * interval '1 s' FROM public.jobs", seconds)
    wait_for(lambda: past(9), 20, "some time to pass")
    second = lab.daemon("two", **keys)
    second.wait_event("JOB_CLAIMED", job=job, attempt=1, state="polling", seconds=20)
    # By its own count the first has worked on it for too long; the second has just begun.
    wait_for(lambda: past(16), 20, "the first one's job_timeout")
    holder = lab.postgres.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE meshify.workers") # its heartbeat is answered late: there is time to do harm
    first.signal(signal.SIGCONT)
    first.wait_event("LEASE_SUSPENDED", seconds=20)
    holder.rollback()
    first.wait_event("LEASE_LOST", seconds=20)
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.workers WHERE NOT dead") == 2, 20, "it to be a worker again")
    is_(lab.sim.stats()["received"]["cancel"], 0, "it cancels nothing")
    is_(lab.query("SELECT state, status, finished_at FROM meshify.predictions"), [("bought", "starting", None)], "nor writes anything down")
    is_(lab.job(job)["status"], "running", "the other goes on")
    lab.sim.stop()


@test
def a_claim_whose_answer_was_lost():
    """The rows say that the worker has the job; the worker never heard of it."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=100)
    lab.query("UPDATE meshify.settings SET value = 'on' WHERE key = 'paused'") # so that it can't be an ordinary claim
    daemon = lab.daemon(**{"database.lease": "3s"})
    job, _ = lab.insert_job("claimed", IMAGE)
    lab.query("UPDATE public.jobs SET status = 'running', worker_id = (SELECT id FROM meshify.workers), attempts = 1, "
              "claimed_at = now(), started_at = now()")
    is_(lab.wait_status(job, "done", seconds=20)["attempts"], 1, "a lost claim: the job is taken up with the next heartbeat")
    is_(daemon.stop(), 0, "a lost claim: and the daemon stops cleanly")
    lab.sim.stop()


main()
