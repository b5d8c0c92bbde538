#!/usr/bin/python3
"""The database comes and goes, workers die and freeze: jobs change hands, and nothing is bought twice."""

import os
import signal
import subprocess

from lab import IMAGE, WRAPPER, Lab, accounts, is_, main, ok, test, wait_for
from lab.postgres import SUPERUSER
from lab.proxy import PostgresProxy

SHORT = {"database.lease": "3s"}


@test
def another_takes_over():
    """Not provably dead (another pid namespace would do that): the lease runs out."""
    lab = Lab()
    jobs, first = lab.in_flight(10, 40000 if WRAPPER else 10000, **SHORT)
    second = lab.daemon("two", **SHORT)
    lab.query("UPDATE meshify.workers SET pid_ns = 'elsewhere' WHERE instance = 'one'")
    first.signal(signal.SIGKILL)
    first.wait()
    left = lab.count("running")
    ok(left > 0, "take-over: it left jobs behind", left)
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.events WHERE event = 'taken_over'") == left, 60, "the take-over")
    wait_for(lambda: lab.value("SELECT max(crashes) FROM public.jobs") == 0, 60, "the crashes to be forgiven")
    is_(lab.count("done"), 0, "take-over: a prediction that is seen to run forgives it")
    accounts.all_done(lab, jobs, "take-over: ", seconds=60)
    ok(second.wait_event("TAKEOVER", text=rf"\b{left} jobs", seconds=5), "take-over: the log says so")
    is_(lab.value("SELECT count(DISTINCT job_id) FROM meshify.events WHERE event = 'taken_over'"), left, "take-over: the history too")
    is_(lab.value("SELECT max(attempts) FROM public.jobs"), 1, "take-over: no attempt is counted")
    is_(lab.value("SELECT count(*) FROM meshify.workers"), 1, "take-over: the dead one's row is gone")
    lab.sim.stop()


@test
def a_frozen_worker_comes_back():
    """Its jobs are another's by then: it writes nothing, buys nothing, and goes on with new ones."""
    lab = Lab()
    jobs, first = lab.in_flight(10, 4000, **SHORT)
    lab.daemon("two", **SHORT)
    first.signal(signal.SIGSTOP)
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.workers") == 1, 30, "the frozen one's row to go")
    first.signal(signal.SIGCONT)
    first.wait_event("LEASE_LOST", seconds=20)
    accounts.all_done(lab, jobs, "frozen: ", seconds=60)
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.workers WHERE NOT dead") == 2, 20, "the thawed one to be a worker again")
    lab.sim.stop()


@test
def the_database_restarts():
    for mode in ("fast", "immediate"):
        lab = Lab(fsync=True)
        jobs, daemon = lab.in_flight(20, 4000, **{"database.lease": "30s"})
        lab.postgres.stop(mode)
        daemon.wait_event("DB_DOWN", seconds=60) # a pooler keeps its clients waiting for a while
        lab.postgres.start()
        lab.db = lab.postgres.connect()
        daemon.wait_event("DB_UP", after="DB_DOWN")
        jobs.append(lab.insert_job("after it", IMAGE))
        accounts.all_done(lab, jobs, f"restart ({mode}): ", seconds=60)
        accounts.no_attempt_lost(lab, f"restart ({mode}): ")
        is_(daemon.stop(), 0, f"restart ({mode}): the daemon stops cleanly")
        lab.sim.stop()


@test
def connections_are_cut():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=300)
    superuser = lab.postgres.connect(SUPERUSER)
    daemon = lab.daemon(**{"database.lease": "30s"})
    jobs = []
    for i in range(8):
        jobs += [lab.insert_job(f"job {i}", f"{IMAGE}?{i}") for _ in range(15)]
        wait_for(lambda: lab.count("running") > 0, 30, "jobs in flight")
        superuser.cursor().execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'meshifyd'")
        done = lab.count("done")
        wait_for(lambda: lab.count("done") > done, 30, "a job to end after a cut")
    lab.wait_all_ended(60)
    ok(daemon.told("DB_DOWN") > 1, "cut: the connection was cut several times")
    accounts.check(lab, jobs, "cut: ")
    accounts.no_second_purchase(lab, "cut: ")
    is_(daemon.stop(), 0, "cut: the daemon stops cleanly")
    lab.sim.stop()


