#!/usr/bin/python3
"""What triggers of the project refuse, in each table that we write: it concerns the job whose row it is, and nobody else."""

import signal
import time

from lab import IMAGE, Lab, is_, main, ok, test, wait_for
from lab.postgres import SUPERUSER
from lab.turns import QUIET

# What a trigger may raise: deadlock, serialization, disk full, lock not available, canceled, assertion, the server's own words.
STATES = ("40P01", "40001", "53100", "55P03", "57014", "P0004", "57P01", "25006", "08006", "XX000", "3F000", "P0001")


def trigger(lab, name, table, when, do, timing="BEFORE UPDATE", constraint=False):
    """`do` is the body; `when` is about NEW."""
    lab.query(f"CREATE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN IF {when} THEN {do} END IF; RETURN NEW; END $$")
    lab.query(f"CREATE {'CONSTRAINT' if constraint else ''} TRIGGER {name} {timing} ON public.{table} "
              f"{'DEFERRABLE INITIALLY DEFERRED' if constraint else ''} FOR EACH ROW EXECUTE FUNCTION public.{name}()")


def drop(lab, name):
    lab.query(f"DROP FUNCTION public.{name}() CASCADE")


def raising(column="NEW.input_data ->> 'prompt'"):
    """Raises what the prompt asks for."""
    return f"IF {column} ~ '^raise ' THEN RAISE EXCEPTION 'not this one' USING ERRCODE = substr({column}, 7); END IF;"


@test
def claims_of_others():
    """A job that can't be claimed, whatever its trigger does, keeps nobody else waiting."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    trigger(lab, "hostile", "jobs", "NEW.status = 'running' AND OLD.status = 'pending'",
            raising() + " IF NEW.input_data ->> 'prompt' = 'asserts' THEN ASSERT false, 'no'; END IF;"
            "IF NEW.input_data ->> 'prompt' = 'waits' THEN PERFORM FROM public.projects p WHERE p.name = 'held' FOR UPDATE; END IF;")
    lab.query("INSERT INTO public.projects (owner_id, name) VALUES (%s, 'held')", lab.user)
    holder = lab.postgres.connect(autocommit=False)
    holder.cursor().execute("SELECT FROM public.projects WHERE name = 'held' FOR UPDATE")
    bad = [lab.insert_job(p, IMAGE)[0] for p in [f"raise {s}" for s in STATES] + ["asserts", "waits"]]
    daemon = lab.daemon(**{"database.poll_interval": "1s"})
    begun = time.monotonic()
    good = [lab.insert_job(f"good {i}", f"{IMAGE}?{i}")[0] for i in range(5)]
    for job in good:
        lab.wait_status(job, "done", seconds=60)
    ok(time.monotonic() - begun < 20, "claims: the others are done in their time", time.monotonic() - begun)
    is_(lab.value("SELECT count(*) FROM public.jobs WHERE id = ANY (%s::uuid[]) AND status = 'pending'", bad), len(bad), "claims: the refused wait")
    is_(daemon.told("DB_DOWN", "DB_REFUSED"), 0, "claims: nothing else is refused, and the connection is kept")
    holder.close()
    drop(lab, "hostile")
    lab.query("UPDATE meshify.unclaimable SET until = now()")
    for job in bad:
        lab.wait_status(job, "done", seconds=60)
    ok(True, "claims: without the trigger they are done")
    lab.sim.stop()


@test
def a_claim_that_takes_its_time():
    """Nothing is raised: a trigger does not come back. Its job is left alone, the others go on."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    trigger(lab, "slow", "jobs", "NEW.status = 'running' AND OLD.status = 'pending' AND NEW.input_data ->> 'prompt' = 'slow'", "PERFORM pg_sleep(90);")
    slow, _ = lab.insert_job("slow", IMAGE)
    daemon = lab.daemon(**{"database.poll_interval": "1s"})
    good, _ = lab.insert_job("good", IMAGE)
    lab.wait_status(good, "done", seconds=60)
    is_(lab.job(slow)["status"], "pending", "a slow trigger: its job waits, the other is done")
    is_(daemon.told("DB_DOWN", "LEASE_LOST"), 0, "a slow trigger: the connection is kept")
    lab.sim.stop()


