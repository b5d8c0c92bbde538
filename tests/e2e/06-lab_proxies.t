#!/usr/bin/python3
"""The proxies that other tests put between the daemon and the outside do what they say."""

import errno
import socket
import threading
from http.client import HTTPConnection

import psycopg2

from lab import Sim, is_, main, ok, test, wait_for
from lab.postgres import Postgres
from lab.proxy import HttpProxy, PostgresProxy, Tap


def get(connection, path="/v1/account"):
    connection.request("GET", path, headers={"Authorization": "Bearer t"})
    reply = connection.getresponse()
    reply.read()
    return reply.status


def fails(what, *errors):
    try:
        what()
    except errors as error:
        return error
    return None


@test
def http():
    sim, tap = Sim(), Tap()
    proxy = HttpProxy(sim.url, "api", tap)

    def connect(timeout=20):
        return HTTPConnection("127.0.0.1", proxy.port, timeout=timeout)
    c = connect()
    is_([get(c), get(c)], [200, 200], "HTTP: two requests on one connection")
    is_(proxy.connections(), 1, "HTTP: one connection")
    tap.clear()
    large = bytes(3 << 20)
    for body in (b"{}", large, (large[i:i + 65536] for i in range(0, len(large), 65536))): # the last one is chunked
        c.request("POST", "/v1/predictions", body, {"Authorization": "Bearer t"})
        reply = c.getresponse()
        reply.read()
        is_(reply.status // 100, 4, "HTTP: a body of some length arrives")
    is_(tap.keys[:2], ["api> POST /v1/predictions #1", "api< POST /v1/predictions #1"], "HTTP: request and response are counted")
    is_(len(tap.keys), 6, "HTTP: each")

    proxy.pause()
    slow = connect(0.3)
    ok(fails(lambda: get(slow), socket.timeout), "HTTP, paused: a new connection is accepted, and not answered")
    c.timeout = 0.3
    c.sock.settimeout(0.3)
    ok(fails(lambda: get(c), socket.timeout), "HTTP, paused: an old one is not answered")
    before = sim.stats()["received"]["account"]
    proxy.resume()
    is_(sim.stats()["received"]["account"], before, "HTTP, paused: nothing arrives, later neither")
    is_(get(connect()), 200, "HTTP, resumed: new connections are served")

    proxy.pause(keep=True)
    slow = connect(0.3)
    ok(fails(lambda: get(slow), socket.timeout), "HTTP, paused and kept: no answer")
    before = sim.stats()["received"]["account"]
    proxy.resume()
    wait_for(lambda: sim.stats()["received"]["account"] == before + 1, 10, "what was sent before")
    ok(True, "HTTP, paused and kept: it arrives late")

    c = connect()
    get(c)
    proxy.reset()
    error = fails(lambda: get(c), OSError)
    is_(error and error.errno, errno.ECONNRESET, "HTTP, reset: connections end by RST")
    is_(get(connect()), 200, "HTTP, reset: new ones are served")
    proxy.refuse()
    ok(fails(lambda: get(connect()), ConnectionRefusedError), "HTTP, refused")
    proxy.resume()
    is_(get(connect()), 200, "HTTP: no more refused")

    for way, arrives in (("before", 0), ("after", 1), ("late", 0), ("cut", 0)):
        tap.clear()
        before, struck = sim.stats()["received"]["account"], threading.Event()
        tap.arm("api> GET /v1/account #2", way, struck.set)
        c = connect(0.5)
        get(c)
        error = fails(lambda: get(c), OSError)
        ok(struck.is_set() and error, f"HTTP, {way}: no answer", error)
        is_(isinstance(error, ConnectionResetError), way == "cut", f"HTTP, {way}: reset, or silent")
        tap.thaw()
        is_(sim.stats()["received"]["account"] - before, 1 + arrives, f"HTTP, {way}: what arrived")
        tap.deliver()
        is_(sim.stats()["received"]["account"] - before, 1 + (arrives or way == "late"), f"HTTP, {way}: what arrived later")
    sim.stop()


@test
def postgres():
    server, tap = Postgres(fsync=False).start(), Tap()
    server.create_database(supabase=False)
    server.execute("CREATE TABLE t (n int)", "supabase_admin")
    proxy = PostgresProxy(server.port, tap)

    def connect():
        c = psycopg2.connect(proxy.url("supabase_admin"))
        c.autocommit = True
        return c

    def run(c, sql):
        cursor = c.cursor()
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else None
    c = connect()
    tap.clear()
    is_(run(c, "SELECT 1"), [(1,)], "PostgreSQL: a query")
    is_(len(tap.keys), 2, "PostgreSQL: counted with its answer")
    run(c, "LISTEN x")
    server.execute("NOTIFY x", "supabase_admin")
    wait_for(lambda: "db< notify x #1" in tap.keys, 10, "the notification")
    run(c, "SELECT 1")
    is_(len(c.notifies), 1, "PostgreSQL: notifications pass, and are counted")

    def rows():
        mine = server.connect("supabase_admin")
        n = run(mine, "SELECT count(*) FROM t")[0][0]
        mine.close()
        return n
    for way, arrives in (("before", 0), ("after", 1), ("late", 0), ("cut", 0)):
        tap.clear()
        before = rows()
        tap.arm("db> INSERT INTO t VALUES #1", way)
        c = connect()
        thread = threading.Thread(target=lambda: fails(lambda: run(c, "INSERT INTO t VALUES (1)"), psycopg2.Error), daemon=True)
        thread.start()
        ok(tap.hit.wait(10), f"PostgreSQL, {way}: the message was met")
        tap.thaw()
        is_(rows() - before, arrives, f"PostgreSQL, {way}: what arrived")
        tap.deliver()
        is_(rows() - before, int(arrives or way == "late"), f"PostgreSQL, {way}: what arrived later")
        thread.join(10)
        ok(not thread.is_alive(), f"PostgreSQL, {way}: nobody waits for ever")
    proxy.refuse()
    ok(fails(connect, psycopg2.OperationalError), "PostgreSQL, refused")
    proxy.resume()
    is_(run(connect(), "SELECT 1"), [(1,)], "PostgreSQL: no more refused")
    proxy.close()
    server.remove()


main()
