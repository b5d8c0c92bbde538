/*
 * The states around a purchase, in the order of the flow: sign, intend, predict, look, record, poll.
 *
 * Money is spent in one place, enter_predicting(), right after an intent of its own was written down. What requests and
 * answers mean is in flow/; where a job goes then, in core/job.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/notes.h"
#include "daemon/purchase_states.h"
#include "flow/look.h"
#include "flow/poll.h"
#include "flow/predict.h"
#include "flow/store.h"

#define HELD_MAX_USEC (10 * USEC_PER_SEC) /* a job that bought nothing waits here no longer */

/* --- signing ------------------------------------------------------------------------------- */

/* Trouble with this image alone holds no other job. */
static JobEvent signed_image(Task *t, JobEvent ev, const StoreWork *work) {
    Job *j = t->job;

    if (ev != EV_OK) {
        j->fault = work->fault;
        j->is_shortage = j->fault.code == FAULT_INTERNAL;
    }
    if (ev == EV_WAIT)
        patience_trouble(&t->patience, task_lane(t, LANE_STORE), &j->fault);
    else if (!j->is_shortage)
        lane_open(task_lane(t, LANE_STORE));
    return ev;
}

/* The signed URL is what the model fetches: it must live as long as the prediction may wait for
 * a machine. */
static JobEvent sign(Task *t) {
    StoreWork work = { .config = t->worker->config, .job = t->job };

    return task_store(t, store_sign(&work), &work, signed_image);
}

/* Every purchase of a job begins here, also the one after a purchase that was given up: what it
 * is made of may be gone by then. */
JobEvent enter_signing(Task *t) {
    StoreWork work = { .config = t->worker->config, .job = t->job };
    uint64_t now = clock_now_usec();
    JobEvent ev;

    job_previous_step(t->job, now);
    ev = predict_image(t->job, now, &t->job->fault);
    if (ev != EV_MORE)
        return ev;
    /* A path that is not the user's is refused without waiting in line for the store. */
    ev = store_sign(&work);
    if (ev == EV_MORE)
        return task_queue(t, LANE_STORE, sign);
    if (ev != EV_OK)
        t->job->fault = work.fault;
    return ev;
}

/* --- buying -------------------------------------------------------------------------------- */

/* The row is written, or was before: only from now on may a request be sent. */
static JobEvent intended(Task *t, DbEnd end, const PGresult *res) {
    JobEvent ev;

    if (!task_db_refused(t, end, res, &ev, &t->job->fault))
        ev = predict_intend_hear(t->worker->config, t->worker->id, t->job, res, t->sent_usec,
                                 &t->job->fault);
    t->worker->metrics.zombies += ev == EV_LOST;
    return ev;
}

static JobEvent intend(Task *t) {
    DbRequest request;
    int r = 0;

    /* Sent again after a lost answer it is the same key: the row that is there already is its own. */
    if (!t->job->next_key[0])
        r = clock_key(t->job->next_key);
    if (r == 0)
        r = predict_intend_ask(t->worker->config, t->worker->id, t->job, &request);
    if (r == -E2BIG) {
        fault_set(&t->job->fault, FAULT_INPUT_INVALID,
                  "the input of step %s is larger than the listing shows",
                  job_current_step(t->job)->name);
        return EV_FINAL;
    }
    if (r < 0 || (r = task_send_db(t, task_db_flags(t), &request, intended)) < 0)
        return task_give_up(t, r);
    return EV_NONE;
}

/* The place in the lane is taken here, before the intent, so that the request leaves right
 * after it. */
JobEvent enter_intending(Task *t) {
    Lane *create = task_lane(t, LANE_CREATE);
    uint64_t now = clock_now_usec(), wait = hold_wait_usec(&create->hold, now);
    bool is_long = hold_is_on(&create->hold, now) && wait > HELD_MAX_USEC;

    /* The prompt's other steps reach this state without SIGNING; their image is the step's before. */
    if (!t->job->image_url && job_current_step(t->job)->uses_image) {
        JobEvent ev = predict_image(t->job, now, &t->job->fault);

        if (ev != EV_OK)
            return ev == EV_MORE ? EV_RETRY : ev;
    }
    /* A job that has bought nothing does not wait here for long, since another instance may have a way. Nor does one
     * whose last request was lost and surely not taken: the service has to answer somebody first. */
    if (is_long || (t->job->give_up && wait > 0)) {
        fault_set(&t->job->fault, create->hold.code, "lane %s is held: %s", create->name,
                  create->held_detail);
        t->job->fault.retry_after_usec = wait;
        return EV_RETRY;
    }
    return task_queue(t, LANE_CREATE, intend);
}

