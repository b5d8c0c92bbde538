#!/usr/bin/python3
"""A kill at every boundary: each message of one job of two steps is the last that an instance sent or heard.

Proxies count all messages between the daemon and the outside. Then the job is repeated, and the daemon
killed when one of them comes: just before it is delivered (before an answer is delivered: the answer is
lost), just after, or so that it arrives late, when others have the job. Its successor is a restart on the
same host, or an instance elsewhere that waits for the lease. Or the daemon is stopped at that message, and
wakes up when another has the job, or has ended it. Or the connection is reset in place of the message. Each
time the job must end as if nothing had happened, with nothing bought, stored, told or paid twice. So also
for a job that is canceled and one that fails, from there on, and for the audit of a purchase that was given
up and yet arrived.

KILL=all tries all ways at each boundary; without it, one each. Any other KILL is a pattern of cells, as they
are named where they fail, e.g. KILL='done / db> intend_purchase #1 / late'.
"""

import collections
import os
import queue
import re
import signal
import threading
import time
import traceback

from lab import Lab, Sim, is_, main, ok, test, wait_for
from lab.postgres import SUPERUSER, Postgres
from lab.proxy import HttpProxy, PostgresProxy, Tap

LANES = int(os.environ.get("KILL_LANES", "10"))
KILL = os.environ.get("KILL", "")
TERMINAL = ("succeeded", "failed", "canceled", "aborted")

# What predictions of the second step do, how the job ends, what its notification is, and whether the credits come back.
Story = collections.namedtuple("Story", "sculpt status kind refunded fewest")
STORIES = {
    # Still running when it is asked for first, over when it is asked for again.
    "done": Story([{"processing_ms": 900}], "done", "success", False, 45),
    "canceled": Story([{"processing_ms": 600000}], "canceled", "info", True, 5),
    "failed": Story([{"final": "failed", "error": "CUDA out of memory"}], "error", "error", True, 4),
    "surplus": Story([{"processing_ms": 600000}, {"processing_ms": 900}], "done", "success", False, 8),
}


def wanted(cell, turn):
    return turn if not KILL else KILL == "all" or re.search(KILL, cell)


def ways_of(key):
    """What may happen to this message, and who goes on then."""
    ways = ["before", "after"]
    if key.startswith(("db>", "api> POST")): # what can change anything
        ways.append("late")
    return [(way, after) for way in ways for after in ("restart", "take-over")] + [
        ("stop", "wakes early"), ("stop", "wakes late"), ("cut", "goes on")]


