#!/usr/bin/python3
"""A log, a terminal or a supervisor that takes nothing: lines are lost and counted, jobs are done, a stop works."""

import atexit
import fcntl
import os
import pty
import re
import signal
import socket
import subprocess
import termios
import time

from lab import IMAGE, Lab, clean_environment, is_, main, ok, program, test, wait_for
from lab.namespace import in_namespace
from lab.postgres import free_port
from lab.prometheus import ask, scrape
from lab.turns import turns_are_short


class Unread:
    """A daemon whose stderr is what we say; it is watched by its metrics alone."""

    def __init__(self, lab, name, stderr, environment=None, wrapper=(), **keys):
        self.lab, self.port = lab, free_port()
        self.at = f"127.0.0.1:{self.port}"
        keys = {"log.level": "debug", "log.target": "stderr", "metrics.listen": self.at, **keys}
        path = lab.write_config(name, **keys)
        self.child = subprocess.Popen([*wrapper, program("meshifyd"), "-c", path], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=stderr, env=clean_environment(**(environment or {})))
        atexit.register(self.kill)

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def page(self, path):
        try:
            return ask(self.at, path)
        except OSError:
            return None

    def ready(self):
        wait_for(lambda: (page := self.page("/readyz")) and page.code == 200, 60, "an instance whose log is not read to be ready")

    def lost(self):
        return scrape(self.at).value("meshify_log_lines_lost_total") or 0

    def talk(self, lines):
        """Has it say so many lines at least, by asking for its state."""
        for _ in range(lines // 2):
            self.child.send_signal(signal.SIGUSR1)
            wait_for(lambda: self.page("/healthz"), 30, "/healthz of an instance whose log is not read")

    def jobs(self, n, what):
        """Some good jobs, done in their usual time."""
        self.ready()
        begun = time.monotonic()
        jobs = [self.lab.insert_job(f"{what} {i}", IMAGE)[0] for i in range(n)]
        wait_for(lambda: self.lab.value("SELECT count(*) FROM public.jobs WHERE id = ANY(%s::uuid[]) AND status = 'done'", jobs) == n,
                 60, f"{n} jobs: {what}")
        page = self.page("/healthz")
        ok(page and page.code == 200, f"{what}: {n} jobs are done, /healthz answers", f"{time.monotonic() - begun:.1f} s")
        turns_are_short(self.at, what)

    def stop(self, what, signals=1):
        for _ in range(signals):
            self.child.send_signal(signal.SIGTERM)
        is_(self.child.wait(40), 0, f"{what}: SIGTERM stops it" if signals == 1 else f"{what}: a second one too")


def full_pipe():
    """A pipe that takes nothing any more, its two ends."""
    read, write = os.pipe()
    fill(write)
    return read, write


def fill(fd):
    os.set_blocking(fd, False)
    try:
        while True:
            os.write(fd, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(fd, True)


def drain(fd):
    """All that is to be read, and what comes within a second after."""
    data, end = b"", time.monotonic() + 1
    os.set_blocking(fd, False)
    while time.monotonic() < end:
        try:
            part = os.read(fd, 1 << 20)
            if not part:
                break
            data, end = data + part, time.monotonic() + 1
        except BlockingIOError:
            time.sleep(0.02)
        except OSError: # a terminal whose other end is closed
            break
    return data.decode(errors="replace")


def lines_of(text):
    return [line for line in text.splitlines() if line.startswith("time=")]


def quick_lab():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=20)
    return lab


@test
def pipes_and_sockets():
    lab = quick_lab()

    # A pipe. What was lost is said when it goes on, at its place.
    read, write = full_pipe()
    daemon = Unread(lab, "pipe", write)
    daemon.jobs(60, "a full pipe")
    ok(not fcntl.fcntl(write, fcntl.F_GETFL) & os.O_NONBLOCK, "who shares it still waits when writing")
    wait_for(lambda: daemon.talk(20) or daemon.lost() > 20, 60, "lines to be lost")
    text = wait_for(lambda: (t := drain(read)) and "were lost" in t and t, 60, "the loss to be said")
    said = lines_of(text.lstrip("x"))
    at = next(i for i, line in enumerate(said) if "were lost" in line)
    is_(int(re.search(r'msg="(\d+) log lines were lost', said[at])[1]), daemon.lost(), "as many as were counted")
    ok("level=warning" in said[at] and len(said) > 300, "lines before are whole, from the start", f"{len(said)} {at}")
    ok('msg="meshifyd' in text and not [line for line in said if not re.search(r' msg=".*"', line)], "no line is broken")
    daemon.talk(2)
    ok("Event loop" in drain(read), "and it goes on")
    fill(write)
    daemon.stop("a full pipe")
    os.close(read)
    os.close(write)

    # Two signals at once; jobs in flight are left to their lease, which ends.
    read, write = full_pipe()
    daemon = Unread(lab, "twice", write, **{"database.lease": "5s"})
    daemon.ready()
    lab.sim.config(processing_ms=600000)
    job = lab.insert_job("endless", IMAGE)[0]
    lab.wait_status(job, "running")
    daemon.stop("a full pipe", 2)
    lab.sim.config(processing_ms=20)
    lab.query("SELECT meshify.cancel(%s)", job)

    # The reader is gone.
    read, write = os.pipe()
    daemon = Unread(lab, "gone", write)
    os.close(write)
    daemon.ready()
    os.close(read)
    daemon.jobs(5, "a pipe whose reader is gone")
    daemon.stop("a pipe whose reader is gone")

    # A socket, as under systemd and many others.
    ours, theirs = socket.socketpair()
    daemon = Unread(lab, "socket", theirs.fileno())
    daemon.ready()
    wait_for(lambda: daemon.talk(100) or daemon.lost() > 0, 60, "the socket to be full")
    daemon.jobs(5, "a full socket")
    text = drain(ours.fileno())
    ok("were lost" in text, "a full socket: the loss is said", text[-300:])
    daemon.stop("a full socket")
    lab.sim.stop()


@test
def another_users_pipe():
    """It may be written to, but not be opened again."""
    if os.geteuid() != 0:
        ok(True, "a pipe of another user # SKIP only root can change the user")
        return
    lab = quick_lab()
    for way in (lab.dir, lab.postgres.dir):
        os.chmod(way, 0o755)
    spool = os.path.join(lab.dir, "spool-nobody")
    os.mkdir(spool)
    os.chmod(spool, 0o777)
    read, write = full_pipe()
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    config = {"worker.spool_dir": spool}
    path = lab.write_config("nobody", **config)
    os.chmod(path, 0o644)
    write_config = lab.write_config
    lab.write_config = lambda *a, **k: (p := write_config(*a, **k), os.chmod(p, 0o644))[0]
    daemon = Unread(lab, "nobody", write, wrapper=as_nobody, **config)
    daemon.jobs(10, "a full pipe of another user")
    wait_for(lambda: daemon.talk(40) or daemon.lost() > 0, 60, "lines to be lost")
    ok("were lost" in drain(read), "a full pipe of another user: the loss is said")
    daemon.stop("a full pipe of another user")
    lab.sim.stop()


@test
def terminals_and_files():
    lab = quick_lab()

    # A terminal that was stopped with ^S.
    master, slave = pty.openpty()
    daemon = Unread(lab, "terminal", slave)
    daemon.ready()
    termios.tcflow(slave, termios.TCOOFF)
    wait_for(lambda: daemon.talk(100) or daemon.lost() > 0, 60, "the terminal to take nothing")
    daemon.jobs(10, "a stopped terminal")
    termios.tcflow(slave, termios.TCOON)
    text = drain(master)
    ok("were lost" in text, "a stopped terminal: the loss is said when it goes on", text[-300:])
    termios.tcflow(slave, termios.TCOOFF)
    daemon.stop("a stopped terminal")
    os.close(master)
    os.close(slave)

    # A file without room, and none at all.
    with open("/dev/full", "wb") as full:
        daemon = Unread(lab, "full", full.fileno())
    daemon.jobs(5, "a file without room")
    daemon.stop("a file without room")
    closed = Unread(lab, "closed", None, wrapper=["sh", "-c", 'exec "$@" 2>&-', "sh"])
    closed.jobs(5, "no stderr at all")
    closed.stop("no stderr at all")

    # A file is appended to where its description stands, not from its begin.
    path = os.path.join(lab.dir, "log")
    with open(path, "wb") as out:
        out.write(b"what was there\n")
        out.flush()
        daemon = Unread(lab, "file", out.fileno())
        daemon.jobs(2, "an ordinary file")
        daemon.stop("an ordinary file")
    with open(path) as log:
        text = log.read()
    ok(text.startswith("what was there\ntime=") and "Stopped: 2 jobs done" in text, "an ordinary file has every line", text[:200])
    lab.sim.stop()


@test
def journal_that_is_not_read():
    lab = quick_lab()
    run = os.path.join(lab.dir, "journal")
    os.mkdir(run)
    wrapper = in_namespace('mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind "$1" /run/systemd/journal', run)
    if not wrapper:
        ok(True, "a journal that is not read # SKIP no mount namespaces here")
        return
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind(os.path.join(run, "socket"))
    daemon = Unread(lab, "journal", subprocess.DEVNULL, wrapper=wrapper, **{"log.target": "journal"})
    daemon.ready()
    wait_for(lambda: daemon.talk(100) or daemon.lost() > 0, 60, "the journal's socket to be full")
    daemon.jobs(10, "a journal that is not read")
    messages, end = [], time.monotonic() + 2
    journal.setblocking(False)
    while time.monotonic() < end:
        try:
            messages.append(journal.recv(1 << 20).decode())
            end = time.monotonic() + 2
        except BlockingIOError:
            time.sleep(0.02)
    fields = [dict(line.split("=", 1) for line in m.rstrip("\n").split("\n")) for m in messages]
    lost = [f for f in fields if "were lost" in f["MESSAGE"]]
    ok(lost and lost[0]["PRIORITY"] == "4" and re.fullmatch("[0-9a-f]{32}", lost[0]["MESSAGE_ID"]), "the loss is said when it goes on", lost)
    started = next(f for f in fields if "is ready as" in f["MESSAGE"])
    is_(sorted(started), sorted("SYSLOG_IDENTIFIER MESSAGE PRIORITY MESSAGE_ID CODE_FILE CODE_LINE CODE_FUNC".split()), "fields of a line")
    is_(started["SYSLOG_IDENTIFIER"], "meshifyd", "whose line it is")
    job = lab.insert_job("told", IMAGE)[0]
    lab.wait_status(job, "done")
    told = []
    while not [f for f in told if f["MESSAGE"].startswith("Job") and "done" in f["MESSAGE"]]:
        journal.settimeout(20)
        told.append(dict(line.split("=", 1) for line in journal.recv(1 << 20).decode().rstrip("\n").split("\n")))
    done = told[-1]
    is_(done["MESHIFY_JOB_ID"], job, "lines of a job name it")
    ok({"MESHIFY_ASSET_ID", "MESHIFY_USER_ID", "MESHIFY_STATE", "MESHIFY_ATTEMPT", "MESHIFY_PREDICTION_ID"} <= set(done), "and the rest", done)
    wait_for(lambda: daemon.talk(100) or daemon.lost() > int(re.match(r"\d+", lost[0]["MESSAGE"])[0]), 60, "it to be full again")
    daemon.stop("a journal that is not read")
    journal.close()
    lab.sim.stop()


@test
def supervisor_that_does_not_read():
    lab = quick_lab()
    path = os.path.join(lab.dir, "notify")
    supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    supervisor.bind(path)
    other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    other.setblocking(False)
    try:
        while True:
            other.sendto(b"X=1", path)
    except BlockingIOError:
        pass
    daemon = Unread(lab, "supervised", subprocess.DEVNULL, {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000"})
    daemon.jobs(10, "a supervisor that does not read")
    supervisor.setblocking(False)
    told, end = "", time.monotonic() + 20
    while time.monotonic() < end and not ("READY=1" in told and "WATCHDOG=1" in told and "10 done" in told):
        try:
            told += supervisor.recv(65536).decode() + "\n"
        except BlockingIOError:
            time.sleep(0.02)
    ok("READY=1" in told and "WATCHDOG=1" in told and "10 done" in told, "it is told when it reads again", told[-500:])
    try:
        while True:
            other.sendto(b"X=1", path)
    except BlockingIOError:
        pass
    daemon.stop("a supervisor that does not read")
    lab.sim.stop()


main()