@test
def it_starts_before_its_database():
    lab = Lab(migrate=False)
    job, _ = lab.insert_job("early", IMAGE)
    lab.postgres.stop()
    daemon = lab.daemon(wait=False)
    daemon.wait_event("STARTED", level="warning", seconds=20)
    lab.postgres.start()
    lab.db = lab.postgres.connect()
    daemon.wait_event("DB_DOWN", text="run meshifyctl migrate", seconds=20)
    r = lab.ctl("migrate", config=lab.write_config("admin", **{"database.url": lab.postgres.url("postgres")}))
    is_(r.returncode, 0, "migrate")
    daemon.wait_event("DB_DOWN", text="GRANT meshify_worker TO", seconds=20)
    lab.postgres.grant()
    lab.wait_status(job, "done")
    ok(daemon.alive(), "it waited for the database, the schema and the grant, and then worked")
    lab.sim.stop()


def with_hosts(lab):
    """A localhost of three addresses, of which only the last answers; where we may not, the one that there is."""
    path = os.path.join(lab.dir, "hosts")
    with open(path, "w", encoding="utf-8") as hosts:
        hosts.write("127.0.0.7 localhost\n127.0.0.8 localhost\n127.0.0.1 localhost\n")
    wrapper = ["unshare", *(["-m"] if os.geteuid() == 0 else ["-rm"]), "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', path]
    may = subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode == 0
    return wrapper if may else ()


@test
def the_audit():
    """Predictions that nobody waits for are cancelled by whichever worker lives."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    first = lab.daemon(**SHORT)
    jobs = {what: lab.insert_job(what, f"{IMAGE}?{what}")[0] for what in ("surplus", "ended", "deleted", "running")}
    lab.wait_bought(4)
    first.signal(signal.SIGKILL)
    first.wait()
    # As a worker that died between writing down and cancelling leaves it, a while ago.
    lab.query("UPDATE meshify.predictions SET intent_at = now() - interval '5 min'")
    lab.query("UPDATE meshify.predictions SET state = 'surplus' WHERE job_id = %s", jobs["surplus"])
    lab.query("UPDATE public.jobs SET status = 'error', completed_at = now() - interval '2 min' WHERE id = ANY (%s::uuid[])",
              [jobs["ended"], jobs["surplus"]])
    lab.query("DELETE FROM public.jobs WHERE id = %s", jobs["deleted"])
    lab.sim.fault("cancel", {"status": 409}, count=1) # not now, which does not say that it is over
    second = lab.daemon("two", **SHORT)

    def statuses():
        known = dict(lab.query("SELECT prediction_id, job_id::text FROM meshify.predictions"))
        return {known[p["id"]]: p["status"] for p in lab.sim.predictions()}
    wait_for(lambda: list(statuses().values()).count("canceled") == 2, 60, "two cancels")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.events WHERE event = 'audited'") == 2, 20, "the rows")
    lab.query("UPDATE meshify.predictions SET audited_at = NULL") # the minute is over
    second.stop()
    lab.daemon("three", **SHORT)
    wait_for(lambda: list(statuses().values()).count("canceled") == 3, 60, "the third, asked again")
    is_(statuses()[jobs["running"]], "processing", "audit: what a job waits for goes on")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE finished_at IS NOT NULL AND status = 'canceled'") == 3,
             20, "the rows")
    is_(lab.value("SELECT count(*) FROM meshify.events WHERE event = 'audited'"), 3, "audit: it is written down")
    lab.sim.stop()


@test
def the_audit_goes_on():
    """One prediction that can't be cancelled keeps no other running."""
    lab = Lab()
    jobs, first = lab.in_flight(3, 600000, **SHORT)
    first.signal(signal.SIGKILL)
    first.wait()
    oldest = lab.value("SELECT prediction_id FROM meshify.predictions ORDER BY intent_at LIMIT 1")
    lab.query("UPDATE meshify.predictions SET intent_at = intent_at - interval '5 min'")
    lab.query("DELETE FROM public.jobs WHERE id = ANY (%s::uuid[])", [j for j, _ in jobs])
    lab.sim.fault("cancel", {"status": 429}, count=1) # which concerns all of them
    second = lab.daemon("two", **SHORT)
    second.wait_event("AUDIT_FAILED", text="429")
    is_(lab.sim.stats()["received"]["cancel"], 1, "audit: where the service refuses all, it is asked once")
    is_(second.stop(), 0, "audit: stops")
    lab.query("UPDATE meshify.predictions SET audited_at = NULL") # the minute is over
    lab.sim.fault("cancel", {"status": 500}, match=oldest, count=-1)
    second = lab.daemon("three", **SHORT)
    second.wait_event("CANCEL_FAILED", text=f"{oldest}.*500")
    wait_for(lambda: sorted(p["status"] for p in lab.sim.predictions()) == ["canceled", "canceled", "processing"], 20, "the others' end")
    ok(True, "audit: what can't be cancelled is named, and the others are")
    lab.sim.stop()


@test
def a_cancel_is_refused():
    """For ever: the job ends all the same, and the log says what goes on running."""
    lab = Lab()
    ((job, _),), daemon = lab.in_flight(1, 600000, **SHORT)
    lab.sim.fault("cancel", {"status": 500}, count=-1)
    is_(lab.value("SELECT meshify.cancel(%s)", job), "asked", "refused cancel: asked for")
    lab.wait_status(job, "canceled", seconds=60)
    prediction = lab.value("SELECT prediction_id FROM meshify.predictions")
    daemon.wait_event("CANCEL_FAILED", job=job, prediction=prediction, text="500", seconds=5)
    ok(True, "refused cancel: the job ends, and the log says what goes on running")
    lab.sim.stop()


@test
def what_costs_goes_first():
    """Behind a backlog: predictions that are known are worked on at once, and cancels pass limits and a pause."""
    lab = Lab()
    keys = {"worker.max_jobs": "2", "worker.max_jobs_per_user": "1"}
    other, _ = lab.add_user()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    daemon = lab.daemon(**{**SHORT, **keys})
    jobs = [lab.insert_job("mine", f"{IMAGE}?mine"), lab.insert_job("theirs", f"{IMAGE}?theirs", user=other)]
    lab.wait_bought(2)
    waiting = [lab.insert_job(f"later {i}", f"{IMAGE}?{i}", user=user) for i in range(3) for user in (None, other)]
    lab.query("UPDATE public.jobs SET run_after = run_after - interval '1 hour' WHERE status = 'pending'")
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    daemon = lab.daemon("two", **{**SHORT, **keys})
    wait_for(lambda: lab.count("running") == 2, 20, "claims")
    is_(lab.query("SELECT count(*) FROM public.jobs WHERE status = 'running' AND id = ANY (%s::uuid[])", [j for j, _ in jobs])[0][0], 2,
        "a backlog: what was bought goes first")
    is_(daemon.stop(), 0, "a backlog: stops")
    is_(lab.ctl("pause").returncode, 0, "paused")
    daemon = lab.daemon("three", **{**SHORT, **keys})
    lab.query("UPDATE public.jobs SET cancel_requested_at = now() WHERE id = %s", waiting[0][0])
    lab.wait_status(waiting[0][0], "canceled", seconds=10)
    is_((lab.ctl("cancel", jobs[0][0]).returncode, lab.value("SELECT meshify.cancel(%s)", jobs[1][0])), (0, "asked"), "paused: cancels are asked for")
    wait_for(lambda: [p["status"] for p in lab.sim.predictions()] == ["canceled", "canceled"], 10, "the cancels")
    wait_for(lambda: lab.count("canceled") == 3, 10, "their end")
    is_(lab.count("pending"), 5, "paused: nothing else is claimed")
    is_(lab.ctl("resume").returncode, 0, "resumed")
    wait_for(lambda: lab.count("running") == 2, 20, "claims")
    lab.sim.stop()


@test
def cancels_while_paused():
    """More than there are slots."""
    lab = Lab()
    _, first = lab.in_flight(6, 600000, **SHORT)
    first.signal(signal.SIGKILL)
    first.wait()
    is_(lab.ctl("pause").returncode, 0, "paused")
    lab.daemon("two", **SHORT, **{"worker.max_jobs": "2"})
    wait_for(lambda: lab.count("pending") == 6, 20, "the take-over")
    now = lab.value("SELECT clock_timestamp()")
    wait_for(lambda: lab.value("SELECT max(heartbeat_at) > %s FROM meshify.workers", now), 10, "a heartbeat, which tells of the pause")
    lab.query("UPDATE public.jobs SET cancel_requested_at = now()")
    wait_for(lambda: lab.count("canceled") == 6, 25, "the cancels, two at a time")
    is_({p["status"] for p in lab.sim.predictions()}, {"canceled"}, "paused: all are canceled")
    lab.sim.stop()


@test
def many_are_deleted():
    """While the worker closes them: the user's deletion is not what the server breaks off."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    lab.daemon()
    for i in range(5):
        user, project = lab.add_user(100000)
        for n in range(60):
            lab.insert_job(f"{i}-{n}", f"{IMAGE}?{i}-{n}", user=user, project=project)
        wait_for(lambda: lab.bought() == 60 * (i + 1), 30, "all bought") # pylint: disable=cell-var-from-loop
        lab.query("UPDATE public.jobs SET cancel_requested_at = now() WHERE user_id = %s", user)
        lab.query("DELETE FROM public.projects WHERE id = %s", project)
        lab.wait_all_ended(30)
        is_(lab.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", user), 100000, f"many are deleted: all is given back ({i})")
    wait_for(lambda: {p["status"] for p in lab.sim.predictions()} == {"canceled"}, 20, "the predictions' end")
    with open(os.path.join(lab.postgres.dir, "log"), encoding="utf-8") as log:
        ok("deadlock detected" not in log.read(), "many are deleted: nobody is broken off")
    lab.sim.stop()


@test
def a_heartbeat_is_late():
    """What woke it up while it held still is not forgotten."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    proxy = PostgresProxy(lab.postgres.port)
    daemon = lab.daemon(**SHORT, **{"database.url": proxy.url(), "database.listen_url": lab.postgres.url("meshifyd")})
    proxy.pause(keep=True)
    daemon.wait_event("LEASE_SUSPENDED", seconds=20)
    notified = lab.postgres.connect()
    notified.cursor().execute("LISTEN meshify_jobs")
    job, _ = lab.insert_job("while it held still", IMAGE)
    wait_for(lambda: notified.poll() or notified.notifies, 10, "the notification")
    for _ in range(2): # what came before the second answer was heard
        daemon.state()
    proxy.resume()
    lab.wait_status(job, "done", seconds=20)
    ok(True, "late heartbeat: the job that came meanwhile is taken up")
    is_(daemon.stop(), 0, "late heartbeat: the daemon stops cleanly")
    lab.sim.stop()


@test
def without_notifications():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon = lab.daemon(**{"database.listen": "off"})
    jobs = [lab.insert_job(f"polled {i}", IMAGE) for i in range(3)]
    lab.wait_all_ended(30)
    accounts.check(lab, jobs, "listen = off: ")
    is_(lab.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'meshifyd'"), 1, "listen = off: one connection")
    is_(daemon.stop(), 0, "listen = off: stops")
    # By name over TCP; and a second connection for LISTEN.
    url = lab.postgres.url("meshifyd", tcp=True).replace("127.0.0.1", "localhost")
    lab.daemon("tcp", wrapper=with_hosts(lab), **{"database.url": url, "database.listen_url": url})
    job, _ = lab.insert_job("over TCP", IMAGE)
    lab.wait_status(job, "done")
    lab.sim.stop()


@test
def limits_of_the_queue():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=1000)
    lab.query("INSERT INTO meshify.events (job_id, event, at) VALUES (gen_random_uuid(), 'old', now() - interval '31 days')")
    many, _ = lab.add_user()
    for i in range(6):
        lab.insert_job(f"many {i}", IMAGE, user=many)
    lab.insert_job("one", IMAGE)
    lab.daemon(**{"worker.max_jobs_per_user": "2", "worker.max_jobs": "4"})
    most = 0

    def ended():
        nonlocal most
        most = max(most, lab.value("SELECT count(*) FROM public.jobs WHERE status = 'running' AND user_id = %s", many))
        return lab.count("pending") + lab.count("running") == 0
    wait_for(ended, 60, "the end of all jobs")
    is_(most, 2, "max_jobs_per_user holds")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.events WHERE event = 'old'") == 0, 30, "old events to be deleted")
    ok(lab.value("SELECT count(*) FROM meshify.events") > 0, "old events go, new ones stay")
    lab.sim.stop()


main()