def due(lab):
    """What was put off is tried now."""
    lab.query("UPDATE meshify.closings SET due = now() WHERE due IS NOT NULL")


@test
def three_hundred_that_are_refused():
    """Stored meshes whose closing a trigger refuses: they hold no slot, cost nothing more, and are done when it lets them."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=20)
    trigger(lab, "refuse", "jobs", "NEW.status = 'done' AND NEW.input_data ->> 'prompt' = 'refused'", "RAISE EXCEPTION 'not done';")
    daemon = lab.daemon(**{"worker.max_jobs": "20"})
    bad = [lab.insert_job("refused", f"{IMAGE}?{i}")[0] for i in range(300)]
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.closings WHERE due IS NOT NULL") >= 40, 60, "more of them than there are slots")
    good = [lab.insert_job(f"good {i}", f"{IMAGE}?good{i}")[0] for i in range(10)]
    lab.query("UPDATE public.jobs SET priority = 1 WHERE id = ANY (%s::uuid[])", good)
    for job in good:
        lab.wait_status(job, "done", seconds=30)
    ok(True, "300 refused: others are done beside them")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.closings WHERE due IS NOT NULL") == 300, 120, "all of them to wait for their closing")
    is_(lab.query("SELECT status, count(*) FROM public.jobs GROUP BY 1 ORDER BY 1"), [("done", 10), ("pending", 300)], "300 refused: no worker holds them")
    job, _ = lab.insert_job("one more", f"{IMAGE}?more")
    begun = time.monotonic()
    lab.wait_status(job, "done", seconds=60)
    ok(time.monotonic() - begun < 10, "300 refused: one more is done in its time", time.monotonic() - begun)
    is_(lab.value("SELECT count(*) FROM meshify.predictions WHERE object_name IS NOT NULL AND object_size > 0 AND length(object_sha256) = 64 "
                  "AND job_id = ANY (%s::uuid[])", bad), 300, "300 refused: what is stored stands with each purchase")
    # The output has expired long ago, and another instance does it.
    lab.query("UPDATE meshify.predictions SET finished_at = now() - interval '3 h', intent_at = now() - interval '3 h'")
    daemon.stop()
    drop(lab, "refuse")
    again = lab.daemon("two", **{"worker.max_jobs": "20"})
    due(lab)
    wait_for(lambda: lab.count("done") == 311, 60, "all of them to be done")
    stats = lab.sim.stats()
    is_((len(lab.sim.predictions()), lab.value("SELECT count(*) FROM meshify.predictions")), (311, 311), "300 refused: nothing is bought twice")
    is_(lab.value("SELECT count(*) FROM meshify.refunds"), 0, "300 refused: nothing is given back")
    is_(lab.value("SELECT count(*) FROM public.notifications WHERE type = 'success'"), 311, "300 refused: each user is told once")
    is_(lab.value("SELECT max(attempts) FROM public.jobs"), 1, "300 refused: no attempt is counted")
    is_(daemon.told("DB_DOWN") + again.told("DB_DOWN"), 0, f"300 refused: the connection is kept {len(stats) > 0}")
    lab.sim.stop()


@test
def one_after_the_other_is_put_off():
    """What is put off keeps coming, and does not keep what is due from being tried again."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=20)
    trigger(lab, "refuse", "jobs", "NEW.status = 'done' AND NEW.input_data ->> 'prompt' = 'refused'", "RAISE EXCEPTION 'not done';")
    lab.daemon()
    mended, _ = lab.insert_job("refused", IMAGE)
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.closings WHERE due IS NOT NULL") == 1, 60, "it to be put off")
    lab.query("UPDATE public.jobs SET input_data = input_data || '{\"prompt\": \"mended\"}' WHERE id = %s", mended)
    begun, n = time.monotonic(), 0
    while lab.job(mended)["status"] != "done" and time.monotonic() - begun < 60:
        n += 1
        lab.insert_job("refused", f"{IMAGE}?{n}")
        lab.query("UPDATE meshify.closings SET due = now() + CASE WHEN job_id = %s THEN '0' ELSE '1 h' END::interval WHERE due IS NOT NULL", mended)
        time.sleep(0.5)
    is_(lab.job(mended)["status"], "done", f"one after the other: what is due is done, while {n} more are put off")
    lab.sim.stop()


