#!/usr/bin/python3
"""The database goes away, in each way it can: nothing is lost, nothing is bought twice, it is said once, and it
mends itself. The loop turns all the while (it answers SIGUSR1)."""

import os
import socket
import threading
import time

import psycopg2

from lab import IMAGE, Lab, accounts, is_, main, ok, test, wait_for
from lab.bouncer import Bouncer
from lab.namespace import in_namespace
from lab.postgres import SUPERUSER, free_port
from lab.proxy import PostgresProxy

LONG = {"database.lease": "30s"}


def all_done(lab, jobs, label):
    accounts.all_done(lab, jobs, label)
    accounts.no_attempt_lost(lab, label)


def cut(lab):
    """Ends the daemons' connections, so that new settings count."""
    lab.postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'meshifyd'", SUPERUSER)


@test
def fail_over():
    """To a standby, by a list of two servers, one of them by name."""
    lab = Lab(bouncer="")
    standby = follows(lab)
    url = f"postgresql://meshifyd@localhost:{lab.postgres.port},127.0.0.1:{standby.port}/meshify"
    jobs, daemon = lab.in_flight(20, 3000, **{**LONG, "database.url": url})
    lab.postgres.stop("immediate")
    daemon.wait_event("DB_DOWN", seconds=20)
    ok("not ready: no database connection" in daemon.state(), "fail-over: it says that it is not ready")
    wait_for(lambda: lab.sim.stats()["received"]["file"] > 0, 20, "downloads while there is no database")
    standby.promote()
    lab.db = standby.connect()
    daemon.wait_event("DB_UP", after="DB_DOWN")
    wait_for(lambda: daemon.told("LISTEN_UP") == 2, 30, "wake-ups from the new server")
    jobs += lab.insert_jobs(1, "after it")
    all_done(lab, jobs, "fail-over: ")
    is_(daemon.told("DB_DOWN"), 1, "fail-over: said once")
    is_(daemon.stop(), 0, "fail-over: stops cleanly")
    lab.sim.stop()


def follows(lab):
    """A standby that is in step with its primary."""
    standby = lab.postgres.standby()
    replication = lab.postgres.connect(SUPERUSER).cursor()

    def in_step():
        replication.execute("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")
        return replication.fetchone() == (1,)
    wait_for(in_step, 30, "the standby to follow")
    return standby


@test
def a_standby_comes_first():
    """In a list of ours, and in a service file's, which libpq alone reads."""
    lab = Lab(bouncer="")
    lab.sim.config(starting_ms=0, processing_ms=50)
    standby = follows(lab)
    service = os.path.join(lab.dir, "services")
    with open(service, "w", encoding="utf-8") as file:
        file.write(f"[mesh]\nhost=127.0.0.1,127.0.0.1\nport={standby.port},{lab.postgres.port}\ndbname=meshify\nuser=meshifyd\n")
    for what, url in (("a list", f"postgresql://meshifyd@127.0.0.1:{standby.port},127.0.0.1:{lab.postgres.port}/meshify"),
                      ("a service file", "service=mesh")):
        daemon = lab.daemon(what.split()[-1], environment={"PGSERVICEFILE": service}, **{"database.url": url})
        job, _ = lab.insert_job(what, f"{IMAGE}?{what[-4:]}")
        lab.wait_status(job, "done", seconds=30)
        is_(daemon.told("DB_DOWN"), 0, f"a standby comes first ({what}): nothing is wrong with that")
        is_(daemon.stop(), 0, f"a standby comes first ({what}): the primary is found")
    lab.sim.stop()


