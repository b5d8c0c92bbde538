#!/usr/bin/python3
"""/metrics, /healthz, /readyz: what is counted is what happened, and nobody who asks disturbs the jobs."""

import contextlib
import os
import re
import resource
import select
import signal
import socket
import threading
import time

from lab import IMAGE, Lab, is_, main, ok, test, wait_for
from lab.postgres import ROOT, free_port
from lab.prometheus import ask, connect, scrape

NAMES = """
meshify_jobs_claimed_total meshify_jobs_finished_total meshify_jobs_running meshify_queue_depth meshify_queue_oldest_seconds
meshify_job_duration_seconds meshify_claim_latency_seconds meshify_replicate_requests_total meshify_replicate_request_seconds
meshify_replicate_throttled_total meshify_storage_bytes_total meshify_storage_requests_total meshify_assets_rejected_total
meshify_db_reconnects_total meshify_db_up meshify_spool_bytes meshify_leases_lost_total meshify_zombie_writes_total
meshify_takeovers_total meshify_predictions_adopted_total meshify_predictions_surplus_total meshify_lane_held
meshify_refunds_total meshify_build_info meshify_loop_turn_seconds meshify_loop_slow_turns_total meshify_loop_longest_turn_seconds
meshify_log_lines_lost_total
process_cpu_seconds_total process_resident_memory_bytes process_virtual_memory_bytes process_open_fds process_max_fds
process_start_time_seconds
""".split()


def watched(lab, instance="one", listen="127.0.0.1:0", environment=None, **keys):
    """A daemon, and where its metrics are."""
    daemon = lab.daemon(instance, environment=environment, **{"metrics.listen": listen, **keys})
    return daemon, daemon.metrics_at()


def finished(m, status, reason="none"):
    return m.value("meshify_jobs_finished_total", status=status, reason=reason)