class Lane(Lab):
    """A project of its own, on a PostgreSQL that lanes share, with proxies around its instances."""

    def __init__(self, postgres, name):  # pylint: disable=super-init-not-called
        self.postgres, self.driver, self.dir = postgres, "supabase", os.path.join(postgres.dir, f"lane-{name}")
        os.mkdir(self.dir)
        postgres.execute(f'CREATE DATABASE "{name}" TEMPLATE meshify', SUPERUSER, "postgres")
        self.sim, self.tap, self.daemons = Sim(), Tap(), []
        self.db = postgres.connect(db=name)
        self.types = ["type"]
        pg = PostgresProxy(postgres.port, self.tap)
        api = HttpProxy(self.sim.url, "api", self.tap)
        files = HttpProxy(self.sim.files, "files", self.tap)
        self.sim.config(api_url=api.url, files_url=files.url, starting_ms=0, processing_ms=0, jitter_percent=0)
        self.keys = {
            "database.url": pg.url(db=name), "database.lease": "2s",
            "replicate.url": f"{api.url}/v1", "replicate.download_hosts": files.url.removeprefix("http://"),
            "replicate.poll_min": "500ms", "replicate.poll_max": "500ms", "replicate.create_timeout": "2s",
            "storage.url": api.url,
        }

    def start(self, instance, story):
        keys = self.keys | ({"worker.max_attempts": "1"} if story == "failed" else {})
        return self.daemon(instance, wait=False, **keys)

    def run(self, story, key=None, way=None, after=None):
        """One cell. Answers what is wrong (None: the message did not come), and the story's own messages."""
        self.daemons = []
        known = {p["id"] for p in self.sim.predictions()}
        user, project = self.add_user(100)
        self.sim.control("DELETE", "faults")
        for last, do in enumerate(STORIES[story].sculpt, 1):
            self.sim.fault("create", do, match="/v1/predictions", count=-1 if last == len(STORIES[story].sculpt) else 1)
        self.tap.clear() # what the cell before waited for, and what did not come, is not to come now
        job, asset = self.given_up(user, project) if story == "surplus" else (None, None)
        self.tap.clear()
        first = last = self.start("one", story)
        met = self.tap.hit
        deadly = way not in ("cut", "stop")
        if key:
            self.tap.arm(key, "pass" if way == "stop" else way, lambda: way == "cut" or first.signal(signal.SIGKILL if deadly else signal.SIGSTOP))
        wait_for(lambda: met.is_set() or first.told("LISTEN_UP"), 60, "the start")
        if not job:
            job, asset = self.insert_job(f"a chair {user}", user=user, project=project)

        def ended():
            return self.value("SELECT status::text NOT IN ('pending', 'running') AND NOT EXISTS (SELECT FROM meshify.predictions "
                              "WHERE job_id = j.id AND step = 'sculpt' AND purchase = 1 AND finished_at IS NULL AND %s) "
                              "FROM public.jobs j WHERE id = %s", story == "surplus", job)
        mark = 0
        if story == "canceled":
            wait_for(lambda: met.is_set() or self.sculpting(job), 60, "the second purchase")
            if not self.sculpting(job): # a heartbeat killed, before there is anything to cancel
                self.start_over(job, way)
                return None, []
            mark = len(self.tap.keys)
            self.query("SELECT meshify.cancel(%s)", job)
        if key:
            wait_for(lambda: met.is_set() or ended(), 60, "the boundary")
            met.wait(1) # it may be the very last
        if met.is_set() and way != "cut":
            if deadly:
                first.wait()
                self.tap.thaw()
            if after == "take-over": # nobody can prove it dead
                self.query("UPDATE meshify.workers SET pid_ns = 'elsewhere'")
            last = self.start("one" if after == "restart" else "two", story)
        if met.is_set() and story == "surplus": # the next audit need not wait for a minute
            self.query("UPDATE meshify.predictions SET audited_at = NULL WHERE job_id = %s", job)
        if way == "stop":
            wait_for(lambda: ended() or after == "wakes early" and last.told("JOB_CLAIMED", job=job), 90, "the other")
            first.signal(signal.SIGCONT)
        if way == "late":
            # A purchase comes before it is given up; what is told to the database, when another has the job.
            time.sleep(1 if after == "restart" and not key.endswith("predictions #1") else 4)
            self.tap.deliver()
        wait_for(ended, 150, "the end of the job")
        if not key:
            first.wait_event("JOB_DONE", "JOB_FAILED", "JOB_CANCELED")
        keys = list(self.tap.keys)
        if story == "failed" and not key:
            mark = keys.index("api> GET /v1/predictions/ID #2")
        if story == "surplus":
            keys = [k for k in keys if re.search("audit|surplus|cancel|GET /v1/predictions #", k)]
        wrong = self.judge(story, job, asset, user, known)
        last.wait_event("LISTEN_UP") # before that it may not know yet what SIGTERM means
        for daemon in self.daemons:
            if daemon.alive() and daemon.stop() != 0:
                wrong.append(f"an instance ended with {daemon.child.returncode}")
        for daemon in self.daemons:
            wrong += daemon.complaints()
        if wrong:
            wrong += ["events:", *(str(row) for row in self.query("SELECT event, detail FROM meshify.events WHERE job_id = %s ORDER BY id", job)),
                      "messages: " + ", ".join(self.tap.keys), self.logs()]
        return (wrong or [] if met.is_set() or not key else None), keys[mark:]

    def start_over(self, job, way):
        for daemon in self.daemons:
            daemon.kill()
        self.tap.thaw()
        if way == "late":
            self.tap.deliver()
        self.query("DELETE FROM public.jobs WHERE id = %s", job)

    def sculpting(self, job):
        return self.value("SELECT count(*) FROM meshify.predictions WHERE job_id = %s AND step = 'sculpt' AND prediction_id IS NOT NULL", job)

    def given_up(self, user, project):
        """A job that runs, of an instance that died: of its second step's prediction, which runs, the answer was
        lost, it was in no listing, and a while ago the purchase was given up."""
        daemon = self.start("zero", "surplus")
        daemon.wait_event("LISTEN_UP")
        job, asset = self.insert_job(f"a chair {user}", user=user, project=project)
        wait_for(lambda: self.sculpting(job), 60, "the second purchase")
        daemon.kill()
        self.daemons.clear()
        self.query("UPDATE meshify.predictions SET state = 'given_up', prediction_id = NULL, status = NULL, created_at = NULL, "
                   "intent_at = now() - interval '5 min', give_up_after = now() - interval '4 min' WHERE job_id = %s AND step = 'sculpt'", job)
        return job, asset

    def judge(self, story, job, asset, user, known):
        """What is not as if nothing had happened."""
        story, wrong = STORIES[story], []
        done = story.status == "done"

        def expect(got, expected, what):
            if got != expected:
                wrong.append(f"{what}: {got!r}, not {expected!r}")

        def mine():
            return {p["id"]: p for p in self.sim.predictions() if p["id"] not in known}
        try:
            wait_for(lambda: all(p["status"] in TERMINAL for p in mine().values()), 10, "the end of all predictions")
        except TimeoutError as error:
            wrong.append(str(error))
        there, row, its = mine(), self.job(job), self.asset(asset)
        expect((row["status"], its["status"]), (story.status, "done" if done else "error"), "job and asset")
        if done:
            expect((row["attempts"], row["error"]), (1, None), "attempts, error")
            expect(sum(d.told("JOB_DONE", job=job) for d in self.daemons) <= 1, True, "one says that it is done")
        rows = self.query("SELECT step, purchase, state, status, prediction_id, finished_at IS NOT NULL FROM meshify.predictions "
                          "WHERE job_id = %s ORDER BY id", job)
        expect({r[4] for r in rows if r[4]}, set(there), "predictions at Replicate, and in rows")
        used = [r for r in rows if r[2] == "bought"]
        expect(sorted((r[0], r[3], r[5]) for r in used), [("paint", "succeeded", True), ("sculpt", "succeeded", True)][:2 if done else 1],
               "purchases used")
        over = ("canceled", "failed") if story.status == "error" else ("canceled",)
        for r in rows:
            if r not in used and not (r[2] in ("given_up", "ended") and not r[4]):
                expect((there.get(r[4], {}).get("status") in over, r[5]), (True, True), f"purchase {r} is over")
        objects = [o for o in self.sim.objects() if str(asset) in o["path"]]
        expect([o["path"].removeprefix("user_assets/") for o in objects], [its["output_path"]] if done else [], "objects")
        meta = its["result_meta"] or {}
        if done:
            bought = there.get(meta.get("replicate_prediction_id"), {}).get("sha256")
            expect([o["sha256"] for o in objects] + [meta.get("sha256")], [bought] * 2, "hash of what was bought")
        expect(self.query("SELECT type::text, count(*) FROM public.notifications WHERE user_id = %s AND title ~ 'Mesh Generation' GROUP BY 1", user),
               [(story.kind, 1)], "notifications")
        expect(self.query("SELECT credits_remaining, credits_used FROM public.profiles WHERE id = %s", user),
               [(100, 0) if story.refunded else (75, 25)], "credits")
        expect(self.query("SELECT n, credits FROM meshify.refunds WHERE job_id = %s", job), [(1, 25)] if story.refunded else [], "refunds")
        return wrong


