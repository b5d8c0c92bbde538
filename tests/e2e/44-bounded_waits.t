#!/usr/bin/python3
"""What waits: everything that can be waited for has an end, what ends is the job's own, and nobody reads a secret of it."""

import json
import re
import time

from lab import IMAGE, Lab, is_, main, ok, test, wait_for
from lab.shim import Shim, may_preload

QUICK = {"worker.retry_base": "100ms", "worker.retry_max": "300ms"}


def purchases(lab, job):
    return lab.query("SELECT prediction_id, state, status FROM meshify.predictions WHERE job_id = %s AND prediction_id IS NOT NULL ORDER BY n", job)


def seconds_of(held):
    """How long a lane is held."""
    return int(re.search(r"(\d+) s\.$", held.text).group(1))


# --- what is read of it ----------------------------------------------------------------------

@test
def a_signed_url_in_an_error():
    """The model names the URL that it was given. Its token stands nowhere, and what only did not come is tried again."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    daemon = lab.daemon(**QUICK)
    lab.sim.put(f"user_assets/{lab.user}/a.png", b"png")
    lab.sim.put(f"user_assets/{lab.user}/b.png", b"png")
    jobs = {name: lab.insert_job(name, f"{lab.user}/{name}.png")[0] for name in ("a", "b")}
    wait_for(lambda: all(purchases(lab, j) for j in jobs.values()), 30, "both bought")
    urls = {p["id"]: p["input"]["images"][0] for p in lab.sim.predictions()}
    tokens = [u.split("token=")[1] for u in urls.values()]
    lab.sim.config(processing_ms=100)
    for name, error in (("a", "502 Server Error: Bad Gateway for url: {url}"),
                        ("b", '{{"url": "{escaped}", "error": "could not be read with {key} and test-token"}}')):
        prediction = purchases(lab, jobs[name])[0][0]
        text = error.format(url=urls[prediction], escaped=urls[prediction].replace("/", "\\/").replace("?", "\\u003f"), key="eyJ.test.key")
        lab.sim.fault("get", {"status": 200, "body": {"id": prediction, "status": "failed", "error": text}}, match=prediction, count=-1)
    good, _ = lab.insert_job("good", IMAGE)
    is_(lab.wait_status(good, "done")["attempts"], 1, "a good job beside them is done")
    row = lab.wait_status(jobs["a"], "done")
    is_((row["attempts"], [b[1:] for b in purchases(lab, jobs["a"])]), (2, [("ended", "failed"), ("bought", "succeeded")]),
        "our picture that did not come: tried again, and done")
    row = lab.wait_status(jobs["b"], "error")
    is_((row["attempts"], lab.refunded(jobs["b"])), (1, 25), "our picture that can't be read: final, refunded")
    stored = json.dumps(lab.query("SELECT to_jsonb(p)::text FROM meshify.predictions p")) + json.dumps(
        lab.query("SELECT to_jsonb(e)::text FROM meshify.events e")) + json.dumps(lab.query("SELECT to_jsonb(j)::text FROM public.jobs j"))
    shown = [lab.ctl("show", j).stdout for j in jobs.values()] + [lab.ctl("show", j, "--json").stdout for j in jobs.values()] + [
        lab.ctl("purchases").stdout, lab.ctl("purchases", "--json").stdout, lab.ctl("jobs", "--json").stdout]
    for secret, what in ((tokens, "the picture's token"), (["test-token"], "Replicate's token"), (["eyJ.test.key"], "the store's key")):
        is_([s for s in secret if s in daemon.output()], [], f"{what} is not in the log")
        is_([s for s in secret if s in stored], [], f"{what} is not in the database")
        is_([s for s in secret if any(s in text for text in shown)], [], f"{what} is not shown")
    ok("Bad Gateway" in stored and "Bad Gateway" in daemon.log() and "could not be read" in shown[1], "but all else of the error is", shown[1])
    lab.sim.stop()


@test
def a_service_that_echoes():
    """Whatever it answers with, it may repeat what it was sent: our token, and a URL with a password of somebody's."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=100)
    daemon = lab.daemon(**QUICK)
    said = "Authorization 'Bearer test-token' refused, see HTTPS://bob:hunter22@proxy.example/why?sid=s3cr3t and r8%5Fx test%2Dtoken"
    lab.sim.fault("create", {"status": 422, "body": {"title": "Input validation failed", "detail": said, "status": 422}}, match="echo", count=-1)
    job, _ = lab.insert_job("x", f"{IMAGE}?echo")
    lab.wait_status(job, "error")
    stored = json.dumps(lab.query("SELECT to_jsonb(p)::text FROM meshify.predictions p")) + json.dumps(
        lab.query("SELECT to_jsonb(e)::text FROM meshify.events e"))
    shown = lab.ctl("show", job).stdout
    for where, text in (("the log", daemon.output()), ("the database", stored), ("meshifyctl", shown)):
        is_(re.findall(r"test-token|test%2Dtoken|hunter22|s3cr3t", text), [], f"an echo: nothing of ours in {where}")
    ok("proxy.example/why" in daemon.log(), "an echo: the rest is there", daemon.log(5))
    lab.sim.stop()


