/* How a connection comes up: its hosts are looked up, libpq logs in, and the server is asked
 * whether it may be written to. Each step waits on the loop, none of them for ever. What becomes
 * of a connection that fails is db_loss.c's. */
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "io/db_login.h"
#include "io/db_private.h"
#include "io/turns.h"

#define DB_CONNECT_USEC (15 * USEC_PER_SEC)

/* libpq changes its socket while it connects, also to a new one of the same number, which the kernel
 * does not watch then: the source is made anew each time. */
static void watch(Db *db, uint32_t events) {
    int fd = PQsocket(db->conn);

    if (db->io && db->state > DB_CONNECTING && db->io_fd == fd &&
        sd_event_source_set_io_events(db->io, events) >= 0)
        return;
    db->io = sd_event_source_disable_unref(db->io);
    db->io_fd = fd;
    /* libpq has no socket when it has given up. */
    if (fd < 0 || sd_event_add_io(db->event, &db->io, fd, events, db->on_io, db) < 0)
        db_lose(db, "no socket to watch", 0);
    else if (db->events.notified)
        (void) sd_event_source_set_priority(db->io, TURN_OF_OTHERS);
}

/* libpq keeps what the socket does not take, and wants to be called again when it does. */
void db_flush(Db *db) {
    int left = PQflush(db->conn);

    if (left < 0)
        db_lose_refused(db, PQerrorMessage(db->conn));
    else
        watch(db, EPOLLIN | (left > 0 ? EPOLLOUT : 0));
}

static void on_notice(void *userdata, const PGresult *res) {
    Db *db = userdata;

    if (db->events.notice)
        db->events.notice(db->userdata, res);
}

/* libpq could check this while it connects (target_session_attrs), but goes by what a server says of
 * itself at the login. A pooler says what it heard at some other login, which may be long ago; so it is
 * asked, with all else that a new connection is asked. */
static void check(Db *db) {
    (void) PQsetErrorVerbosity(db->conn, PQERRORS_DEFAULT);
    db->state = DB_CHECKING;
    db->opening = DB_SESSION_OPENING + 1; /* and the zone */
    /* Another server may have another zone, after a fail-over say. */
    db->session.zone[0] = '\0';
    /* All of it in one round trip: the session's settings, the zone, and the question whether
     * writing is allowed. */
    if (PQsetnonblocking(db->conn, 1) < 0 || PQenterPipelineMode(db->conn) != 1 ||
        db_session_open(db->conn, &db->session) < 0 ||
        PQsendQueryParams(db->conn, db_session_zone, 0, NULL, NULL, NULL, NULL, 0) != 1 ||
        PQsendQueryParams(db->conn, db_session_question, 0, NULL, NULL, NULL, NULL, 0) != 1 ||
        PQpipelineSync(db->conn) != 1)
        db_lose_refused(db, PQerrorMessage(db->conn));
    else
        db_flush(db);
}

/* This server is read-only. A list of hosts may have standbys in it: the next one is tried before
 * a failure is reported, and reported only when all of them were tried. */
static void refuse(Db *db) {
    if (++db->failures % db->servers == 0) {
        db->failures--; /* db_lose() counts */
        db_lose(db, "the server is read-only", 0);
    } else {
        db_disconnect(db);
        db_connect(db);
    }
}

/* Calls are held until db_go(): the lease has to be proved before jobs go on. */
static void came_up(Db *db) {
    db->state = DB_UP;
    db->told_down = db->told_refused = false;
    db->failures = db->refusals = 0;
    db->failure = DB_FAILURE_NONE;
    db->held = true;
    (void) sd_event_source_set_enabled(db->timer, SD_EVENT_OFF);
    watch(db, EPOLLIN);
    if (db->events.up)
        db->events.up(db->userdata);
    db_wake(db);
}

/* One of the results that check() asked for. */
static void checked(Db *db, const PGresult *res) {
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    bool good = PQresultStatus(res) == PGRES_TUPLES_OK || PQresultStatus(res) == PGRES_COMMAND_OK;
    bool answered = PQntuples(res) == 1 && PQnfields(res) > 1; /* whatever the other side is */
    /* A standby does not let us say READ WRITE; any other server says it when it is asked. */
    bool read_only = good ? db->opening == 0 && answered && PQgetvalue(res, 0, 0)[0] != 'f'
                          : state && strcmp(state, "0A000") == 0;

    if (PQresultStatus(res) == PGRES_PIPELINE_SYNC)
        came_up(db);
    else if (read_only)
        refuse(db);
    else if (!good)
        db_lose_answered(db, res);
    else if (db->opening > 0)
        db->opening--;
    else if (!answered)
        db_lose_refused(db, "received invalid response to a question of ours");
    else
        db_session_hear(&db->session, res);
}

/* Two empty results in a row mean that there is nothing more: the connection has ended. */
static void checking(Db *db) {
    if (PQconsumeInput(db->conn) != 1) {
        db_lose_refused(db, PQerrorMessage(db->conn));
        return;
    }
    for (int ends = 0; !PQisBusy(db->conn);) {
        PGresult *res = PQgetResult(db->conn);

        if (!res && ++ends > 1) { /* not the end of one answer: there is nothing more */
            db_lose_refused(db, PQerrorMessage(db->conn));
            return;
        }
        if (!res)
            continue;
        ends = 0;
        checked(db, res);
        PQclear(res);
        if (db->state != DB_CHECKING)
            return;
    }
    db_flush(db);
}

/* libpq says which direction it waits for. */
static void connecting(Db *db) {
    PostgresPollingStatusType want = PQconnectPoll(db->conn);

    if (want == PGRES_POLLING_READING || want == PGRES_POLLING_WRITING)
        watch(db, want == PGRES_POLLING_READING ? EPOLLIN : EPOLLOUT);
    else if (want == PGRES_POLLING_OK)
        check(db);
    else
        db_lose_refused(db, PQerrorMessage(db->conn));
}

/* The hosts were looked up, or libpq is to look for itself (`host` is NULL). */
static void found(void *userdata, const char *host, const char *hostaddr, const char *port,
                  unsigned n, const char *error) {
    Db *db = userdata;

    db->hosts = NULL;
    db->servers = n > 0 ? n : 1;
    if (error) {
        db_lose(db, error, 0);
        return;
    }
    db->conn = db_login(db->url, db->application, host, hostaddr, port, db->failures,
                        db->untimed == DB_UNTIMED);
    db->state = DB_CONNECTING;
    if (!db->conn || PQstatus(db->conn) == CONNECTION_BAD) {
        db_lose_refused(db, db->conn ? PQerrorMessage(db->conn) : NULL);
        return;
    }
    (void) PQsetNoticeReceiver(db->conn, on_notice, db); /* libpq's own writes to stderr */
    db_set_timer(db, DB_CONNECT_USEC);
    watch(db, EPOLLOUT);
}

void db_connect(Db *db) {
    db->state = DB_RESOLVING;
    if (hosts_start(db->event, db->resolver, db->url, db->failures, found, db, &db->hosts) < 0)
        db_lose(db, "the hosts can't be looked up", 0);
    else
        db_set_timer(db, DB_CONNECT_USEC);
}

void db_connect_go_on(Db *db) {
    if (db->state == DB_CONNECTING)
        connecting(db);
    else if (db->state == DB_CHECKING)
        checking(db);
}