@test
def what_happened_is_counted():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.sim.fault("create", {"processing_ms": 600000}, match="endless", count=-1)
    lab.sim.fault("create", {"status": 422}, match="refused", count=-1)
    lab.sim.fault("create", {"file": "not_glb"}, match="broken", count=-1)
    lab.sim.fault("create", {"lose_answer": True}, match="lost", count=1)
    daemon, at = watched(lab)
    wait_for(lambda: scrape(at).value("meshify_queue_depth", state="ready") == 0, 20, "the first sample of the queue")
    m = scrape(at)
    is_(sorted(m.types), sorted(NAMES), "every name is there, and no other")
    is_((m.value("meshify_db_up"), m.value("meshify_build_info", version="0.1.0"), m.value("meshify_queue_oldest_seconds")), (1, 1, 0),
        "gauges of an idle worker")
    is_(m.value("meshify_jobs_claimed_total"), 0, "counters begin with zero")
    with open(os.path.join(ROOT, "src/base/fault.c"), encoding="utf-8") as table:
        words = set(re.findall(r'\[FAULT_\w+\] *= \{ "(\w+)"', table.read())) - {"none"}
    is_({f["reason"] for f in m.labels("meshify_jobs_finished_total") if f["status"] == "error"}, words, "each reason is there before its first job")
    is_({lane["reason"] for lane in m.labels("meshify_lane_held")}, {"none"}, "no lane is held")

    jobs = {name: lab.insert_job(f"my secret {name}", f"{IMAGE}?{name}")[0] for name in ("good", "refused", "broken", "lost", "endless")}
    for name, status in (("good", "done"), ("refused", "error"), ("broken", "error"), ("lost", "done")):
        lab.wait_status(jobs[name], status)
    wait_for(lambda: scrape(at).value("meshify_jobs_running", state="polling") == 1, 20, "the endless one to be polled")
    is_(lab.value("SELECT meshify.cancel(%s)", jobs["endless"]), "asked", "a cancel")
    lab.wait_status(jobs["endless"], "canceled")
    m = wait_for(lambda: (m := scrape(at)).total("meshify_jobs_finished_total") == 5 and m, 20, "all to be counted")
    is_((finished(m, "done"), finished(m, "canceled"), finished(m, "error", "service_refused"), finished(m, "error", "asset_invalid")), (2, 1, 1, 1),
        "jobs by how they ended, and why")
    is_(m.total("meshify_jobs_running"), 0, "none is in flight")
    is_((m.value("meshify_jobs_claimed_total"), m.value("meshify_claim_latency_seconds_count"), m.value("meshify_job_duration_seconds_count")),
        (5, 5, 5), "each was claimed once, and took its time")
    ended = lab.value("SELECT sum(extract(epoch FROM completed_at - created_at))::float FROM public.jobs")
    ok(abs(m.value("meshify_job_duration_seconds_sum") - ended) < 2, "the time is that of the rows", f"{m.value('meshify_job_duration_seconds_sum')} {ended}")
    is_(m.value("meshify_assets_rejected_total", reason="asset_invalid"), 1, "an output that was not kept")
    codes = {(c["endpoint"], c["code"]): m.value("meshify_replicate_requests_total", **c) for c in m.labels("meshify_replicate_requests_total")}
    is_((codes["create", "201"], codes["create", "422"], codes["create", "0"]), (3, 1, 1), "purchases by their answers; one was lost")
    ok(codes["list", "200"] >= 1 and codes["get", "200"] >= 3 and codes["cancel", "200"] >= 1, "the other requests", codes)
    is_(m.value("meshify_replicate_request_seconds_count"), sum(codes.values()), "each has its time")
    is_((m.value("meshify_predictions_adopted_total"), m.value("meshify_predictions_surplus_total")), (1, 0), "what was lost was found")
    is_(m.value("meshify_storage_bytes_total"), lab.value("SELECT sum(size) FROM public.mesh_assets WHERE status = 'done'"), "bytes stored")
    is_(m.value("meshify_storage_requests_total", code="200"), 2, "uploads")

    # The loop: each turn is measured, and no CPU time is taken for waiting.
    turns, spent = m.value("meshify_loop_turn_seconds_count"), m.value("meshify_loop_turn_seconds_sum")
    ok(turns > 100 and 0 < spent < time.time() - m.value("process_start_time_seconds"), "turns of the loop", f"{turns} {spent}")
    longest = m.value("meshify_loop_longest_turn_seconds", clock="cpu")
    ok((longest > 0.02) == (m.value("meshify_loop_slow_turns_total") > 0), "slow ones are those that used more than 20 ms", longest)
    ok(0 < longest and m.value("meshify_loop_longest_turn_seconds", clock="wall") < 30, "the longest")
    daemon.signal(signal.SIGUSR1)
    daemon.wait_event("DUMP", text=r"\d+ turns, longest [\d.]+ ms, .* turns by ms: <=0.1:\d+")

    # 429: a request that holds its lane, and is done in the end.
    lab.sim.fault("create", {"status": 429, "headers": {"Retry-After": "3"}}, match="throttled", count=1)
    job, _ = lab.insert_job("throttled", f"{IMAGE}?throttled")
    held = wait_for(lambda: (m := scrape(at)).value("meshify_lane_held", lane="create", reason="service_throttled") and m, 20, "the lane to be held")
    is_(held.value("meshify_replicate_throttled_total"), 1, "429 is counted")
    lab.wait_status(job, "done")
    is_(scrape(at).value("meshify_lane_held", lane="create", reason="none"), 0, "and its lane is open again")

    # The queue, and refunds, which the database knows.
    lab.ctl("pause")
    lab.insert_job("waits", IMAGE)
    later, _ = lab.insert_job("later", IMAGE)
    lab.query("UPDATE public.jobs SET run_after = now() + interval '1 hour', created_at = now() - interval '1 hour' WHERE id = %s", later)
    m = wait_for(lambda: (m := scrape(at)).value("meshify_queue_depth", state="ready") and m, 40, "the next sample")
    is_((m.value("meshify_queue_depth", state="ready"), m.value("meshify_queue_depth", state="later")), (1, 1), "what waits is known")
    ok(3600 <= m.value("meshify_queue_oldest_seconds") < 3700, "and how long", m.value("meshify_queue_oldest_seconds"))
    is_(m.value("meshify_refunds_total"), lab.value("SELECT count(*) FROM meshify.refunds WHERE credits > 0"), "and what was given back")
    is_(m.value("meshify_refunds_total"), 3, "three times")

    with open(f"/proc/{daemon.pid}/statm") as statm:
        pages = int(statm.read().split()[1])
    ok(abs(m.value("process_resident_memory_bytes") / os.sysconf("SC_PAGESIZE") - pages) < pages / 4, "memory as the kernel sees it")
    ok(4 < m.value("process_open_fds") < 40 and m.value("process_max_fds") == resource.getrlimit(resource.RLIMIT_NOFILE)[1], "descriptors too",
       m.value("process_open_fds"))
    ok(0 < m.value("process_cpu_seconds_total") < 60 and abs(m.value("process_start_time_seconds") - time.time()) < 300, "its time")
    text = ask(at, "/metrics").body
    private = ["test-token", "eyJ.test.key", "my secret", lab.user, lab.project, job, "images.example", lab.postgres.dir, *jobs.values()]
    is_([p for p in private if p in text], [], "no secret and no text of users is in it")
    is_(daemon.stop(), 0, "it stops cleanly")
    lab.sim.stop()


