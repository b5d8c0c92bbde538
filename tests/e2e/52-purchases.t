#!/usr/bin/python3
"""Purchases of which nobody knows whether they were made: found and used, or found later and cancelled; never forgotten."""

import os
import re

from lab import IMAGE, TRELLIS, Lab, accounts, is_, main, ok, test, wait_for
from lab.postgres import ROOT, SUPERUSER

SHORT = {"database.lease": "3s", "replicate.create_timeout": "1s"}
NO_SEED = f"\n[step plain]\nmodel = {TRELLIS}\ninput.images = [\"${{image}}\"]\ninput.generate_model = true\noutput = /model_file\n[pipeline image]\nsteps = plain\n"


def purchases(lab, job, columns="state"):
    return lab.query(f"SELECT {columns} FROM meshify.predictions WHERE job_id = %s ORDER BY n", job)


def sim_statuses(lab):
    return sorted(p["status"] for p in lab.sim.predictions())


def may_give_up(lab, job):
    """As if the time in which the request may still arrive were over."""
    lab.query("UPDATE meshify.predictions SET give_up_after = now() WHERE job_id = %s AND state = 'intended'", job)


def lost_and_late(lab, job, name, do):
    """A job whose purchase was made and is in no listing; its worker has died looking for it."""
    lab.sim.fault("create", {**do, "late_list_ms": 600000}, match=name)
    first = lab.daemon(f"first-{name}", **SHORT)
    first.wait_event("JOB_UNSURE", seconds=60)
    first.kill()
    may_give_up(lab, job)


@test
def given_up_then_found():
    """The listing shows it too late: bought again, and the first one is surplus, written down and cancelled."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    job, _ = lab.insert_job("late", f"{IMAGE}?late")
    lost_and_late(lab, job, "late", {"lose_answer": True})
    second = lab.daemon("second", **SHORT)
    wait_for(lambda: purchases(lab, job) == [("given_up",), ("bought",)], 60, "a second purchase")
    is_(len(lab.sim.predictions()), 2, "given up after two looks, and bought again")
    second.kill()
    lab.sim.config(list_all=True)
    lab.daemon("third", **SHORT).wait_event("JOB_SURPLUS", seconds=90)
    wait_for(lambda: "canceled" in sim_statuses(lab), 30, "its cancel")
    wait_for(lambda: purchases(lab, job, "state, status, finished_at IS NOT NULL")[0] == ("surplus", "canceled", True), 20, "the row")
    is_(sim_statuses(lab), ["canceled", "processing"], "the one in use goes on")
    unused, used = [p for (p,) in purchases(lab, job, "prediction_id")]
    is_([p["id"] for p in lab.sim.predictions()], [unused, used], "each prediction has its row")
    r = lab.ctl("purchases", "--surplus")
    ok(unused in r.stdout and used not in r.stdout, "an operator sees it", r.stdout)
    is_(lab.value("SELECT count(*) FROM meshify.events WHERE job_id = %s AND event IN ('surplus', 'audited')", job), 2, "and its history")
    lab.sim.stop()


@test
def made_of_what_is_gone():
    """Given up after the image that it is made of has died: the image is bought again first, and no attempt is counted."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.sim.fault("create", {"lose_answer": True, "late_list_ms": 600000}, match="/v1/predictions", count=1)
    job, _ = lab.insert_job("a long look")
    first = lab.daemon("first", **SHORT)
    first.wait_event("JOB_UNSURE", seconds=60)
    first.kill()
    lab.query("UPDATE meshify.predictions SET finished_at = now() - interval '61 min' WHERE job_id = %s AND step = 'paint'", job)
    may_give_up(lab, job)
    lab.daemon("second", **SHORT)
    lab.wait_status(job, "done", seconds=60)
    is_(purchases(lab, job, "step, purchase, state"), [("paint", 1, "bought"), ("sculpt", 1, "given_up"), ("paint", 2, "bought"), ("sculpt", 2, "bought")],
        "made of what is gone: both steps are bought again")
    is_(lab.job(job)["attempts"], 1, "made of what is gone: without an attempt")
    lab.sim.stop()


