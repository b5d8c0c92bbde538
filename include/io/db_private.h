/* What db.c (the calls) and db_connect.c (how the connection comes up) share. Nobody else includes it. */
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
    TAILQ_HEAD(BatchHead, Batch) batches;
    unsigned n_batches, n_pending;
    unsigned calls_max;  /* in one transaction, as fast as the database is */
    uint64_t began_usec; /* the first batch's time */
};

/* db_connect.c */
void db_connect(Db *db);       /* begins at DB_AWAY */
void db_connect_go_on(Db *db); /* the socket is ready, and the connection not up yet */
void db_disconnect(Db *db);    /* to DB_AWAY, from wherever; tells nobody */
void db_flush(Db *db);
void db_watch(Db *db, uint32_t events);
void db_set_timer(Db *db, uint64_t usec);

/* db.c. The connection is lost, or does not come up: all that was under way is seen to, and it is tried
 * again after `retry_usec` (0: after the usual wait). `why` is of our own words. */
void db_lose(Db *db, const char *why, uint64_t retry_usec);

/* The same for what libpq or the server says: it is never passed on as it is, since libpq repeats pieces of
 * the URL; and how soon it is tried again follows from it. */
void db_lose_refused(Db *db, const char *message);
void db_lose_answered(Db *db, const PGresult *error);
void db_came_up(Db *db);
int db_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata);