@test
def a_silent_server():
    """The first of the list accepts connections, and never says a word."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://meshifyd@127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{lab.postgres.port}/meshify?sslmode=disable"
        daemon = lab.daemon(wait=False, **{"database.url": url, "database.listen": "off"})
        daemon.wait_event("STARTED", level="warning")
        job, _ = lab.insert_job("past it", IMAGE)
        lab.wait_status(job, "done", seconds=60)
        is_(daemon.told("DB_DOWN", text="connecting took too long"), 1, "a silent server: said once, then the next one is asked")
    lab.sim.stop()


def said_by_the_server(lab, what):
    with open(os.path.join(lab.postgres.dir, "log"), encoding="utf-8") as text:
        return text.read().count(what)


@test
def read_only():
    """As a managed database becomes when its disk is full. (What a role or a database sets: 46-odd_rows.t.)"""
    for how in ("the server", "a new connection"):
        lab = Lab(settings=("log_connections = on",))
        label = f"read-only ({how}): "
        jobs, daemon = lab.in_flight(10, 1000, **LONG)
        lab.query("SET default_transaction_read_only = off")
        lab.postgres.execute("ALTER SYSTEM SET default_transaction_read_only = on", SUPERUSER)
        lab.postgres.execute("SELECT pg_reload_conf()", SUPERUSER)
        if how == "a new connection":
            cut(lab)
        daemon.wait_event("DB_DOWN")
        jobs += lab.insert_jobs(5, "meanwhile")
        wait_for(lambda: lab.sim.stats()["received"]["file"] > 0, 30, "downloads meanwhile")
        login = "connection authorized: user=meshifyd"
        tried = said_by_the_server(lab, login)
        wait_for(lambda: lab.bouncer or said_by_the_server(lab, login) > tried + 2, 60, "more attempts")
        ok("not ready" in daemon.state(), f"{label}it says that it is not ready")
        is_(lab.count("done"), 0, f"{label}nothing is closed")
        is_(daemon.told("DB_DOWN"), 1, f"{label}said once")
        admin = lab.postgres.connect(SUPERUSER, "postgres")
        admin.cursor().execute("SET default_transaction_read_only = off")
        admin.cursor().execute("ALTER SYSTEM RESET default_transaction_read_only")
        admin.cursor().execute("SELECT pg_reload_conf()")
        if lab.bouncer: # which keeps sessions from before
            cut(lab)
        daemon.wait_event("DB_UP", after="DB_DOWN", seconds=60)
        all_done(lab, jobs, label)
        ok(daemon.told("DB_DOWN") == 1 or lab.bouncer, f"{label}and goes away once", daemon.log())
        lab.sim.stop()


@test
def read_only_behind_a_pooler():
    """Who connects to a pooler meanwhile is told of the server as it was at some other time."""
    lab = Lab(bouncer="poll")
    lab.sim.config(starting_ms=0, processing_ms=50)
    admin = lab.postgres.connect(SUPERUSER, "postgres").cursor()
    admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    admin.execute("SELECT pg_reload_conf()")
    service = os.path.join(lab.dir, "services")
    with open(service, "w", encoding="utf-8") as file:
        file.write(f"[mesh]\nhost=127.0.0.1\nport={lab.bouncer.port}\ndbname=meshify\nuser=meshifyd\n")
    urls = {"url": lab.bouncer.url(), "address": f"hostaddr=127.0.0.1 port={lab.bouncer.port} dbname=meshify user=meshifyd", "service": "service=mesh"}
    daemons = {name: lab.daemon(name, wait=False, environment={"PGSERVICEFILE": service}, **{"database.url": url}) for name, url in urls.items()}
    for daemon in daemons.values():
        daemon.wait_event("DB_DOWN", text="read-only")
    admin.execute("SET default_transaction_read_only = off")
    admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
    admin.execute("SELECT pg_reload_conf()")
    for name, daemon in daemons.items():
        daemon.wait_event("DB_UP")
        is_(daemon.told("DB_DOWN"), 1, f"read-only behind a pooler ({name}): said once, and it is noticed when it is over")
    lab.query("SET default_transaction_read_only = off")
    job, _ = lab.insert_job("after it", IMAGE)
    lab.wait_status(job, "done", seconds=30)
    lab.sim.stop()


def meanwhile(lab, url):
    """A job of another instance, by a way of its own: many an attempt of the first one would fit in."""
    lab.sim.config(starting_ms=0, processing_ms=2000)
    other = lab.daemon("meanwhile", wait=False, **{"database.url": url, "database.listen": "off"})
    job, _ = lab.insert_job("meanwhile", IMAGE)
    lab.wait_status(job, "done", seconds=60)
    other.stop()


@test
def refused_behind_a_pooler():
    """It lets us in, and the server does not let it in: no reason to ask again at once."""
    lab = Lab(bouncer="poll")
    lab.postgres.execute("ALTER ROLE meshifyd PASSWORD 'right'", SUPERUSER)
    refuse(lab, "local all meshifyd scram-sha-256\n")
    daemon = lab.daemon(wait=False)
    daemon.wait_event("DB_DOWN", text="authentication failed.*, reconnecting in 300 s")
    asked = lab.bouncer.log().count("login attempt")
    meanwhile(lab, lab.postgres.url("meshifyd", tcp=True))
    is_(lab.bouncer.log().count("login attempt"), asked, "refused behind a pooler: not asked again meanwhile")
    ok(daemon.alive() and daemon.told("DB_DOWN") == 1, "refused behind a pooler: it stays, and said it once")
    lab.sim.stop()


@test
def a_missing_right():
    """What is refused to everybody costs no job anything: it waits until the operator has mended it."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=1000)
    rights = ["meshify.intend_purchase(uuid, jsonb, int, text, jsonb, text, boolean, text, interval, jsonb)",
              "meshify.done(uuid, uuid, text, bigint, text, jsonb, jsonb)"]
    daemon = lab.daemon(**{**LONG, "worker.max_attempts": "2", "worker.retry_base": "100ms", "worker.retry_max": "200ms"})
    for right in rights:
        lab.postgres.execute(f"REVOKE EXECUTE ON FUNCTION {right} FROM meshify_worker")
    jobs = lab.insert_jobs(2)
    # Longer than any number of attempts: it rests, goes back, and is claimed again.
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.events WHERE event = 'handed_back' AND detail ->> 'reason' = 'database_busy'") >= 2,
             120, "the jobs to go back")
    ok(daemon.events("DB_REFUSED", text="permission denied for function intend_purchase"), "a missing right: it is in the log")
    # One that is missed after something else: it is said all the same.
    other = lab.postgres.connect(autocommit=False)
    for right in reversed(rights):
        lab.postgres.execute(f"GRANT EXECUTE ON FUNCTION {right} TO meshify_worker")
    lab.wait_bought(2)
    other.cursor().execute("SELECT FROM public.jobs FOR UPDATE")
    # Each finds its row locked, and rests.
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE finished_at IS NOT NULL") == 2, 30, "both to be fetched")
    lab.postgres.execute(f"REVOKE EXECUTE ON FUNCTION {rights[1]} FROM meshify_worker")
    other.rollback()
    daemon.wait_event("DB_REFUSED", text="permission denied for function done", seconds=60)
    lab.postgres.execute(f"GRANT EXECUTE ON FUNCTION {rights[1]} TO meshify_worker")
    accounts.all_done(lab, jobs, "a missing right: ", seconds=60)
    is_(lab.value("SELECT max(attempts) FROM public.jobs"), 1, "a missing right: costs no attempt")
    lab.sim.stop()


