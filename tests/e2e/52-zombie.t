#!/usr/bin/python3
"""A worker that slept while another took its jobs wakes up: what the other waits for is left alone."""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lab as testing
from lab import Lab, is_, wait_for


def it_slept_through_job_timeout():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    keys = {"database.lease": "3s", "worker.job_timeout": "15s"}
    first = lab.daemon(**keys)
    job, _ = lab.insert_job("slept", "https://images.example/x.png")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE state = 'bought'") == 1, 20, "the purchase")
    first.signal(signal.SIGSTOP)

    def past(seconds):
        return lab.value("SELECT now() - started_at > %s * interval '1 s' FROM public.jobs", seconds)
    wait_for(lambda: past(9), 20, "some time to pass")
    second = lab.daemon("two", **keys)
    second.wait_line("claimed, attempt 1, to begin with polling", 20)
    # By its own count the first has worked on it for too long; the second has just begun.
    wait_for(lambda: past(16), 20, "the first one's job_timeout")
    first.signal(signal.SIGCONT)
    first.wait_line("The lease is lost", 20)
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.workers WHERE NOT dead") == 2, 20, "it to be a worker again")
    is_(lab.sim.stats()["received"]["cancel"], 0, "it cancels nothing")
    is_(lab.query("SELECT state, status, finished_at FROM meshify.predictions"), [("bought", "starting", None)], "nor writes anything down")
    is_(lab.job(job)["status"], "running", "the other goes on")
    lab.sim.stop()


testing.main(it_slept_through_job_timeout)
