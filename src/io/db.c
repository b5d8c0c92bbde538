/* One PostgreSQL connection on the loop: calls travel in batches, each of which is one transaction, and the answers
 * are read as they come. The order of the calls is db_ops.c's, a lost connection db_loss.c's, a new one
 * db_connect.c's, and what a transaction sets for itself db_session.c's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "io/db_errors.h"
#include "io/db_private.h"
#include "io/turns.h"

#define DB_CALL_USEC (30 * USEC_PER_SEC) /* for all of a transaction */
/* Shorter, so that no backend works on for us after we have given it up; and so short that a call which somebody's
 * trigger holds up leaves others, the heartbeat among them, their time. */
#define DB_STATEMENT_TIMEOUT "5s"
#define DB_SLOW_TIMEOUT "20s"
#define DB_TRANSACTION_TIMEOUT "25s"
#define DB_LOCK_TIMEOUT "1s"       /* functions that travel with others set less */
#define DB_BATCHES_MAX 4           /* under way at once; what comes meanwhile travels together */
#define DB_BATCH_CALLS 200         /* in one transaction */
#define DB_BATCH_USEC USEC_PER_SEC /* what its calls may take, about: heartbeats wait behind them */

/* --- sending ------------------------------------------------------------------------------- */

/* `sent_as` tells our functions whether they may catch what a trigger raises: only a call that
 * travels alone does. */
static int open_transaction(Db *db, unsigned flags) {
    DbSession session = db->session;

    if (flags & DB_SLOW)
        session.statement_timeout = DB_SLOW_TIMEOUT;
    session.sent_as = flags & DB_WAIT ? "wait" : flags & DB_ALONE ? "alone" : "batch";
    return db_session_open(db->conn, &session);
}

/* Sends what waits, as one pipeline that ends in a Sync. The number of calls, 0 for none, or a
 * negative errno; after -EIO the batch is in the list all the same, for db_lose() to take its
 * calls back. */
static int send_batch(Db *db) {
    DbBatch *batch = calloc(1, sizeof *batch);
    unsigned n = 0;
    DbOp *op;

    if (!batch)
        return -ENOMEM;
    TAILQ_INIT(&batch->ops);
    /* Calls join as long as they may travel together. Nothing waits for the network here: libpq
     * keeps what the socket does not take. */
    while ((op = db_next_op(db, n))) {
        TAILQ_REMOVE(op->again ? &db->again : &db->queue, op, link);
        if (!op->done && !op->on_wire) { /* canceled before it was ever sent */
            db_op_free(op);
            continue;
        }
        op->again = false;
        TAILQ_INSERT_TAIL(&batch->ops, op, link);
        op->on_wire = true;
        if (n++ == 0 && open_transaction(db, op->flags) < 0)
            goto broken;
        if (PQsendQueryParams(db->conn, op->request.sql, op->request.n_params, NULL,
                              (const char *const *) op->request.params, NULL, NULL, 0) != 1)
            goto broken;
        if (op->flags & DB_ALONE)
            break;
    }
    if (n == 0) {
        free(batch);
        return 0;
    }
    if (PQpipelineSync(db->conn) != 1)
        goto broken;
    batch->n_ops = n;
    batch->opening = DB_SESSION_OPENING;
    batch->reading = TAILQ_FIRST(&batch->ops);
    TAILQ_INSERT_TAIL(&db->batches, batch, link);
    db->n_batches++;
    return (int) n;

broken:
    TAILQ_INSERT_TAIL(&db->batches, batch, link);
    db->n_batches++;
    return -EIO;
}

/* The server works on one batch at a time, so each has the whole time from when it is the first. */
static void begin_time(Db *db) {
    db->began_usec = clock_now_usec();
    db_set_timer(db, DB_CALL_USEC);
}

/* Adapts the size of a batch to the database. A transaction ends itself when its calls take long,
 * as slow triggers of the project make them: see meshify.tables_are_free(). Then less is sent at
 * once, and more again when that is quick. One that only waits for its commit is as large as
 * ever. */
static void pace(Db *db, unsigned n, bool failed) {
    uint64_t took = clock_now_usec() - db->began_usec;

    if (failed && took > DB_BATCH_USEC)
        db->calls_max = n * DB_BATCH_USEC / took > 0 ? (unsigned) (n * DB_BATCH_USEC / took) : 1;
    else if (!failed && n >= db->calls_max && took < 2 * DB_BATCH_USEC)
        db->calls_max = db->calls_max < DB_BATCH_CALLS / 2 ? db->calls_max * 2 : DB_BATCH_CALLS;
}

