/*
 * The ground of one running instance: its connections, lanes and spool, and what the lease knows of it.
 *
 * Jobs are task.c's, being alive is lease.c's, and what is made of all that is instance.c's: none of them is called
 * from here.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-id128.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/worker.h"

#define FILES_MAX 16 /* downloads, and uploads, at once */
#define REQUESTS_MAX 64

/* Two thirds: what is begun before has the last third to end, or to be refused. */
bool worker_is_trusted(const Worker *w) {
    return clock_now_usec() < w->trusted_until_usec;
}

/* The epoch was told with a heartbeat, and was true when that was sent, or a little later. */
int64_t worker_epoch(const Worker *w) {
    return w->epoch + (int64_t) ((clock_now_usec() - w->epoch_usec) / USEC_PER_SEC);
}

void worker_changed(Worker *w) {
    w->events->changed(w->userdata);
}

/* The same reason may come with each attempt to connect: it is said once. */
void worker_not_ready(Worker *w, NotReady not_ready, const char *reason) {
    char text[sizeof w->not_ready_reason];

    w->not_ready = not_ready;
    str_clean(text, sizeof text, reason);
    if (strcmp(w->not_ready_reason, text) == 0)
        return;
    memcpy(w->not_ready_reason, text, sizeof text);
    if (*text)
        log_line(LOG_WARNING, DB_DOWN, "Not ready: %s", text);
    worker_changed(w);
}

void worker_refused(Worker *w, const char *what, const PGresult *res) {
    char text[sizeof w->not_ready_reason];

    (void) snprintf(text, sizeof text, "the database refuses %s: %s", what,
                    PQresultErrorMessage(res));
    worker_not_ready(w, NOT_READY_REFUSED, text);
}

void worker_hold_for(Worker *w, LaneName name, const Fault *fault) {
    FaultCode code = fault->code;

    /* Without credit or a token nothing can be bought, whatever request it was that showed it. */
    if (code == FAULT_SERVICE_CREDIT || code == FAULT_SERVICE_AUTH) {
        lane_hold(&w->lanes[LANE_CREATE], fault);
        if (name != LANE_CREATE && code == FAULT_SERVICE_AUTH)
            lane_hold(&w->lanes[name], fault);
    } else if (code == FAULT_SERVICE_THROTTLED || code == FAULT_SERVICE_UNREACHED)
        lane_hold(&w->lanes[name], fault);
    else if (code == FAULT_SERVICE_REFUSED || code == FAULT_MODEL_INPUT)
        lane_open(&w->lanes[name]);
}

/* --- calls --------------------------------------------------------------------------------- */

/* For callers that live as long as the connection: nobody cancels such a call. */
int worker_ask(Worker *w, unsigned flags, DbRequest *request, DbDone done, void *userdata) {
    int r = db_call(w->db, flags, request, done, userdata, NULL);

    db_request_done(request);
    return r;
}

static void called(void *userdata, DbEnd end, const PGresult *res) {
    const char *what = userdata;

    if (end == DB_FAILED)
        log_line(LOG_WARNING, DB_REFUSED, "Could not %s, the database refuses it: %s", what,
                 PQresultErrorMessage(res));
}

void worker_call(Worker *w, DbRequest *request, const char *what) {
    if (worker_ask(w, 0, request, called, (char *) what) < 0)
        log_line(LOG_ERR, INTERNAL, "Out of memory: could not %s", what);
}

/* --- making -------------------------------------------------------------------------------- */

static void on_lane(void *userdata) {
    worker_changed(userdata);
}

/* A file has left the spool; downloads ask again whether there is room for theirs. */
static void on_room(void *userdata) {
    lane_look(&((Worker *) userdata)->lanes[LANE_FILE]);
}

/* Whether something in line may begin: the lease says when that changes (lane_look). */
static bool may_begin(void *userdata, void *waiter) {
    (void) waiter;
    return worker_is_trusted(userdata);
}