@test
def notifications():
    """As a hook whose extension is gone; then one that does not come back."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=20)
    trigger(lab, "push", "notifications", "true", "PERFORM net.http_post('http://hook.example/', '{}'::jsonb);", timing="AFTER INSERT")
    daemon = lab.daemon()
    for i in range(10):
        lab.insert_job("a chair", f"{IMAGE}?{i}")
    lab.wait_all_ended(60)
    is_((lab.count("done"), len(lab.sim.predictions()), lab.value("SELECT count(*) FROM meshify.refunds")), (10, 10, 0), "a broken hook: all are done, bought once")
    is_(lab.value("SELECT count(*) FROM meshify.events WHERE event = 'unnotified'"), 10, "a broken hook: each history says so")
    is_(daemon.told("DB_SAYS", text="could not be notified"), 1, "a broken hook: the log says it once")
    job = lab.value("SELECT job_id FROM meshify.enqueue(%s, %s, 'a stool', NULL)", lab.user, lab.project)
    ok(job, "a broken hook: users can still ask for more")
    drop(lab, "push")
    lab.wait_status(job, "done")
    trigger(lab, "push", "notifications", "true", "PERFORM pg_sleep(300);", timing="AFTER INSERT")
    for i in range(5):
        lab.insert_job("a chair", f"{IMAGE}?slow{i}")
    lab.wait_all_ended(60)
    is_((lab.count("done"), daemon.told("DB_DOWN", "LEASE_LOST")), (16, 0), "a slow hook: all are done")
    lab.sim.stop()


@test
def every_state_in_every_table():
    """Each closing is refused in its own way, some when their transaction ends; a good one beside them; when it is mended,
    all end as they were to."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=20)
    trigger(lab, "jobs_now", "jobs", "NEW.status = 'done'", raising(r"replace(NEW.input_data ->> 'prompt', 'jobs ', '')"))
    trigger(lab, "jobs_later", "jobs", "NEW.status = 'done'", raising(r"replace(NEW.input_data ->> 'prompt', 'later ', '')"), timing="AFTER UPDATE", constraint=True)
    trigger(lab, "assets", "mesh_assets", "NEW.status = 'done'", raising(r"replace(NEW.prompt, 'assets ', '')"))
    trigger(lab, "profiles", "profiles", "NEW.credits_remaining > OLD.credits_remaining", "RAISE EXCEPTION 'nothing back' USING ERRCODE = '40001';")
    trigger(lab, "told", "notifications", "NEW.type = 'success'", raising(r"substring(NEW.message FROM 'raise .....')"), timing="BEFORE INSERT")
    daemon = lab.daemon(**{"worker.max_jobs": "8"})
    bad = [lab.insert_job(f"{where} raise {state}", f"{IMAGE}?{where}{state}")[0] for where in ("jobs", "later", "assets", "told") for state in STATES]
    failing, _ = lab.insert_job(input_data="7")
    lab.query("UPDATE public.jobs SET priority = 1 WHERE id = ANY (%s::uuid[])", bad)
    lab.query("UPDATE public.jobs SET priority = 2 WHERE id = %s", failing)
    good = [lab.insert_job(f"good {i}", f"{IMAGE}?{i}")[0] for i in range(10)]
    for job in good:
        lab.wait_status(job, "done", seconds=60)
    ok(True, "every state: the good ones are done")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.closings WHERE due IS NOT NULL AND job_id = ANY (%s::uuid[])", [*bad, failing])
             + lab.value("SELECT count(*) FROM public.jobs WHERE status = 'done' AND id = ANY (%s::uuid[])", bad) == len(bad) + 1, 60, "the others to be put off")
    is_(lab.query("SELECT input_data ->> 'prompt' FROM public.jobs WHERE status = 'done' AND id = ANY (%s::uuid[]) AND input_data ->> 'prompt' !~ '^told'", bad),
        [], "every state: nothing is swallowed")
    is_(lab.value("SELECT count(*) FROM public.jobs WHERE status NOT IN ('done', 'pending')"), 0, "every state: none fails")
    is_(daemon.told("DB_DOWN", "LEASE_LOST"), 0, "every state: the connection is kept")
    for name in ("jobs_now", "jobs_later", "assets", "profiles", "told"):
        drop(lab, name)
    due(lab)
    for job in bad:
        lab.wait_status(job, "done", seconds=60)
    lab.wait_status(failing, "error", seconds=60)
    is_(len(lab.sim.predictions()), len(bad) + len(good), "every state: nothing is bought twice")
    is_(lab.query("SELECT job_id::text, credits FROM meshify.refunds"), [(failing, 25)], "every state: one refund, to the one that failed")
    lab.sim.stop()


