#!/usr/bin/python3
"""The primary dies with commits that its asynchronous standby has not seen, while a purchase is under way: nobody gets what
was made for another, and what was paid and has no row of its own is written down and cancelled."""

import signal

from lab import IMAGE, Lab, is_, main, ok, test, wait_for
from lab.postgres import SUPERUSER

LONG = {"database.lease": "6s", "replicate.create_timeout": "20s"}


def lagging(lab):
    """A streaming standby for which no commit waits, and that has seen all there is; it can be held back."""
    standby = lab.postgres.standby()
    lab.postgres.execute("ALTER SYSTEM RESET synchronous_standby_names", SUPERUSER, "postgres")
    lab.postgres.run("pg_ctl", "-D", lab.postgres.data, "reload")
    replication = lab.postgres.connect(SUPERUSER).cursor()

    def in_step():
        replication.execute("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'async' AND replay_lsn >= pg_current_wal_flush_lsn()")
        return replication.fetchone() == (1,)
    wait_for(in_step, 60, "the standby to follow")
    return standby, in_step


def hold_back(lab, standby):
    """From now on the standby is told nothing."""
    standby.execute("ALTER SYSTEM SET primary_conninfo = ''", SUPERUSER, "postgres")
    standby.run("pg_ctl", "-D", standby.data, "reload")
    replication = lab.postgres.connect(SUPERUSER).cursor()

    def is_cut():
        replication.execute("SELECT count(*) FROM pg_stat_replication")
        return replication.fetchone() == (0,)
    wait_for(is_cut, 60, "the end of the replication")


def fail_over(lab, standby):
    lab.postgres.stop("immediate")
    standby.promote()
    lab.db = standby.connect()


def of(lab, tag):
    return [p for p in lab.sim.predictions() if tag in p["input"]["images"][0]]


@test
def an_answer_that_comes_after_it():
    """A's create is answered when the new primary has given the same number to B's purchase."""
    lab = Lab(bouncer="")
    lab.sim.config(starting_ms=0, processing_ms=3000)
    standby, in_step = lagging(lab)
    user, project = lab.add_user()
    a, _ = lab.insert_job("for A", f"{IMAGE}?for-a")
    b, asset = lab.insert_job("for B", f"{IMAGE}?for-b", user=user, project=project)
    lab.query("UPDATE public.jobs SET run_after = now() + interval '1 hour' WHERE id = %s", b)
    wait_for(in_step, 60, "both jobs on the standby")
    hold_back(lab, standby)
    lab.sim.fault("create", {"stall_ms": 12000}, match="for-a", count=1)
    lab.sim.fault("create", {"stall_ms": 15000}, match="for-b", count=1)
    url = f"postgresql://meshifyd@127.0.0.1:{lab.postgres.port},127.0.0.1:{standby.port}/meshify"
    daemon = lab.daemon("one", **LONG, **{"database.url": url})
    wait_for(lambda: len(of(lab, "for-a")) == 1, 60, "A's purchase")
    daemon.signal(signal.SIGSTOP)
    fail_over(lab, standby)
    is_(lab.value("SELECT count(*) FROM meshify.predictions"), 0, "the intent of A is lost with its primary")
    # Somebody else works on B, and gets the number.
    lab.query("UPDATE public.jobs SET run_after = now() + interval '1 hour' WHERE id = %s", a)
    lab.query("UPDATE public.jobs SET run_after = now() WHERE id = %s", b)
    daemon.signal(signal.SIGCONT)
    lab.daemon("two", **LONG, **{"database.url": standby.url("meshifyd")})
    lab.wait_status(b, "done", "error", seconds=60)
    used = lab.value("SELECT result_meta ->> 'replicate_prediction_id' FROM public.mesh_assets WHERE id = %s", asset)
    is_(lab.job(b)["status"], "done", "B's job is done")
    is_([p["id"] for p in of(lab, "for-b")], [used], "with what was made for B")
    (first,) = [p["id"] for p in of(lab, "for-a")]
    wait_for(lambda: lab.query("SELECT state FROM meshify.predictions WHERE prediction_id = %s", first) == [("surplus",)], 60, "a row of A's first purchase")
    is_(lab.query("SELECT job_id::text, state FROM meshify.predictions WHERE prediction_id = %s", first), [(a, "surplus")],
        "what was paid for A stands in a row of its own, as surplus")
    wait_for(lambda: next(p["status"] for p in of(lab, "for-a") if p["id"] == first) in ("canceled", "succeeded"), 30, "its cancel")
    lab.query("UPDATE public.jobs SET run_after = now() WHERE id = %s AND status = 'pending'", a)
    lab.wait_status(a, "done", "error", seconds=60)
    is_((lab.job(a)["status"], len(of(lab, "for-a"))), ("done", 2), "A's job is done, with a purchase that is known")
    known = {i for (i,) in lab.query("SELECT prediction_id FROM meshify.predictions")}
    is_({p["id"] for p in lab.sim.predictions()} - known, set(), "each prediction has its row")
    lab.sim.stop()


