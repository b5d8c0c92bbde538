"""Everything meshifyd needs around it, private to one test: PostgreSQL, the simulator, instances."""

import atexit
import json
import os
import shutil
import subprocess
import tempfile
import uuid

from .bouncer import Bouncer
from .postgres import ROOT, Postgres
from .process import WRAPPER, Process, clean_environment, program, wait_for
from .simulator import Sim

VARIANT = [v for v in os.environ.get("LAB_VARIANT", "").split(",") if v]  # files of sql/dev/variants
# "poll": all daemons go through PgBouncer in transaction mode; "listen": and LISTEN on a direct connection.
BOUNCER = os.environ.get("LAB_BOUNCER", "")
IMAGE = "https://images.example/x.png"  # with one, a job is one step


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

    def insert_jobs(self, n, what="job"):
        """Jobs of one step, each with an image of its own."""
        return [self.insert_job(f"{what} {i}", f"{IMAGE}?{what.replace(' ', '-')}{i}") for i in range(n)]

    def in_flight(self, n, processing_ms, **keys):
        """n such jobs and an instance, as soon as all are bought."""
        self.sim.config(starting_ms=0, processing_ms=processing_ms)
        jobs = self.insert_jobs(n)
        daemon = self.daemon(**keys)
        self.wait_bought(n)
        return jobs, daemon

    def bought(self, job_id=None):
        """How many predictions were bought, as far as rows know it."""
        return self.value("SELECT count(*) FROM meshify.predictions WHERE prediction_id IS NOT NULL AND (%s IS NULL OR job_id = %s::uuid)",
                          job_id, job_id)

    def wait_bought(self, n=1, seconds=60, job_id=None):
        wait_for(lambda: self.bought(job_id) >= n, seconds, f"{n} purchases")

    def credits_of(self, user=None):
        return float(self.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", user or self.user))

    def refunded(self, job_id):
        return self.value("SELECT coalesce(sum(credits), 0) FROM meshify.refunds WHERE job_id = %s", job_id)

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
        """Starts an instance and waits until it is ready and hears notifications. It logs events (see events.py), or, for
        a test of its wording, as [log] target says."""
        keys = {"log.target": "json", **keys}
        path = self.write_config(instance, **keys)
        daemon = Process([program("meshifyd"), "-c", path], clean_environment(**(environment or {})), [*wrapper, *WRAPPER])
        self.daemons.append(daemon)
        if wait and keys["log.target"] != "json":
            daemon.wait_line("is ready as", 60)
        elif wait:
            daemon.wait_event("STARTED", level="notice", seconds=60)
            if keys.get("database.listen") != "off" and self.bounced != "poll":
                daemon.wait_event("LISTEN_UP", seconds=60)
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