@test
def http_is_spoken():
    lab = Lab()
    daemon, at = watched(lab, listen="localhost:0")
    page = ask(at, "/metrics")
    is_((page.code, page.headers["content-type"]), (200, "text/plain; version=0.0.4; charset=utf-8"), "GET /metrics")
    is_(int(page.headers["content-length"]), len(page.body), "its length is told")
    head = ask(at, "/metrics", "HEAD")
    is_((head.code, head.body, int(head.headers["content-length"]) > 5000), (200, "", True), "HEAD: no body, its length")
    is_((ask(at, "/healthz").code, ask(at, "/healthz").body), (200, "ok\n"), "/healthz")
    is_((ask(at, "/readyz").code, ask(at, "/readyz").body), (200, "ready\n"), "/readyz")
    is_(ask(at, "/metrics?x=1").code, 200, "a query does not matter")
    for path in ("/", "/metrics/", "/metrics/..", "/%00", "/../../etc/passwd", "/METRICS"):
        is_(ask(at, path).code, 404, f"404 for {path}")
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
        page = ask(at, "/metrics", method, "Content-Length: 4\r\n", "abcd")
        is_((page.code, page.headers.get("allow")), (405, "GET, HEAD"), f"405 for {method}")
    is_(ask(at, "/metrics", "POST", "Content-Length: 4\r\nExpect: 100-continue\r\n").code, 405, "also before its body is sent")
    is_(ask(at, "/healthz", more="Content-Length: 4\r\n", body="abcd").code, 200, "the body of a GET is thrown away")
    ok(ask(at, "/healthz", more=f"X: {'x' * 20000}\r\n").code in (413, 431), "a header of 20,000 bytes is refused")
    with connect(at) as s: # one connection, several requests
        for _ in range(3):
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"\r\n\r\nok\n"):
                part = s.recv(4096)
                assert part, answer
                answer += part
    ok(True, "a connection is used again")
    with connect(at) as s:
        s.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is no HTTP\r\n\r\n")
        ok(b" 200 " not in s.recv(4096), "what is no HTTP gets no page")
    is_(ask(at, "/healthz").code, 200, "and it goes on")
    is_(daemon.stop(), 0, "it stops cleanly")
    lab.sim.stop()


@test
def the_database_goes_away():
    lab = Lab()
    daemon, at = watched(lab)
    wait_for(lambda: scrape(at).labels("meshify_queue_depth"), 20, "a sample")
    lab.postgres.stop()
    # A pooler keeps its clients waiting: then it is noticed when a heartbeat is not answered for long.
    page = wait_for(lambda: (p := ask(at, "/readyz")).code == 503 and p, 60, "/readyz to say no")
    ok(page.body.startswith("not ready: no database connection: ") and page.body.count("\n") == 1, "with the reason, on one line", page.body)
    is_(ask(at, "/healthz").code, 200, "the loop turns all the same")
    m = wait_for(lambda: (m := scrape(at)).labels("meshify_queue_depth") == [] and m, 40, "the sample to be forgotten")
    is_((m.value("meshify_db_up"), m.value("meshify_db_reconnects_total"), m.value("meshify_refunds_total")), (0, 0, None), "it is down, and nothing stale is said")
    lab.postgres.start()
    lab.db = lab.postgres.connect()
    wait_for(lambda: ask(at, "/readyz").code == 200, 40, "/readyz to say yes")
    m = wait_for(lambda: (m := scrape(at)).labels("meshify_queue_depth") and m, 40, "a sample")
    is_((m.value("meshify_db_up"), m.value("meshify_db_reconnects_total")), (1, 1), "up again, and counted")
    daemon.stop()

    lab.query("UPDATE meshify.schema_version SET version = 1")
    old = lab.daemon("old", wait=False, **{"metrics.listen": "127.0.0.1:0"})
    at = old.metrics_at()
    page = wait_for(lambda: "schema" in (p := ask(at, "/readyz")).body and p, 20, "the reason")
    ok(page.code == 503 and "run meshifyctl migrate" in page.body, "a schema that does not fit is a reason too", page.body)
    lab.sim.stop()