/* At the end of a turn of the loop: all calls of this turn travel together. */
static int on_send(sd_event_source *source, uint64_t usec, void *userdata) {
    Db *db = userdata;
    int n = 1;

    (void) source;
    (void) usec;
    if (db->state != DB_UP)
        return 0;
    /* Where transactions are slow, one at a time: what was sent can't be called back, and
     * heartbeats would wait behind it. */
    while (n > 0 && db->n_batches < (db->calls_max < DB_BATCH_CALLS ? 1 : DB_BATCHES_MAX) &&
           !(TAILQ_EMPTY(&db->queue) && TAILQ_EMPTY(&db->again))) {
        n = send_batch(db);
        if (n > 0 && db->n_batches == 1)
            begin_time(db);
    }
    if (n == -EIO) {
        db_lose_refused(db, PQerrorMessage(db->conn));
        return 0;
    }
    db_flush(db);
    return 0;
}

/* --- reading ------------------------------------------------------------------------------- */

static bool is_good(const PGresult *res) {
    return PQresultStatus(res) == PGRES_TUPLES_OK || PQresultStatus(res) == PGRES_COMMAND_OK;
}

/* The error that the transaction failed with, which all results after it only follow; NULL: it
 * holds. */
static const PGresult *error_of(const DbBatch *batch) {
    DbOp *op;

    TAILQ_FOREACH(op, &batch->ops, link)
    if (!is_good(op->res))
        return op->res;
    return batch->at_end;
}

/* The Sync came, so the transaction is over: only now may its calls be answered. */
static void end_batch(Db *db, DbBatch *batch) {
    const PGresult *error = error_of(batch);
    DbOp *op = TAILQ_FIRST(&batch->ops);

    /* The server is going down, or is a standby now: all calls are kept for the next connection. */
    if (error && db_error_means_reconnect(error)) {
        db_lose_answered(db, error);
        return;
    }
    TAILQ_REMOVE(&db->batches, batch, link);
    db->n_batches--;
    db->retry_usec = DB_RETRY_MIN;
    if (!(op->flags & DB_ALONE))
        pace(db, batch->n_ops, error != NULL);
    /* Which call failed is known, but not whether it would have failed alone; so each goes by
     * itself. */
    if (error && !(op->flags & DB_ALONE))
        db_replay_alone(db, batch);
    else if (error == batch->at_end &&
             error) { /* a deferred constraint, which only this call can have hurt */
        PQclear(op->res);
        op->res = TAKE(batch->at_end);
    }
    while ((op = TAILQ_FIRST(&batch->ops))) {
        TAILQ_REMOVE(&batch->ops, op, link);
        db_op_tell(op, error ? DB_FAILED : DB_OK);
    }
    db_batch_free(batch);
    db_wake(db);
}

/* One result of the batch that is being read: of our own statements first, then of one call after
 * the other. False when the connection was lost. */
static bool read_result(Db *db, DbBatch *batch, PGresult *res) {
    if (batch->opening > 0) {
        bool good = is_good(res);

        if (good)
            batch->opening--;
        else
            db_lose_answered(db, res);
        PQclear(res);
        return good;
    }
    if (batch->reading) {
        PQclear(batch->reading->res);
        batch->reading->res = res;
    } else { /* an error at commit: nothing of this transaction holds */
        PQclear(batch->at_end);
        batch->at_end = res;
    }
    return true;
}

/* Reads what has come, without waiting for more. False when the connection was lost. */
static bool read_results(Db *db) {
    DbBatch *batch;

    while ((batch = TAILQ_FIRST(&db->batches)) && !PQisBusy(db->conn)) {
        PGresult *res = PQgetResult(db->conn);

        if (!res) { /* the end of one call's results */
            if (batch->reading && batch->reading->res)
                batch->reading = TAILQ_NEXT(batch->reading, link);
            else if (PQstatus(db->conn) != CONNECTION_OK)
                return db_lose_refused(db, PQerrorMessage(db->conn)), false;
            continue;
        }
        if (PQresultStatus(res) != PGRES_PIPELINE_SYNC) {
            if (!read_result(db, batch, res))
                return false;
            continue;
        }
        PQclear(res);
        if (batch->reading)
            return db_lose(db, "an answer is missing", 0), false;
        end_batch(db, batch);
        if (db->state != DB_UP)
            return false;
        if (TAILQ_EMPTY(&db->batches))
            (void) sd_event_source_set_enabled(db->timer, SD_EVENT_OFF);
        else
            begin_time(db);
    }
    return true;
}