@test
def what_runs_when_it_comes():
    """Predictions that the daemon polls, and of which the new primary knows nothing, not even that they were begun."""
    lab = Lab(bouncer="")
    lab.sim.config(starting_ms=0, processing_ms=600000)
    lab.sim.fault("create", {"processing_ms": 20000}, match="known", count=1)
    standby, in_step = lagging(lab)
    url = f"postgresql://meshifyd@127.0.0.1:{lab.postgres.port},127.0.0.1:{standby.port}/meshify"
    known, _ = lab.insert_job("known", f"{IMAGE}?known")
    daemon = lab.daemon("one", **LONG, **{"database.url": url})
    bought = lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE prediction_id IS NOT NULL")
    wait_for(lambda: bought() == 1, 60, "a purchase")
    lab.query("UPDATE meshify.settings SET value = 'on' WHERE key = 'paused'")
    lost = [lab.insert_job(f"lost {n}", f"{IMAGE}?lost{n}")[0] for n in range(5)]
    wait_for(in_step, 60, "all that on the standby")
    hold_back(lab, standby)
    lab.query("UPDATE meshify.settings SET value = 'off' WHERE key = 'paused'")
    lab.query("SELECT pg_notify('meshify_jobs', '')")
    wait_for(lambda: bought() == 6, 60, "five purchases more")
    fail_over(lab, standby)
    is_((lab.value("SELECT count(*) FROM meshify.predictions WHERE state <> 'surplus'"), lab.count("pending")), (1, 5), "five purchases and their claims are lost with their primary")
    wait_for(lambda: [p["status"] for p in of(lab, "lost")] == ["canceled"] * 5, 60, "the cancel of what runs for nobody")
    ok(daemon.told("JOB_SURPLUS") == 5, "what was paid and is in no row is cancelled, which is said", daemon.log())
    is_(sorted(lab.query("SELECT job_id::text, state, purchase FROM meshify.predictions WHERE state = 'surplus'")),
        sorted((j, "surplus", None) for j in lost), "and written down")
    lab.wait_status(known, "done", "error", seconds=60)
    is_((lab.job(known)["status"], len(of(lab, "known"))), ("done", 1), "what the new primary knows goes on")
    lab.sim.config(starting_ms=0, processing_ms=100)
    lab.query("UPDATE meshify.settings SET value = 'off' WHERE key = 'paused'")
    lab.query("SELECT pg_notify('meshify_jobs', '')")
    lab.wait_all_ended(60)
    is_((lab.count("done"), len(of(lab, "lost"))), (6, 10), "the others are bought for again")
    rows = {i for (i,) in lab.query("SELECT prediction_id FROM meshify.predictions")}
    is_({p["id"] for p in lab.sim.predictions()} - rows, set(), "each prediction has its row")
    lab.sim.stop()


def pause(lab, value):
    lab.query("UPDATE meshify.settings SET value = %s WHERE key = 'paused'", value)
    lab.query("SELECT pg_notify('meshify_jobs', '')")


def about_to_be_lost(lab, tags, whole=()):
    """A daemon buys for these, and the standby hears of the intents alone; of `whole` it knows just the jobs."""
    standby, in_step = lagging(lab)
    url = f"postgresql://meshifyd@127.0.0.1:{lab.postgres.port},127.0.0.1:{standby.port}/meshify"
    daemon = lab.daemon("one", **{"database.url": url, "database.lease": "45s"})
    for tag in tags:
        lab.sim.fault("create", {"stall_ms": 4000}, match=tag, count=1)
    jobs = {tag: lab.insert_job(tag, f"{IMAGE}?{tag}")[0] for tag in tags}
    wait_for(lambda: all(len(of(lab, tag)) == 1 for tag in tags), 60, "the purchases")
    pause(lab, "on")
    jobs |= {tag: lab.insert_job(tag, f"{IMAGE}?{tag}")[0] for tag in whole}
    wait_for(in_step, 60, "their intents on the standby")
    hold_back(lab, standby)
    pause(lab, "off")
    return standby, daemon, jobs


def purchases(lab, job):
    return lab.query("SELECT state, prediction_id, finished_at IS NOT NULL, output IS NOT NULL FROM meshify.predictions WHERE job_id = %s", job)


