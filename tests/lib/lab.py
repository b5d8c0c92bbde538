"""Everything meshifyd needs around it, private to one test: PostgreSQL, the simulator, instances."""

import atexit
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
import uuid

from bouncer import Bouncer
from postgres import ROOT, Postgres, free_port

WRAPPER = os.environ.get("WRAPPER", "").split()  # e.g. valgrind, around each meshifyd
VARIANT = [v for v in os.environ.get("LAB_VARIANT", "").split(",") if v]  # files of sql/dev/variants
# "poll": all daemons go through PgBouncer in transaction mode; "listen": and LISTEN on a direct connection.
BOUNCER = os.environ.get("LAB_BOUNCER", "")
PATIENCE = float(os.environ.get("PATIENCE", "1"))  # deadlines are so many times as long: sanitizers and valgrind take theirs
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
TRELLIS = "firtoz/trellis:e8f6c45206993f297372f5436b90350817bd9b4a0d52d2a76df50c1c8afa2b3c"


def program(name):
    return os.path.join(BUILD, name)


def clean_environment(**more):
    keep = ("PATH", "HOME", "LANG", "TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS")
    return {k: v for k, v in os.environ.items() if k in keep} | more


def wait_for(condition, seconds=30.0, what="a condition"):
    """Waits until `condition()` is true and returns its value; says what did not come true."""
    seconds *= PATIENCE
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come true in {seconds:g} s")
        time.sleep(0.02)


# A signal ends the test the ordinary way, so that everything it started ends too.
def _on_signal(number, _frame):
    sys.exit(128 + number)


signal.signal(signal.SIGTERM, _on_signal)
signal.signal(signal.SIGINT, _on_signal)


# What sanitizers and valgrind say, and what no daemon should ever.
COMPLAINT = re.compile(r"runtime error:|Sanitizer|^==\d+==|event=bug|no way leads out of")
_children = []


class Process:
    """A child whose output lines are kept."""

    def __init__(self, args, environment=None, wrapper=()):
        self.lines = []
        self.child = subprocess.Popen([*wrapper, *args], env=environment or clean_environment(), cwd=ROOT,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      text=True, errors="replace")
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.killed = False
        _children.append(self)
        atexit.register(self.kill)

    def _read(self):
        for line in self.child.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child.poll() is None

    def log(self, last=None):
        return "\n".join(self.lines[-last:] if last else self.lines)

    def wait_line(self, pattern, seconds=30):
        def found():
            match = next((m for m in map(re.compile(pattern).search, list(self.lines)) if m), None)
            if not match and not self.alive():
                self.reader.join(5)
                match = next((m for m in map(re.compile(pattern).search, list(self.lines)) if m), None)
                if not match:
                    raise RuntimeError(f"{self.child.args} ended ({self.child.returncode}):\n{self.log(20)}")
            return match
        return wait_for(found, seconds, f"a line like {pattern!r}")

    def signal(self, number):
        if self.alive():
            self.child.send_signal(number)
            self.killed = self.killed or number == signal.SIGKILL

    def wait(self, seconds=30):
        status = self.child.wait(seconds)
        self.reader.join(5)
        return status

    def stop(self, seconds=45):
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self):
        if self.alive():
            self.child.kill()
            self.child.wait()
            self.killed = True

    def said(self, pattern):
        """How often."""
        return len([line for line in list(self.lines) if re.search(pattern, line)])

    def state(self, seconds=3):
        """What a daemon answers to SIGUSR1, which it does while its loop turns."""
        n = len(self.lines)
        self.signal(signal.SIGUSR1)
        return wait_for(lambda: next((m for m in map(re.compile(r'msg="(Worker .*? refused)').search, list(self.lines)[n:]) if m), None),
                        seconds, "an answer to SIGUSR1").group(1)

    def complaints(self):
        return [line for line in list(self.lines) if COMPLAINT.search(line)]


