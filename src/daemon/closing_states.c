/*
 * The states that end a job or requeue it, and those between: rest, stop.
 *
 * A closing is a transaction of the database that is repeated until it is answered; which one, and what its answer
 * means, is in flow/complete.c. One that the project's own tables refuse is left to finishing.c.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/retry.h"
#include "daemon/closing_states.h"
#include "daemon/finishing.h"
#include "daemon/lockline.h"
#include "daemon/notes.h"
#include "flow/complete.h"
#include "flow/object.h"
#include "flow/poll.h"
#include "flow/replicate.h"
#include "flow/store.h"

#define REST_MAX_USEC (10 * USEC_PER_SEC)
#define STARVED_USEC (60 * USEC_PER_SEC)
#define STOP_TRIES 8 /* then the audit goes on, and Cancel-After ends what can't be canceled */

/* --- closing ------------------------------------------------------------------------------- */

/* The job is requeued without its strays, or will be, and they are surplus now. */
static void cancel_strays(Task *t) {
    const Job *j = t->job;

    if (j->at.state != JOB_REQUEUEING || j->fault.code != FAULT_STEP_GONE)
        return;
    for (size_t i = 0; i < j->n_purchases; i++) {
        const Purchase *p = &j->purchases[i];

        if (!job_is_stray(j, p) || p->state != PURCHASE_BOUGHT)
            continue;
        log_job(LOG_WARNING, JOB_SURPLUS, j,
                "Job %s: prediction %s was made for step %s, which is not in the configuration, "
                "and is canceled",
                j->id, p->prediction_id, p->step);
        notes_cancel_surplus(t->worker, p->prediction_id);
    }
}

/* The database took it: the job is another's now, or nobody's. */
static void count_end(Task *t) {
    const Job *j = t->job;
    Worker *w = t->worker;

    switch (j->at.state) {
    case JOB_COMPLETING:
        w->metrics.done++;
        log_job(LOG_NOTICE, JOB_DONE, j, "Job %s is done: %s, %llu triangles", j->id, j->object,
                (unsigned long long) j->triangles);
        break;
    case JOB_FAILING:
        w->metrics.failed++;
        log_job(LOG_NOTICE, JOB_FAILED, j, "Job %s has failed (%s): %s", j->id,
                fault_info(j->fault.code)->word, j->fault.detail);
        break;
    case JOB_CLOSING_CANCELED:
        w->metrics.canceled++;
        log_job(LOG_NOTICE, JOB_CANCELED, j, "Job %s is canceled", j->id);
        break;
    default:
        cancel_strays(t);
        w->events->requeued(w->userdata, t->due_usec);
        return;
    }
    metrics_finished(&w->metrics, j, j->at.state);
}

/* The database keeps what the closing needs; finishing.c, of whichever worker, tries it again. */
static JobEvent parked(Task *t) {
    log_job(LOG_NOTICE, JOB_PARKED, t->job,
            "Closing of job %s put off, the project's tables refuse it: retried later, its slot "
            "is free",
            t->job->id);
    cancel_strays(t);
    finishing_soon(t->worker->finishing);
    return EV_OK;
}

/* An answer that is not understood is no success: the job goes the way of a refusal. */
static JobEvent closed(Task *t, DbEnd end, const PGresult *res) {
    Job *j = t->job;
    JobState state = j->at.state;
    Fault why = { 0 }; /* not the job's, whose fault is what is being written down */
    JobEvent ev;

    if (!task_db_refused(t, end, res, &ev, &why))
        ev = complete_hear(res, state == JOB_COMPLETING, &why);
    if (end == DB_OK && complete_is_parked(res))
        return parked(t);
    if (ev == EV_RETRY)
        ev = EV_FINAL;
    if (ev == EV_FINAL && state == JOB_COMPLETING)
        j->fault = why;
    if (ev == EV_OK)
        count_end(t);
    else if (ev == EV_OVERTAKEN)
        j->stored = !complete_keeps(res);
    else if (ev == EV_LOST && state != JOB_REQUEUEING)
        t->worker->metrics.zombies++;
    return ev;
}

/* Written before the closing, in its transaction where that succeeds, else by itself. */
static void write_stored(Task *t) {
    DbRequest request;

    if (complete_stored_ask(t->worker->id, t->job, &request) == 0)
        worker_call(t->worker, &request, "write down what is stored");
}