@test
def reset_in_a_pipeline():
    lab = Lab()
    proxy = PostgresProxy(lab.postgres.port)
    lab.sim.config(starting_ms=0, processing_ms=200)
    daemon = lab.daemon(**{**LONG, "database.url": proxy.url()})
    jobs = []
    for what in ("claim", "intend_purchase", "record_purchase", "storing", "stored+done"):
        for way in ("db>", "db<"): # never sent; done, but never answered
            proxy.tap.clear()
            proxy.tap.arm(f"{way} {what} #1", "cut")
            jobs += lab.insert_jobs(8, f"{what}{way[2:]}")
            if not proxy.tap.hit.wait(20) and what not in ("storing", "stored+done"): # they may travel together, or not
                ok(False, f"reset: {way} {what} came by", proxy.tap.keys[-30:])
            wait_for(lambda: lab.count("done") == len(jobs), 60, "all done")
    ok(daemon.told("DB_DOWN") >= 7, "reset: it happened several times", daemon.told("DB_DOWN"))
    all_done(lab, jobs, "reset: ")
    lab.sim.stop()


@test
def half_open():
    """A black hole: nothing comes back, and nobody says that the connection is dead."""
    lab = Lab()
    proxy, ears = PostgresProxy(lab.postgres.port), PostgresProxy(lab.postgres.port)
    jobs, daemon = lab.in_flight(10, 3000, **{"database.lease": "6s", "database.url": proxy.url(), "database.listen_url": ears.url()})
    proxy.pause()
    began = time.monotonic()
    daemon.wait_event("DB_DOWN", text="a heartbeat is not answered", seconds=20)
    ok(time.monotonic() - began < 12, "half-open: noticed within about a lease", time.monotonic() - began)
    ok("holding still" in daemon.state(), "half-open: it holds still, and the loop turns")
    received = lab.sim.stats()["received"]
    wait_for(lambda: lab.sim.stats()["received"]["file"] > 0, 20, "polls and downloads meanwhile")
    jobs += lab.insert_jobs(5, "meanwhile")
    is_(lab.sim.stats()["received"]["upload"], received["upload"], "half-open: no upload begins")
    proxy.resume()
    daemon.wait_event("DB_UP", after="DB_DOWN")
    all_done(lab, jobs, "half-open: ")
    is_((daemon.told("DB_DOWN"), daemon.told("LEASE_SUSPENDED")), (1, 1), "half-open: said once")
    # Only the listening connection: found by the proof that follows each reconnect.
    ears.pause()
    lab.postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'meshifyd'", SUPERUSER)
    daemon.wait_event("LISTEN_DOWN", text="a notification of our own did not arrive.*See whether something between drops connections")
    ears.resume()
    wait_for(lambda: daemon.told("LISTEN_UP") == 2, 60, "wake-ups again")
    is_(daemon.told("LISTEN_DOWN"), 1, "half-open: said once, and nobody is told to change his configuration")
    lab.sim.stop()