class Sim(Process):
    """meshify-sim, and its control endpoint (see tests/sim/control.c)."""

    def __init__(self, seed=1, address="127.0.0.1"):
        super().__init__([program("meshify-sim"), "--listen", f"{address}:0", "--files", f"{address}:0",
                          "--seed", str(seed)])
        match = self.wait_line(r"listening on (http://\S+) files (http://\S+)")
        self.url, self.files = match.group(1), match.group(2)

    def control(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/_sim/{path}", data, {"Content-Type": "application/json"},
                                         method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def put(self, path, data):
        """An object, as a user uploads it."""
        request = urllib.request.Request(f"{self.url}/storage/v1/object/{path}", data, {"Authorization": "Bearer eyJ.test.key"})
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()

    def config(self, **settings):
        return self.control("POST", "config", settings)

    def fault(self, endpoint, do, **how):
        return self.control("POST", "faults", {"endpoint": endpoint, "do": do, **how})

    def stats(self):
        return self.control("GET", "stats")

    def predictions(self):
        answer = self.control("GET", "predictions")
        return answer["predictions"] if isinstance(answer, dict) else answer

    def objects(self):
        answer = self.control("GET", "objects")
        return answer["objects"] if isinstance(answer, dict) else answer


class Lab:
    """A Supabase project with Meshify's tables, a simulator, a user with credits."""

    bounced, bouncer = "", None

    def __init__(self, fsync=False, driver="supabase", settings=(), migrate=True, variant=VARIANT, address="127.0.0.1", seed=1,
                 bouncer=BOUNCER):
        self.dir = tempfile.mkdtemp(prefix="meshify-lab-")
        atexit.register(shutil.rmtree, self.dir, True)
        self.driver = driver
        ordinary = migrate and not variant
        self.postgres = Postgres(fsync=fsync, settings=settings, address=address, migrated=ordinary).start()
        if not ordinary:
            self.postgres.create_database(migrate=migrate, variant=variant)
        self.bounced, self.bouncer = bouncer, Bouncer(self.postgres) if bouncer else None
        self.sim = Sim(seed, address)
        self.db = self.postgres.connect()
        self.user, self.project = self.add_user()
        self.types = [t for (t,) in self.query("SELECT attname FROM pg_attribute WHERE attrelid = 'public.jobs'::regclass "
                                               "AND attname IN ('type', 'job_type')")]
        self.daemons = []

    def query(self, sql, *params):
        cursor = self.db.cursor()
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else None

    def value(self, sql, *params):
        rows = self.query(sql, *params)
        return rows[0][0] if rows else None

    def add_user(self, credits=1000000):
        user, project = str(uuid.uuid4()), str(uuid.uuid4())
        self.query("INSERT INTO public.profiles (id, credits_remaining, credits_used) VALUES (%s, %s, 0)", user, credits)
        self.query("INSERT INTO public.projects (id, owner_id, name) VALUES (%s, %s, 'test')", project, user)
        return user, project

    def insert_job(self, prompt="a chair", image=None, user=None, project=None, cost=25, input_data=None, asset_id=None):
        """As the edge function does it, one request after the other; input_data may be JSON already. Answers the ids
        of job and asset."""
        user, project = user or self.user, project or self.project
        self.query("UPDATE public.profiles SET credits_remaining = credits_remaining - %s, "
                   "credits_used = credits_used + %s WHERE id = %s", cost, cost, user)
        asset = self.value("INSERT INTO public.mesh_assets (id, project_id, owner_id, prompt, input_image_path, status, "
                           "credits_cost) VALUES (%s, %s, %s, %s, %s, 'pending', %s) RETURNING id",
                           asset_id or str(uuid.uuid4()), project, user, prompt, image, cost)
        data = input_data if input_data is not None else {"prompt": prompt, "input_image_url": image}
        job = self.value(f"INSERT INTO public.jobs ({', '.join(self.types)}, user_id, project_id, asset_id, status, input_data) "
                         f"VALUES ({', '.join(['%s'] * len(self.types))}, %s, %s, %s, 'pending', %s) RETURNING id",
                         *["meshify"] * len(self.types), user, project, asset, data if isinstance(data, str) else json.dumps(data))
        return job, asset

    def job(self, job_id):
        return self.value("SELECT to_jsonb(j) FROM public.jobs j WHERE id = %s", job_id)

    def asset(self, asset_id):
        return self.value("SELECT to_jsonb(a) FROM public.mesh_assets a WHERE id = %s", asset_id)

    def count(self, status):
        return self.value("SELECT count(*) FROM meshify.jobs WHERE status = %s", status)

    def unended(self):
        """Counted at once: a job may go from one status to the other at any time."""
        return self.value("SELECT count(*) FROM meshify.jobs WHERE status IN ('pending', 'running')")

    def wait_status(self, job_id, *statuses, seconds=60):
        def reached():
            job = self.job(job_id)
            return job if job and job["status"] in statuses else None
        try:
            return wait_for(reached, seconds, f"status {'/'.join(statuses)} of job {job_id}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it is {self.job(job_id)}\n{self.logs()}") from None

    def wait_all_ended(self, seconds=120):
        try:
            wait_for(lambda: self.unended() == 0, seconds, "the end of all jobs")
        except TimeoutError as error:
            left = self.query("SELECT status, count(*) FROM public.jobs GROUP BY 1")
            raise TimeoutError(f"{error}; {left}\n{self.logs()}") from None

    def logs(self):
        return "\n".join(f"--- instance {i}\n{d.log(40)}" for i, d in enumerate(self.daemons))

    def config_text(self, instance, **keys):
        """`keys` is by "section.key"; a value None leaves the key out."""
        values = {
            "worker.instance": instance,
            "worker.spool_dir": os.path.join(self.dir, f"spool-{instance}"),
            "database.url": self.bouncer.url() if self.bouncer else self.postgres.url("meshifyd"),
            "database.listen_url": self.postgres.url("meshifyd") if self.bounced == "listen" else None,
            "replicate.url": f"{self.sim.url}/v1",
            "replicate.token": "test-token",
            "replicate.allow_insecure": "on",
            "replicate.download_hosts": self.sim.files.removeprefix("http://"),
            "replicate.create_rate": "600000/min",
            "replicate.poll_rate": "600000/min",
            "replicate.request_rate": "600000/min",
            "replicate.poll_min": "200ms",
            "storage.driver": self.driver,
            "storage.url": self.sim.url if self.driver == "supabase" else os.path.join(self.dir, "store"),
            "storage.key": "eyJ.test.key" if self.driver == "supabase" else None,
            "metrics.listen": "",
            **keys,
        }
        if self.driver == "dir":
            os.makedirs(os.path.join(self.dir, "store"), exist_ok=True)
        sections = {}
        for name, value in values.items():
            section, key = name.split(".", 1)
            if value is not None:
                sections.setdefault(section, []).append(f"{key} = {value}")
        return "\n".join(f"[{s}]\n" + "\n".join(lines) + "\n" for s, lines in sections.items())

    def write_config(self, instance="one", **keys):
        path = os.path.join(self.dir, f"{instance}.ini")
        with open(path, "w", opener=lambda p, f: os.open(p, f, 0o600)) as out:
            out.write(self.config_text(instance, **keys))
        return path

    def daemon(self, instance="one", wait=True, environment=None, wrapper=(), **keys):
        """Starts an instance and waits until it is ready and hears notifications."""
        path = self.write_config(instance, **keys)
        daemon = Process([program("meshifyd"), "-c", path], clean_environment(**(environment or {})), [*wrapper, *WRAPPER])
        self.daemons.append(daemon)
        if wait:
            daemon.wait_line(r"is ready as", 60)
            if keys.get("database.listen") != "off" and self.bounced != "poll":
                daemon.wait_line(r"Wake-ups by NOTIFY work", 60)
        return daemon

    def ctl(self, *args, config=None):
        """Runs meshifyctl; answers its status and output."""
        path = config or self.write_config("ctl")
        r = subprocess.run([program("meshifyctl"), *args[:1], "-c", path, *args[1:]], capture_output=True, text=True,
                           env=clean_environment(), cwd=ROOT, timeout=120, check=False)
        return r

    def run(self, args, environment=None, seconds=60, **keys):
        """A program with this configuration: its status, and all that it said."""
        path = self.write_config("words", **keys)
        r = subprocess.run([program(args[0]), "-c", path, *args[1:]], capture_output=True, text=True, timeout=seconds,
                           env=clean_environment(**(environment or {})), check=False)
        return r.returncode, r.stdout + r.stderr


# --- TAP ---------------------------------------------------------------------------------------

_count = 0
_failed = 0


def ok(condition, what, detail=""):
    global _count, _failed
    _count += 1
    if condition:
        print(f"ok {_count} - {what}", flush=True)
    else:
        _failed += 1
        print(f"not ok {_count} - {what}", flush=True)
        for line in [f"FAILED {what}", *str(detail).splitlines()]: # where prove shows it
            print(f"# {line[:2000]}", file=sys.stderr, flush=True)
    return bool(condition)


def is_(got, expected, what):
    return ok(got == expected, what, f"got      {got!r}\nexpected {expected!r}")


def end_all():
    """Ends what a test left running, the ordinary way; answers what any process had to complain about."""
    said = []
    for child in _children:
        if child.alive():
            child.signal(signal.SIGTERM)
    for child in _children:
        if child.alive():
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                said.append(f"{child.child.args} did not end on SIGTERM\n{child.log(20)}")
                child.kill()
        if child.child.returncode in (70, 99) or (child.child.returncode < 0 and not child.killed):
            said.append(f"{child.child.args} ended with {child.child.returncode}\n{child.log(20)}")
        said += child.complaints()
    _children.clear()
    return said


def main(*tests):
    """Runs functions as tests, or those that the command line names; one that raises has failed."""
    for test in [t for t in tests if t.__name__ in sys.argv[1:]] or tests:
        name = test.__name__.replace("_", " ")
        print(f"# {name}", flush=True)
        try:
            test()
        except Exception:  # pylint: disable=broad-except
            ok(False, name, traceback.format_exc())
        said = end_all()
        ok(not said, f"{name}: everything ended cleanly", "\n".join(said[:40]))
    print(f"1..{_count}", flush=True)
    sys.exit(1 if _failed else 0)