@test
def left_behind_by_a_cancel():
    """Cancelled while nobody knew: the job ends when it was surely not found, and what shows up later is cancelled."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    job, _ = lab.insert_job("cancelled", f"{IMAGE}?cancelled")
    lost_and_late(lab, job, "cancelled", {"lose_answer": True})
    is_(lab.value("SELECT meshify.cancel(%s)", job), "asked", "a pending job that may have bought something is left to a worker")
    second = lab.daemon("second", **SHORT)
    lab.wait_status(job, "canceled", seconds=60)
    is_((purchases(lab, job), sim_statuses(lab)), ([("intended",)], ["processing"]), "it ends, and nobody knows of the purchase")
    second.kill()
    lab.sim.config(list_all=True)
    lab.daemon("third", **SHORT)
    wait_for(lambda: sim_statuses(lab) == ["canceled"], 90, "the cancel of what was bought")
    is_(len(lab.sim.predictions()), 1, "nothing else was bought")
    wait_for(lambda: purchases(lab, job, "state, status") == [("surplus", "canceled")], 20, "the row")
    is_(lab.refunded(job), 25, "the credits are back, once")
    lab.sim.stop()


@test
def equal_inputs():
    """A model without a seed: two jobs buy the same. Each gets its own, and the audit takes none away."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=3000)
    text = lab.config_text
    lab.config_text = lambda instance, **keys: text(instance, **keys) + NO_SEED
    for _ in range(2):
        lab.sim.fault("create", {"lose_answer": True, "late_list_ms": 3000})
    jobs = [lab.insert_job("equal", IMAGE) for _ in range(4)]
    lab.daemon(**SHORT)
    lab.wait_all_ended(120)
    is_(lab.value("SELECT count(DISTINCT input_hash) FROM meshify.predictions"), 1, "equal: all inputs are the same")
    accounts.check(lab, jobs, "equal: ")
    accounts.no_second_purchase(lab, "equal: ")
    lab.sim.stop()


@test
def never_found_out():
    """For an hour the service did not say: the job fails, is paid back, and is never bought again."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    job, asset = lab.insert_job("unknown", f"{IMAGE}?unknown")
    lost_and_late(lab, job, "unknown", {"lose_answer": True})
    lab.query("UPDATE meshify.predictions SET intent_at = now() - interval '61 min', give_up_after = now() - interval '60 min'")
    lab.daemon("second", **SHORT)
    row = lab.wait_status(job, "error", seconds=60)
    ok("did not say whether it took the request" in row["error"], "unknown: the user reads why", row["error"])
    is_((lab.asset(asset)["status"], len(lab.sim.predictions())), ("error", 1), "unknown: nothing is bought again")
    is_(lab.query("SELECT credits::float FROM meshify.refunds"), [(25,)], "unknown: the credits are back")
    is_(lab.value("SELECT detail ->> 'reason' FROM meshify.events WHERE event = 'error'"), "purchase_unknown", "unknown: the operator reads it too")
    # An operator may decide otherwise: it is a new purchase then.
    lab.sim.config(processing_ms=50)
    r = lab.ctl("retry", job)
    is_(r.returncode, 0, "unknown: retry")
    lab.wait_status(job, "done", seconds=60)
    is_(purchases(lab, job), [("given_up",), ("bought",)], "unknown: and done with the next purchase")
    lab.sim.stop()


@test
def cancels_by_hand():
    """Whoever sets cancel_requested_at is heard at once, as meshify.cancel() is; in every state."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    daemon = lab.daemon()
    by_hand = "UPDATE public.jobs SET cancel_requested_at = now() WHERE id = %s"
    job, asset = lab.insert_job("polling", f"{IMAGE}?polling")
    wait_for(lambda: purchases(lab, job) == [("bought",)], 30, "the purchase")
    lab.query(by_hand, job)
    lab.wait_status(job, "canceled", seconds=10) # the next heartbeat would come after twenty
    is_((sim_statuses(lab), lab.asset(asset)["status"]), (["canceled"], "error"), "by hand: a running job's prediction is cancelled")
    # One that waits for its time, with a purchase and without.
    for name, bought in (("waits", True), ("new", False)):
        if bought:
            job, _ = lab.insert_job(name, f"{IMAGE}?{name}")
            wait_for(lambda: purchases(lab, job) == [("bought",)], 30, "the purchase")
            is_(daemon.stop(), 0, "by hand: an instance stops")
            lab.query("UPDATE public.jobs SET run_after = now() + interval '1 hour' WHERE id = %s", job)
            daemon = lab.daemon("two")
        else:
            lab.query("UPDATE meshify.settings SET value = 'on' WHERE key = 'paused'")
            job, _ = lab.insert_job(name, IMAGE)
            lab.query("UPDATE public.jobs SET run_after = now() + interval '1 hour' WHERE id = %s", job)
            is_(lab.ctl("resume").returncode, 0, "resume")
        lab.query(by_hand, job)
        lab.wait_status(job, "canceled", seconds=10)
    is_(sim_statuses(lab), ["canceled"] * 2, "by hand: what was bought is cancelled, nothing else was bought")
    is_(lab.query("SELECT count(*), sum(credits)::float FROM meshify.refunds"), [(3, 75)], "by hand: each is paid back once")
    is_(lab.value("SELECT count(*) FROM public.notifications WHERE type = 'info' AND title LIKE '%%Canceled'"), 3, "by hand: and told once")
    lab.sim.stop()


