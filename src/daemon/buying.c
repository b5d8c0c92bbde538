/* The states around a purchase: sign, intend, predict, look, record, poll. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/lease.h"
#include "daemon/patience.h"
#include "daemon/stage.h"
#include "daemon/stages.h"
#include "daemon/waits.h"
#include "flow/look.h"
#include "flow/poll.h"
#include "flow/predict.h"
#include "flow/replicate.h"
#include "flow/store.h"

#define HELD_MAX_USEC (10 * USEC_PER_SEC) /* whoever bought nothing does not wait here for longer */

/* --- signing ------------------------------------------------------------------------------- */

/* What is this image's alone holds nobody else. */
static void sign_ended(Task *t, JobEvent ev) {
    if (ev == EV_WAIT)
        patience_trouble(t, LANE_STORE);
    else
        lane_open(stage_lane(t, LANE_STORE));
    worker_tell(t, ev);
}

static void bucket_seen(void *userdata, HttpReply *reply) {
    Task *t = userdata;

    t->http = NULL;
    metrics_storage(&t->worker->metrics, reply);
    sign_ended(t, store_sign_bucket_hear(reply, &t->job->fault));
}

static void signed_url(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    JobEvent ev = store_sign_hear(t->worker->config, reply, t->job, &t->job->fault);
    HttpRequest request;
    int r;

    t->http = NULL;
    metrics_storage(&t->worker->metrics, reply);
    if (ev != EV_ELSE)
        sign_ended(t, ev);
    else if ((r = store_bucket_ask(t->worker->config, &request)) < 0 ||
             (r = stage_send_http(t, &request, bucket_seen)) < 0)
        stage_give_up(t, r);
}

static void sign(void *userdata) {
    Task *t = userdata;
    HttpRequest request;
    int r = store_sign_ask(t->worker->config, t->job, &request);

    if (r < 0 || (r = stage_send_http(t, &request, signed_url)) < 0)
        stage_give_up(t, r);
}

int enter_signing(Task *t) {
    uint64_t now = clock_now_usec();
    JobEvent ev;

    job_step_back(t->job, now);
    ev = predict_image(t->job, now, &t->job->fault);

    if (ev == EV_ELSE &&
        (ev = store_sign_check(t->worker->config, t->job, &t->job->fault)) == EV_OK) {
        stage_queue(t, LANE_STORE, sign);
        return 0;
    }
    worker_tell(t, ev);
    return 0;
}

/* --- buying -------------------------------------------------------------------------------- */

static void intended(void *userdata, DbEnd end, const PGresult *res) {
    Task *t = userdata;
    JobEvent ev;

    if (!stage_db_refused(t, end, res, &ev, &t->job->fault))
        ev = predict_intend_hear(t->worker->config, t->worker->id, t->job, res, t->sent_usec,
                                 &t->job->fault);
    if (ev == EV_LOST)
        t->worker->zombies++;
    worker_tell(t, ev);
}

static void intend(void *userdata) {
    Task *t = userdata;
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
                  job_step_now(t->job)->name);
        worker_tell(t, EV_FINAL);
    } else if (r < 0 || (r = stage_send_db(t, &request, intended)) < 0)
        stage_give_up(t, r);
}

int enter_intending(Task *t) {
    Lane *create = stage_lane(t, LANE_CREATE);
    uint64_t now = clock_now_usec(), wait = hold_wait_usec(&create->hold, now);
    bool is_long = hold_is_on(&create->hold, now) && wait > HELD_MAX_USEC;

    /* The prompt's other steps reach this state without SIGNING; their image is the step's before. */
    if (!t->job->image_url && job_step_now(t->job)->uses_image) {
        JobEvent ev = predict_image(t->job, clock_now_usec(), &t->job->fault);

        if (ev != EV_OK) {
            worker_tell(t, ev == EV_ELSE ? EV_RETRY : ev);
            return 0;
        }
    }
    /* Whoever has bought nothing does not wait here for long: another instance may have a way. Nor does a
     * job whose last request was lost and surely not taken: the service has to answer somebody first. */
    if (is_long || (t->job->give_up && wait > 0)) {
        fault_set(&t->job->fault, create->hold.code, "lane %s is held: %s", create->name,
                  create->held_detail);
        t->job->fault.retry_after_usec = wait;
        worker_tell(t, EV_RETRY);
        return 0;
    }
    stage_queue(t, LANE_CREATE, intend);
    return 0;
}

