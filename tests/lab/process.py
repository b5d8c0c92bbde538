"""The programs that a test starts, whose lines are kept, and which end with it."""

import atexit
import os
import re
import signal
import subprocess
import sys
import threading
import time

from .events import Event
from .postgres import ROOT

WRAPPER = os.environ.get("WRAPPER", "").split()  # e.g. valgrind, around each meshifyd
PATIENCE = float(os.environ.get("PATIENCE", "1"))  # deadlines are so many times as long: sanitizers and valgrind take theirs
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))

# What sanitizers and valgrind say.
COMPLAINT = re.compile(r"runtime error:|Sanitizer|^==\d+==")
_children = []


def program(name):
    return os.path.join(BUILD, name)


def clean_environment(**more):
    keep = ("PATH", "HOME", "LANG", "TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS")
    return {k: v for k, v in os.environ.items() if k in keep} | more


def wait_for(condition, seconds=30.0, what="a condition"):
    """Waits until `condition()` is true and returns its value; says what did not come true. It ends at once when a program
    of the test has died by a signal: nothing is to be hoped for any more."""
    seconds *= PATIENCE
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        for child in list(_children):
            if child.has_crashed():
                raise RuntimeError(f"{what} did not come true: {child.obituary()}")
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come true in {seconds:g} s")
        time.sleep(0.02)


# A signal ends the test the ordinary way, so that everything it started ends too.
def _on_signal(number, _frame):
    sys.exit(128 + number)


signal.signal(signal.SIGTERM, _on_signal)
signal.signal(signal.SIGINT, _on_signal)


class Process:
    """A child whose output is kept: `raw` as it was written, `lines` for people (JSON as logfmt), and as events."""

    def __init__(self, args, environment=None, wrapper=()):
        self.raw, self.lines, self._events = [], [], []
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
            line = line.rstrip("\n")
            self.raw.append(line)
            event = Event.read(line)
            if event:
                self._events.append(event)
            self.lines.append(event.logfmt() if event else line)

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child.poll() is None

    def log(self, last=None):
        return "\n".join(self.lines[-last:] if last else self.lines)

    def output(self):
        """All of it, as it was written."""
        return "\n".join(self.raw)

    # --- what it logged, by name: see events.py ---

    def events(self, *names, text=None, level=None, since=0, after=None, **fields):
        """Those of these names in include/base/catalog.h, with these fields (job, prediction, state, fault, attempt) and
        level. `text` is a pattern: for what the other side said, or where an id stands for more than one message. `since`
        is an answer of mark(); `after` the name of an event: those after the last of that name."""
        events = list(self._events)[since:]
        if after:
            last = max((i for i, e in enumerate(events) if e.is_one([after])), default=len(events))
            events = events[last:]
        return [e for e in events if e.is_one(names, text, level, **fields)]

    def told(self, *names, **how):
        """How often."""
        return len(self.events(*names, **how))

    def mark(self):
        """Where the events are that have not come yet."""
        return len(self._events)

    def wait_event(self, *names, seconds=30, **how):
        """The first of these, once there is one."""
        return self._wait(lambda: next(iter(self.events(*names, **how)), None), seconds,
                          f"an event {' or '.join(names)} {' '.join(f'{k}={v!r}' for k, v in how.items())}")

    def metrics_at(self):
        """HOST:PORT, once they are served."""
        return re.search(r"http://([^/\s]+)", self.wait_event("METRICS_UP", seconds=60).text).group(1)

    def state(self, seconds=3):
        """What a daemon answers to SIGUSR1, which it does while its loop turns."""
        mark = self.mark()
        self.signal(signal.SIGUSR1)
        return self.wait_event("DUMP", seconds=seconds, since=mark).text

    # --- by its wording, for tests of that ---

    def wait_line(self, pattern, seconds=30):
        return self._wait(lambda: next((m for m in map(re.compile(pattern).search, list(self.lines)) if m), None), seconds,
                          f"a line like {pattern!r}")

    def said(self, pattern):
        """How often."""
        return len([line for line in list(self.lines) if re.search(pattern, line)])

    def _wait(self, find, seconds, what):
        def found():
            match = find()
            if not match and not self.alive():
                self.reader.join(5)
                match = find()
                if not match:
                    raise RuntimeError(f"{what} did not come: {self.child.args} ended ({self.child.returncode}):\n{self.log(20)}")
            return match
        return wait_for(found, seconds, what)

    # --- its end ---

    def signal(self, number):
        if self.alive():
            self.killed = self.killed or number == signal.SIGKILL # before it dies, which others look for
            self.child.send_signal(number)

    def wait(self, seconds=30):
        status = self.child.wait(seconds)
        self.reader.join(5)
        return status

    def stop(self, seconds=45):
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self):
        if self.alive():
            self.signal(signal.SIGKILL)
            self.child.wait()

    def has_crashed(self):
        """By a signal that no test sent."""
        return not self.alive() and self.child.returncode < 0 and not self.killed

    def obituary(self):
        self.reader.join(5)
        return f"{self.child.args} ended with {self.child.returncode}\n{self.log(20)}"

    def forget(self):
        """How it ended is the test's own business."""
        _children.remove(self)

    def complaints(self):
        """What no program should ever say."""
        return [line for line in list(self.lines) if COMPLAINT.search(line)] + [e.logfmt() for e in self.events("JOB_BUG")]


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
        if child.child.returncode in (70, 99) or child.has_crashed(): # valgrind's 99; the daemon's 70, which a test may forget
            said.append(child.obituary())
        said += child.complaints()
    _children.clear()
    return said