@test
def no_closing_at_all():
    """Not a row, but the whole call is refused: it is said once, with what mends it."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=20)
    trigger(lab, "refuse", "jobs", "NEW.status = 'done'", "RAISE EXCEPTION 'not done';")
    lab.query("CREATE SEQUENCE public.tries")
    daemon = lab.daemon()
    lab.postgres.execute("CREATE OR REPLACE FUNCTION meshify.finish(p_worker uuid, p_max int) RETURNS TABLE (job uuid, answer text, detail text) LANGUAGE plpgsql "
                         "SECURITY DEFINER AS $$ BEGIN PERFORM nextval('public.tries'); RAISE EXCEPTION 'permission denied for table closings' USING ERRCODE = '42501'; END $$; "
                         "GRANT ALL ON SEQUENCE public.tries TO PUBLIC", "postgres")
    job, _ = lab.insert_job("refused", IMAGE)
    denied = "permission denied for table closings"
    daemon.wait_event("DB_REFUSED", level="err", text=denied + ".*UPDATE meshify.schema_version SET version = 0; and then meshifyctl migrate", seconds=60)
    drop(lab, "refuse")
    wait_for(lambda: lab.value("SELECT last_value FROM public.tries") >= 3, 90, "more tries")
    is_(daemon.told("DB_REFUSED", text=denied), 1, "no closing at all: it is said once")
    lab.postgres.execute("UPDATE meshify.schema_version SET version = 0", "postgres")
    is_(lab.ctl("migrate", config=lab.write_config("admin", **{"database.url": lab.postgres.url("postgres")})).returncode, 0, "no closing at all: what it advises")
    due(lab)
    lab.wait_status(job, "done", seconds=60)
    daemon.wait_event("DB_REFUSED", level="notice", seconds=10)
    ok(True, "no closing at all: mends it")
    lab.sim.stop()


def sessions(lab):
    """Those that it has opened; the server may have workers of its own at one of its queries."""
    return lab.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'meshifyd' AND backend_type = 'client backend'")


@test
def many_that_take_their_time():
    """Each closing is slow, and all together outlast what one transaction may take: they get done, a part at a time, and
    neither heartbeats nor other jobs wait for all of them."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=20)
    trigger(lab, "slow", "jobs", "NEW.status = 'error'", "PERFORM pg_sleep(0.35);")
    daemon = lab.daemon(**{"worker.max_jobs": "110", "database.lease": "45s"})
    before, most, silence = sessions(lab), 0, 0
    lab.query("UPDATE meshify.settings SET value = 'on' WHERE key = 'paused'")
    for _ in range(200):
        lab.insert_job(input_data="7")
    lab.query("UPDATE meshify.settings SET value = 'off' WHERE key = 'paused'; NOTIFY meshify_jobs") # a hundred are claimed at once
    wait_for(lambda: lab.count("running") > 0, 60, "their claim")
    good = [lab.insert_job(f"good {i}", f"{IMAGE}?good{i}")[0] for i in range(10)]
    lab.query("UPDATE public.jobs SET priority = 1 WHERE id = ANY (%s::uuid[])", good)
    begun, took, left = time.monotonic(), None, 0
    while lab.unended() > 0 and time.monotonic() < begun + 180:
        most = max(most, sessions(lab))
        silence = max(silence, lab.value("SELECT extract(epoch FROM now() - heartbeat_at)::float8 FROM meshify.workers WHERE NOT dead"))
        if took is None and lab.value("SELECT count(*) FROM public.jobs WHERE status = 'done' AND id = ANY (%s::uuid[])", good) == len(good):
            took, left = time.monotonic() - begun, lab.unended()
        time.sleep(0.2)
    is_(lab.query("SELECT status, count(*), max(attempts) FROM public.jobs GROUP BY 1 ORDER BY 1"), [("done", 10, 1), ("error", 200, 1)],
        "slow closings: all are closed, at the first attempt")
    is_(lab.value("SELECT count(*) FROM meshify.refunds"), 200, "slow closings: each is given back once")
    is_(daemon.told("DB_DOWN", "LEASE_LOST", "LEASE_SUSPENDED"), 0, "slow closings: the connection and the lease are kept")
    ok(most <= before, "slow closings: no session more than before", f"{most}, before {before}")
    ok(silence < 30, "slow closings: heartbeats go on", f"{silence:.1f} s without one")
    ok(left > (50 if QUIET else 0), "slow closings: good ones are done before the last of them", f"{left} left after {took} s of {time.monotonic() - begun:.1f}")
    lab.sim.stop()


