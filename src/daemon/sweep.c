/* Removes what uploads left behind. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/sweep.h"
#include "flow/object.h"
#include "flow/store.h"
#include "io/dir.h"
#include "io/dir_sweep.h"

#define FIRST_USEC (7 * USEC_PER_SEC)
#define EVERY_USEC (60 * USEC_PER_SEC)
#define FILES_USEC (3600 * USEC_PER_SEC)

/* --- temporary files ----------------------------------------------------------------------- */

typedef struct SweepCall {
    Worker *worker; /* NULL: it is gone */
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

static void files_read(void *arg) {
    SweepCall *call = arg;

    if (call->worker) {
        call->worker->sweep.call = NULL;
        if (call->removed > 0)
            log_line(LOG_NOTICE, ORPHAN,
                     "Removed %u temporary files of uploads whose worker was killed from %s",
                     call->removed, call->root);
    }
    call_free(call);
}

static void sweep_files(Worker *w) {
    const Config *c = w->config;
    SweepCall *call;

    if (c->storage_driver != STORAGE_DIR || w->sweep.call || clock_now_usec() < w->sweep.files_usec)
        return;
    w->sweep.files_usec = clock_now_usec() + FILES_USEC;
    if (!(call = calloc(1, sizeof *call)))
        return;
    *call = (SweepCall){ .worker = w,
                         .root = strdup(c->storage_url),
                         .path = strdup(c->storage_path),
                         .age_seconds = (c->job_timeout_usec + OBJECT_GRACE_USEC) / USEC_PER_SEC };
    if (!call->root || !call->path ||
        (!w->sweep.aside && aside_new(&w->sweep.aside, w->event, 1) < 0) ||
        aside_start(w->sweep.aside, read_files, files_read, call) < 0)
        call_free(call);
    else
        w->sweep.call = call;
}

/* --- objects ------------------------------------------------------------------------------- */

static void ended(Worker *w) {
    while (w->sweep.n > 0)
        free(w->sweep.names[--w->sweep.n]);
    w->sweep.at = 0;
    w->sweep.busy = false;
}

static void next(Worker *w);

/* It is not there any more: nobody is to try it again. */
static void gone(Worker *w) {
    const char *name = w->sweep.names[w->sweep.at++];
    DbRequest request = { .sql = "SELECT meshify.orphan_removed($1)" };

    log_line(LOG_NOTICE, ORPHAN, "The object %s, which no row names, is removed", name);
    if (db_request_add(&request, name) == 0)
        worker_call(w, &request, "write an orphan's end down");
    db_request_done(&request);
    next(w);
}

static void failed(Worker *w, const char *why) {
    log_line(LOG_WARNING, ORPHAN,
             "The object %s, which no row names, can't be removed: %s, retrying later",
             w->sweep.names[w->sweep.at++], why);
}

static void removed(void *userdata, HttpReply *reply) {
    Worker *w = userdata;
    Fault fault = { 0 };
    JobEvent ev = store_remove_hear(reply, &fault);

    w->sweep.http = NULL;
    metrics_storage(&w->metrics, reply);
    if (ev == EV_OK) {
        gone(w);
        return;
    }
    failed(w, fault.detail);
    if (reply->end == HTTP_ANSWERED && reply->code != 429 && reply->code < 500)
        next(w);
    else /* the others would fare no better */
        ended(w);
}

static void next(Worker *w) {
    const Config *c = w->config;
    HttpRequest request;
    int r;

    while (w->sweep.at < w->sweep.n && c->storage_driver == STORAGE_DIR) {
        r = dir_remove(c->storage_url, w->sweep.names[w->sweep.at]);
        if (r == 0 || r == -ENOENT) {
            gone(w);
            return;
        }
        failed(w, strerror(-r));
    }
    if (w->sweep.at >= w->sweep.n || lane_is_held(&w->lanes[LANE_STORE]) ||
        store_remove_ask(c, w->sweep.names[w->sweep.at], &request) < 0 ||
        http_send(w->http, &request, removed, w, &w->sweep.http) < 0)
        ended(w);
}

static void due(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;

    if (end == DB_FAILED)
        log_line(LOG_WARNING, ORPHAN, "The sweep was refused: %s, retrying in a minute",
                 PQresultErrorMessage(res));
    for (int i = 0; end == DB_OK && i < PQntuples(res) && w->sweep.n < SWEEP_MAX; i++)
        if ((w->sweep.names[w->sweep.n] = strdup(PQgetvalue(res, i, 0))))
            w->sweep.n++;
    next(w);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Worker *w = userdata;
    DbRequest request = { .sql = "SELECT name FROM meshify.orphans_due($1, $2, $3)" };
    char *place;

    (void) usec;
    (void) sd_event_source_set_time_relative(source, EVERY_USEC);
    (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    if (!w->lease.registered || !db_is_up(w->db) || w->sweep.busy || w->draining ||
        lane_is_held(&w->lanes[LANE_STORE]))
        return 0;
    sweep_files(w);
    place = object_place(w->config);
    w->sweep.busy =
        place && db_request_add(&request, w->id) == 0 && db_request_add(&request, place) == 0 &&
        db_request_addf(&request, "%d", SWEEP_MAX) == 0 &&
        db_call(w->db, DB_ALONE | DB_ONCE, request.sql, (const char *const *) request.params,
                request.n_params, due, w, NULL) == 0;
    db_request_done(&request);
    free(place);
    return 0;
}

int sweep_init(Worker *w) {
    return sd_event_add_time_relative(w->event, &w->sweep.timer, CLOCK_MONOTONIC, FIRST_USEC,
                                      USEC_PER_SEC, on_timer, w);
}

void sweep_done(Worker *w) {
    w->sweep.timer = sd_event_source_disable_unref(w->sweep.timer);
    w->sweep.http = http_op_cancel(w->sweep.http);
    if (w->sweep.call)
        w->sweep.call->worker = NULL;
    w->sweep.aside = aside_free(w->sweep.aside);
    ended(w);
}
