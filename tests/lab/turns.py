"""How long a daemon's event loop was kept by one turn, as it measures itself."""

import os

from .process import WRAPPER
from .tap import ok
from .prometheus import scrape

CPU_MAX = 0.02 * (50 if WRAPPER else 1) # valgrind takes that much more
QUIET = bool(os.environ.get("QUIET")) # nobody else uses this machine: the wall clock counts, too


def turns_are_short(address, what):
    longest = {clock: scrape(address).value("meshify_loop_longest_turn_seconds", clock=clock) for clock in ("cpu", "wall")}
    print(f"# {what}: the longest turn took {longest['wall'] * 1000:.1f} ms by the wall clock, {longest['cpu'] * 1000:.1f} ms of CPU")
    ok(longest["cpu"] < CPU_MAX, f"{what}: no turn used {CPU_MAX * 1000:g} ms of CPU time", longest["cpu"])
    if QUIET:
        ok(longest["wall"] < 0.05, f"{what}: no turn took 50 ms", longest["wall"])