@test
def a_transaction_that_is_never_done():
    """As above, where nothing in the database ends it in time: what was lost with its connection is not sent again as it was."""
    lost = "no answer in time|the connection was closed" # the latter by transaction_timeout, since PostgreSQL 17
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    trigger(lab, "slow", "jobs", "NEW.status = 'pending'", "PERFORM pg_sleep(1.5);")
    lab.postgres.execute("CREATE OR REPLACE FUNCTION meshify.tables_are_free(p_always boolean DEFAULT false) RETURNS boolean LANGUAGE sql AS 'SELECT true'", "postgres")
    daemon = lab.daemon(**{"database.lease": "5min", "worker.drain_timeout": "5min"})
    for i in range(30):
        lab.insert_job("a chair", f"{IMAGE}?{i}")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE state = 'bought'") == 30, 60, "their purchases")
    lab.postgres.execute("ALTER ROLE meshifyd CONNECTION LIMIT 0", SUPERUSER) # until what it locked is free again
    daemon.signal(signal.SIGTERM) # they go back, all in one turn
    daemon.wait_event("DB_DOWN", text=lost, seconds=60)
    watch = lab.postgres.connect(SUPERUSER).cursor()

    def is_over():
        watch.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'meshifyd' AND xact_start < now() - interval '10 s'")
        return watch.fetchone() == (0,)
    wait_for(is_over, 60, "the end of what was lost")
    lab.postgres.execute("ALTER ROLE meshifyd CONNECTION LIMIT -1", SUPERUSER)
    is_(daemon.wait(150), 0, "never done: it ends as it should")
    is_(lab.query("SELECT status, count(*) FROM public.jobs GROUP BY 1"), [("pending", 30)], "never done: call by call they are")
    is_(daemon.told("DB_DOWN", text=lost), 1, "never done: the connection is lost once")
    lab.sim.stop()


main()