@test
def no_connection_left():
    lab = Lab(bouncer="") # a pooler has connections left
    jobs, daemon = lab.in_flight(10, 500, **LONG)
    lab.postgres.execute("ALTER ROLE meshifyd CONNECTION LIMIT 0", SUPERUSER)
    cut(lab)
    daemon.wait_event("DB_DOWN", seconds=20)
    jobs += lab.insert_jobs(3, "meanwhile")
    tried = said_by_the_server(lab, "too many connections for role")
    wait_for(lambda: said_by_the_server(lab, "too many connections for role") > tried + 1, 60, "another attempt")
    ok("not ready" in daemon.state(), "connection limit: not ready")
    lab.postgres.execute("ALTER ROLE meshifyd CONNECTION LIMIT -1", SUPERUSER)
    daemon.wait_event("DB_UP", after="DB_DOWN")
    all_done(lab, jobs, "connection limit: ")
    is_(daemon.told("DB_DOWN"), 1, "connection limit: said once")
    lab.sim.stop()
    # From the start on: why is in the log.
    lab.postgres.execute("ALTER ROLE meshifyd CONNECTION LIMIT 0", SUPERUSER)
    daemon = lab.daemon("late", wait=False)
    daemon.wait_event("DB_DOWN", text="too many connections for role", seconds=20)


def refuse(lab, rule):
    """A rule of who may come in, before all others."""
    hba = os.path.join(lab.postgres.data, "pg_hba.conf")
    with open(hba, encoding="utf-8") as text:
        rules = text.read()
    with open(hba, "w", encoding="utf-8") as text:
        text.write(rule + rules)
    lab.postgres.execute("SELECT pg_reload_conf()", SUPERUSER)


