#!/usr/bin/python3
"""What Replicate shows, however large, is read as it comes: no turn of the loop is long, and nobody waits for another's."""

import contextlib
import http.server
import json
import threading
import time
import urllib.error
import urllib.request

from lab import IMAGE, Lab, is_, main, ok, test, wait_for
from lab.prometheus import ask
from lab.turns import QUIET, turns_are_short


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
    at = daemon.metrics_at()
    return daemon, at, Watch(at)


def stood(at, watch, what):
    print(f"# {what}: the longest wait for /healthz was {watch.stop() * 1000:.0f} ms")  # others use this machine, too
    turns_are_short(at, what)


def requests(lab, endpoint):
    return sum(lab.sim.stats()["requests"].get(endpoint, {}).values())


@test
def a_large_prediction():
    """Logs of 6 MB, an output of 6 MB: read as they come; the progress is seen, and the output is its job's fault."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=3000)
    daemon, at, watch = watched(lab)
    lines = "".join(f"step {i}\n" for i in range(500000))
    large = json.dumps({"status": "processing", "logs": lines + " 50%|#####     | 5/10 [00:01<00:01]\n"})
    job, _ = lab.insert_job("logs", f"{IMAGE}?logs")
    wait_for(lambda: len(lab.sim.predictions()) == 1, 20, "its purchase")
    lab.sim.fault("get", {"status": 200, "body": large}, count=5)
    wait_for(lambda: (lab.job(job)["progress"] or 0) >= 0.5, 30, "the progress at the end of its logs")
    ok(True, "large logs: the progress is seen")
    lab.wait_status(job, "done")
    usual = lab.value("SELECT extract(epoch FROM completed_at - started_at)::float8 FROM public.jobs WHERE id = %s", job)
    ok(usual < (10 if QUIET else 20), "large logs: the job is done in its usual time", f"{usual} s")

    many = '{"status": "succeeded", "output": [' + '{"":{}},' * 800000 + '"https://example.com/x.glb"], "metrics": {"predict_time": 1}}'
    lab.sim.fault("get", {"status": 200, "body": many}, count=1)
    job, _ = lab.insert_job("output", f"{IMAGE}?output")
    lab.wait_status(job, "error")
    ok("more than 64 KiB" in (lab.value("SELECT error FROM meshify.predictions WHERE job_id = %s", job) or ""), "a large output: its job fails, and says why")
    good, _ = lab.insert_job("good", f"{IMAGE}?good")
    lab.wait_status(good, "done")
    stood(at, watch, "large predictions")
    lab.sim.stop()


@test
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
    stood(at, watch, "a large answer to a purchase")
    lab.sim.stop()


def buy(lab, prompt, count=1):
    """Predictions that somebody else with the same account makes."""
    body = json.dumps({"input": {"prompt": prompt, "aspect_ratio": "1:1", "seed": 7}}).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(count):
        request = urllib.request.Request(f"{lab.sim.url}/v1/models/black-forest-labs/flux-schnell/predictions", body,
                                         {"Authorization": "Bearer test-token", "Content-Type": "application/json"})
        opener.open(request, timeout=30).close()


def lost(lab, name, late_ms, daemon):
    """A job whose purchase was made, and whose answer is lost."""
    lab.sim.fault("create", {"lose_answer": True, "late_list_ms": late_ms}, match=name)
    job, _ = lab.insert_job("lost", f"{IMAGE}?{name}")
    daemon.wait_event("JOB_UNSURE", seconds=60)
    return job


@test
def two_hundred_lost():
    """Rows of which nobody knows, a listing of large inputs: good jobs take their time, one row's prediction is found."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    buy(lab, "p" * 30000, 99)
    first, _, watch = watched(lab, "first")
    watch.stop()
    mine = lost(lab, "mine", 600000, first)
    first.signal(9)
    first.wait()
    lab.query("UPDATE meshify.predictions SET state = 'given_up', intent_at = now() - interval '1 min', give_up_after = now() WHERE job_id = %s", mine)
    lab.query("UPDATE public.jobs SET status = 'error', worker_id = NULL, completed_at = now(), run_after = now() + interval '1 day' WHERE id = %s", mine)
    lab.query("INSERT INTO meshify.predictions (job_id, step, purchase, attempt, state, intent_at, give_up_after, model, input_hash, input_keys) "
              "SELECT gen_random_uuid(), 'paint', 1, 1, 'given_up', now() - interval '2 min', now(), 'black-forest-labs/flux-schnell', "
              "encode(sha256(i::text::bytea), 'hex'), '[\"aspect_ratio\",\"prompt\",\"seed\"]' FROM generate_series(1, 199) i")
    lab.sim.config(list_all=True)
    before = requests(lab, "list")
    daemon, at, watch = watched(lab)
    slowest = 0.0
    for i in range(8):
        job, _ = lab.insert_job("good", f"{IMAGE}?good{i}")
        lab.wait_status(job, "done")
        slowest = max(slowest, lab.value("SELECT extract(epoch FROM completed_at - started_at)::float8 FROM public.jobs WHERE id = %s", job))
    daemon.wait_event("JOB_SURPLUS", seconds=60)
    ok(slowest < 10, "lost rows: good jobs beside them take their usual time", f"{slowest:.1f} s")
    wait_for(lambda: lab.value("SELECT state FROM meshify.predictions WHERE job_id = %s", mine) == "surplus", 30, "the row")
    ok(requests(lab, "list") - before <= 4, "lost rows: all of them are one pass", str(requests(lab, "list") - before))
    stood(at, watch, "lost rows")
    lab.sim.stop()