@test
def cancels_that_come_too_late():
    """The prediction was over: its row says what became of it, whatever the cancel was answered."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=500)
    lab.daemon(**{"replicate.poll_min": "10min", "replicate.poll_max": "10min"})
    for name, fault in (("over", None), ("conflict", {"status": 409}), ("nowhere", {"status": 404})):
        if fault:
            lab.sim.fault("cancel", fault)
        job, _ = lab.insert_job(name, f"{IMAGE}?{name}")
        wait_for(lambda: purchases(lab, job) == [("bought",)], 30, "the purchase")
        wait_for(lambda: set(sim_statuses(lab)) == {"succeeded"}, 30, "its end")
        lab.value("SELECT meshify.cancel(%s)", job)
        lab.wait_status(job, "canceled", seconds=20)
        wait_for(lambda: purchases(lab, job, "state, status, finished_at IS NOT NULL") == [("ended", "succeeded", True)], 20,
                 f"{name}: the row to tell the truth")
        is_(lab.refunded(job), 25, f"{name}: canceled, with a refund")
    is_(lab.sim.objects(), [], "nothing was stored")
    lab.sim.stop()


@test
def held_lanes_are_shown():
    lab = Lab()
    lab.sim.fault("create", {"status": 402}, count=-1)
    daemon = lab.daemon()
    lab.insert_job("no credit", IMAGE)
    daemon.wait_event("LANE_HELD", text="Lane create")
    wait_for(lambda: "lane create held, tried again in" in lab.ctl("status").stdout, 20, "status to show the lane")
    (held,) = wait_for(lambda: lab.value("SELECT held FROM meshify.workers"), 60, "the lane to be held still, or again")
    is_((held["lane"], held["reason"]), ("create", "service_credit"), "held: the reason stands in the worker's row")
    lab.sim.control("DELETE", "faults")
    lab.wait_all_ended(90)
    wait_for(lambda: lab.value("SELECT held FROM meshify.workers") is None, 20, "the row to be open again")
    ok("lane create" not in lab.ctl("status").stdout, "held: and status too")
    is_(daemon.told("LANE_HELD"), 1, "held: said once")
    lab.sim.stop()


@test
def what_the_database_says():
    """A refund that is not given is an error in the log; a project's trigger can't write lines of its own there."""
    lab = Lab()
    lab.sim.fault("create", {"status": 422}, count=-1)
    lab.query("CREATE FUNCTION public.loud() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
              "RAISE NOTICE E'quiet'; RAISE WARNING E'loud\\n\\x1b[31mtime=now level=err msg=\"forged\"'; RETURN NEW; END $$")
    lab.query("CREATE TRIGGER loud BEFORE UPDATE ON public.mesh_assets FOR EACH ROW EXECUTE FUNCTION public.loud()")
    daemon = lab.daemon()
    lab.query("UPDATE public.profiles SET credits_remaining = 2000000")
    superuser = lab.postgres.connect(SUPERUSER)
    superuser.cursor().execute("UPDATE meshify.settings SET value = '1000000' WHERE key = 'price'")
    job, _ = lab.insert_job("dear", IMAGE, cost=1000000)
    lab.wait_status(job, "error")
    daemon.wait_event("DB_SAYS", level="err", text=f"{job}: no refund, its 1000000 credits are above refund_max", seconds=20)
    is_(lab.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", lab.user), 1000000, "says: it is not given back")
    daemon.wait_event("DB_SAYS", level="warning", text="loud", seconds=20)
    ok(not [line for line in daemon.raw if "quiet" in line or line.startswith(("time=now", "NOTICE", "WARNING", "DETAIL", "CONTEXT"))],
       "says: nothing of it comes raw", daemon.log())
    r = lab.ctl("retry", job)
    is_(r.returncode, 0, "says: retry")
    ok("\x1b" not in r.stderr and "quiet" not in r.stderr, "says: nor on the operator's terminal", r.stderr)
    lab.sim.stop()


def manual_queries():
    """The queries of the manual's section MONEY, as an operator would paste them."""
    with open(os.path.join(ROOT, "man/meshifyd.8"), encoding="utf-8") as page:
        money = page.read().split(".Sh MONEY")[1].split(".Sh ")[0]
    return re.findall(r"\.Bd -literal\n(SELECT .*?)\.Ed", money, re.DOTALL)


