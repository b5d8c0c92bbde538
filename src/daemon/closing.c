/* The states that end a job or hand it back, and those between: rest, stop. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/retry.h"
#include "daemon/finishing.h"
#include "daemon/lease.h"
#include "daemon/lockline.h"
#include "daemon/patience.h"
#include "daemon/stage.h"
#include "flow/complete.h"
#include "flow/object.h"
#include "flow/poll.h"
#include "flow/replicate.h"
#include "flow/store.h"
#include "io/dir.h"

#define REST_MAX_USEC (10 * USEC_PER_SEC)
#define STARVED_USEC (60 * USEC_PER_SEC)
#define STOP_TRIES 8 /* then the audit goes on, and Cancel-After ends what can't be cancelled */

/* --- closing ------------------------------------------------------------------------------- */

/* The job went back without them, or will, and they are surplus now. */
static void cancel_strays(Task *t) {
    for (size_t i = 0; i < t->job->n_purchases; i++) {
        const Purchase *p = &t->job->purchases[i];

        if (!job_is_stray(t->job, p) || p->state != PURCHASE_BOUGHT)
            continue;
        t->worker->surplus++;
        log_job(LOG_WARNING, JOB_SURPLUS, t->job,
                "Job %s: prediction %s was made for step %s, which is not in the configuration, "
                "and is cancelled",
                t->job->id, p->prediction_id, p->step);
        stage_cancel(t->worker, p->prediction_id);
    }
}

static void closed(void *userdata, DbEnd end, const PGresult *res) {
    Task *t = userdata;
    Job *j = t->job;
    JobState state = j->at.state;
    Worker *w = t->worker;
    Fault trouble = { 0 }; /* not the job's, whose fault is what is being written down */
    JobEvent ev;

    lockline_leave(w, t);
    if (!stage_db_refused(t, end, res, &ev, &trouble))
        ev = complete_hear(res, state == JOB_COMPLETING, &trouble);
    if (end == DB_OK && complete_is_parked(res)) {
        log_job(LOG_NOTICE, JOB_PARKED, j,
                "Job %s can't be closed now, the project's tables refuse it: it is tried again "
                "later, its slot is free",
                j->id);
        if (state == JOB_RELEASING && j->fault.code == FAULT_STEP_GONE)
            cancel_strays(t);
        finishing_soon(w);
        worker_tell(t, EV_OK);
        return;
    }
    if (ev == EV_RETRY)
        ev = EV_FINAL;
    if (ev == EV_FINAL && state == JOB_COMPLETING)
        j->fault = trouble;
    if (ev == EV_OK && state == JOB_COMPLETING) {
        w->done++;
        log_job(LOG_NOTICE, JOB_DONE, j, "Job %s is done: %s, %llu triangles", j->id, j->object,
                (unsigned long long) j->triangles);
    } else if (ev == EV_ELSE) {
        j->stored = !complete_keeps(res);
    } else if (ev == EV_OK && state == JOB_FAILING) {
        w->failed++;
        log_job(LOG_NOTICE, JOB_FAILED, j, "Job %s has failed (%s): %s", j->id,
                fault_info(j->fault.code)->word, j->fault.detail);
    } else if (ev == EV_OK && state == JOB_CANCELLING) {
        w->canceled++;
        log_job(LOG_NOTICE, JOB_CANCELED, j, "Job %s is canceled", j->id);
    } else if (ev == EV_OK && state == JOB_RELEASING) {
        if (j->fault.code == FAULT_STEP_GONE)
            cancel_strays(t);
        if (t->back_usec < w->plan.due_usec) /* nobody else will tell us when */
            w->plan.due_usec = t->back_usec;
    } else if (ev == EV_LOST && state != JOB_RELEASING)
        w->zombies++;
    if (ev == EV_OK && state != JOB_RELEASING)
        metrics_finished(&w->metrics, j, state);
    worker_tell(t, ev);
}

static int on_close(sd_event_source *source, uint64_t usec, void *userdata);