static void predicted(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    Job *j = t->job;
    JobEvent ev = predict_hear(reply, j, &j->fault);

    t->http = NULL;
    metrics_replicate(&t->worker->metrics, METRICS_CREATE, reply);
    stage_unqueue(t);
    if (ev == EV_OK)
        lane_open(stage_lane(t, LANE_CREATE));
    else {
        stage_service_trouble(t, LANE_CREATE);
        if (ev == EV_UNSURE)
            log_job(LOG_WARNING, JOB_UNSURE, j,
                    "Job %s: the answer to a purchase is lost (%s), looking for it", j->id,
                    j->fault.detail);
        else
            stage_not_bought(t, "refused");
    }
    worker_tell(t, ev);
}

int enter_predicting(Task *t) {
    HttpRequest request;

    /* Checked in the same callback that hands the request to curl: nothing comes between. */
    if (!lease_is_trusted(t->worker) ||
        clock_now_usec() > job_purchase(t->job)->intent_usec + PREDICT_SENT_WITHIN_USEC) {
        fault_set(&t->job->fault, FAULT_SERVICE_UNREACHED, "too late after the intent, not sent");
        stage_not_bought(t, "not sent");
        worker_tell(t, EV_WAIT);
        return 0;
    }
    if (predict_ask(t->worker->config, t->job, &request) < 0 ||
        stage_send_http(t, &request, predicted) < 0) {
        stage_out_of_memory(t);
        t->job->is_shortage = true;
        stage_not_bought(t, "not sent");
        worker_tell(t, EV_RETRY);
    }
    return 0;
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
    Task *t = userdata;

    (void) source;
    (void) usec;
    if (look_take(t->job, clock_now_usec()))
        worker_tell(t, EV_OK);
    else if (looking_join(t) < 0) {
        stage_out_of_memory(t);
        worker_tell(t, EV_WAIT);
    }
    return 0;
}

int enter_looking(Task *t) {
    return stage_pause_for(t, look_delay_usec(t->job, clock_now_usec(), clock_chance()), on_look);
}

/* The purchase had been given up by another worker, who has the job, or has no row: what we bought is cancelled. */
static void cancel_surplus(Task *t) {
    t->worker->surplus++;
    log_job(LOG_WARNING, JOB_SURPLUS, t->job,
            "Job %s: prediction %s came too late and is cancelled", t->job->id,
            t->job->prediction_id);
    stage_cancel(t->worker, t->job->prediction_id);
}

static void recorded(void *userdata, DbEnd end, const PGresult *res) {
    Task *t = userdata;
    Job *j = t->job;
    Purchase *p = job_purchase(j);
    JobEvent ev;

    if (stage_db_refused(t, end, res, &ev, &j->fault)) {
        worker_tell(t, ev);
        return;
    }
    Recorded answer = predict_record_hear(res);

    if (answer == RECORDED_BUSY) {
        fault_set(&j->fault, FAULT_DATABASE_BUSY, "somebody else has locked the job's row");
        worker_tell(t, EV_WAIT);
        return;
    }

    if (answer == RECORDED_TAKEN) {
        (void) look_refuse(j);
        worker_tell(t, EV_ELSE);
        return;
    }
    if (answer == RECORDED_SURPLUS) {
        cancel_surplus(t);
        job_wish(j, EV_LOST);
        worker_tell(t, EV_OK);
        return;
    }
    free(p->prediction_id);
    p->prediction_id = TAKE(j->prediction_id);
    p->state = PURCHASE_BOUGHT;
    j->log.prediction_id = p->prediction_id;
    j->crashes = 0;
    if (j->looked_usec > 0) {
        t->worker->adopted++;
        log_job(LOG_NOTICE, JOB_ADOPTED, j, "Job %s: prediction %s was found in the listing", j->id,
                p->prediction_id);
    }
    log_job(LOG_INFO, JOB_BOUGHT, j, "Job %s: step %s is prediction %s", j->id, p->step,
            p->prediction_id);
    if (answer == RECORDED_LOST)
        job_wish(j, EV_LOST);
    else if (answer == RECORDED_CANCEL || answer == RECORDED_GONE)
        job_wish(j, EV_CANCEL);
    worker_tell(t, EV_OK);
}

