/* Removes what uploads left behind: objects that no row names, once a minute, and in driver dir the temporary files of
 * uploads whose process was killed, once an hour. Which objects are due is the database's decision. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/sweep.h"
#include "daemon/timer.h"
#include "flow/object.h"
#include "flow/store.h"
#include "io/aside.h"
#include "io/dir_sweep.h"

#define FIRST_USEC (7 * USEC_PER_SEC)
#define EVERY_USEC (60 * USEC_PER_SEC)
#define FILES_USEC (3600 * USEC_PER_SEC)
#define SWEEP_MAX 20 /* objects that one sweep removes */

struct Sweep {
    Worker *worker;
    sd_event_source *timer;
    bool busy;
    Aside *aside;           /* where directories are read */
    struct SweepCall *call; /* the reading under way */
    uint64_t files_usec;    /* of the next one */
    StoreOp *removal;       /* under way */
    unsigned n, at;         /* names, and the one whose turn it is */
    char *names[SWEEP_MAX];
};

/* --- temporary files ----------------------------------------------------------------------- */

typedef struct SweepCall {
    Sweep *sweep; /* NULL: it is gone */
    char *root, *path;
    uint64_t age_seconds;
    unsigned removed;
} SweepCall;

static void call_free(SweepCall *call) {
    free(call->root);
    free(call->path);
    free(call);
}

static void read_files(void *arg) {
    SweepCall *call = arg;

    call->removed = dir_sweep(call->root, call->path, call->age_seconds);
}

/* The daemon may have let go of the call meanwhile; then only memory is left to free. */
static void files_read(void *arg) {
    SweepCall *call = arg;

    if (call->sweep) {
        call->sweep->call = NULL;
        if (call->removed > 0)
            log_line(LOG_NOTICE, ORPHAN,
                     "Removed %u temporary files of uploads whose worker was killed from %s",
                     call->removed, call->root);
    }
    call_free(call);
}

/* Reading a directory may block for long: a thread does that, and the loop hears of the end. */
static void sweep_files(Sweep *s) {
    const Config *c = s->worker->config;
    SweepCall *call;

    if (!store_driver(c)->leaves_files || s->call || clock_now_usec() < s->files_usec)
        return;
    s->files_usec = clock_now_usec() + FILES_USEC;
    if (!(call = calloc(1, sizeof *call)))
        return;
    *call = (SweepCall){ .sweep = s,
                         .root = strdup(c->storage_url),
                         .path = strdup(c->storage_path),
                         .age_seconds = (c->job_timeout_usec + OBJECT_GRACE_USEC) / USEC_PER_SEC };
    if (!call->root || !call->path ||
        (!s->aside && aside_new(&s->aside, s->worker->event, 1) < 0) ||
        aside_start(s->aside, read_files, files_read, call) < 0)
        call_free(call);
    else
        s->call = call;
}

/* --- objects ------------------------------------------------------------------------------- */

static void ended(Sweep *s) {
    while (s->n > 0)
        free(s->names[--s->n]);
    s->at = 0;
    s->busy = false;
}

static void next(Sweep *s);

/* It is not there any more: nobody is to try it again. */
static void gone(Sweep *s) {
    const char *name = s->names[s->at++];
    DbRequest request = { .sql = "SELECT meshify.orphan_removed($1)" };

    log_line(LOG_NOTICE, ORPHAN, "Removed object %s, which no row names", name);
    if (db_request_add(&request, name) == 0)
        worker_call(s->worker, &request, "write an orphan's end down");
    db_request_done(&request);
    next(s);
}

static void failed(Sweep *s, const char *why) {
    log_line(LOG_WARNING, ORPHAN,
             "Could not remove object %s, which no row names: %s; retrying later",
             s->names[s->at++], why);
}

/* A store that is away, or refuses everybody, ends this sweep; the refusal of one name does
 * not. */
static void removed(void *userdata, JobEvent ev, const StoreWork *work) {
    Sweep *s = userdata;

    s->removal = NULL;
    if (ev == EV_OK) {
        gone(s);
        return;
    }
    failed(s, work->fault.detail);
    if (work->is_general) /* the others would fare no better */
        ended(s);
    else
        next(s);
}

/* One at a time, after the jobs: an object that nobody needs can wait. */
static void next(Sweep *s) {
    Worker *w = s->worker;
    StoreWork work = { .config = w->config };
    JobEvent ev;

    if (s->at < s->n)
        work.object = s->names[s->at];
    if (!work.object || lane_is_held(&w->lanes[LANE_STORE])) {
        ended(s);
        return;
    }
    ev = store_driver(w->config)->remove(&work);
    if (ev != EV_MORE)
        removed(s, ev, &work); /* there was nothing to ask */
    else if (store_op_start(&s->removal, &w->store, &work, removed, s) < 0)
        ended(s);
}

/* A name that finds no memory comes again with the next sweep. */
static void due(void *userdata, DbEnd end, const PGresult *res) {
    Sweep *s = userdata;

    if (end == DB_FAILED)
        log_line(LOG_WARNING, ORPHAN,
                 "The sweep was refused by the database: %s; retrying in a minute",
                 PQresultErrorMessage(res));
    for (int i = 0; end == DB_OK && i < PQntuples(res) && s->n < SWEEP_MAX; i++)
        if ((s->names[s->n] = strdup(PQgetvalue(res, i, 0))))
            s->n++;
    next(s);
}

/* Only names of this instance's own store are asked for: another may write elsewhere. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Sweep *s = userdata;
    Worker *w = s->worker;
    DbRequest request = { .sql = "SELECT name FROM meshify.orphans_due($1, $2, $3)" };
    char *place;

    (void) usec;
    timer_start(source, EVERY_USEC);
    if (!w->registered || !db_is_up(w->db) || s->busy || w->draining ||
        lane_is_held(&w->lanes[LANE_STORE]))
        return 0;
    sweep_files(s);
    place = object_place(w->config);
    s->busy = place && db_request_add(&request, w->id) == 0 &&
              db_request_add(&request, place) == 0 &&
              db_request_addf(&request, "%d", SWEEP_MAX) == 0 &&
              worker_ask(w, DB_ALONE | DB_ONCE, &request, due, s) == 0;
    db_request_done(&request);
    free(place);
    return 0;
}

int sweep_new(Sweep **ret, Worker *w) {
    Sweep *s = calloc(1, sizeof *s);
    int r;

    if (!s)
        return -ENOMEM;
    s->worker = w;
    if ((r = timer_new(w->event, &s->timer, USEC_PER_SEC, on_timer, s)) < 0) {
        sweep_free(s);
        return r;
    }
    timer_start(s->timer, FIRST_USEC);
    *ret = s;
    return 0;
}

Sweep *sweep_free(Sweep *s) {
    if (!s)
        return NULL;
    sd_event_source_disable_unref(s->timer);
    store_op_cancel(s->removal);
    if (s->call)
        s->call->sweep = NULL;
    aside_free(s->aside);
    ended(s);
    free(s);
    return NULL;
}