@test
def a_wrong_password():
    """Said, and not tried again and again: hosts ban addresses that guess."""
    lab = Lab()
    lab.postgres.execute("ALTER ROLE meshifyd PASSWORD 'right'", SUPERUSER)
    refuse(lab, "host all meshifyd 127.0.0.1/32 scram-sha-256\n")
    url = lab.postgres.url("meshifyd:wrong-8391", tcp=True)
    daemon = lab.daemon("guess", wait=False, **{"database.url": url, "database.listen": "off"})
    daemon.wait_event("DB_DOWN", text="password authentication failed.*, reconnecting in 300 s")
    meanwhile(lab, lab.postgres.url("meshifyd:right", tcp=True))
    is_(said_by_the_server(lab, "password authentication failed"), 1, "wrong password: tried once in seconds")
    is_((daemon.told("DB_DOWN"), daemon.told("STARTED") <= 1), (1, True), "wrong password: said once, and at the start")
    ok(daemon.alive() and "8391" not in daemon.output(), "wrong password: it stays, and does not show it")
    # Of LISTEN's own connection too: why it polls.
    daemon = lab.daemon("deaf", wait=False, **{"database.listen_url": url})
    daemon.wait_event("LISTEN_DOWN", text="password authentication failed.*listen_url")
    lab.sim.config(starting_ms=0, processing_ms=50)
    job, _ = lab.insert_job("polled", IMAGE)
    lab.wait_status(job, "done", seconds=30)
    is_(daemon.told("LISTEN_DOWN"), 1, "wrong password for LISTEN: said once")
    daemon.stop()
    # While the server is away nobody knows; when it is back, the password is refused: said too.
    lab.postgres.stop()
    daemon = lab.daemon("later", wait=False, **{"database.url": url, "database.listen": "off"})
    daemon.wait_event("DB_DOWN", text="connection is refused", seconds=20)
    lab.postgres.start()
    daemon.wait_event("DB_DOWN", text="password authentication failed")
    is_(daemon.told("DB_DOWN", text="connection is refused"), 1, "and that the server was away is said once")


@test
def time_limits():
    """55P03, 57014: a statement took longer than we allow, whatever the role does."""
    lab = Lab()
    lab.postgres.execute("ALTER ROLE meshifyd SET lock_timeout = 0", SUPERUSER)
    jobs, daemon = lab.in_flight(10, 500, **{"database.lease": "6s"})
    other = lab.postgres.connect(autocommit=False)
    other.cursor().execute("LOCK TABLE meshify.workers IN ACCESS EXCLUSIVE MODE")
    daemon.wait_event("DB_DOWN", text="heartbeat.*lock timeout")
    ok("not ready: the database refuses the heartbeat" in daemon.state(), "lock time-out: not ready, and why")
    wait_for(lambda: daemon.told("LEASE_SUSPENDED") == 1, 20, "holding still")
    other.rollback()
    jobs += lab.insert_jobs(3, "after it")
    all_done(lab, jobs, "lock time-out: ")
    ok(daemon.told("DB_DOWN") <= 2, "lock time-out: said once", daemon.told("DB_DOWN"))
    wait_for(lambda: ": ready;" in daemon.state(), 10, "it is ready again")
    lab.sim.stop()