@test
def the_ledger():
    """Credits go back once for each time they were taken, and the ledger says so to the unit."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.sim.fault("create", {"status": 422}, match="refused", count=-1)
    lab.sim.fault("create", {"processing_ms": 600000}, match="endless", count=-1)
    lab.daemon()
    wrong, left_over = manual_queries()
    jobs = {name: lab.insert_job(name, f"{IMAGE}?{name}") for name in ("good", "refused", "refused-again", "endless", "endless-gone")}
    for name, status in (("good", "done"), ("refused", "error"), ("refused-again", "error")):
        lab.wait_status(jobs[name][0], status)
    is_(lab.ctl("retry", jobs["refused-again"][0]).returncode, 0, "ledger: a failed job again")
    wait_for(lambda: lab.query("SELECT credits::float FROM meshify.refunds WHERE job_id = %s ORDER BY n", jobs["refused-again"][0])
             == [(25,), (-25,), (25,)], 30, "given back, taken, given back")
    wait_for(lambda: all(purchases(lab, jobs[n][0]) == [("bought",)] for n in ("endless", "endless-gone")), 30, "the purchases")
    for _ in range(3):
        lab.value("SELECT meshify.cancel(%s)", jobs["endless"][0])
    lab.wait_status(jobs["endless"][0], "canceled")
    lab.query("DELETE FROM public.mesh_assets WHERE id = %s", jobs["endless-gone"][1])
    is_(lab.query(wrong), [], "ledger: it says what the jobs say")
    is_([(u, float(x)) for u, x in lab.query(left_over)], [(lab.user, 0)], "ledger: and what the profile says")
    is_(float(lab.value("SELECT credits_used FROM public.profiles WHERE id = %s", lab.user)), 25, "ledger: one mesh was paid for")
    # A ledger that lies is found out.
    lab.postgres.execute("DELETE FROM meshify.refunds WHERE n = 3", SUPERUSER)
    is_([row[0] for row in lab.query(wrong)], [jobs["refused-again"][0]], "ledger: a row that is missing is noticed")
    lab.sim.stop()


main()