static void read_notifications(Db *db) {
    PGnotify *n;

    /* A callback may drop the connection: the state is looked at each time. */
    while (db->state == DB_UP && (n = PQnotifies(db->conn))) {
        if (db->events.notified)
            db->events.notified(db->userdata, n->relname, n->extra);
        PQfreemem(n);
    }
}

/* --- coming and going ---------------------------------------------------------------------- */

/* While the connection comes up, the socket is libpq's and db_connect.c's. */
static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    Db *db = userdata;

    (void) source;
    (void) fd;
    if (db->state < DB_UP) {
        db_connect_go_on(db);
        return 0;
    }
    if (events & EPOLLOUT)
        db_flush(db);
    if (db->state == DB_UP && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if (PQconsumeInput(db->conn) != 1)
            db_lose_refused(db, PQerrorMessage(db->conn));
        else if (read_results(db))
            read_notifications(db);
    }
    return 0;
}

/* One timer for all: the next attempt, or the end of patience with the one under way. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Db *db = userdata;

    (void) source;
    (void) usec;
    if (db->state == DB_AWAY)
        db_connect(db);
    else
        db_lose(db,
                db->state == DB_UP          ? "no answer in time"
                : db->state == DB_RESOLVING ? "its name is not found in time"
                                            : "connecting took too long",
                0);
    return 0;
}

/* --- owning -------------------------------------------------------------------------------- */

DbFailure db_failure(const Db *db) {
    return db->failure;
}

bool db_is_up(const Db *db) {
    return db->state == DB_UP;
}

void db_go(Db *db) {
    db->held = false;
    db_wake(db);
}

void db_reconnect(Db *db, const char *why) {
    if (db->state != DB_AWAY)
        db_lose(db, why, 0);
}

/* The timer is due at once: the first attempt is made by the loop, not by the caller. */
int db_new(Db **ret, sd_event *event, Resolver *resolver, const char *url, const char *application,
           const DbEvents *events, void *userdata) {
    Db *db = calloc(1, sizeof *db);

    if (!db)
        return -ENOMEM;
    TAILQ_INIT(&db->queue);
    TAILQ_INIT(&db->again);
    TAILQ_INIT(&db->batches);
    db->event = sd_event_ref(event);
    db->resolver = resolver;
    db->events = *events;
    db->userdata = userdata;
    db->on_io = on_io;
    db->retry_usec = DB_RETRY_MIN;
    db->calls_max = DB_BATCH_CALLS;
    db->session = (DbSession){ .statement_timeout = DB_STATEMENT_TIMEOUT,
                               .lock_timeout = DB_LOCK_TIMEOUT,
                               .transaction_timeout = DB_TRANSACTION_TIMEOUT };
    if (!(db->url = strdup(url ? url : "")) || !(db->application = strdup(application)) ||
        sd_event_add_time_relative(event, &db->timer, CLOCK_MONOTONIC, 0, 1, on_timer, db) < 0 ||
        turn_new(event, &db->send, on_send, db) < 0) {
        db_free(db);
        return -ENOMEM;
    }
    *ret = db;
    return 0;
}

/* Nobody is called back: whoever frees the connection forgets its calls as well. */
Db *db_free(Db *db) {
    DbBatch *batch;
    DbOp *op;

    if (!db)
        return NULL;
    db->io = sd_event_source_disable_unref(db->io);
    PQfinish(db->conn);
    while ((batch = TAILQ_FIRST(&db->batches))) {
        TAILQ_REMOVE(&db->batches, batch, link);
        TAILQ_CONCAT(&db->queue, &batch->ops, link);
        db_batch_free(batch);
    }
    TAILQ_CONCAT(&db->queue, &db->again, link);
    while ((op = TAILQ_FIRST(&db->queue))) {
        TAILQ_REMOVE(&db->queue, op, link);
        db_op_free(op);
    }
    hosts_cancel(db->hosts);
    sd_event_source_disable_unref(db->timer);
    sd_event_source_disable_unref(db->send);
    sd_event_unref(db->event);
    if (db->url)
        explicit_bzero(db->url, strlen(db->url));
    free(db->url);
    free(db->application);
    free(db);
    return NULL;
}
