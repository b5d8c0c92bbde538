#!/usr/bin/python3
"""Descriptors are a budget: what does not fit waits its turn, and everything is done in the end."""

import time

from lab import IMAGE, Lab, is_, main, ok, test
from lab.prometheus import ask, scrape


def limited(lab, instance, limit, **keys):
    """A daemon under `ulimit LIMIT`, and where its metrics are."""
    daemon = lab.daemon(instance, wrapper=["sh", "-c", f'ulimit {limit}; exec "$@"', "sh"], **{"metrics.listen": "127.0.0.1:0", **keys})
    return daemon, daemon.metrics_at()


@test
def few_descriptors():
    lab = Lab()
    lab.sim.config(starting_ms=100, processing_ms=500)
    daemon, at = limited(lab, "few", "-n 64", **{"log.level": "debug"})
    is_(scrape(at).value("process_max_fds"), 64, "64 descriptors")
    is_(daemon.told("CONFIG", level="warning", text="file descriptors"), 1, "it is said once")
    begun, most = time.monotonic(), 0
    for i in range(120):
        lab.insert_job(f"job {i}", IMAGE)
    while lab.unended() > 0 and time.monotonic() < begun + 120:
        page = ask(at, "/healthz")
        most = max(most, scrape(at).value("process_open_fds") if page.code == 200 else 0)
        time.sleep(0.1)
    is_((lab.count("done"), lab.unended()), (120, 0), "120 jobs are done in two minutes")
    ok(30 < most <= 64, "with all that is there", f"{most} at most, {time.monotonic() - begun:.1f} s")
    is_((daemon.told(text="Too many open files"), daemon.told("LANE_HELD")), (0, 0), "nothing was refused for want of one")
    is_(lab.value("SELECT max(attempts) FROM public.jobs"), 1, "and no job was tried twice")
    is_(daemon.stop(), 0, "it stops cleanly")

    # A limit that may be raised is.
    lab.sim.config(starting_ms=0, processing_ms=20)
    raised, at = limited(lab, "raised", "-Sn 64")
    ok(scrape(at).value("process_max_fds") > 64, "a soft limit is raised", raised.log(3))
    is_(raised.told("CONFIG", text="file descriptors"), 0, "then nothing is said")
    raised.stop()
    lab.sim.stop()


@test
def few_descriptors_of_a_directory():
    lab = Lab(driver="dir")
    lab.sim.config(starting_ms=0, processing_ms=20)
    daemon, _ = limited(lab, "dir", "-n 64")
    for i in range(120):
        lab.insert_job(f"job {i}", IMAGE)
    lab.wait_all_ended(120)
    is_(lab.count("done"), 120, "120 jobs are done with driver dir")
    is_(daemon.told(text="Too many open files"), 0, "nothing was refused for want of one")
    is_(daemon.stop(), 0, "it stops cleanly")
    lab.sim.stop()


main()
