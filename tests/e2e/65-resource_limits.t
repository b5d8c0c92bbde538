#!/usr/bin/python3
"""The machine runs short: of room, of descriptors, of memory, of time. A clear line, nothing lost, nothing bought
twice, and it mends itself."""

import json
import os
import random
import re
import resource
import signal
import subprocess
import time

from lab import IMAGE, Lab, accounts, is_, main, ok, test, wait_for
from lab.namespace import in_namespace
from lab.postgres import SUPERUSER
from lab.prometheus import scrape
from lab.proxy import PostgresProxy
from lab.shim import Shim, may_preload

LONG = {"database.lease": "30s"}
DAY = 86400


def silent_ms(daemon):
    """How long ago its last heartbeat was, by its own clock."""
    return int(re.search(r"heartbeat (\d+) ms ago", daemon.state()).group(1))


# --- room and descriptors --------------------------------------------------------------------

@test
def a_full_spool():
    """A file system of its own, too small; or, where we may not have one, a limit on what may be written."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    spool, more = os.path.join(lab.dir, "spool-one"), os.path.join(lab.dir, "more")
    os.mkdir(spool)
    os.mkfifo(more)
    wrapper = in_namespace('mount -t tmpfs -o size=8k none "$1"; (read -r _ <"$2"; mount -o remount,size=64m "$1") &', spool, more)
    daemon = lab.daemon(wrapper=wrapper or (), **LONG)
    if not wrapper:
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    jobs = lab.insert_jobs(3)
    why = "No space left on device" if wrapper else "File too large"
    daemon.wait_event("LANE_HELD", text=f"Lane download .*{why}.*spool_dir")
    lab.wait_bought(3)
    wait_for(lambda: lab.sim.stats()["received"]["file"] > 3, 60, "another try")
    is_((lab.count("running"), lab.count("done")), (3, 0), "a full spool: the jobs wait")
    is_(daemon.told("LANE_HELD", text="Lane download"), 1, "a full spool: said once")
    if wrapper:
        with open(more, "w", encoding="utf-8") as control:
            control.write("room\n")
    else:
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    daemon.wait_event("LANE_OPEN", text="Lane download", seconds=90)
    accounts.all_done(lab, jobs, "a full spool: ")
    is_(lab.value("SELECT max(attempts) FROM public.jobs"), 1, "a full spool: costs no attempt")
    lab.sim.stop()


@test
def files_that_do_not_fit_together():
    """Six meshes of 20 MiB where there is room for one, as spool_max and as the file system have it, and small ones."""
    for what, keys, wrapper in (
            ("spool_max", {"worker.spool_max": "32MiB", "asset.max_size": "24MiB"}, ()),
            ("a tmpfs", {}, in_namespace('mount -t tmpfs -o size=32m none "$1"', "SPOOL")),
            ("a disk", {}, in_namespace('truncate -s 36m "$2"; mkfs.ext4 -qFm 0 "$2"; mount -o loop "$2" "$1"', "SPOOL", "IMAGE"))):
        lab = Lab()
        lab.sim.config(starting_ms=0, processing_ms=50)
        spool, image = os.path.join(lab.dir, "spool-one"), os.path.join(lab.dir, "image")
        os.mkdir(spool)
        wrapper = [{"SPOOL": spool, "IMAGE": image}.get(word, word) for word in (["false"] if wrapper is None else wrapper)]
        if wrapper and subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode != 0:
            print(f"# {what}: may not be mounted here")
            lab.sim.stop()
            continue
        daemon = lab.daemon(wrapper=wrapper, **keys, **LONG)
        lab.sim.config(glb_bytes=20 << 20)
        jobs = lab.insert_jobs(6, "large")
        lab.wait_bought(6)
        lab.sim.config(glb_bytes=20000)
        jobs += lab.insert_jobs(4)
        lab.wait_all_ended(60)
        accounts.all_done(lab, jobs, f"{what}: ")
        is_(lab.value("SELECT max(attempts) FROM public.jobs"), 1, f"{what}: waiting costs no attempt")
        is_(lab.sim.objects() and sorted(o["size"] >> 20 for o in lab.sim.objects()), [0] * 4 + [20] * 6, f"{what}: all are stored")
        is_(daemon.told("SPOOL_WAITS"), 1, f"{what}: said once")
        lab.sim.stop()


@test
def a_mesh_larger_than_the_disk():
    """It waits by itself: the others are done meanwhile, in their usual time."""
    wrapper = in_namespace('mount -t tmpfs -o size=4m none "$1"', "SPOOL")
    if not wrapper:
        return
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50, glb_bytes=8 << 20)
    spool = os.path.join(lab.dir, "spool-one")
    os.mkdir(spool)
    daemon = lab.daemon(wrapper=[spool if word == "SPOOL" else word for word in wrapper], **LONG)
    large, _ = lab.insert_job("large", f"{IMAGE}?large")
    daemon.wait_event("LANE_HELD", text="Lane download .*No space left on device")
    lab.sim.config(glb_bytes=20000)
    jobs = lab.insert_jobs(3)
    for job, _ in jobs:
        lab.wait_status(job, "done", seconds=30)
    accounts.check(lab, jobs, "beside one that is larger than the disk: ")
    is_((lab.job(large)["status"], lab.bought()), ("running", 4), "larger than the disk: it waits, bought once")
    lab.query("SELECT meshify.cancel(%s)", large)
    lab.wait_status(large, "canceled")
    lab.sim.stop()


@test
def no_descriptors():
    lab = Lab(bouncer="") # whose own connection is cut
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon = lab.daemon(**LONG)
    soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (4, hard)) # what is open stays open
    jobs = lab.insert_jobs(5)
    daemon.wait_event("LANE_HELD", text="Lane create .*Too many open files")
    lab.postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'meshifyd'", SUPERUSER)
    daemon.wait_event("DB_DOWN", seconds=20)
    wait_for(lambda: silent_ms(daemon) > 5000, 60, "some attempts")
    ok("not ready" in daemon.state(), "no descriptors: not ready")
    is_(lab.sim.predictions(), [], "no descriptors: nothing was bought")
    is_((daemon.told("LANE_HELD", text="Lane create"), daemon.told("DB_DOWN")), (1, 1), "no descriptors: each said once")
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (soft, hard))
    daemon.wait_event("DB_UP", after="DB_DOWN")
    accounts.all_done(lab, jobs, "no descriptors: ")
    is_(daemon.stop(), 0, "no descriptors: stops cleanly")
    lab.sim.stop()


# --- memory ----------------------------------------------------------------------------------

class Supervised:
    """A daemon that is started again when it ended because of a shortage, as systemd does. Five deaths in a row would
    end a job as crashed, which is not what is looked at here."""

    def __init__(self, lab, start):
        self.lab, self.start, self.ends = lab, start, []
        self.daemon = start()

    def look(self):
        if self.daemon.alive():
            return
        status = self.daemon.wait()
        self.ends.append((status, self.daemon.log(3)))
        if status == 70: # counted here; elsewhere it is a complaint
            self.daemon.forget()
        self.lab.query("UPDATE public.jobs SET crashes = 0 WHERE id IN (SELECT id FROM public.jobs WHERE crashes > 0 "
                       "AND status IN ('pending', 'running') FOR UPDATE SKIP LOCKED)")
        self.daemon = self.start()


@test
def no_memory():
    """Allocations fail here and there, for a while, again and again."""
    if not may_preload():
        return
    lab = Lab()
    shim = Shim(lab)
    lab.sim.config(starting_ms=0, processing_ms=100)
    keys = {"database.lease": "10s", "replicate.create_timeout": "2s", "worker.max_attempts": "100", "worker.retry_base": "100ms", "worker.retry_max": "500ms"}
    run = Supervised(lab, lambda: lab.daemon(wait=False, environment=shim.environment, **keys))
    run.daemon.wait_event("STARTED", level="notice")
    chance = random.Random(5)
    jobs, rounds, last = [], 0, time.monotonic() + 180
    while rounds < 40 or (shim.failed() <= 100 and time.monotonic() < last): # a slow machine allocates less in a round
        jobs += lab.insert_jobs(4, f"round{rounds}x") if lab.unended() < 160 else []
        rounds += 1
        shim.fail(chance.choice((10, 50, 300, 1000, 5000)), chance.getrandbits(48))
        end = time.monotonic() + 0.25
        while time.monotonic() < end:
            run.look()
            time.sleep(0.02)
        shim.fail(0)
        time.sleep(0.1)
        run.look()

    def ended():
        run.look()
        return lab.unended() == 0
    wait_for(ended, 120, f"the end of all jobs, {lab.query('SELECT status, count(*) FROM public.jobs GROUP BY 1')}")
    ok(shim.failed() > 100, "no memory: it did fail", shim.failed())
    ok(all(status == 70 for status, _ in run.ends), "no memory: it went on, or ended at once", run.ends)
    ok(all("memory" in log for _, log in run.ends), "no memory: and said why", run.ends)
    accounts.check(lab, jobs, "no memory: ")
    print(f"# {shim.failed()} allocations failed, {len(run.ends)} restarts", flush=True)
    is_(run.daemon.stop(), 0, "no memory: stops cleanly")
    lab.sim.stop()


@test
def it_speaks_without_memory():
    """Whoever has no memory left can still say so: here to the question how it is, and to the end of its connection."""
    if not may_preload():
        return
    lab = Lab()
    shim = Shim(lab)
    for target in ("stderr", "json"):
        daemon = lab.daemon(target, environment=shim.environment, **{**LONG, "log.target": target})
        shim.fail(1)
        daemon.signal(signal.SIGUSR1)
        daemon.wait_line(r"Worker .* 0 jobs, .* refused", 10)
        lab.postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'meshifyd'", SUPERUSER)
        said = daemon.wait_line("(Database connection lost|No database connection)|The event loop failed: .*memory|out of memory, ending at once", 20)
        shim.fail(0)
        ended = not daemon.alive() or "memory" in said.group(0)
        status = daemon.wait() if ended else daemon.stop()
        ok(status == 0 or status == 70 and "memory" in daemon.log(), f"without memory ({target}): it goes on, or ends at once and says why", status)
        if status == 70: # which is looked at here; elsewhere it is a complaint
            daemon.forget()
        if target == "json":
            ok(all(json.loads(line)["MESSAGE"] for line in daemon.raw if line.startswith("{")), "each line is JSON", daemon.log())
    lab.sim.stop()


@test
def a_limit_of_memory():
    """RLIMIT_AS: not one byte more."""
    if not may_preload():
        return
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=500)
    keys = {"database.lease": "10s", "replicate.create_timeout": "2s", "worker.max_attempts": "100", "worker.retry_base": "100ms", "worker.retry_max": "500ms"}
    run = Supervised(lab, lambda: lab.daemon(wait=False, **keys))
    run.daemon.wait_event("STARTED", level="notice")
    limited = run.daemon.pid
    resource.prlimit(limited, resource.RLIMIT_AS, (1, resource.RLIM_INFINITY)) # what it has it keeps
    lab.query("UPDATE meshify.settings SET value = '0' WHERE key = 'max_prompt'")
    jobs = [lab.insert_job("long " * 40000 + str(i), f"{IMAGE}?{i}") for i in range(40)] # 200 KB each
    jobs += lab.insert_jobs(10)

    def felt():
        run.look()
        return run.ends or run.daemon.told(text="emory") > 0
    wait_for(felt, 60, "a complaint")
    if run.daemon.pid == limited:
        ok(not lab.query("SELECT FROM public.jobs WHERE status = 'error'"), "a limit of memory: no job fails for it")
        try:
            resource.prlimit(limited, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except ProcessLookupError:
            pass

    def ended():
        run.look()
        return lab.unended() == 0
    wait_for(ended, 120, "the end of all jobs")
    ok(all(status == 70 for status, _ in run.ends), "a limit of memory: it went on, or ended at once", run.ends)
    accounts.check(lab, jobs, "a limit of memory: ")
    is_(run.daemon.stop(), 0, "a limit of memory: stops cleanly")
    lab.sim.stop()


# --- time ------------------------------------------------------------------------------------

@test
def the_clock_steps():
    """The wall clock by a day, either way: no lease, deadline or look goes by it."""
    if not may_preload():
        return
    lab = Lab()
    shim = Shim(lab)
    lab.sim.config(starting_ms=0, processing_ms=1500)
    daemon = lab.daemon(environment=shim.environment, **{"database.lease": "6s", "replicate.create_timeout": "2s"})
    jobs = []
    for what, seconds in (("ahead", DAY), ("back", -DAY), ("home", 0)):
        jobs += lab.insert_jobs(5, what)
        lab.sim.fault("create", {"lose_answer": True}, match=f"{what}-lost", count=1)
        jobs.append(lab.insert_job("lost", f"{IMAGE}?{what}-lost"))
        wait_for(lambda: daemon.told("JOB_UNSURE") == len(jobs) // 6, 30, "a lost answer")
        shim.step(seconds)
        year = time.strftime("time=%Y-%m-%dT", time.gmtime(time.time() + seconds))
        wait_for(lambda: lab.count("done") == len(jobs), 60, "all done")
        ok(daemon.said(year) > 0, f"clock {what}: the log goes by it", daemon.log(2))
    beats = "SELECT heartbeat_at FROM meshify.workers"
    last = lab.value(beats)
    wait_for(lambda: lab.value(f"SELECT ({beats}) > %s::timestamptz + interval '3 s'", last), 60, "more heartbeats")
    accounts.all_done(lab, jobs, "clock: ")
    is_(daemon.told("JOB_ADOPTED"), 3, "clock: a lost answer is looked for where it is")
    is_((daemon.told("LEASE_SUSPENDED"), daemon.told("LEASE_LOST"), daemon.told("DB_DOWN")), (0, 0, 0), "clock: the lease holds")
    accounts.no_attempt_lost(lab, "clock: ")
    lab.sim.stop()


@test
def stopped_alone():
    """Longer than its lease, and nobody there to take over: it goes on, once it knows that it may."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=2000)
    jobs = lab.insert_jobs(8)
    daemon = lab.daemon(**{"database.lease": "3s"})
    lab.wait_bought(8)
    daemon.signal(signal.SIGSTOP)
    wait_for(lambda: lab.value("SELECT now() > expires_at + interval '3 s' FROM meshify.workers"), 60, "the end of two leases")
    received = lab.sim.stats()["received"]["upload"]
    daemon.signal(signal.SIGCONT)
    daemon.wait_event("LEASE_SUSPENDED", seconds=10)
    accounts.all_done(lab, jobs, "stopped alone: ")
    ok(received < 8, "stopped alone: it had not been done before", received)
    is_((daemon.told("LEASE_SUSPENDED"), daemon.told("LEASE_LOST")), (1, 0), "stopped alone: said once, and nothing was lost")
    accounts.no_attempt_lost(lab, "stopped alone: ")
    lab.sim.stop()


