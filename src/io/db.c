/* Calls travel in batches, and what becomes of them when one fails or the connection dies. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "io/db_errors.h"
#include "io/db_private.h"
#include "io/turns.h"

#define DB_CALL_USEC (30 * USEC_PER_SEC) /* for all of a transaction */
/* Shorter, so that no backend works on for us after we have given it up; and so short that a call which somebody's
 * trigger holds up leaves others, the heartbeat among them, their time. */
#define DB_STATEMENT_TIMEOUT "5s"
#define DB_SLOW_TIMEOUT "20s"
#define DB_TRANSACTION_TIMEOUT "25s"
#define DB_LOCK_TIMEOUT "1s" /* functions that travel with others set less */
#define DB_RETRY_MIN (50 * USEC_PER_MSEC)
#define DB_RETRY_MAX (5 * USEC_PER_SEC)
#define DB_RETRY_AUTH (300 * USEC_PER_SEC)   /* hosts ban addresses that guess passwords */
#define DB_RETRY_REFUSED (10 * USEC_PER_SEC) /* then doubled each time, up to the former */
#define DB_BATCHES_MAX 4   /* under way at once; what comes meanwhile travels together */
#define DB_BATCH_CALLS 200 /* in one transaction */
#define DB_LATE_USEC (10 * USEC_PER_SEC) /* a transaction lost after that was slow, not unlucky */
#define DB_BATCH_USEC USEC_PER_SEC /* what its calls may take, about: heartbeats wait behind them */
#define DB_PARAMS_MAX 12

struct DbOp {
    Db *db;
    unsigned flags;
    const char *sql; /* static */
    char *params[DB_PARAMS_MAX];
    int n_params;
    DbDone done; /* NULL: cancelled */
    void *userdata;
    bool on_wire;
    bool again; /* it stands in db->again */
    PGresult *res;
    TAILQ_ENTRY(DbOp) link;
};

typedef struct Batch {
    DbOps ops;
    unsigned n_ops;
    unsigned opening; /* statements of ours before the calls, whose results come first */
    DbOp *reading;    /* then the call whose results come next; NULL: the Sync comes next */
    PGresult *at_end; /* the transaction failed when it was to be committed */
    TAILQ_ENTRY(Batch) link;
} Batch;

static DbOp *op_free(DbOp *op) {
    op->db->n_pending--;
    for (int i = 0; i < op->n_params; i++)
        free(op->params[i]);
    PQclear(op->res);
    free(op);
    return NULL;
}

static void tell(DbOp *op, DbEnd end) {
    if (op->done)
        op->done(op->userdata, end, op->res);
    op_free(op);
}

static void wake(Db *db) {
    (void) turn_take(db->send);
}

/* --- sending ------------------------------------------------------------------------------- */

/* The next call to be sent, where `n` are in the batch already; NULL: none may join it. */
static DbOp *next_op(Db *db, unsigned n) {
    DbOp *op, *again = db->held ? NULL : TAILQ_FIRST(&db->again);

    TAILQ_FOREACH(op, &db->queue, link)
    if (!db->held || op->flags & DB_FIRST)
        break;
    if (n > 0)
        return op && !(op->flags & DB_ALONE) && n < db->calls_max ? op : NULL;
    if (again && op && !(op->flags & DB_FIRST))
        db->turn = !db->turn;
    return again && (!op || (db->turn && !(op->flags & DB_FIRST))) ? again : op;
}

static int open_transaction(Db *db, unsigned flags) {
    DbSession session = db->session;

    if (flags & DB_SLOW)
        session.statement_timeout = DB_SLOW_TIMEOUT;
    session.sent_as = flags & DB_WAIT ? "wait" : flags & DB_ALONE ? "alone" : "batch";
    return db_session_open(db->conn, &session);
}