@test
def locked_rows():
    """55P03: somebody holds a job's row, an asset's, a profile's. That one waits, the others go on."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.sim.fault("create", {"final": "failed", "error": "bad"}, match="fails", count=-1)
    user, project = lab.add_user()
    before = lab.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", user)
    failing, _ = lab.insert_job("fails", f"{IMAGE}?fails", user=user, project=project)
    (job, asset), (claimed, its_asset) = lab.insert_jobs(2)
    locks = [lab.postgres.connect(autocommit=False) for _ in range(3)]
    locks[0].cursor().execute("SELECT FROM public.mesh_assets WHERE id = %s FOR UPDATE", (its_asset,))
    locks[1].cursor().execute("SELECT FROM public.profiles WHERE id = %s FOR UPDATE", (user,))
    daemon = lab.daemon(**{**LONG, "worker.max_attempts": "1"})
    wait_for(lambda: lab.job(job)["status"] == "done", 30, "the job that nobody holds")
    is_(lab.job(claimed)["status"], "running", "an asset that is locked keeps its job from nothing but its end")
    is_(lab.job(failing)["status"], "running", "a job whose refund can't be given waits")
    lab.sim.config(processing_ms=1500)
    locked, _ = lab.insert_job("locked", f"{IMAGE}?locked")
    wait_for(lambda: lab.job(locked)["status"] == "running", 20, "the claim")
    locks[2].cursor().execute("SELECT FROM public.jobs WHERE id = %s FOR UPDATE", (locked,))
    others = lab.insert_jobs(5, "other")
    wait_for(lambda: all(lab.job(j)["status"] == "done" for j, _ in others), 60, "the others")
    is_(lab.job(locked)["status"], "running", "a job that is locked waits")
    daemon.state()
    is_(daemon.told("DB_DOWN"), 0, "locks: the connection is kept")
    for lock in locks:
        lock.rollback()
    for j in (claimed, locked):
        lab.wait_status(j, "done", seconds=60)
    lab.wait_status(failing, "error", seconds=60)
    is_(lab.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", user), before, "the refund is given once")
    is_(lab.value("SELECT count(*) FROM public.notifications WHERE user_id = %s", user), 1, "one notification")
    is_(lab.value("SELECT max(attempts) FROM public.jobs"), 1, "no attempt is counted for it")
    accounts.no_second_purchase(lab, "locks: ")
    lab.sim.stop()


@test
def a_listening_connection_that_is_lost():
    """Why it is not there, and what to do about it: for the URL that is its own."""
    lab = Lab(bouncer="")
    nobody = free_port()
    daemon = lab.daemon()
    lab.postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'meshifyd listen'", SUPERUSER)
    daemon.wait_event("LISTEN_DOWN", text="[Ss]ee the server's log")
    wait_for(lambda: daemon.told("LISTEN_UP") == 2, 60, "wake-ups again")
    ok(True, "a lost listening connection: what to do is said, and it comes back")
    other = lab.daemon("other", wait=False, **{"database.listen_url": f"postgresql://meshifyd@127.0.0.1:{nobody}/meshify"})
    line = other.wait_event("LISTEN_DOWN", seconds=60).text
    ok("nothing listens there" in line and "polling instead. Check host and port in [database] listen_url, and" in line and line.endswith(" Or set listen = off."),
       "no listening connection: what to look at, in the URL that counts", line)
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.wait_status(lab.insert_job("polled for", IMAGE)[0], "done")
    is_((daemon.stop(), other.stop()), (0, 0), "a listening connection that is lost: they stop cleanly")
    lab.sim.stop()


@test
def a_listening_connection_that_flaps():
    """However often it is lost, the heartbeats of the other one go on."""
    lab = Lab(bouncer="")
    daemon = lab.daemon(**{"database.lease": "6s"})
    least, sessions, beats = 6.0, set(), set()
    cursor = lab.postgres.connect(SUPERUSER).cursor()

    def flapped():
        nonlocal least
        least = min(least, lab.value("SELECT extract(epoch FROM min(expires_at) - now())::float FROM meshify.workers"))
        beats.add(lab.value("SELECT heartbeat_at FROM meshify.workers"))
        cursor.execute("SELECT CASE application_name WHEN 'meshifyd listen' THEN pid END FROM pg_stat_activity")
        heard = {pid for (pid,) in cursor.fetchall() if pid}
        cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) pid", (list(heard),))
        sessions.update(heard)
        return len(sessions) > 5 and len(beats) > 5
    wait_for(flapped, 90, "five losses and five heartbeats")
    ok(least > 3, "a listening connection that flaps: the lease is renewed in time", least)
    is_(daemon.told("LEASE_SUSPENDED", "LEASE_LOST"), 0, "a listening connection that flaps: nothing is held still")
    lab.sim.stop()


@test
def an_old_snapshot():
    """Somebody's transaction stays open: no dead row can be cleaned up meanwhile."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    other = lab.postgres.connect(autocommit=False)
    other.set_session(isolation_level="REPEATABLE READ")
    reader = other.cursor()
    reader.execute("SELECT count(*) FROM public.jobs")
    jobs = []
    lab.daemon(**LONG)
    lab.daemon("two", **LONG)
    for i in range(3):
        jobs += lab.insert_jobs(100, f"round{i}")
        wait_for(lambda: lab.count("done") == len(jobs), 120, "all done")
    reader.execute("SELECT count(*) FROM public.jobs")
    is_(reader.fetchone(), (0,), "an old snapshot: it stayed open")
    all_done(lab, jobs, "an old snapshot: ")
    lab.sim.stop()