# --- what holds everybody --------------------------------------------------------------------

@test
def one_answer_holds_no_lane_for_long():
    """What is no 429 is not obeyed for an hour, whatever it says; and after it one goes first."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=100)
    daemon = lab.daemon(**QUICK)
    received = lambda: lab.sim.stats()["received"]["create"]
    lab.sim.fault("create", {"status": 402, "headers": {"Retry-After": "3"}}, count=2)
    first, _ = lab.insert_job("first", IMAGE)
    daemon.wait_event("LANE_HELD", text="Lane create")
    jobs = [first] + [lab.insert_job(f"job {i}", f"{IMAGE}?{i}")[0] for i in range(20)]
    wait_for(lambda: received() >= 2, 30, "a probe")
    before = received()
    daemon.wait_event("LANE_OPEN", text="Lane create", seconds=60)
    is_(before, 2, "after a hold one goes first, and the others wait on when it fails")
    for job in jobs:
        lab.wait_status(job, "done")
    is_((received(), lab.query("SELECT DISTINCT attempts FROM public.jobs")), (23, [(1,)]), "all are done, nobody's attempt is lost")
    for value, most in (("3600", 120), ("-5", 2), ("99999999999999999999", 120), ("Fri, 01 Jan 2199 00:00:00 GMT", 120),
                        ("Mon, 01 Jan 2001 00:00:00 GMT", 2), ("soon", 2)):
        mark = daemon.mark()
        lab.sim.fault("create", {"status": 402, "headers": {"Retry-After": value}}, count=1)
        lab.insert_job(f"told {value}", IMAGE)
        held = daemon.wait_event("LANE_HELD", since=mark)
        ok(1 <= seconds_of(held) <= most, f"Retry-After: {value}: holds for {most} s at most", held.text)
        if seconds_of(held) > 10: # another daemon has not heard it
            daemon.stop()
            daemon = lab.daemon("another", **QUICK)
        lab.query("UPDATE public.jobs SET run_after = now() WHERE status = 'pending'")
        lab.query("SELECT pg_notify('meshify_jobs', '')")
        lab.wait_all_ended()
    # A 429 is the account's.
    lab.sim.fault("create", {"status": 429, "body": {"detail": "Request was throttled.", "status": 429, "retry_after": 600}}, count=1)
    lab.insert_job("throttled", IMAGE)
    is_(seconds_of(daemon.wait_event("LANE_HELD", text="service_throttled")), 600, "429: obeyed as told")
    lab.sim.stop()


@test
def an_outage_is_waited_for():
    """Creates that answer 500 while the listing works: nothing is bought, so nothing fails, and all is done when it is over."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=100)
    if may_preload():
        shim = Shim(lab)
    daemon = lab.daemon(environment=shim.environment if may_preload() else None, **QUICK, **{
        "worker.max_attempts": "2", "replicate.create_timeout": "1s", "database.lease": "3s", "worker.job_timeout": "60s" if may_preload() else "30s"})
    lab.sim.fault("create", {"status": 500}, count=-1)
    jobs = [lab.insert_job(f"job {i}", f"{IMAGE}?{i}")[0] for i in range(6)]
    given_up = lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE state = 'given_up'")
    # Each look takes its 16 s; the machine sleeps through most of them, if it can: else the test waits for fewer of them.
    slept, most = 0, 3 if may_preload() else 1
    end = time.monotonic() + 180
    while time.monotonic() < end:
        if given_up() >= 6 and lab.value("SELECT max(n) FROM (SELECT count(*) n FROM meshify.predictions WHERE state = 'given_up' GROUP BY job_id) x") >= most:
            break
        if may_preload() and slept < 600: # after an hour nothing can be found out
            slept += 10
            shim.sleep(slept)
        time.sleep(0.5)
    ok(given_up() >= 6, "an outage: requests are lost, looked for, and given up", daemon.log(20))
    is_((lab.value("SELECT count(*) FROM public.jobs WHERE status = 'error'"), lab.sim.predictions()), (0, []), "an outage: nobody fails, nothing is bought")
    lab.sim.control("DELETE", "faults")
    for _ in range(60):
        if lab.unended() == 0:
            break
        # Not while a job is worked on: its own time would pass, too.
        if may_preload() and lab.value("SELECT count(*) FROM meshify.predictions p JOIN public.jobs j ON j.id = p.job_id WHERE p.prediction_id IS NOT NULL AND j.status = 'running'") == 0:
            slept += 10
            shim.sleep(slept)
        time.sleep(0.5)
    lab.wait_all_ended(180)
    is_([lab.job(j)["status"] for j in jobs], ["done"] * 6, "an outage: all is done when it is over")
    is_(lab.value("SELECT max(attempts) FROM public.jobs"), 1, "an outage: no attempt is lost")
    is_(len(lab.sim.predictions()), 6, "an outage: one purchase a job")
    lab.sim.stop()


