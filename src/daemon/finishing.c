/* Closes jobs whose closing the project's tables refused or kept locked: meshify.finish() tries them again. They have
 * no task, so any number of them keeps no slot. The first try is closing_states.c's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/db_message.h"
#include "base/log.h"
#include "daemon/finishing.h"
#include "daemon/lockline.h"
#include "daemon/timer.h"

#define EVERY_USEC (15 * USEC_PER_SEC)
#define SOON_USEC (2 * USEC_PER_SEC) /* while there are any */
#define FULL_USEC (USEC_PER_SEC / 2) /* while more are due than one call takes */
#define BATCH 50
#define AGAIN_A_MINUTE 1200 /* closings that met a lock, tried again by their tasks */

struct Finishing {
    Worker *worker;
    sd_event_source *timer;
    bool is_refused;  /* by the database; said once */
    bool is_starving; /* a closing that was put off never finds its rows free */
};

/* As the job's own worker would have said it, so that logs and metrics show each end once. */
static void say(Finishing *f, const char *id, const char *answer, const char *detail) {
    struct {
        LogContext log;
    } job = { .log = { .job_id = id } };
    Metrics *m = &f->worker->metrics;

    if (strcmp(answer, "starved") == 0) {
        f->is_starving = true;
    } else if (strcmp(answer, "done") == 0) {
        m->done++;
        m->finished[JOB_COMPLETING][FAULT_NONE]++;
        log_job(LOG_NOTICE, JOB_DONE, &job, "Job %s is done, its closing had been put off: %s", id,
                detail);
    } else if (strcmp(answer, "error") == 0) {
        m->failed++;
        m->finished[JOB_FAILING][FAULT_NONE]++;
        log_job(LOG_NOTICE, JOB_FAILED, &job,
                "Job %s has failed (%s), its closing had been put off", id, detail);
    } else if (strcmp(answer, "canceled") == 0) {
        m->canceled++;
        m->finished[JOB_CLOSING_CANCELED][FAULT_NONE]++;
        log_job(LOG_NOTICE, JOB_CANCELED, &job, "Job %s is canceled, its closing had been put off",
                id);
    }
}

/* Not one closing, which is answered, but all: somebody took a right or a table away. */
static void say_refused(const PGresult *res) {
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    log_line(LOG_ERR, DB_REFUSED,
             "Closings that were put off are refused by the database: %s; retrying%s",
             primary ? primary : PQresultErrorMessage(res),
             state && strncmp(state, "42", 2) == 0
                 ? ". Where it is ours that is gone, this makes it anew, as its owner: UPDATE "
                   "meshify.schema_version SET version = 0; and then meshifyctl migrate"
                 : "");
}

/* A call that waited for a lock and did not get it failed for that alone, which is no refusal. The next call asks again
 * who starves, and the one after it waits. */
static void finished(void *userdata, DbEnd end, const PGresult *res) {
    Finishing *f = userdata;
    LockLine *line = f->worker->line;
    int n = end == DB_OK ? PQntuples(res) : 0;
    bool waited = lockline_has(line, f);

    lockline_leave(line, f);
    f->is_starving = false;
    if (end == DB_FAILED && waited)
        end = DB_DISCONNECTED; /* nothing was free in time */
    if (end == DB_FAILED && !f->is_refused)
        say_refused(res);
    if (end == DB_OK && f->is_refused)
        log_line(LOG_NOTICE, DB_REFUSED,
                 "Closings that were put off are accepted by the database again");
    if (end == DB_OK || end == DB_FAILED)
        f->is_refused = end == DB_FAILED;
    for (int i = 0; i < n; i++)
        say(f, PQgetvalue(res, i, 0), PQgetvalue(res, i, 1), PQgetvalue(res, i, 2));
    timer_start(f->timer, n >= BATCH ? FULL_USEC : n > 0 || waited ? SOON_USEC : EVERY_USEC);
}

/* Where rows are locked again and again, one of its closings may wait for them, where that holds up nobody else. */
static void send_call(Finishing *f, const DbRequest *r) {
    Worker *w = f->worker;
    bool waits = f->is_starving && lockline_enter(w->line, f);

    if (db_call(waits ? lockline_db(w->line) : w->db, DB_ONCE | (waits ? DB_WAIT : DB_ALONE), r,
                finished, f, NULL) < 0)
        lockline_leave(w->line, f);
}

/* Every worker asks; the database gives each job to one of them at a time. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Finishing *f = userdata;
    Worker *w = f->worker;
    DbRequest request = { .sql = "SELECT job, answer, detail FROM meshify.finish($1, $2)" };

    (void) usec;
    timer_start(source, EVERY_USEC); /* should no answer come */
    if (w->registered && db_is_up(w->db) && db_request_add(&request, w->id) == 0 &&
        db_request_addf(&request, "%d", BATCH) == 0)
        send_call(f, &request);
    db_request_done(&request);
    return 0;
}

void finishing_soon(Finishing *f) {
    uint64_t now = 0, then = 0;

    /* Where one is put off after the other, the next call is not. */
    if (sd_event_now(f->worker->event, CLOCK_MONOTONIC, &now) < 0 ||
        sd_event_source_get_time(f->timer, &then) < 0 || then > now + SOON_USEC)
        timer_start(f->timer, SOON_USEC);
}

/* The rate of LANE_AGAIN belongs to the same trouble: rows that others lock. */
int finishing_new(Finishing **ret, Worker *w) {
    Finishing *f = calloc(1, sizeof *f);
    int r;

    if (!f)
        return -ENOMEM;
    f->worker = w;
    bucket_set(&w->lanes[LANE_AGAIN].bucket, AGAIN_A_MINUTE, 1, clock_now_usec());
    if ((r = timer_new(w->event, &f->timer, USEC_PER_SEC / 2, on_timer, f)) < 0) {
        finishing_free(f);
        return r;
    }
    timer_start(f->timer, SOON_USEC);
    *ret = f;
    return 0;
}

Finishing *finishing_free(Finishing *f) {
    if (f)
        sd_event_source_disable_unref(f->timer);
    free(f);
    return NULL;
}
