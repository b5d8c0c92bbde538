/* One PostgreSQL connection on the loop, in pipeline mode.
 *
 * Calls of one turn of the loop travel as one pipeline and one transaction (group commit), and none
 * is answered before the Sync that ends it. Of a transaction that failed each call is sent again
 * alone, so that one bad call hurts only itself; our functions are told (meshify.sent_as()), and
 * catch only then what triggers of the project raise. What is sent again takes turns with what is
 * new, and waits behind heartbeats. When the connection dies, calls that had not been answered are
 * sent again on the next one, those of a transaction that took too long alone: they must be
 * repeatable, or be DB_ONCE. */
#pragma once
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/db_failure.h"
#include "base/db_message.h"
#include "io/resolve.h"

typedef struct Db Db;
typedef struct DbOp DbOp;

typedef enum DbFlags {
    DB_ALONE = 1, /* a transaction of its own */
    DB_ONCE = 2,  /* not repeated when the connection dies: told DB_DISCONNECTED */
    DB_FIRST = 4, /* goes out even while others are held (until db_go()) */
    DB_SLOW = 8,  /* it may read much: it has more time than others; with DB_ALONE */
    DB_WAIT = 16, /* alone, and may wait for a row's lock: on a connection that others don't use */
} DbFlags;

typedef enum DbEnd {
    DB_OK,           /* `res` holds rows */
    DB_FAILED,       /* the server refused it: `res` holds the error */
    DB_DISCONNECTED, /* DB_ONCE: it may have been done or not */
} DbEnd;

/* Called exactly once from the loop, never from within db_call(), unless canceled. The operation
 * is gone then; `res` is the callee's to read, not to keep; NULL when DB_DISCONNECTED. */
typedef void (*DbDone)(void *userdata, DbEnd end, const PGresult *res);

typedef struct DbEvents {
    void (*up)(void *userdata); /* connected; calls are held until db_go() */
    /* Once for each loss or first failure; the next attempt comes after `retry_usec`. */
    void (*down)(void *userdata, const char *why, uint64_t retry_usec);
    void (*notified)(void *userdata, const char *channel, const char *payload);
    /* Messages of the server beside its answers (RAISE NOTICE, WARNING); NULL: it is dropped. */
    void (*notice)(void *userdata, const PGresult *res);
} DbEvents;

/* `url`: libpq URI or conninfo, "" for libpq's own environment; copied, and never logged.
 * `resolver` must outlive it. */
int db_new(Db **ret, sd_event *event, Resolver *resolver, const char *url, const char *application,
           const DbEvents *events, void *userdata);
Db *db_free(Db *db);

bool db_is_up(const Db *db);

/* Why it is not up; DB_FAILURE_NONE: it is, or was never tried. */
DbFailure db_failure(const Db *db);

/* Lets the calls go that were held since the connection came up. */
void db_go(Db *db);

/* Drops the connection and connects anew. */
void db_reconnect(Db *db, const char *why);

/* Queues a call. Its parameters are copied; the request stays the caller's. Returns 0 or -ENOMEM. `ret`
 * may be NULL for a call that is never canceled. */
int db_call(Db *db, unsigned flags, const DbRequest *request, DbDone done, void *userdata,
            DbOp **ret);

/* The answer is not wanted any more; the call itself may still be carried out. Takes NULL. */
DbOp *db_op_cancel(DbOp *op);

/* Calls that have not been answered. */
unsigned db_pending(const Db *db);