/* Written before the closing, in its transaction where that succeeds, else by itself. */
static void write_stored(Task *t) {
    DbRequest request;

    if (complete_stored_ask(t->worker->id, t->job, &request) == 0)
        worker_call(t->worker, &request, "write down what is stored");
}

/* Where others hold the job's rows one after the other, it would never find them free: after a minute one closing
 * at a time stands in line for them, for a moment and on a connection of its own. */
static unsigned how_to_send(Task *t) {
    if (t->job->tries == 0)
        return 0;
    if (clock_now_usec() >= t->waits.since_usec + STARVED_USEC && lockline_enter(t->worker, t))
        return DB_WAIT | DB_ONCE;
    return DB_ALONE; /* it finds a table that is locked without waiting for it */
}

static void close_now(void *userdata) {
    Task *t = userdata;
    Worker *w = t->worker;
    DbRequest request;
    int r;

    switch (t->job->at.state) {
    case JOB_COMPLETING:
        if (t->job->tries == 0)
            write_stored(t);
        r = complete_done_ask(w->id, t->job, &request);
        break;
    case JOB_FAILING:
        r = complete_fail_ask(w->id, t->job, &request);
        break;
    case JOB_CANCELLING:
        r = complete_canceled_ask(w->id, t->job, &request);
        break;
    default: {
        uint64_t now = clock_now_usec();
        HandBack how = complete_hand_back(w->config, t->job, now, clock_chance());

        t->back_usec = now + how.delay_usec;
        if (t->job->tries == 0 && (how.counted || t->job->fault.code != FAULT_NONE))
            log_job(LOG_INFO, JOB_RETRY, t->job, "Job %s goes back for %llu ms (%s): %s",
                    t->job->id, (unsigned long long) (how.delay_usec / 1000), how.reason,
                    t->job->fault.detail);
        r = complete_release_ask(w->id, t->job, &how, &request);
    }
    }
    if (r < 0 || stage_send_db_as(t, how_to_send(t), &request, closed) < 0) {
        lockline_leave(w, t);
        stage_unqueue(t);
        (void) stage_pause_for(t, USEC_PER_SEC, on_close);
    }
}

static int on_close(sd_event_source *source, uint64_t usec, void *userdata) {
    Task *t = userdata;

    (void) source;
    (void) usec;
    stage_queue(t, t->job->tries > 0 ? LANE_AGAIN : LANE_CLOSE, close_now);
    return 0;
}

/* A closing that met a lock or a shortage rests before it is sent again. */
int enter_closing(Task *t) {
    if (t->job->tries > 0)
        return stage_pause_for(t, stage_short_delay(t), on_close);
    return on_close(NULL, 0, t);
}

/* --- resting and stopping ------------------------------------------------------------------ */

static int on_rest(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    worker_tell(userdata, EV_OK);
    return 0;
}

int enter_resting(Task *t) {
    uint64_t usec = retry_delay_usec(USEC_PER_SEC, REST_MAX_USEC, t->job->tries, clock_chance());

    t->job->idle_usec += patience_idle_usec(t, usec);
    return stage_pause_for(t, usec, on_rest);
}

/* The prediction is cancelled. `status` is what became of it; NULL: nobody knows yet, and the audit goes
 * on until it is over. */
static void let_go(Task *t, const char *status) {
    Purchase *p = job_purchase(t->job);

    if (p && status)
        stage_settle(t, status, NULL, NULL, NULL, false);
    if (p)
        p->state = PURCHASE_ENDED;
    t->job->has_purchase = false;
    worker_tell(t, EV_OK);
}

static const char *terminal_status(const Task *t, const HttpReply *reply) {
    const Purchase *p = job_purchase(t->job);

    return replicate_terminal_status(reply, p ? p->prediction_id : NULL);
}

static void read_again(void *userdata, HttpReply *reply) {
    Task *t = userdata;

    t->http = NULL;
    metrics_replicate(&t->worker->metrics, METRICS_GET, reply);
    let_go(t,
           reply->end == HTTP_ANSWERED && reply->code == 404 ? "gone" : terminal_status(t, reply));
}