def everything(lab):
    """All that a user or an accountant sees: rows, and objects with how often they were written."""
    rows = [lab.query(f"SELECT to_jsonb(t) FROM {table} t ORDER BY t.id") for table in (
        "public.jobs", "public.mesh_assets", "public.notifications", "meshify.predictions", "public.profiles")]
    rows.append(lab.query("SELECT to_jsonb(t) FROM meshify.refunds t ORDER BY job_id, n"))
    rows.append(sorted(lab.sim.objects(), key=lambda o: o["path"]))
    rows.append(sorted([(p["id"], p["status"]) for p in lab.sim.predictions()]))
    return json.loads(json.dumps(rows))


@test
def a_zombie():
    """Stopped for two leases, while its last writes were on their way, and another worker did its jobs."""
    lab = Lab()
    proxy = PostgresProxy(lab.postgres.port)
    lab.sim.config(starting_ms=0, processing_ms=1000)
    slow = {"database.lease": "15s"} # trusted for 10 s: time enough to come as far as a write
    first = lab.daemon("one", **{**slow, "database.url": proxy.url(), "database.listen_url": lab.postgres.url("meshifyd"), "metrics.listen": "127.0.0.1:0"})
    jobs = lab.insert_jobs(12)
    failing = lab.insert_job("too late", f"{IMAGE}?late")
    lab.wait_bought(13)
    proxy.pause(keep=True) # what it says from here on arrives late
    wait_for(lambda: sum(p["status"] == "succeeded" for p in lab.sim.predictions()) >= 12, 20, "the meshes")
    mark = first.mark()
    wait_for(lambda: first.state() and first.told("DUMP", since=mark, state="storing") > 0, 20, "a write that may be refused")
    first.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    lab.query("UPDATE meshify.workers SET pid_ns = 'elsewhere' WHERE instance = 'one'") # alive, as far as anybody knows
    lab.daemon("two", **{"database.lease": "3s"})
    lab.wait_all_ended(90)
    wait_for(lambda: time.monotonic() > stopped + 30, 60, "two leases")
    accounts.check(lab, jobs + [failing], "a zombie: before it wakes: ")
    before = everything(lab)
    proxy.resume() # its closings arrive, in its name
    wait_for(lambda: lab.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'meshifyd' AND state = 'active' "
                               "AND pid <> pg_backend_pid()") == 0, 20, "the answers")
    first.signal(signal.SIGCONT)
    first.wait_event("LEASE_LOST", seconds=20)
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.workers WHERE NOT dead AND expires_at > now()") == 2, 20, "another life")
    refused = scrape(first.metrics_at()).value("meshify_zombie_writes_total")
    ok(refused > 0, "a zombie: its writes were refused, and are counted", first.state())
    user, project = lab.add_user()
    job, _ = lab.insert_job("another life", IMAGE, user, project)
    lab.wait_status(job, "done")
    after = everything(lab)
    for what, b, a in zip(("jobs", "assets", "notifications", "predictions", "profiles", "refunds", "objects", "predictions there"), before, after):
        is_([row for row in b if row not in a][:2], [], f"a zombie: changed none of the {what}")
    is_(first.told("LEASE_LOST"), 1, "a zombie: said once")
    accounts.no_second_purchase(lab, "a zombie: ")
    lab.sim.stop()