@test
def a_name_that_does_not_resolve():
    """A resolver that does not answer: here /etc/hosts is a pipe that nobody writes into."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    pipe, hosts, mended = (os.path.join(lab.dir, n) for n in ("pipe", "hosts", "mended"))
    for name in (pipe, mended):
        os.mkfifo(name)
    with open(hosts, "w", encoding="utf-8") as file:
        file.write("127.0.0.1 database.example\n")
    wrapper = in_namespace('mount --bind "$1" /etc/hosts; (read -r _ <"$3"; mount --bind "$2" /etc/hosts) &',
                           pipe, hosts, mended)
    url = lab.postgres.url("meshifyd", tcp=True).replace("127.0.0.1", "database.example")
    daemon = lab.daemon(wait=False, wrapper=wrapper or (), **{"database.url": url, "database.listen": "off"})
    daemon.wait_event("STARTED", level="warning")
    if not wrapper: # the name is at least not there
        ok(daemon.told("DB_DOWN") == 1, "a name that does not resolve: said once", daemon.log())
        return
    slowest, last = 0.0, None

    def turned(): # past the moment at which it gives up and asks again
        nonlocal slowest, last
        began = time.monotonic()
        daemon.state(30)
        slowest = max(slowest, time.monotonic() - began)
        last = last or (time.monotonic() + 2 if daemon.events("DB_DOWN", text="name is not found in time") else None)
        return last and time.monotonic() > last
    wait_for(turned, 60, "it to give up, and to ask again")
    ok(slowest < 3, "a resolver that hangs: the loop turns", slowest)
    is_(daemon.told("DB_DOWN", text="name is not found in time"), 1, "a resolver that hangs: said once")
    with open(mended, "w", encoding="utf-8") as control:
        control.write("now\n")
    job, _ = lab.insert_job("found", IMAGE)
    lab.wait_status(job, "done", seconds=60)
    free = threading.Thread(target=lambda: open(pipe, "w", encoding="utf-8").close(), daemon=True) # whoever still reads it
    free.start()
    is_(daemon.stop(), 0, "a resolver that hangs: it goes on when it answers, and stops")
    lab.sim.stop()


@test
def through_pgbouncer():
    """In transaction mode: with polling alone, and with LISTEN on a connection of its own. (All of the end-to-end tests
    go through it in `make check-pgbouncer`.)"""
    for how in ("poll", "listen"):
        lab = Lab(bouncer=how)
        label = f"pgbouncer ({how}): "
        lab.sim.config(starting_ms=20, processing_ms=100)
        jobs = lab.insert_jobs(30)
        daemons = [lab.daemon("one"), lab.daemon("two")]
        jobs += lab.insert_jobs(30, "more")
        all_done(lab, jobs, label)
        if how == "poll":
            for daemon in daemons:
                daemon.wait_event("LISTEN_DOWN", text="set listen_url", seconds=60)
            for what in ("polled", "polled again"): # each asks every second
                job, _ = lab.insert_job(what, IMAGE)
                lab.wait_status(job, "done")
            is_([d.told("LISTEN_DOWN") for d in daemons], [1, 1], f"{label}that it polls is said once")
            is_([d.told("LISTEN_UP") for d in daemons], [0, 0], f"{label}what one says to oneself proves nothing")
        is_([d.stop() for d in daemons], [0, 0], f"{label}they stop cleanly")
        is_(lab.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'meshifyd' AND state <> 'idle'"), 0, f"{label}no transaction is left")
        lab.sim.stop()
    # One server connection for all: whatever state one left there, the others would have.
    lab = Lab()
    bouncer = Bouncer(lab.postgres, ["default_pool_size = 1"])
    lab.sim.config(starting_ms=20, processing_ms=100)
    jobs = lab.insert_jobs(20)
    daemons = [lab.daemon(n, wait=False, **{"database.url": bouncer.url(), "database.listen": "off"}) for n in ("one", "two")]
    all_done(lab, jobs, "pgbouncer (one connection for all): ")
    is_([d.stop() for d in daemons], [0, 0], "pgbouncer (one connection for all): they stop cleanly")
    with psycopg2.connect(bouncer.url()) as session:
        cursor = session.cursor()
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        is_(cursor.fetchone(), (0,), "the working connection leaves no prepared statement")
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        is_(cursor.fetchone(), (0,), "no lock")
        cursor.execute("SELECT count(*) FROM pg_listening_channels()")
        is_(cursor.fetchone(), (0,), "no LISTEN")
        cursor.execute("SELECT array_agg(name) FROM pg_settings WHERE source = 'session' AND name NOT IN "
                       "('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings', "
                       "'transaction_isolation', 'transaction_read_only')") # these two each transaction begins anew
        is_(cursor.fetchone(), (None,), "and no setting")
    lab.sim.stop()


main()