static int on_record(sd_event_source *source, uint64_t usec, void *userdata) {
    Task *t = userdata;
    DbRequest request;

    (void) source;
    (void) usec;
    if (predict_record_ask(t->worker->id, t->job, &request) < 0 ||
        stage_send_db(t, &request, recorded) < 0)
        (void) stage_pause_for(t, USEC_PER_SEC, on_record);
    return 0;
}

int enter_recording(Task *t) {
    if (t->job->tries > 0)
        return stage_pause_for(t, stage_short_delay(t), on_record);
    return on_record(NULL, 0, t);
}

/* --- polling ------------------------------------------------------------------------------- */

static void polled(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    Job *j = t->job;
    PollAnswer answer;
    JobEvent ev;

    t->http = NULL;
    metrics_replicate(&t->worker->metrics, METRICS_GET, reply);
    j->fault = (Fault){ 0 };
    ev = poll_hear(reply, j, clock_now_usec(), &answer, &j->fault);
    if (answer.status)
        lane_open(stage_lane(t, LANE_POLL));
    else if (j->fault.code == FAULT_PREDICTION_GONE) {
        /* Should it turn up again, nobody waits for it any more. */
        stage_cancel(t->worker, job_purchase(j)->prediction_id);
        stage_settle(t, "gone", NULL, NULL, j->fault.detail, false);
        j->has_purchase = false;
    } else if (reply->code != 404 && reply->code != 410 && !answer.of_another)
        stage_service_trouble(t, LANE_POLL);
    if (answer.terminal) {
        stage_settle(t, answer.status, answer.usable ? answer.output : NULL, answer.metrics,
                     answer.error         ? answer.error
                     : j->fault.detail[0] ? j->fault.detail
                                          : NULL,
                     answer.usable);
        if (!answer.usable)
            j->has_purchase = false;
    }
    json_decref(answer.root);
    if (answer.status && !answer.terminal) {
        stage_forgive(t);
        waits_restart(t); /* it is at work */
    }
    worker_tell(t, ev);
}

static void poll_now(void *userdata) {
    Task *t = userdata;
    HttpRequest request;
    int r = poll_ask(t->worker->config, t->job, &request);

    t->polled_usec = clock_now_usec();
    if (r < 0 || stage_send_http(t, &request, polled) < 0) {
        stage_out_of_memory(t);
        worker_tell(t, EV_WAIT);
    }
}

static int on_poll(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    stage_queue(userdata, LANE_POLL, poll_now);
    return 0;
}

int enter_polling(Task *t) {
    const Purchase *p = job_purchase(t->job);
    uint64_t now = clock_now_usec();

    /* A prediction that is over, or that we did not see begin, is asked for at once. */
    if (t->job->tries == 0 && (p->finished || p->intent_usec < t->job->claimed_usec))
        return stage_pause_for(t, (uint64_t) (clock_chance() * 100) * USEC_PER_MSEC, on_poll);
    return stage_pause_for(
        t, poll_delay_usec(t->worker->config, now - p->intent_usec, clock_chance()), on_poll);
}

void stages_poll_now(Task *t) {
    uint64_t now = clock_now_usec(), due = t->polled_usec + t->worker->config->poll_min_usec;

    if (t->job->at.state == JOB_POLLING && !t->http && !t->ticket.lane)
        (void) stage_pause_for(t, due > now ? due - now : 0, on_poll);
}