@test
def an_expired_zombie():
    """What it slept past is no reason to cancel what another waits for."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=14000)
    jobs = lab.insert_jobs(5)
    first = lab.daemon("one", **{"database.lease": "3s", "worker.job_timeout": "6s"})
    lab.wait_bought(5)
    first.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    lab.query("UPDATE meshify.workers SET pid_ns = 'elsewhere' WHERE instance = 'one'")
    lab.daemon("two", **{"database.lease": "3s"})
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.events WHERE event = 'taken_over'") == 5, 30, "the take-over")
    wait_for(lambda: lab.count("running") == 5, 20, "its claims")
    wait_for(lambda: time.monotonic() > stopped + 9, 30, "more than job_timeout")
    first.signal(signal.SIGCONT)
    first.wait_event("LEASE_LOST", seconds=20)
    accounts.all_done(lab, jobs, "an expired zombie: ")
    lab.sim.stop()


@test
def two_leases():
    """Each worker is judged by its own."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=8000)
    patient = lab.daemon("patient", **{"database.lease": "12s", "worker.max_jobs": "5"})
    jobs = lab.insert_jobs(5)
    lab.wait_bought(5)
    hasty = lab.daemon("hasty", **{"database.lease": "3s"})
    jobs += lab.insert_jobs(5, "more")
    lab.wait_bought(10)
    lab.query("UPDATE meshify.workers SET pid_ns = instance")
    patient.signal(signal.SIGSTOP)
    began = lab.value("SELECT now()")
    wait_for(lambda: lab.value("SELECT heartbeat_at > %s + interval '6 s' FROM meshify.workers WHERE instance = 'hasty'", began), 60,
             "two of the other's leases")
    is_(lab.value("SELECT count(*) FROM meshify.events WHERE event = 'taken_over'"), 0, "two leases: the longer one holds")
    patient.signal(signal.SIGCONT)
    hasty.signal(signal.SIGKILL)
    hasty.wait()
    # In one look: the other ends its own meanwhile.
    left = lab.value("SELECT count(*) FROM public.jobs j JOIN meshify.workers w ON w.id = j.worker_id WHERE w.instance = 'hasty' AND j.status = 'running'")
    began = time.monotonic()
    if left:
        wait_for(lambda: lab.value("SELECT count(*) FROM meshify.events WHERE event = 'taken_over'") == left, 40, "the take-over")
    print(f"# {left} jobs were taken over after {time.monotonic() - began:.1f} s", flush=True)
    accounts.all_done(lab, jobs, "two leases: ")
    is_(patient.told("LEASE_LOST"), 0, "two leases: nobody lost what was his")
    lab.sim.stop()


main()
