#!/usr/bin/python3
"""What Replicate shows, however large, is read as it comes: no turn of the loop is long, and nobody waits for another's."""

import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lab as testing
from lab import Lab, is_, ok, wait_for
from prometheus import ask, scrape

IMAGE = "https://images.example/x.png"


class Watch:
    """Asks for /healthz again and again; remembers the longest wait."""

    def __init__(self, at):
        self.at, self.longest, self.ends = at, 0.0, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.ends.wait(0.01):
            began = time.monotonic()
            ask(self.at, "/healthz")
            self.longest = max(self.longest, time.monotonic() - began)

    def stop(self):
        self.ends.set()
        self.thread.join(30)
        return self.longest


def watched(lab, instance="one", **keys):
    """A daemon, where its metrics are, and who watches its loop."""
    daemon = lab.daemon(instance, **{"metrics.listen": "127.0.0.1:0", **keys})
    at = daemon.wait_line(r"Metrics are served at http://(\S+)/metrics", 20)[1]
    return daemon, at, Watch(at)


def turns_are_short(at, watch, what):
    print(f"# {what}: the longest wait for /healthz was {watch.stop() * 1000:.0f} ms")  # others use this machine, too
    longest = scrape(at).value("meshify_loop_longest_turn_seconds", clock="cpu")
    ok(longest is not None and longest < 0.02, f"{what}: no turn used 20 ms of CPU time", f"{longest}")


def requests(lab, endpoint):
    return sum(lab.sim.stats()["requests"].get(endpoint, {}).values())


def a_large_prediction():
    """Logs of 6 MB, an output of 6 MB: read as they come; the progress is seen, and the output is its job's fault."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=3000)
    daemon, at, watch = watched(lab)
    lines = "".join(f"step {i}\n" for i in range(500000))
    large = json.dumps({"id": "x", "status": "processing", "logs": lines + " 50%|#####     | 5/10 [00:01<00:01]\n"})
    job, _ = lab.insert_job("logs", f"{IMAGE}?logs")
    wait_for(lambda: len(lab.sim.predictions()) == 1, 20, "its purchase")
    lab.sim.fault("get", {"status": 200, "body": large}, count=5)
    wait_for(lambda: (lab.job(job)["progress"] or 0) >= 0.5, 30, "the progress at the end of its logs")
    ok(True, "large logs: the progress is seen")
    lab.wait_status(job, "done")
    usual = lab.value("SELECT extract(epoch FROM completed_at - started_at)::float8 FROM public.jobs WHERE id = %s", job)
    ok(usual < 20, "large logs: the job is done", str(usual))

    many = '{"id": "x", "status": "succeeded", "output": [' + '{"":{}},' * 800000 + '"https://example.com/x.glb"], "metrics": {"predict_time": 1}}'
    lab.sim.fault("get", {"status": 200, "body": many}, count=1)
    job, _ = lab.insert_job("output", f"{IMAGE}?output")
    lab.wait_status(job, "error")
    ok("more than 64 KiB" in (lab.value("SELECT error FROM meshify.predictions WHERE job_id = %s", job) or ""), "a large output: its job fails, and says why")
    good, _ = lab.insert_job("good", f"{IMAGE}?good")
    lab.wait_status(good, "done")
    turns_are_short(at, watch, "large predictions")
    lab.sim.stop()


def a_large_answer_to_a_purchase():
    """The answer to a create echoes megabytes: its id is found, nothing is looked for."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon, at, watch = watched(lab)
    padding = json.dumps(["\u00e9\n" * 50] * 20000)
    lab.sim.fault("create", {"done": True, "status": 201, "body": '{"logs":' + padding + ',"id":"%s"}' % ("a" * 26)}, match="echo", count=1)
    job, _ = lab.insert_job("echo", f"{IMAGE}?echo")
    wait_for(lambda: lab.value("SELECT prediction_id FROM meshify.predictions WHERE job_id = %s", job), 30, "its id")
    is_(lab.value("SELECT prediction_id FROM meshify.predictions WHERE job_id = %s", job), "a" * 26, "a large answer: the id in it is written down")
    is_(requests(lab, "list"), 0, "a large answer: nothing is looked for")
    turns_are_short(at, watch, "a large answer to a purchase")
    lab.sim.stop()


testing.main(a_large_prediction, a_large_answer_to_a_purchase)