static int init_lanes(Worker *w) {
    static const struct {
        const char *name;
        unsigned max;
        bool needs_lease; /* what goes there would hit another's job, were the lease gone */
    } lanes[_LANE_MAX] = {
        [LANE_CREATE] = { "create", REQUESTS_MAX, true },
        [LANE_POLL] = { "poll", REQUESTS_MAX, false },
        [LANE_REQUEST] = { "request", REQUESTS_MAX, false },
        [LANE_FILE] = { "download", FILES_MAX, false },
        [LANE_STORE] = { "store", FILES_MAX, true },
        [LANE_CLOSE] = { "close", UINT_MAX, true },
        [LANE_AGAIN] = { "again", UINT_MAX, true },
    };
    int r = 0;

    for (int i = 0; i < _LANE_MAX && r >= 0; i++) {
        r = lane_init(&w->lanes[i], w->event, lanes[i].name, lanes[i].max, on_lane, w);
        if (lanes[i].needs_lease)
            lane_guard(&w->lanes[i], may_begin, w);
    }
    return r;
}

/* A directory that can't be used is the operator's mistake, and is said with what to do about
 * it. */
static int open_spool(Worker *w) {
    const char *dir = w->config->spool_dir;
    int r = spool_new(&w->spool, dir, w->config->spool_max_bytes, on_room, w);

    if (r >= 0)
        return r;
    log_line(LOG_ERR, CONFIG,
             "[worker] spool_dir: %s: %s; it must be a directory that we may write%s", dir,
             strerror(-r), r == -ENOENT ? ", and the one above it must be there" : "");
    if (r == -EACCES || r == -EPERM || r == -ENOENT || r == -EROFS || r == -EINVAL)
        r = -ENOTDIR; /* waiting mends none of these */
    return r;
}

static void share_descriptors(Worker *w) {
    const Config *c = w->config;
    DescriptorShares *s = &w->shares;

    *s = descriptors_share(c->max_jobs, 1 + store_driver(c)->descriptors);
    spool_limit(w->spool, s->files);
    http_limit(w->http, s->connections);
    if (s->scarce)
        log_line(
            LOG_WARNING, CONFIG,
            "No more than %u file descriptors: at most %u connections and %u files at once, the "
            "rest waits; [worker] max_jobs = %u needs %u: raise LimitNOFILE= or ulimit -n to that",
            s->limit, s->connections, s->files, c->max_jobs, s->needed);
}

static void count_store(void *userdata, const HttpReply *reply) {
    Worker *w = userdata;

    metrics_storage(&w->metrics, reply);
}

int worker_new(Worker **ret, sd_event *event, const Config *config,
               JobEvent (*const *states)(Task *t), const WorkerEvents *events,
               const DbEvents *db_events, void *userdata) {
    Worker *w = calloc(1, sizeof *w);
    sd_id128_t id;
    int r;

    if (!w)
        return -ENOMEM;
    TAILQ_INIT(&w->tasks);
    w->event = sd_event_ref(event);
    w->config = config;
    w->states = states;
    w->events = events;
    w->userdata = userdata;
    metrics_init(&w->metrics);
    if ((r = sd_id128_randomize(&id)) < 0 || (r = init_lanes(w)) < 0 || (r = open_spool(w)) < 0 ||
        (r = resolver_new(&w->resolver, event)) < 0 ||
        (r = http_new(&w->http, event, w->resolver, &config->proxies, "meshifyd/" VERSION)) < 0 ||
        (r = dir_new(&w->dir, event)) < 0 ||
        (r = db_new(&w->db, event, w->resolver, config->database_url.text, "meshifyd", db_events,
                    userdata)) < 0) {
        worker_free(w);
        return r;
    }
    w->store = (StoreEdges){
        .event = event, .http = w->http, .dir = w->dir, .counted = count_store, .userdata = w
    };
    (void) sd_id128_to_uuid_string(id, w->id);
    share_descriptors(w);
    *ret = w;
    return 0;
}

Worker *worker_free(Worker *w) {
    if (!w)
        return NULL;
    w->db = db_free(w->db);
    w->http = http_free(w->http);
    w->dir = dir_free(w->dir);
    w->resolver = resolver_free(w->resolver);
    w->spool = spool_free(w->spool);
    for (int i = 0; i < _LANE_MAX; i++)
        lane_done(&w->lanes[i]);
    sd_event_unref(w->event);
    free(w);
    return NULL;
}