@test
def who_was_taken_for_dead():
    """A take-over, a lost lease and a refused closing; of all instances one samples the queue."""
    lab = Lab(settings=["track_functions = pl"], bouncer="") # who polls each second hears of a lost job before it writes
    short = {"database.lease": "3s"}
    lab.sim.config(starting_ms=0, processing_ms=600000)
    first, at_first = watched(lab, "first", **short)
    second, at_second = watched(lab, "second", **short)
    wait_for(lambda: scrape(at_first).labels("meshify_queue_depth"), 20, "the elder's sample")
    asked = "SELECT calls >= 3 FROM pg_stat_user_functions WHERE funcname = 'queue_sample'" # the elder asks twice in this time
    wait_for(lambda: lab.value(asked), 40, "both to have asked")
    is_((scrape(at_second).labels("meshify_queue_depth"), scrape(at_second).value("meshify_refunds_total")), ([], None), "the younger one leaves it to it")
    second.stop()
    for i in range(3):
        lab.insert_job(f"job {i}", f"{IMAGE}?{i}")
    wait_for(lambda: scrape(at_first).value("meshify_jobs_running", state="polling") == 3, 30, "jobs in flight")
    second, at_second = watched(lab, "second", **short)
    first.signal(signal.SIGSTOP)
    m = wait_for(lambda: (m := scrape(at_second)).value("meshify_jobs_claimed_total") == 3 and m, 40, "the other to have its jobs")
    is_(m.value("meshify_takeovers_total"), 3, "the take-over is counted")
    is_(m.value("meshify_claim_latency_seconds_count"), 0, "who claims a job again does not count its age")
    wait_for(lambda: scrape(at_second).labels("meshify_queue_depth"), 40, "the queue to be sampled by who is left")
    first.signal(signal.SIGCONT)
    m = wait_for(lambda: (m := scrape(at_first)).value("meshify_leases_lost_total") == 1 and m, 20, "the lost lease")
    is_((m.total("meshify_jobs_running"), m.value("meshify_takeovers_total")), (0, 0), "it has dropped them")
    first.stop()
    second.stop()

    # A write that comes when the job is another's: refused, and counted.
    lab.sim.config(processing_ms=1500)
    lone, at = watched(lab, "lone")
    job, _ = lab.insert_job("zombie", f"{IMAGE}?zombie")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE job_id = %s AND prediction_id IS NOT NULL", job), 30, "a purchase")
    other = lab.postgres.connect(autocommit=False)
    other.cursor().execute("SELECT FROM public.jobs WHERE id = %s FOR UPDATE", (job,))
    wait_for(lambda: scrape(at).value("meshify_jobs_running", state="resting") == 1, 30, "the write, which finds the row locked")
    other.cursor().execute("UPDATE public.jobs SET worker_id = gen_random_uuid() WHERE id = %s", (job,))
    other.commit()
    m = wait_for(lambda: (m := scrape(at)).value("meshify_zombie_writes_total") == 1 and m, 30, "the refusal")
    is_((finished(m, "done"), lab.job(job)["status"]), (0, "running"), "nothing was closed")
    lone.stop()
    lab.sim.stop()


