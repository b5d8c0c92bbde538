/* Closes the jobs that could not be closed when their worker tried: see meshify.finish(). No task stands for them, so
 * that any number of them keeps no other job from a slot. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/db_message.h"
#include "base/log.h"
#include "daemon/finishing.h"
#include "daemon/lockline.h"

#define EVERY_USEC (15 * USEC_PER_SEC)
#define SOON_USEC (2 * USEC_PER_SEC) /* while there are any */
#define FULL_USEC (USEC_PER_SEC / 2) /* while more are due than one call takes */
#define BATCH 50
#define AGAIN_A_MINUTE 1200 /* closings that met a lock, tried again by their tasks */

static void next_in(Worker *w, uint64_t usec) {
    (void) sd_event_source_set_time_relative(w->finish_timer, usec);
    (void) sd_event_source_set_enabled(w->finish_timer, SD_EVENT_ONESHOT);
}

static void say(Worker *w, const char *id, const char *answer, const char *detail) {
    struct {
        LogContext log;
    } job = { .log = { .job_id = id } };

    if (strcmp(answer, "starved") == 0) {
        w->finish_starves = true;
    } else if (strcmp(answer, "done") == 0) {
        w->done++;
        w->metrics.finished[JOB_COMPLETING][FAULT_NONE]++;
        log_job(LOG_NOTICE, JOB_DONE, &job, "Job %s is done, at last: %s", id, detail);
    } else if (strcmp(answer, "error") == 0) {
        w->failed++;
        w->metrics.finished[JOB_FAILING][FAULT_NONE]++;
        log_job(LOG_NOTICE, JOB_FAILED, &job, "Job %s has failed (%s), and is closed at last", id,
                detail);
    } else if (strcmp(answer, "canceled") == 0) {
        w->canceled++;
        w->metrics.finished[JOB_CANCELLING][FAULT_NONE]++;
        log_job(LOG_NOTICE, JOB_CANCELED, &job, "Job %s is canceled, at last", id);
    }
}

/* Not one closing, which is answered, but all: somebody took a right or a table away. */
static void say_refused(const PGresult *res) {
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    log_line(LOG_ERR, DB_REFUSED,
             "The database refuses to let us close jobs whose closing was put off: %s; trying "
             "again%s",
             primary ? primary : PQresultErrorMessage(res),
             state && strncmp(state, "42", 2) == 0
                 ? ". Where it is ours that is gone, this makes it anew, as its owner: UPDATE "
                   "meshify.schema_version SET version = 0; and then meshifyctl migrate"
                 : "");
}

static void finished(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;
    int n = end == DB_OK ? PQntuples(res) : 0;
    bool waited = w->line.who == w->finish_timer;

    lockline_leave(w, w->finish_timer);
    w->finish_starves = false;
    if (end == DB_FAILED && waited)
        end = DB_LOST; /* nothing was free in time */
    if (end == DB_FAILED && !w->finish_refused)
        say_refused(res);
    if (end == DB_OK && w->finish_refused)
        log_line(LOG_NOTICE, DB_REFUSED, "The database lets us close such jobs again");
    if (end == DB_OK || end == DB_FAILED)
        w->finish_refused = end == DB_FAILED;
    for (int i = 0; i < n; i++)
        say(w, PQgetvalue(res, i, 0), PQgetvalue(res, i, 1), PQgetvalue(res, i, 2));
    next_in(w, n >= BATCH ? FULL_USEC : n > 0 || waited ? SOON_USEC : EVERY_USEC);
}

/* Where rows are locked again and again, one of its closings may wait for them, where that holds up nobody else. */
static void send_call(Worker *w, const DbRequest *r) {
    bool waits = w->finish_starves && lockline_enter(w, w->finish_timer);

    if (db_call(waits ? w->line.db : w->db, DB_ONCE | (waits ? DB_WAIT : DB_ALONE), r->sql,
                (const char *const *) r->params, r->n_params, finished, w, NULL) < 0 &&
        waits)
        lockline_leave(w, w->finish_timer);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Worker *w = userdata;
    DbRequest request = { .sql = "SELECT job, answer, detail FROM meshify.finish($1, $2)" };

    (void) source;
    (void) usec;
    next_in(w, EVERY_USEC); /* should no answer come */
    if (w->lease.registered && db_is_up(w->db) && db_request_add(&request, w->id) == 0 &&
        db_request_addf(&request, "%d", BATCH) == 0)
        send_call(w, &request);
    db_request_done(&request);
    return 0;
}

void finishing_soon(Worker *w) {
    uint64_t now = 0, then = 0;

    /* Where one is put off after the other, the next call is not. */
    if (sd_event_now(w->event, CLOCK_MONOTONIC, &now) < 0 ||
        sd_event_source_get_time(w->finish_timer, &then) < 0 || then > now + SOON_USEC)
        next_in(w, SOON_USEC);
}

int finishing_init(Worker *w) {
    bucket_set(&w->lanes[LANE_AGAIN].bucket, AGAIN_A_MINUTE, 1, clock_now_usec());
    return sd_event_add_time_relative(w->event, &w->finish_timer, CLOCK_MONOTONIC, SOON_USEC,
                                      USEC_PER_SEC / 2, on_timer, w);
}

void finishing_done(Worker *w) {
    w->finish_timer = sd_event_source_disable_unref(w->finish_timer);
}