def attempt(lane, cell):
    """One cell, until its message has come: it may be one that comes at times."""
    wrong, began = None, time.monotonic()
    try:
        for _ in range(3):
            wrong, _ = lane.run(*cell)
            if wrong is not None:
                break
    except Exception:  # pylint: disable=broad-except
        wrong = [traceback.format_exc(), "messages: " + ", ".join(lane.tap.keys), lane.logs()]
    for daemon in lane.daemons:
        daemon.kill()
    if wrong: # what is left of it is not for the next
        lane.query("DELETE FROM public.jobs WHERE status IN ('pending', 'running')")
    return wrong, time.monotonic() - began


def run_all(lanes, cells):
    """By as many threads as there are lanes. {cell: (what is wrong, seconds)}"""
    work, results = queue.Queue(), {}
    for cell in cells:
        work.put(cell)

    def serve(lane):
        while True:
            try:
                cell = work.get_nowait()
            except queue.Empty:
                return
            results[cell] = attempt(lane, cell)
    threads = [threading.Thread(target=serve, args=(lane,), daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def boundaries(lanes, story):
    """The messages of a story, and those of them that come each time. What does not, may come before a
    story of its own begins."""
    runs = [lane.run(story) for lane in lanes[:3]]
    is_([wrong for wrong, _ in runs if wrong], [], f"{story}: nobody is killed")
    own = [keys for _, keys in runs]
    keys = list(dict.fromkeys(key for those in own for key in those))
    steady = [key for key in keys if all(key in those for those in own)]
    # How many claims and heartbeats there are is a matter of time; so is whether the second step is seen to run before it is over.
    by_time = "claim|beat|news|reap|progress|prune|audit|finish|orphans|GET /v1/predictions/ID #[^12]$"
    return keys if story == "done" else steady, {key for key in steady if not re.search(by_time, key)}


@test
def every_boundary():
    postgres = Postgres(fsync=False, settings=["max_connections = 200"], migrated=True).start()
    lanes = [Lane(postgres, f"lane{i}") for i in range(LANES)]
    cells, stories = [], {}
    for story, how in STORIES.items():
        keys, steady = stories[story] = boundaries(lanes, story)
        print(f"# {story}: {len(keys)} boundaries, {len(steady)} of them each time", flush=True)
        ok(len(keys) >= how.fewest, f"{story}: at least {how.fewest} boundaries", keys)
        for i, key in enumerate(keys):
            ways = ways_of(key)
            cells += [(story, key, *way) for k, way in enumerate(ways) if wanted(" / ".join((story, key, *way)), k == i % len(ways))]
    began = time.monotonic()
    results = run_all(lanes, cells)
    print(f"# {len(cells)} cells in {time.monotonic() - began:.0f} s on {len(lanes)} lanes; the longest "
          f"{max(seconds for _, seconds in results.values()):.0f} s", flush=True)
    for story, (keys, steady) in stories.items():
        for key in keys:
            bad = [f"--- {' / '.join(cell)}: " + "\n".join(["it did not come"] if wrong is None else wrong)
                   for cell, (wrong, _) in results.items()
                   if cell[:2] == (story, key) and (wrong or wrong is None and key in steady)]
            ok(not bad, f"{story}: {key}", "\n".join(bad))
    ways = collections.Counter(cell[2:] for cell, (wrong, _) in results.items() if wrong is not None)
    for (way, after), n in sorted(ways.items()):
        print(f"# {n} boundaries: {way}, {after}", flush=True)
    for lane in lanes:
        lane.db.close()


main()