@test
def the_port_is_taken():
    lab = Lab()
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        daemon = lab.daemon(**{"metrics.listen": f"127.0.0.1:{port}", "log.level": "debug"})
        line = daemon.wait_event("METRICS_DOWN", level="err", seconds=20).text
        ok(re.search(rf"127\.0\.0\.1:{port}: Address already in use; another program has this port \(.*\): stop it, or give this instance another port", line),
           "the error says what, where and what to do", line)
        job, _ = lab.insert_job("all the same", IMAGE)
        lab.wait_status(job, "done")
        daemon.wait_event("METRICS_DOWN", level="debug")
        is_(daemon.told("METRICS_DOWN", level="err"), 1, "it is said once")
    is_(daemon.metrics_at(), f"127.0.0.1:{port}", "it is bound later")
    is_(scrape(f"127.0.0.1:{port}").total("meshify_jobs_finished_total"), 1, "bound when it was free, with all that was counted before")

    # The second instance of a machine finds the default taken by the first, and goes on.
    second = lab.daemon("two", **{"metrics.listen": f"127.0.0.1:{port}"})
    second.wait_event("METRICS_DOWN", text="Address already in use", seconds=20)
    for listen, why in (("192.0.2.1:9464", "no interface of this machine has this address"), ("nowhere.invalid:9464", "give another address")):
        other = lab.daemon("other", **{"metrics.listen": listen})
        other.wait_event("METRICS_DOWN", level="err", text=f"{re.escape(listen)}: .*; {why}")
        is_(other.stop(), 0, f"{listen} is no reason not to run")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        path = os.path.join(lab.dir, "notify")
        notify.bind(path)
        notify.settimeout(10)
        told, at = watched(lab, "told", environment={"NOTIFY_SOCKET": path})
        wait_for(lambda: f"; metrics at {at}" in notify.recv(4096).decode(), 20, "STATUS to name the port")
        ok(told.alive(), "port 0 is shown in STATUS and in the log")
    if has_v6():
        _, at = watched(lab, "v6", "[::1]:0")
        ok(at.startswith("[::1]:") and ask(at, "/healthz").code == 200, "IPv6", at)
    off = lab.daemon("off", **{"metrics.listen": ""})
    ok("etrics" not in off.log(), "off: nothing is said", off.log())
    if os.geteuid() == 0: # others may not look into a process that holds secrets
        is_((len(listening(off.pid)), len(listening(told.pid))), (0, 1), "off: nothing listens; the others do once")
    lab.sim.stop()


def has_v6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def listening(pid):
    """Listening sockets of a process."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            inodes.update(re.findall(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{fd}")))
        except FileNotFoundError:
            pass
    found = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as lines:
            found += [f for f in map(str.split, list(lines)[1:]) if f[3] == "0A" and f[9] in inodes]
    return found


def turns_between_heartbeats(lab, daemon):
    """How often the loop turned, as it says itself, from one heartbeat to the next but one."""
    def turns():
        mark = daemon.mark()
        daemon.signal(signal.SIGUSR1)
        return int(re.search(r"(\d+) turns", daemon.wait_event("DUMP", since=mark, text=r"\d+ turns").text).group(1))

    def beat(last):
        return wait_for(lambda: (b := lab.value("SELECT max(heartbeat_at) FROM meshify.workers")) != last and b, 30, "a heartbeat")
    first, before = beat(None), turns()
    beat(beat(first))
    return turns() - before


@test
def slow_clients():
    """Twenty that send nothing, one that sends a byte at a time, a hundred more than there is room for."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon, at = watched(lab, **{"database.lease": "6s"}) # a heartbeat every two seconds
    silent = [connect(at) for _ in range(20)]
    jobs = [lab.insert_job(f"job {i}", f"{IMAGE}?{i}")[0] for i in range(10)]
    lab.wait_all_ended(60)
    is_(lab.count("done"), len(jobs), "jobs are done beside them")
    is_(scrape(at).value("meshify_jobs_claimed_total"), 10, "and metrics are served")
    wait_for(lambda: all(s.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b"" for s in silent if readable(s)) and all(map(readable, silent)),
             30, "their end")
    ok(True, "who sends nothing is let go")
    idle = scrape(at).value("process_open_fds")
    crowd = [connect(at) for _ in range(200)]
    job, _ = lab.insert_job("in the crowd", IMAGE)
    lab.wait_status(job, "done")
    with open(f"/proc/{daemon.pid}/status") as status:
        rss = next(int(x.split()[1]) for x in status if x.startswith("VmRSS"))
    ok(rss < 64 * 1024, f"memory stays small: {rss} KiB")
    ok(sum(map(readable, crowd)) >= 136, "there is no connection for everybody", sum(map(readable, crowd)))
    wait_for(lambda: all(map(readable, crowd)), 30, "the crowd's end")
    turns = turns_between_heartbeats(lab, daemon)
    ok(turns < 200, "nothing goes on turning", turns)
    for s in silent + crowd:
        s.close()
    is_(ask(at, "/healthz").code, 200, "it is there again")
    ok(scrape(at).value("process_open_fds") <= idle + 2, "no descriptor is left behind", scrape(at).value("process_open_fds"))

    # No descriptor is left for a connection: who asks waits, and the loop does not turn for it.
    limits = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (4, limits[1]))
    waiting = connect(at)
    waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    turns = turns_between_heartbeats(lab, daemon)
    ok(turns < 200, "it waits for a descriptor", turns)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limits)
    ok(b" 200 " in waiting.recv(4096), "and answers when there is one")
    waiting.close()
    is_(daemon.stop(), 0, "it stops cleanly")
    lab.sim.stop()