/* Only an answer that surely refuses lets the job buy again; any doubt leads to looking. */
static JobEvent predicted(Task *t, HttpReply *reply) {
    Job *j = t->job;
    JobEvent ev = predict_hear(reply, j, &j->fault);

    metrics_replicate(&t->worker->metrics, METRICS_CREATE, reply);
    task_unqueue(t);
    if (ev == EV_OK) {
        lane_open(task_lane(t, LANE_CREATE));
        return ev;
    }
    worker_hold_for(t->worker, LANE_CREATE, &j->fault);
    if (ev == EV_UNSURE)
        log_job(LOG_WARNING, JOB_UNSURE, j,
                "Job %s: no answer to a create (%s), looking for the prediction in the listing",
                j->id, j->fault.detail);
    else
        notes_not_bought(t, "refused");
    return ev;
}

JobEvent enter_predicting(Task *t) {
    HttpRequest request;

    /* Checked in the same callback that hands the request to curl: nothing comes between. */
    if (!worker_is_trusted(t->worker) ||
        clock_now_usec() > job_purchase(t->job)->intent_usec + PREDICT_SENT_WITHIN_USEC) {
        fault_set(&t->job->fault, FAULT_SERVICE_UNREACHED, "too late after the intent, not sent");
        notes_not_bought(t, "not sent");
        return EV_WAIT;
    }
    /* Neither of the two has sent anything when it fails. */
    if (predict_ask(t->worker->config, t->job, &request) < 0 ||
        task_send_http(t, &request, predicted) < 0) {
        task_out_of_memory(t);
        notes_not_bought(t, "not sent");
        return EV_RETRY;
    }
    return EV_NONE;
}

/* --- looking ------------------------------------------------------------------------------- */

/* A look that showed something is good news even if it failed later: the service lists what it
 * has. */
static JobEvent what_was_seen(Task *t, LookEnd end, uint64_t asked_usec, const Fault *why) {
    Job *j = t->job;
    uint64_t now = clock_now_usec();
    bool complete = end == LOOK_COMPLETE;

    j->fault = (Fault){ 0 };
    if (end != LOOK_FAILED)
        notes_forgive(t);
    if (look_take(j, now))
        return EV_OK;
    if (!complete)
        j->fault = *why;
    return look_end(j, complete, asked_usec, now, &j->fault);
}

static void looked(void *userdata, LookEnd end, uint64_t asked_usec, const Fault *why) {
    Task *t = userdata;

    task_op_over(t);
    task_tell(t, what_was_seen(t, end, asked_usec, why));
}

static void cancel_look(Task *t) {
    looking_leave(t->worker->looking, t->op);
}

/* An earlier pass may have shown several predictions with our input: they are tried one after
 * the other first. */
static JobEvent look(Task *t) {
    if (look_take(t->job, clock_now_usec()))
        return EV_OK;
    if (looking_join(t->worker->looking, &t->look, t->job, looked, t) < 0) {
        task_out_of_memory(t);
        return EV_WAIT;
    }
    task_wait(t, &t->look, cancel_look);
    return EV_NONE;
}

/* A listing shows a prediction some time after it was made: the first look waits for that. */
JobEvent enter_looking(Task *t) {
    return task_pause(t, look_delay_usec(t->job, clock_now_usec(), clock_chance()), look);
}

/* --- recording ----------------------------------------------------------------------------- */

/* Another worker has the job and has given the purchase up, or it has no row: what we bought is canceled. */
static void cancel_surplus(Task *t) {
    log_job(LOG_WARNING, JOB_SURPLUS, t->job,
            "Job %s: prediction %s came too late; canceling it as surplus", t->job->id,
            t->job->prediction_id);
    notes_cancel_surplus(t->worker, t->job->prediction_id);
}

/* The prediction's id is in its row. */
static void bought(Task *t) {
    Job *j = t->job;
    Purchase *p = job_purchase(j);

    free(p->prediction_id);
    p->prediction_id = TAKE(j->prediction_id);
    p->state = PURCHASE_BOUGHT;
    j->log.prediction_id = p->prediction_id;
    j->crashes = 0;
    if (j->looked_usec > 0) {
        t->worker->metrics.adopted++;
        log_job(LOG_NOTICE, JOB_ADOPTED, j, "Job %s: prediction %s was found in the listing", j->id,
                p->prediction_id);
    }
    log_job(LOG_INFO, JOB_BOUGHT, j, "Job %s: step %s is prediction %s", j->id, p->step,
            p->prediction_id);
}