# --- what is one job's own ---------------------------------------------------------------------

@test
def a_wait_of_its_own():
    """A file whose server always breaks off, an image that can't be signed, an upload that is always refused for the
    moment: each ends when job_timeout is over, with a fault of its own; another job does not notice."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=100)
    daemon = lab.daemon(**QUICK, **{"worker.job_timeout": "6s"})
    lab.sim.put(f"user_assets/{lab.user}/never.png", b"png")
    lab.sim.fault("sign", {"status": 503}, match="never.png", count=-1)
    lab.sim.fault("create", {"file": "wrong_length"}, match="length", count=-1)
    bad = {"signed": lab.insert_job("sign", f"{lab.user}/never.png"), "fetched": lab.insert_job("length", f"{IMAGE}?length"),
           "stored": lab.insert_job("upload", f"{IMAGE}?upload")}
    lab.sim.fault("upload", {"status": 503}, match=bad["stored"][1], count=-1)
    words = {"signed": "image_unsigned", "fetched": "output_unreached", "stored": "store_unreached"}
    n = 0
    def all_over():
        nonlocal n
        good, _ = lab.insert_job(f"good {n}", f"{IMAGE}?good{n}")
        n += 1
        lab.wait_status(good, "done")
        return all(lab.job(j)["status"] == "error" for j, _ in bad.values())
    wait_for(all_over, 60, "the end of all three")
    for what, (job, _) in bad.items():
        ok(daemon.events("JOB_FAILED", job=job, fault=words[what]), f"what could not be {what} ends with its own fault",
           "\n".join(l for l in daemon.lines if job in l)[-1500:])
        is_(lab.refunded(job), 25, f"what could not be {what} is refunded")
    ok(n >= 3, "and good jobs went on beside them", n)
    # What was bought stays: an operator's retry needs no other purchase.
    lab.sim.control("DELETE", "faults")
    before = len(lab.sim.predictions())
    job, _ = bad["stored"]
    is_(lab.ctl("retry", job).returncode, 0, "a retry")
    lab.wait_status(job, "done")
    is_(len(lab.sim.predictions()), before, "a retry: with what was bought before")
    lab.sim.stop()


# --- what is gone ----------------------------------------------------------------------------

@test
def a_prediction_that_is_gone():
    """Deleted at Replicate while it ran: bought again, but not at the first 404. The two minutes are slept through."""
    if not may_preload():
        return
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    shim = Shim(lab)
    # The time slept counts as worked.
    daemon = lab.daemon(environment=shim.environment, **QUICK, **{"database.lease": "3s"})
    job, _ = lab.insert_job("vanishes", f"{IMAGE}?vanishes")
    wait_for(lambda: purchases(lab, job), 30, "a purchase")
    (gone, _, _), = purchases(lab, job)
    lab.sim.config(processing_ms=100)
    lab.sim.fault("get", {"status": 404}, match=gone, count=-1)
    hits = lambda: lab.sim.control("GET", "faults")[0]["hits"]
    wait_for(lambda: hits() >= 6, 30, "some reads that find nothing")
    is_((purchases(lab, job), lab.job(job)["status"]), ([(gone, "bought", "starting")], "running"), "gone: not at the first 404, nor at the sixth")
    shim.sleep(125)
    row = lab.wait_status(job, "done")
    is_((row["attempts"], [b[1:] for b in purchases(lab, job)]), (2, [("ended", "gone"), ("bought", "succeeded")]), "gone: bought again after two minutes")
    ok(daemon.events("JOB_RETRY", job=job, fault="prediction_gone"), "gone: the log has its own word", daemon.log(10))
    good, _ = lab.insert_job("good", IMAGE)
    is_(lab.wait_status(good, "done")["attempts"], 1, "gone: another job does not notice")
    lab.sim.stop()


main()