@test
def an_outage():
    """Many jobs look for their purchases, and the listing is read as often as for one."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.sim.fault("create", {"lose_answer": True, "late_list_ms": 15000}, count=40)
    for i in range(40):
        lab.insert_job("many", f"{IMAGE}?many{i}")
    daemon, at, watch = watched(lab)
    wait_for(lambda: daemon.told("JOB_UNSURE") >= 10, 60, "lost answers")
    began = time.monotonic()
    wait_for(lambda: lab.count("done") >= 10, 90, "jobs that found theirs")
    took, asked = time.monotonic() - began, requests(lab, "list")
    ok(asked <= took / 2 + 6, "an outage: the listing is read every two seconds at most", f"{asked} times in {took:.0f} s")
    stood(at, watch, "an outage")
    lab.sim.stop()


@test
def a_gateway_of_another_name():
    """The next page's address names the API; only its cursor is taken, and asked where we ask."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50, api_url="https://api.example")
    daemon, at, watch = watched(lab)
    job = lost(lab, "second", 3000, daemon)
    buy(lab, "another", 150)
    lab.wait_status(job, "done", seconds=90)
    is_(daemon.told("JOB_ADOPTED"), 1, "another name: what is on the second page is found")
    is_(lab.value("SELECT count(*) FROM meshify.predictions WHERE job_id = %s", job), 1, "another name: it is bought once")
    watch.stop()
    lab.sim.stop()


@test
def a_large_listing():
    """Another user's prompts of a megabyte each: a lost purchase is found all the same, and no lane is held."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon, at, watch = watched(lab)
    buy(lab, "p" * 1000000, 12)
    job = lost(lab, "among", 2000, daemon)
    lab.wait_status(job, "done", seconds=60)
    is_(daemon.told("JOB_ADOPTED"), 1, "long prompts: the purchase is found")
    is_(daemon.told("LANE_HELD", text="Lane request"), 0, "long prompts: no lane is held")
    stood(at, watch, "long prompts")
    lab.sim.stop()


PAGE = 290 # seconds; all of a page may take 300, so that what ends earlier ends for its dripping


class Drip:
    """A lab whose API sends the first page of its listing a byte at a time, without an end."""

    def __init__(self):
        self.lab, self.began, self.cut = Lab(), None, threading.Event()
        self.lab.sim.config(starting_ms=0, processing_ms=50)
        drip = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.path.startswith("/v1/predictions?") and not drip.began:
                    drip.began = time.monotonic()
                    drip.send(self)
                else:
                    self.pass_on(None)

            def do_POST(self):
                self.pass_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def pass_on(self, body):
                request = urllib.request.Request(drip.lab.sim.url + self.path, body, dict(self.headers), method=self.command)
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                try:
                    with opener.open(request, timeout=60) as reply:
                        answer = reply.status, reply.read()
                except urllib.error.HTTPError as error:
                    answer = error.code, error.read()
                except OSError:  # the answer is lost, here as there
                    self.close_connection = True
                    return
                self.send_response(answer[0])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.daemon = self.lab.daemon(**{"replicate.url": f"http://127.0.0.1:{self.server.server_port}/v1"})
        self.job = lost(self.lab, "drips", 1000, self.daemon)

    def send(self, handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        handler.close_connection = True
        with contextlib.suppress(OSError):
            while time.monotonic() < self.began + PAGE:
                handler.wfile.write(b" ")
                time.sleep(0.1)
            return
        self.cut.set()

    def end(self):
        wait_for(lambda: self.began, 60, "a page of the listing")
        ok(self.cut.wait(max(1, self.began + PAGE - time.monotonic())), "a page that drips: it is given up like one that stalls")
        self.lab.wait_status(self.job, "done", seconds=90)
        is_(self.lab.value("SELECT count(*) FROM meshify.predictions WHERE job_id = %s", self.job), 1, "a page that drips: then the purchase is found")
        self.server.shutdown()
        self.lab.sim.stop()


@test
def what_is_waited_for():
    """A purchase that the listing shows after more than a minute: said once in the log, and in status until it is over.
    In the same minute, a page of another listing that drips."""
    drip = Drip()
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon, at, watch = watched(lab, **{"replicate.create_timeout": "90s"})  # it gives up later than it finds
    job = lost(lab, "waits", 72000, daemon)
    good, _ = lab.insert_job("good", f"{IMAGE}?good")
    line = daemon.wait_event("JOB_WAITS", job=job, state="looking", seconds=120).text
    ok("the listing" in line or "lane" in line, "it waits: the log says for what", line)
    wait_for(lambda: f"{job} " in lab.ctl("status").stdout, 30, "a line in status")
    waits = json.loads(lab.ctl("status", "--json").stdout)["waits"]
    is_([(w["job"], w["state"]) for w in waits], [(job, "looking")], "it waits: status shows this job, and no other")
    ok(waits[0]["seconds"] > 60, "it waits: and for how long", str(waits))
    daemon.state()
    wait_for(lambda: daemon.told("DUMP", job=job, state="looking"), 20, "the job in SIGUSR1's lines")
    lab.wait_status(good, "done")
    lab.wait_status(job, "done", seconds=120)
    is_(daemon.told("JOB_WAITS"), 1, "it waits: said once")
    is_(json.loads(lab.ctl("status", "--json").stdout)["waits"], [], "it waits: status forgets it when it is over")
    watch.stop()
    lab.sim.stop()
    drip.end()


main()