static JobEvent recorded(Task *t, DbEnd end, const PGresult *res) {
    Job *j = t->job;
    JobEvent ev;

    if (task_db_refused(t, end, res, &ev, &j->fault))
        return ev;
    switch (predict_record_hear(res)) {
    case RECORDED_BUSY:
        fault_set(&j->fault, FAULT_DATABASE_BUSY, "somebody else has locked the job's row");
        return EV_WAIT;
    case RECORDED_TAKEN:
        (void) look_refuse(j);
        return EV_TAKEN;
    case RECORDED_SURPLUS:
        cancel_surplus(t);
        job_wish(j, EV_LOST);
        return EV_OK;
    case RECORDED_LOST:
        job_wish(j, EV_LOST);
        break;
    case RECORDED_CANCEL:
    case RECORDED_GONE:
        job_wish(j, EV_CANCEL);
        break;
    default:
        break;
    }
    bought(t);
    return EV_OK;
}

/* Repeated until it is answered: the id is known to nobody but us. */
static JobEvent record(Task *t) {
    DbRequest request;

    if (predict_record_ask(t->worker->id, t->job, &request) < 0 ||
        task_send_db(t, task_db_flags(t), &request, recorded) < 0)
        return task_pause(t, USEC_PER_SEC, record);
    return EV_NONE;
}

/* Whatever is wished meanwhile waits for this: an id that is not written down is a purchase
 * that nobody stops. */
JobEvent enter_recording(Task *t) {
    return t->job->tries > 0 ? task_pause(t, task_short_delay(t), record) : record(t);
}

/* --- polling ------------------------------------------------------------------------------- */

/* The prediction is over: its row says how, and with what. */
static void settle(Task *t, const PollAnswer *answer) {
    const char *detail = t->job->fault.detail;

    notes_settle(t, answer->status, answer->usable ? answer->output : NULL, answer->metrics,
                 answer->error ? answer->error
                 : detail[0]   ? detail
                               : NULL,
                 answer->usable);
    if (!answer->usable)
        t->job->has_purchase = false;
}

/* The row of a prediction that is over is written without waiting for it: the closing
 * transaction, or the next claim, finds it. */
static JobEvent polled(Task *t, HttpReply *reply) {
    Job *j = t->job;
    PollAnswer answer;
    JobEvent ev;

    metrics_replicate(&t->worker->metrics, METRICS_GET, reply);
    j->fault = (Fault){ 0 };
    ev = poll_hear(reply, j, clock_now_usec(), &answer, &j->fault);
    if (answer.status)
        lane_open(task_lane(t, LANE_POLL));
    else if (j->fault.code == FAULT_PREDICTION_GONE) {
        /* Should it turn up again, nobody waits for it any more. */
        notes_cancel(t->worker, job_purchase(j)->prediction_id);
        notes_settle(t, "gone", NULL, NULL, j->fault.detail, false);
        j->has_purchase = false;
    } else if (reply->code != 404 && reply->code != 410 && !answer.of_another)
        worker_hold_for(t->worker, LANE_POLL, &j->fault);
    if (answer.terminal)
        settle(t, &answer);
    json_decref(answer.root);
    if (answer.status && !answer.terminal) {
        notes_forgive(t);
        task_got_further(t); /* it is at work */
    }
    return ev;
}

/* No fault of the job: without memory the same again later. */
static JobEvent read_prediction(Task *t) {
    HttpRequest request;

    t->polled_usec = clock_now_usec();
    if (poll_ask(t->worker->config, t->job, &request) < 0 ||
        task_send_http(t, &request, polled) < 0) {
        task_out_of_memory(t);
        return EV_WAIT;
    }
    return EV_NONE;
}

/* The pause is each job's, the rate is everybody's. */
static JobEvent poll(Task *t) {
    return task_queue(t, LANE_POLL, read_prediction);
}

JobEvent enter_polling(Task *t) {
    const Purchase *p = job_purchase(t->job);
    uint64_t now = clock_now_usec();

    /* A prediction that is over, or that we did not see begin, is asked for at once. */
    if (t->job->tries == 0 && (p->finished || p->intent_usec < t->job->claimed_usec))
        return task_pause(t, (uint64_t) (clock_chance() * 100) * USEC_PER_MSEC, poll);
    return task_pause(t, poll_delay_usec(t->worker->config, now - p->intent_usec, clock_chance()),
                      poll);
}

/* Never more often than [replicate] poll_min: anybody may send notifications. */
void purchase_poll_now(Task *t) {
    uint64_t now = clock_now_usec(), due = t->polled_usec + t->worker->config->poll_min_usec;

    if (t->job->at.state == JOB_POLLING && !t->op && !t->ticket.lane)
        (void) task_pause(t, due > now ? due - now : 0, poll);
}