@test
def it_is_told_until_it_is_heard():
    """What the new primary does not know, and can't take at once: somebody holds the job's row, a trigger refuses it. It is told
    again, and keeps nothing else from being told."""
    lab = Lab(bouncer="")
    lab.sim.config(starting_ms=0, processing_ms=600000)
    standby, daemon, jobs = about_to_be_lost(lab, ("held", "refused", "good"))
    lab.wait_bought(3)
    daemon.signal(signal.SIGSTOP)
    fail_over(lab, standby)
    is_([purchases(lab, j) for j in jobs.values()], [[("intended", None, False, False)]] * 3, "the ids of three purchases are lost with their primary")
    holder = standby.connect(autocommit=False)
    holder.cursor().execute("SELECT FROM public.jobs WHERE id = %s FOR UPDATE", [jobs["held"]])
    standby.execute("CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$;"
                    f"CREATE TRIGGER refuse BEFORE UPDATE ON meshify.predictions FOR EACH ROW WHEN (NEW.job_id = '{jobs['refused']}') "
                    "EXECUTE FUNCTION public.refuse()", SUPERUSER, "meshify")
    daemon.signal(signal.SIGCONT)
    known = lambda tag: [("bought", of(lab, tag)[0]["id"], False, False)]
    wait_for(lambda: purchases(lab, jobs["good"]) == known("good"), 30, "what nothing stands against")
    ok(True, "what nothing stands against is known again")
    is_([purchases(lab, jobs[t]) for t in ("held", "refused")], [[("intended", None, False, False)]] * 2, "the others are not yet")
    holder.close()
    wait_for(lambda: purchases(lab, jobs["held"]) == known("held"), 30, "the row that was held")
    ok(True, "a row that was held is told again")
    daemon.wait_event("DB_REFUSED")
    standby.execute("DROP FUNCTION public.refuse() CASCADE", SUPERUSER, "meshify")
    wait_for(lambda: purchases(lab, jobs["refused"]) == known("refused"), 30, "the row that was refused")
    ok(True, "so is one that was refused")
    is_((daemon.told("DB_REFUSED"), daemon.told("LEASE_LOST")), (1, 0), "which is said once")
    is_(len(lab.sim.predictions()), 3, "nothing is bought twice")
    lab.sim.stop()


@test
def how_it_ended_is_told_too():
    """Predictions that had succeeded, and whose meshes were being fetched."""
    lab = Lab(bouncer="")
    lab.sim.config(starting_ms=0, processing_ms=500)
    lab.sim.fault("file", {"stall_ms": 25000, "after": 1000}, count=2)
    standby, daemon, jobs = about_to_be_lost(lab, ("known",), ("lost",))
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE finished_at IS NOT NULL") == 2, 60, "the end of both")
    wait_for(lambda: sum(lab.sim.stats()["requests"]["file"].values()) == 2, 60, "both downloads")
    daemon.signal(signal.SIGSTOP)
    fail_over(lab, standby)
    is_((purchases(lab, jobs["known"]), purchases(lab, jobs["lost"])), ([("intended", None, False, False)], []), "their ends are lost with their primary, and all of one")
    daemon.signal(signal.SIGCONT)
    first = of(lab, "known")[0]["id"], of(lab, "lost")[0]["id"]
    wait_for(lambda: purchases(lab, jobs["known"]) == [("bought", first[0], True, True)], 20, "the row of the one")
    is_(lab.job(jobs["known"])["status"], "running", "a row knows how its purchase ended, before its job does")
    wait_for(lambda: ("surplus", first[1], True, False) in purchases(lab, jobs["lost"]), 20, "a row of the other")
    ok(True, "what has no row gets one, with its end")
    pause(lab, "off")
    lab.wait_all_ended(60)
    is_((lab.count("done"), len(of(lab, "known")), len(of(lab, "lost"))), (2, 1, 2), "both are done, the one that nobody knew was bought again")
    rows = {i for (i,) in lab.query("SELECT prediction_id FROM meshify.predictions")}
    is_({p["id"] for p in lab.sim.predictions()} - rows, set(), "each prediction has its row")
    lab.sim.stop()


@test
def what_is_looked_for_goes_on_being():
    """The answer to a purchase was lost, and then its intent and its claim: nobody else would know that something may run."""
    lab = Lab(bouncer="")
    lab.sim.config(starting_ms=0, processing_ms=600000)
    lab.sim.fault("create", {"lose_answer": True, "late_list_ms": 600000}, match="lost", count=1)
    standby, daemon, jobs = about_to_be_lost(lab, (), ("lost",))
    daemon.wait_event("JOB_UNSURE", seconds=60)
    daemon.signal(signal.SIGSTOP)
    fail_over(lab, standby)
    is_((purchases(lab, jobs["lost"]), lab.job(jobs["lost"])["status"]), ([], "pending"), "the intent and the claim are lost with their primary")
    daemon.signal(signal.SIGCONT)
    wait_for(lambda: purchases(lab, jobs["lost"]) == [("given_up", None, False, False)], 30, "its row")
    is_(lab.query("SELECT purchase, input_hash IS NOT NULL, input_keys IS NOT NULL, model IS NOT NULL, now() - intent_at < interval '1 min' FROM meshify.predictions"),
        [(1, True, True, True, True)], "the intent has its row again, and is looked for")
    pause(lab, "off")
    wait_for(lambda: len(of(lab, "lost")) == 2, 60, "another purchase")
    lab.sim.config(list_all=True)
    first, second = [p["id"] for p in of(lab, "lost")]
    wait_for(lambda: ("surplus", first) in lab.query("SELECT state, prediction_id FROM meshify.predictions"), 120, "the audit to find it")
    wait_for(lambda: [p["status"] for p in of(lab, "lost")][0] == "canceled", 30, "its cancel")
    is_(lab.query("SELECT state, prediction_id FROM meshify.predictions ORDER BY purchase"), [("surplus", first), ("bought", second)], "what was paid has its row, and is cancelled")
    lab.sim.stop()


main()