static void stopped(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    Fault trouble = { 0 }; /* not the job's, which ends for a reason of its own */
    JobEvent ev = replicate_cancel_hear(reply, &trouble);
    const char *status = terminal_status(t, reply);
    HttpRequest request;

    t->http = NULL;
    metrics_replicate(&t->worker->metrics, METRICS_CANCEL, reply);
    if (ev == EV_WAIT && t->job->tries >= STOP_TRIES) {
        log_job(LOG_WARNING, CANCEL_FAILED, t->job,
                "Job %s ends, but prediction %s can't be cancelled: %s; the audit goes on trying",
                t->job->id, job_purchase(t->job)->prediction_id, trouble.detail);
        worker_tell(t, EV_FINAL);
    } else if (ev != EV_OK)
        worker_tell(t, ev);
    else if (status || !job_purchase(t->job))
        let_go(t, status);
    else if (poll_ask(t->worker->config, t->job, &request) < 0 ||
             stage_send_http(t, &request, read_again) < 0)
        let_go(t, NULL);
}

static void stop_bought(void *userdata) {
    Task *t = userdata;
    HttpRequest request;

    if (!lease_is_trusted(t->worker)) { /* it may be what another worker waits for by now */
        worker_tell(t, EV_WAIT);
        return;
    }
    if (replicate_cancel_ask(t->worker->config, job_purchase(t->job)->prediction_id, &request) <
            0 ||
        stage_send_http(t, &request, stopped) < 0)
        worker_tell(t, EV_FINAL);
}

/* The object is gone, or left to the sweep, which looks after it in any case. */
static void dropped(Task *t) {
    t->job->stored = false;
    worker_tell(t, EV_OK);
}

static void removed(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    Fault trouble = { 0 }; /* not the job's, which ends for a reason of its own */
    JobEvent ev = store_remove_hear(reply, &trouble);

    t->http = NULL;
    metrics_storage(&t->worker->metrics, reply);
    if (ev == EV_WAIT && t->job->tries < STOP_TRIES) {
        worker_tell(t, ev);
        return;
    }
    if (ev == EV_WAIT)
        log_job(LOG_WARNING, JOB_LEFT_BEHIND, t->job,
                "Job %s ends, but its object %s can't be deleted: %s; the sweep goes on trying",
                t->job->id, t->job->object, trouble.detail);
    dropped(t);
}

/* The name is written down as one that nobody needs: no later upload gets it, which this DELETE might hit. */
static void may_remove(void *userdata, DbEnd end, const PGresult *res) {
    Task *t = userdata;
    const Config *c = t->worker->config;
    HttpRequest request;
    Fault trouble = { 0 };
    JobEvent ev;

    if (!stage_db_refused(t, end, res, &ev, &trouble))
        ev = object_drop_hear(res);
    if (ev == EV_WAIT) {
        worker_tell(t, EV_WAIT);
        return;
    }
    if (ev == EV_OK && c->storage_driver == STORAGE_DIR)
        (void) dir_remove(c->storage_url, t->job->object);
    else if (ev == EV_OK && store_remove_ask(c, t->job->object, &request) == 0 &&
             stage_send_http(t, &request, removed) >= 0)
        return;
    dropped(t);
}

static int on_stop(sd_event_source *source, uint64_t usec, void *userdata) {
    Task *t = userdata;
    const Purchase *p = job_purchase(t->job);
    DbRequest request;

    (void) source;
    (void) usec;
    if (p && p->state == PURCHASE_BOUGHT && !p->finished)
        stage_queue(t, LANE_REQUEST, stop_bought);
    else if (!t->job->stored || object_drop_ask(t->worker->id, t->job, &request) < 0 ||
             stage_send_db(t, &request, may_remove) < 0)
        worker_tell(t, EV_OK);
    return 0;
}

int enter_stopping(Task *t) {
    if (t->job->tries > 0)
        return stage_pause_for(t, stage_short_delay(t), on_stop);
    return on_stop(NULL, 0, t);
}
