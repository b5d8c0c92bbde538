/* Shared by the files of a database connection; no other file includes it. Each calls only those above it in this
 * header: db_ops.c (the calls, in order), db_loss.c (a connection that is gone), db_connect.c (how one comes up),
 * db.c (sending and reading). */
#pragma once
#include <sys/queue.h>

#include "base/db_failure.h"
#include "io/db.h"
#include "io/db_session.h"
#include "io/hosts.h"

typedef enum DbState {
    DB_AWAY,
    DB_RESOLVING,
    DB_CONNECTING,
    DB_CHECKING, /* may it be written to? */
    DB_UP
} DbState;

typedef TAILQ_HEAD(DbOps, DbOp) DbOps;

#define DB_RETRY_MIN (50 * USEC_PER_MSEC) /* before the first try again, and doubled each time */

struct DbOp {
    Db *db;
    unsigned flags;
    DbRequest request;
    DbDone done; /* NULL: canceled */
    void *userdata;
    bool on_wire;
    bool again; /* it stands in db->again */
    PGresult *res;
    TAILQ_ENTRY(DbOp) link;
};

typedef struct DbBatch {
    DbOps ops;
    unsigned n_ops;
    unsigned opening; /* statements of ours before the calls, whose results come first */
    DbOp *reading;    /* then the call whose results come next; NULL: the Sync comes next */
    PGresult *at_end; /* the transaction failed when it was to be committed */
    TAILQ_ENTRY(DbBatch) link;
} DbBatch;

struct Db {
    sd_event *event;
    Resolver *resolver; /* borrowed */
    char *url, *application;
    DbEvents events;
    void *userdata;
    DbState state;
    PGconn *conn;
    DbSession session;
    unsigned opening; /* while DB_CHECKING: results that come before the answer */
    sd_event_source *io, *timer, *send;
    sd_event_io_handler_t on_io; /* db.c's: the socket is ready */
    int io_fd;
    bool held; /* between up() and db_go() */
    bool told_down;
    uint64_t retry_usec;
    Hosts *hosts;
    unsigned failures; /* to connect, in a row: each attempt begins with the next server */
    unsigned servers;  /* that the URL names */
    bool told_refused; /* as told_down, that we may not come in */
    DbFailure failure; /* why it is not up */
    enum {
        DB_TIMED,
        DB_UNTIMED,      /* the next login asks for a session without statement_timeout */
        DB_TIMED_FOREVER /* poolers refuse such a wish, and some URL overrides it */
    } untimed;
    unsigned refusals; /* in a row, by a server that may be asked again, rarer each time */
    DbOps queue;
    DbOps again; /* calls of transactions that failed, in order */
    bool turn;   /* of `again`, where there is something in both */
    TAILQ_HEAD(DbBatches, DbBatch) batches;
    unsigned n_batches, n_pending;
    unsigned calls_max;  /* in one transaction, as fast as the database is */
    uint64_t began_usec; /* the first batch's time */
};

/* db_ops.c */

/* Frees a call, which is in no list any more. NULL. */
DbOp *db_op_free(DbOp *op);

/* Answers it, unless it was canceled, and frees it. */
void db_op_tell(DbOp *op, DbEnd end);
DbBatch *db_batch_free(DbBatch *batch);

/* There is something to send, at the end of this turn of the loop. */
void db_wake(Db *db);

/* The call to be sent next, with `n` in the batch already; NULL: none may join it. It stays in its list. */
DbOp *db_next_op(Db *db, unsigned n);

/* A transaction failed: each of its calls is sent again, alone and in order. */
void db_replay_alone(Db *db, DbBatch *batch);

/* A transaction that has lasted so long may do so each time: its calls go one by one from now on. It is lost by our
 * own deadline, or by the server's (transaction_timeout, since PostgreSQL 17). */
void db_part_late(Db *db);

/* The connection is gone: puts what was sent at the head of the queue; into `lost` what may not be sent twice. */
void db_take_back(Db *db, DbOps *lost);

/* db_loss.c */
void db_set_timer(Db *db, uint64_t usec);
void db_disconnect(Db *db); /* to DB_AWAY, from any state; without a callback */

/* The connection is lost, or does not come up: all that was under way is seen to, and it is tried again after
 * `retry_usec` (0: after the usual wait). `why` is of our own words. */
void db_lose(Db *db, const char *why, uint64_t retry_usec);

/* The same for what libpq or the server says: it is never passed on as it is, since libpq repeats pieces of
 * the URL; and how soon it is tried again follows from it. */
void db_lose_refused(Db *db, const char *message);
void db_lose_answered(Db *db, const PGresult *error);

/* db_connect.c */
void db_connect(Db *db);       /* begins at DB_AWAY */
void db_connect_go_on(Db *db); /* the socket is ready, and the connection not up yet */
void db_flush(Db *db);