/* Where others hold the job's rows one after the other, it would never find them free: after a minute one closing
 * at a time stands in line for them, for a moment and on a connection of its own. */
static unsigned how_to_send(Task *t) {
    if (t->job->tries > 0 && clock_now_usec() >= t->waits.since_usec + STARVED_USEC &&
        lockline_enter(t->worker->line, t))
        return DB_WAIT | DB_ONCE;
    return task_db_flags(t);
}

/* When it comes due is decided here, once, and told to our own plan as well. */
static int ask_requeue(Task *t, DbRequest *ret) {
    uint64_t now = clock_now_usec();
    Requeue how = complete_requeue(t->worker->config, t->job, now, clock_chance());

    t->due_usec = now + how.delay_usec;
    if (t->job->tries == 0 && (how.counted || t->job->fault.code != FAULT_NONE))
        log_job(LOG_INFO, JOB_RETRY, t->job, "Job %s is requeued, next attempt in %.1f s (%s): %s",
                t->job->id, (double) how.delay_usec / (double) USEC_PER_SEC, how.reason,
                t->job->fault.detail);
    return complete_requeue_ask(t->worker->id, t->job, &how, ret);
}

/* Each of these is one transaction that finds the job as we know it, or changes nothing. */
static int ask_close(Task *t, DbRequest *ret) {
    switch (t->job->at.state) {
    case JOB_COMPLETING:
        if (t->job->tries == 0)
            write_stored(t);
        return complete_done_ask(t->worker->id, t->job, ret);
    case JOB_FAILING:
        return complete_fail_ask(t->worker->id, t->job, ret);
    case JOB_CLOSING_CANCELED:
        return complete_canceled_ask(t->worker->id, t->job, ret);
    default:
        return ask_requeue(t, ret);
    }
}

static JobEvent close_later(Task *t);

/* For want of memory the same in a second; the lane is left meanwhile. */
static JobEvent close_now(Task *t) {
    DbRequest request;

    if (ask_close(t, &request) < 0 || task_send_db(t, how_to_send(t), &request, closed) < 0) {
        task_unqueue(t);
        return task_pause(t, USEC_PER_SEC, close_later);
    }
    return EV_NONE;
}

/* What met a lock is sent again at a bounded rate, however many jobs met it. */
static JobEvent close_later(Task *t) {
    return task_queue(t, t->job->tries > 0 ? LANE_AGAIN : LANE_CLOSE, close_now);
}

/* A closing that met a lock or a shortage rests before it is sent again. */
JobEvent enter_closing(Task *t) {
    return t->job->tries > 0 ? task_pause(t, task_short_delay(t), close_later) : close_later(t);
}

/* --- resting ------------------------------------------------------------------------------- */

static JobEvent rested(Task *t) {
    (void) t;
    return EV_OK;
}

/* What everybody waits for is not counted against the job's time. */
JobEvent enter_resting(Task *t) {
    uint64_t usec = retry_delay_usec(USEC_PER_SEC, REST_MAX_USEC, t->job->tries, clock_chance());

    t->job->idle_usec += patience_idle_usec(&t->patience, t->worker, t->job, usec);
    return task_pause(t, usec, rested);
}

/* --- stopping: the prediction -------------------------------------------------------------- */

/* The prediction is canceled. `status` is what became of it; NULL: nobody knows yet, and the audit goes
 * on until it is over. */
static JobEvent let_go(Task *t, const char *status) {
    Purchase *p = job_purchase(t->job);

    if (p && status)
        notes_settle(t, status, NULL, NULL, NULL, false);
    if (p)
        p->state = PURCHASE_ENDED;
    t->job->has_purchase = false;
    return EV_OK;
}

static const char *terminal_status(const Task *t, const HttpReply *reply) {
    const Purchase *p = job_purchase(t->job);

    return replicate_terminal_status(reply, p ? p->prediction_id : NULL);
}

/* A cancel is answered before it has taken effect: what became of the prediction is read once
 * more. */
static JobEvent read_again(Task *t, HttpReply *reply) {
    bool is_gone = reply->end == HTTP_ANSWERED && reply->code == 404;

    metrics_replicate(&t->worker->metrics, METRICS_GET, reply);
    return let_go(t, is_gone ? "gone" : terminal_status(t, reply));
}