static int send_batch(Db *db) {
    Batch *batch = calloc(1, sizeof *batch);
    unsigned n = 0;
    DbOp *op;

    if (!batch)
        return -ENOMEM;
    TAILQ_INIT(&batch->ops);
    while ((op = next_op(db, n))) {
        TAILQ_REMOVE(op->again ? &db->again : &db->queue, op, link);
        if (!op->done && !op->on_wire) { /* cancelled before it was ever sent */
            op_free(op);
            continue;
        }
        op->again = false;
        TAILQ_INSERT_TAIL(&batch->ops, op, link);
        op->on_wire = true;
        if (n++ == 0 && open_transaction(db, op->flags) < 0)
            goto broken;
        if (PQsendQueryParams(db->conn, op->sql, op->n_params, NULL,
                              (const char *const *) op->params, NULL, NULL, 0) != 1)
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

/* The time of the first batch begins. */
static void begin_time(Db *db) {
    db->began_usec = clock_now_usec();
    db_set_timer(db, DB_CALL_USEC);
}

/* A transaction ends itself when its calls take long, as slow triggers of the project make them: see
 * meshify.tables_are_free(). Then less is sent at once, and more again when that is quick. One that only waits for its
 * commit is as large as ever. */
static void pace(Db *db, unsigned n, bool failed) {
    uint64_t took = clock_now_usec() - db->began_usec;

    if (failed && took > DB_BATCH_USEC)
        db->calls_max = n * DB_BATCH_USEC / took > 0 ? (unsigned) (n * DB_BATCH_USEC / took) : 1;
    else if (!failed && n >= db->calls_max && took < 2 * DB_BATCH_USEC)
        db->calls_max = db->calls_max < DB_BATCH_CALLS / 2 ? db->calls_max * 2 : DB_BATCH_CALLS;
}

static int on_send(sd_event_source *source, uint64_t usec, void *userdata) {
    Db *db = userdata;
    int n = 1;

    (void) source;
    (void) usec;
    if (db->state != DB_UP)
        return 0;
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

int db_call(Db *db, unsigned flags, const char *sql, const char *const *params, int n, DbDone done,
            void *userdata, DbOp **ret) {
    DbOp *op = n <= DB_PARAMS_MAX ? calloc(1, sizeof *op) : NULL;

    if (!op)
        return -ENOMEM;
    if (flags & (DB_WAIT | DB_SLOW))
        flags |= DB_ALONE;
    *op = (DbOp){ .db = db, .flags = flags, .sql = sql, .done = done, .userdata = userdata };
    db->n_pending++;
    for (; op->n_params < n; op->n_params++)
        if (params[op->n_params] && !(op->params[op->n_params] = strdup(params[op->n_params]))) {
            op_free(op);
            return -ENOMEM;
        }
    if (flags & DB_FIRST)
        TAILQ_INSERT_HEAD(&db->queue, op, link);
    else
        TAILQ_INSERT_TAIL(&db->queue, op, link);
    wake(db);
    if (ret)
        *ret = op;
    return 0;
}

DbOp *db_op_cancel(DbOp *op) {
    if (op)
        op->done = NULL; /* freed when its turn comes: what is on the wire can't be called back */
    return NULL;
}

unsigned db_pending(const Db *db) {
    return db->n_pending;
}

/* --- reading ------------------------------------------------------------------------------- */

/* The transaction failed: each of its calls is sent again, alone and in order. */
static void replay_alone(Db *db, Batch *batch) {
    DbOp *op;

    TAILQ_FOREACH(op, &batch->ops, link) {
        PQclear(op->res);
        op->res = NULL;
        op->flags |= DB_ALONE;
        op->again = true;
    }
    TAILQ_CONCAT(&db->again, &batch->ops, link);
}

static bool is_good(const PGresult *res) {
    return PQresultStatus(res) == PGRES_TUPLES_OK || PQresultStatus(res) == PGRES_COMMAND_OK;
}

/* What the transaction failed with, which all after it only follow; NULL: it holds. */
static const PGresult *error_of(const Batch *batch) {
    DbOp *op;

    TAILQ_FOREACH(op, &batch->ops, link)
    if (!is_good(op->res))
        return op->res;
    return batch->at_end;
}

static Batch *batch_free(Batch *batch) {
    PQclear(batch->at_end);
    free(batch);
    return NULL;
}

static void end_batch(Db *db, Batch *batch) {
    const PGresult *error = error_of(batch);
    DbOp *op = TAILQ_FIRST(&batch->ops);

    if (error && db_error_means_reconnect(error)) {
        db_lose_answered(db, error);
        return;
    }
    TAILQ_REMOVE(&db->batches, batch, link);
    db->n_batches--;
    db->retry_usec = DB_RETRY_MIN;
    if (!(op->flags & DB_ALONE))
        pace(db, batch->n_ops, error != NULL);
    if (error && !(op->flags & DB_ALONE))
        replay_alone(db, batch);
    else if (error == batch->at_end &&
             error) { /* a deferred constraint, which only this call can have hurt */
        PQclear(op->res);
        op->res = TAKE(batch->at_end);
    }
    while ((op = TAILQ_FIRST(&batch->ops))) {
        TAILQ_REMOVE(&batch->ops, op, link);
        tell(op, error ? DB_FAILED : DB_OK);
    }
    batch_free(batch);
    wake(db);
}

/* One result of the batch that is read. False when the connection was lost. */
static bool read_result(Db *db, Batch *batch, PGresult *res) {
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

/* Reads what is there. False when the connection was lost. */
static bool read_results(Db *db) {
    Batch *batch;

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

    while (db->state == DB_UP && (n = PQnotifies(db->conn))) {
        if (db->events.notified)
            db->events.notified(db->userdata, n->relname, n->extra);
        PQfreemem(n);
    }
}

/* --- coming and going ---------------------------------------------------------------------- */

/* A statement_timeout of a millisecond, say, ends what begins our transactions, which sets another. A session can be
 * asked for that has none; where that is refused, a server that is warm may be fast enough. */
static void plan_timing(Db *db, DbFailure failure, bool was_up) {
    if (db->untimed == DB_TIMED && failure == DB_FAILURE_TIMEOUT)
        db->untimed = DB_UNTIMED;
    else if (db->untimed == DB_UNTIMED && !was_up &&
             (failure == DB_FAILURE_TIMEOUT || failure == DB_FAILURE_REFUSED))
        db->untimed = DB_TIMED_FOREVER;
}

/* A transaction that has lasted so long may do so each time: its calls go one by one from now on. It is lost by our
 * own deadline, or by the server's (transaction_timeout, since PostgreSQL 17). */
static void part_late(Db *db) {
    Batch *batch = TAILQ_FIRST(&db->batches);
    DbOp *op;

    if (!batch || clock_now_usec() < db->began_usec + DB_LATE_USEC)
        return;
    db->calls_max = 1;
    TAILQ_FOREACH(op, &batch->ops, link)
    op->flags |= DB_ALONE;
}

/* The connection is gone: what was under way goes back to the queue's head, or is told. */
static void lose(Db *db, DbFailure failure, const char *why, uint64_t retry_usec) {
    DbOps lost = TAILQ_HEAD_INITIALIZER(lost);
    bool was_up = db->state == DB_UP, refused = false;
    Batch *batch;
    DbOp *op;

    db->failure = failure;
    db->failures += !was_up;
    plan_timing(db, failure, was_up);
    part_late(db);
    db_disconnect(db);
    while ((batch = TAILQ_LAST(&db->batches, BatchHead))) {
        TAILQ_REMOVE(&db->batches, batch, link);
        while ((op = TAILQ_LAST(&batch->ops, DbOps))) {
            TAILQ_REMOVE(&batch->ops, op, link);
            PQclear(op->res);
            op->res = NULL;
            op->again = !(op->flags & DB_ONCE) && op->flags & DB_ALONE;
            if (op->flags & DB_ONCE)
                TAILQ_INSERT_HEAD(&lost, op, link);
            else
                TAILQ_INSERT_HEAD(op->again ? &db->again : &db->queue, op, link);
        }
        batch_free(batch);
    }
    db->n_batches = 0;
    if (retry_usec == 0) {
        retry_usec = (uint64_t) ((double) db->retry_usec * (0.5 + clock_chance() / 2));
        db->retry_usec = db->retry_usec * 2 < DB_RETRY_MAX ? db->retry_usec * 2 : DB_RETRY_MAX;
    } else
        refused = !db->told_refused;
    db_set_timer(db, retry_usec);
    if (was_up || !db->told_down || refused) {
        db->told_down = true;
        db->told_refused = db->told_refused || refused;
        if (db->events.down)
            db->events.down(db->userdata, why, retry_usec);
    }
    while ((op = TAILQ_FIRST(&lost))) {
        TAILQ_REMOVE(&lost, op, link);
        tell(op, DB_LOST);
    }
}

void db_lose(Db *db, const char *why, uint64_t retry_usec) {
    lose(db, db_failure_read(why), why, retry_usec);
}

void db_lose_refused(Db *db, const char *message) {
    DbFailure failure = db_failure_read(message);
    DbRetry retry = db_failure_retry(failure);
    uint64_t retry_usec = 0;
    char why[500];

    db_failure_text(message, db->conn ? PQhost(db->conn) : NULL, db->conn ? PQport(db->conn) : NULL,
                    why, sizeof why);
    if (retry == DB_RETRY_RARELY)
        retry_usec = DB_RETRY_AUTH;
    else if (retry == DB_RETRY_RARER && db->state != DB_UP && db->untimed != DB_UNTIMED) {
        retry_usec = DB_RETRY_REFUSED << db->refusals;
        if (retry_usec >= DB_RETRY_AUTH)
            retry_usec = DB_RETRY_AUTH;
        else
            db->refusals++;
    }
    lose(db, failure, why, retry_usec);
}

/* With its code, since servers speak many languages. */
void db_lose_answered(Db *db, const PGresult *error) {
    char *text = PQresultVerboseErrorMessage(error, PQERRORS_VERBOSE, PQSHOW_CONTEXT_NEVER);

    db_lose_refused(db, text ? text : PQresultErrorMessage(error));
    PQfreemem(text);
}

void db_came_up(Db *db) {
    db->state = DB_UP;
    db->told_down = db->told_refused = false;
    db->failures = db->refusals = 0;
    db->failure = DB_FAILURE_NONE;
    db->held = true;
    (void) sd_event_source_set_enabled(db->timer, SD_EVENT_OFF);
    db_watch(db, EPOLLIN);
    if (db->events.up)
        db->events.up(db->userdata);
    wake(db);
}

int db_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
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
    wake(db);
}

void db_reconnect(Db *db, const char *why) {
    if (db->state != DB_AWAY)
        db_lose(db, why, 0);
}

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

Db *db_free(Db *db) {
    Batch *batch;
    DbOp *op;

    if (!db)
        return NULL;
    db->io = sd_event_source_disable_unref(db->io);
    PQfinish(db->conn);
    while ((batch = TAILQ_FIRST(&db->batches))) {
        TAILQ_REMOVE(&db->batches, batch, link);
        TAILQ_CONCAT(&db->queue, &batch->ops, link);
        batch_free(batch);
    }
    TAILQ_CONCAT(&db->queue, &db->again, link);
    while ((op = TAILQ_FIRST(&db->queue))) {
        TAILQ_REMOVE(&db->queue, op, link);
        op_free(op);
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