@test
def dripping_clients():
    """A hundred that send a byte now and then, and come again when they are let go: others are answered all the while."""
    lab = Lab()
    daemon, at = watched(lab)
    clients, ended = {}, lambda s: bool(select.select([s], [], [], 0)[0])
    begun, answers, let_go = time.monotonic(), [], 0
    # Until all of them have been let go some times, which takes longer than a request has.
    while (time.monotonic() < begun + 12 or let_go < 300 or len(answers) < 10) and time.monotonic() < begun + 90:
        for i in range(100):
            try:
                if i not in clients:
                    clients[i] = connect(at)
                    clients[i].sendall(b"GET /metrics HTTP/1.1\r\nX: ")
                clients[i].sendall(b"x")
                if ended(clients[i]):
                    raise OSError
            except OSError:
                let_go += 1
                if i in clients:
                    clients.pop(i).close()
        before = time.monotonic()
        try:
            code = ask(at, "/metrics").code
        except (OSError, IndexError, ValueError) as error:
            code = repr(error)
        answers.append((time.monotonic() - before, code))
        time.sleep(0.1) # how fast they drip
    is_([a for a in answers if a[1] != 200], [], f"who asks is answered: {len(answers)} times, while {let_go} are let go")
    ok(len(answers) >= 10 and max(answers)[0] < 5, "and does not wait for the others' end", sorted(answers)[-3:])
    for s in clients.values():
        s.close()
    few = [connect(at) for _ in range(10)]
    since = time.monotonic()

    def drip():
        for s in few:
            try:
                s.sendall(b"G")
            except OSError:
                pass
        return all(map(ended, few))
    wait_for(drip, 30, "an end of requests that come byte by byte")
    ok(time.monotonic() - since > 5, "a request has its time", time.monotonic() - since)
    for s in few:
        s.close()
    endless = connect(at)
    endless.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
    sent = 0
    try:
        while sent < 50_000_000:
            sent += endless.send(b"x" * 65536)
    except OSError:
        pass
    ok(sent < 50_000_000, "a body has its bytes", sent)
    endless.close()
    is_(ask(at, "/healthz").code, 200, "it is there")
    is_(daemon.stop(), 0, "it stops cleanly")
    lab.sim.stop()


@test
def who_asks_without_end():
    """Twelve that send one question after the other, and do not wait for answers: jobs and heartbeats go on."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon, at = watched(lab, **{"database.lease": "6s"})
    ends, answered = threading.Event(), [0] * 12

    def listen(s, i):
        with contextlib.suppress(OSError):
            while s.recv(1 << 20):
                answered[i] += 1

    def ask_on(i):
        many = f"GET {('/metrics', '/healthz')[i % 2]} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 500
        while not ends.is_set():
            with contextlib.suppress(OSError), connect(at) as s:
                threading.Thread(target=listen, args=(s, i), daemon=True).start()
                while not ends.is_set():
                    s.sendall(many)
    threads = [threading.Thread(target=ask_on, args=(i,), daemon=True) for i in range(12)]
    for t in threads:
        t.start()
    wait_for(lambda: all(answered), 30, "answers to each")
    beats = set()
    for i in range(4):
        began = time.monotonic()
        lab.wait_status(lab.insert_job("good", f"{IMAGE}?{i}")[0], "done")
        ok(time.monotonic() - began < 10, "beside them a job takes its usual time", time.monotonic() - began)
    wait_for(lambda: beats.add(lab.value("SELECT heartbeat_at FROM meshify.workers")) or len(beats) > 4, 60, "heartbeats")
    is_(daemon.told("LEASE_SUSPENDED", "DB_DOWN", "LEASE_LOST"), 0, "the database is not kept waiting")
    ends.set()
    for t in threads:
        t.join(30)
    is_(ask(at, "/healthz").code, 200, "and it is there")
    is_(daemon.stop(), 0, "it stops cleanly")
    lab.sim.stop()


def readable(s):
    """Has it ended, or something to say?"""
    try:
        s.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


main()