/* A prediction that can't be canceled keeps no job from its end: the audit asks again, and
 * Cancel-After ends it. */
static JobEvent stopped(Task *t, HttpReply *reply) {
    Fault why = { 0 }; /* not the job's, which ends for a reason of its own */
    JobEvent ev = replicate_cancel_hear(reply, &why);
    const char *status = terminal_status(t, reply);
    HttpRequest request;

    metrics_replicate(&t->worker->metrics, METRICS_CANCEL, reply);
    if (ev == EV_WAIT && t->job->tries >= STOP_TRIES) {
        log_job(LOG_WARNING, CANCEL_FAILED, t->job,
                "Job %s ends, but prediction %s could not be canceled: %s; the audit retries",
                t->job->id, job_purchase(t->job)->prediction_id, why.detail);
        return EV_FINAL;
    }
    if (ev != EV_OK)
        return ev;
    if (status || !job_purchase(t->job))
        return let_go(t, status);
    if (poll_ask(t->worker->config, t->job, &request) < 0 ||
        task_send_http(t, &request, read_again) < 0)
        return let_go(t, NULL);
    return EV_NONE;
}

static JobEvent stop_bought(Task *t) {
    HttpRequest request;

    /* After a long suspend another instance may own this job, and wait for the prediction. */
    if (!worker_is_trusted(t->worker))
        return EV_WAIT;
    if (replicate_cancel_ask(t->worker->config, job_purchase(t->job)->prediction_id, &request) <
            0 ||
        task_send_http(t, &request, stopped) < 0)
        return EV_FINAL;
    return EV_NONE;
}

/* --- stopping: the object ------------------------------------------------------------------ */

/* The object is gone, or left to the sweep, which looks after it in any case. */
static JobEvent dropped(Task *t) {
    t->job->stored = false;
    return EV_OK;
}

/* A store that is away keeps no job from its end either: the name is written down for the
 * sweep. */
static JobEvent removed(Task *t, JobEvent ev, const StoreWork *work) {
    if (ev != EV_OK && t->job->tries < STOP_TRIES)
        return EV_WAIT;
    if (ev != EV_OK)
        log_job(LOG_WARNING, JOB_LEFT_BEHIND, t->job,
                "Job %s ends, but its object %s could not be removed: %s; the sweep retries",
                t->job->id, t->job->object, work->fault.detail);
    return dropped(t);
}

/* Whether that went well or not: what a store keeps of unfinished uploads it lets go by itself in time. */
static JobEvent aborted(Task *t, JobEvent ev, const StoreWork *work) {
    const Config *c = t->worker->config;
    StoreWork next = { .config = c, .job = t->job, .object = t->job->object };

    (void) ev;
    (void) work;
    return task_store(t, store_driver(c)->remove(&next), &next, removed);
}

/* The name is written down as one that nobody needs: no later upload gets it, which this removal might hit. */
static JobEvent may_remove(Task *t, DbEnd end, const PGresult *res) {
    StoreWork work = { .config = t->worker->config, .job = t->job };
    Fault why = { 0 };
    JobEvent ev;

    if (!task_db_refused(t, end, res, &ev, &why))
        ev = object_drop_hear(res);
    if (ev == EV_OK)
        return task_store(t, store_abort(&work), &work, aborted);
    return ev == EV_WAIT ? ev : dropped(t);
}

/* First the prediction, which costs money while it runs, then the object. */
static JobEvent stop(Task *t) {
    const Purchase *p = job_purchase(t->job);
    DbRequest request;

    if (p && p->state == PURCHASE_BOUGHT && !p->finished)
        return task_queue(t, LANE_REQUEST, stop_bought);
    if (!t->job->stored || object_drop_ask(t->worker->id, t->job, &request) < 0 ||
        task_send_db(t, task_db_flags(t), &request, may_remove) < 0)
        return EV_OK;
    return EV_NONE;
}

/* A cancel that was not heard is sent again, later each time. */
JobEvent enter_stopping(Task *t) {
    return t->job->tries > 0 ? task_pause(t, task_short_delay(t), stop) : stop(t);
}
