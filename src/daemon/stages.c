#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "core/retry.h"
#include "daemon/lease.h"
#include "daemon/stages.h"
#include "flow/complete.h"
#include "flow/download.h"
#include "flow/look.h"
#include "flow/poll.h"
#include "flow/predict.h"
#include "flow/service.h"
#include "flow/store.h"
#include "flow/validate.h"

#define REST_MAX_USEC (10 * USEC_PER_SEC)
#define STOP_TRIES 8                 /* Cancel-After ends what can't be cancelled */
#define SENT_USEC (5 * USEC_PER_SEC) /* after its intent a request leaves, or not at all */
#define SLICE_MAX (256 * 1024)

/* --- small tools --------------------------------------------------------------------------- */

static Lane *lane(Task *t, LaneName name) {
    return &t->worker->lanes[name];
}

/* Queues for a lane; `go` runs at once or later. */
static void queue(Task *t, LaneName name, void (*go)(void *userdata)) {
    if (lane_enter(lane(t, name), &t->ticket, go, t))
        go(t);
}

/* Leaves the lane; what was waited there does not count as work. */
static void unqueue(Task *t) {
    t->job->idle_usec += t->ticket.waited_usec;
    lane_leave(&t->ticket);
}

static int out_of_memory(Task *t) {
    fault_set(&t->job->fault, FAULT_INTERNAL, "out of memory");
    return -ENOMEM;
}

/* A stage could not even ask. */
static void give_up(Task *t, int r) {
    fault_set(&t->job->fault, FAULT_INTERNAL, "%s: %s", job_state_word(t->job->at.state),
              strerror(-r));
    worker_tell(t, t->job->at.state == JOB_PREDICTING ? EV_UNSURE : EV_RETRY);
}

/* Before the same thing again, which costs nothing. */
static uint64_t short_delay(const Task *t) {
    return retry_delay_usec(USEC_PER_SEC / 5, REST_MAX_USEC, t->job->tries, clock_chance());
}

static int pause_for(Task *t, uint64_t usec, sd_event_time_handler_t then) {
    if (t->timer)
        t->timer = sd_event_source_disable_unref(t->timer);
    return sd_event_add_time_relative(t->worker->event, &t->timer, CLOCK_MONOTONIC, usec,
                                      usec < 100 * USEC_PER_MSEC ? 1 : 0, then, t);
}

static int send_http(Task *t, HttpRequest *request, HttpDone heard) {
    t->sent_usec = clock_now_usec();
    return http_send(t->worker->http, request, heard, t, &t->http);
}

static int send_db(Task *t, DbRequest *request, DbDone heard) {
    int r = db_call(t->worker->db, 0, request->sql, (const char *const *) request->params,
                    request->n_params, heard, t, &t->db);

    t->sent_usec = clock_now_usec();
    db_request_done(request);
    return r;
}

/* The answer of a database call is here: what an error of the server means for the job. */
static bool db_refused(Task *t, DbEnd end, const PGresult *res, JobEvent *ret_ev, Fault *reterr) {
    const char *state = db_sqlstate(res);

    t->db = NULL;
    if (end == DB_OK)
        return false;
    fault_set(reterr, FAULT_DATABASE, "database: %s %s", state,
              res ? PQresultErrorMessage(res) : "connection lost");
    /* Locks, serialisation, shortage, an operator's hand: the same again may do. */
    *ret_ev = end == DB_LOST || !strncmp(state, "40", 2) || !strncmp(state, "53", 2) ||
                      !strncmp(state, "55", 2) || !strncmp(state, "57", 2)
                  ? EV_WAIT
                  : EV_FINAL;
    if (*ret_ev == EV_FINAL)
        log_job(LOG_ERR, INTERNAL, t->job, "The database refused a call for job %s: %s", t->job->id,
                reterr->detail);
    return true;
}

/* Replicate's other answers: what holds a lane, holds it. */
static void service_trouble(Task *t, LaneName name) {
    FaultCode code = t->job->fault.code;

    if (code == FAULT_SERVICE_CREDIT || code == FAULT_SERVICE_AUTH) {
        lane_hold(lane(t, LANE_CREATE), &t->job->fault);
        if (name != LANE_CREATE && code == FAULT_SERVICE_AUTH)
            lane_hold(lane(t, name), &t->job->fault);
    } else if (code == FAULT_SERVICE_THROTTLED || code == FAULT_SERVICE_UNREACHED)
        lane_hold(lane(t, name), &t->job->fault);
}

/* Writes down what became of the live purchase; nobody waits for it. */
static void settle(Task *t, const char *status, const json_t *output, const json_t *metrics,
                   const char *error, bool usable) {
    DbRequest r;
    const Purchase *p = job_purchase(t->job);

    if (p && predict_settle_ask(p, status, output, metrics, error, usable, &r) == 0)
        worker_call(t->worker, &r, "settle a purchase");
}

/* The live purchase was never sent, or was refused: nothing was bought. */
static void not_bought(Task *t, const char *status) {
    Purchase *p = job_purchase(t->job);

    settle(t, status, NULL, NULL, t->job->fault.detail, false);
    p->state = PURCHASE_ENDED;
    t->job->has_purchase = false;
}

/* --- signing ------------------------------------------------------------------------------- */

static void signed_url(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    JobEvent ev = store_sign_hear(t->worker->config, reply, t->job, &t->job->fault);

    t->http = NULL;
    if (ev == EV_OK)
        lane_open(lane(t, LANE_STORE));
    else if (ev == EV_WAIT)
        lane_hold(lane(t, LANE_STORE), &t->job->fault);
    worker_tell_fault(t, ev);
}

static void sign(void *userdata) {
    Task *t = userdata;
    HttpRequest request;
    int r = store_sign_ask(t->worker->config, t->job, &request);

    if (r < 0 || (r = send_http(t, &request, signed_url)) < 0)
        give_up(t, r);
}

static int enter_signing(Task *t) {
    JobEvent ev = predict_image(t->job, clock_now_usec(), &t->job->fault);

    if (ev == EV_ELSE &&
        (ev = store_sign_check(t->worker->config, t->job, &t->job->fault)) == EV_OK) {
        queue(t, LANE_STORE, sign);
        return 0;
    }
    worker_tell_fault(t, ev);
    return 0;
}

/* --- buying -------------------------------------------------------------------------------- */

static void intended(void *userdata, DbEnd end, const PGresult *res) {
    Task *t = userdata;
    JobEvent ev;

    if (!db_refused(t, end, res, &ev, &t->job->fault))
        ev = predict_intend_hear(t->worker->config, t->job, res, t->sent_usec, &t->job->fault);
    worker_tell_fault(t, ev);
}

static void intend(void *userdata) {
    Task *t = userdata;
    DbRequest request;
    int r = predict_intend_ask(t->worker->config, t->worker->id, t->job, &request);

    if (r < 0 || (r = send_db(t, &request, intended)) < 0)
        give_up(t, r);
}

static int enter_intending(Task *t) {
    Lane *create = lane(t, LANE_CREATE);

    /* The prompt's other steps reach this state without SIGNING; their image is the step's before. */
    if (!t->job->image_url && job_step_now(t->job)->uses_image) {
        JobEvent ev = predict_image(t->job, clock_now_usec(), &t->job->fault);

        if (ev != EV_OK) {
            worker_tell_fault(t, ev == EV_ELSE ? EV_RETRY : ev);
            return 0;
        }
    }
    /* Whoever has bought nothing does not wait here for long: another instance may have a way. */
    if (lane_is_held(create) && create->held_until_usec > clock_now_usec() + REST_MAX_USEC) {
        fault_set(&t->job->fault, create->held_for, "lane %s is held: %s", create->name,
                  create->held_detail);
        t->job->fault.retry_after_usec = create->held_until_usec - clock_now_usec();
        worker_tell(t, EV_RETRY);
        return 0;
    }
    queue(t, LANE_CREATE, intend);
    return 0;
}

static void predicted(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    Job *j = t->job;
    JobEvent ev = predict_hear(reply, j, &j->fault);

    t->http = NULL;
    unqueue(t);
    if (ev == EV_OK)
        lane_open(lane(t, LANE_CREATE));
    else {
        service_trouble(t, LANE_CREATE);
        if (ev == EV_UNSURE)
            log_job(LOG_WARNING, JOB_MOVED, j,
                    "Job %s: the answer to a purchase is lost (%s), looking for it", j->id,
                    j->fault.detail);
        else
            not_bought(t, "refused");
    }
    worker_tell_fault(t, ev);
}

static int enter_predicting(Task *t) {
    HttpRequest request;
    int r;

    /* Checked in the same callback that hands the request to curl: nothing comes between. */
    if (!lease_is_trusted(t->worker) ||
        clock_now_usec() > job_purchase(t->job)->intent_usec + SENT_USEC) {
        fault_set(&t->job->fault, FAULT_SERVICE_UNREACHED, "too late after the intent, not sent");
        not_bought(t, "not sent");
        worker_tell(t, EV_WAIT);
        return 0;
    }
    if ((r = predict_ask(t->worker->config, t->job, &request)) < 0 ||
        (r = send_http(t, &request, predicted)) < 0) {
        out_of_memory(t);
        not_bought(t, "not sent");
        worker_tell(t, EV_RETRY);
    }
    return 0;
}

static void looked(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    Job *j = t->job;
    JobEvent ev = look_hear(t->worker->config, reply, j, clock_now_usec(), &j->fault);

    t->http = NULL;
    if (reply->end == HTTP_ANSWERED && reply->code == 200)
        lane_open(lane(t, LANE_REQUEST));
    else
        service_trouble(t, LANE_REQUEST);
    if (ev == EV_OK) {
        t->worker->adopted++;
        log_job(LOG_NOTICE, JOB_ADOPTED, j, "Job %s: prediction %s was found in the listing", j->id,
                j->prediction_id);
    }
    worker_tell(t, ev);
}

static void look(void *userdata) {
    Task *t = userdata;
    uint64_t age = clock_now_usec() - job_purchase(t->job)->intent_usec;
    HttpRequest request;
    int r =
        look_ask(t->worker->config, t->job, time(NULL) - (time_t) (age / USEC_PER_SEC), &request);

    if (r < 0 || send_http(t, &request, looked) < 0) {
        out_of_memory(t);
        worker_tell(t, EV_WAIT);
    }
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    queue(userdata, LANE_REQUEST, look);
    return 0;
}

static int enter_looking(Task *t) {
    return pause_for(t, look_delay_usec(t->job, clock_now_usec(), clock_chance()), on_look);
}

/* The purchase had been given up by another worker, who has the job: what we bought is cancelled. */
static void cancelled_surplus(void *userdata, HttpReply *reply) {
    Worker *w = userdata;
    Fault fault;

    (void) w;
    if (service_cancel_hear(reply, &fault) != EV_OK)
        log_line(LOG_WARNING, JOB_SURPLUS, "A surplus prediction could not be cancelled: %s",
                 fault.detail);
}

static void cancel_surplus(Task *t) {
    HttpRequest request;
    HttpOp *op;

    t->worker->surplus++;
    log_job(LOG_WARNING, JOB_SURPLUS, t->job,
            "Job %s: prediction %s came too late and is cancelled", t->job->id,
            t->job->prediction_id);
    if (service_cancel_ask(t->worker->config, t->job->prediction_id, &request) == 0)
        (void) http_send(t->worker->http, &request, cancelled_surplus, t->worker, &op);
}

static void recorded(void *userdata, DbEnd end, const PGresult *res) {
    Task *t = userdata;
    Job *j = t->job;
    Purchase *p = job_purchase(j);
    JobEvent ev;

    if (db_refused(t, end, res, &ev, &j->fault)) {
        worker_tell(t, ev);
        return;
    }
    Recorded answer = predict_record_hear(res);

    if (answer == RECORDED_TAKEN) {
        (void) look_refuse(j);
        worker_tell(t, EV_ELSE);
        return;
    }
    if (answer == RECORDED_SURPLUS) {
        cancel_surplus(t);
        worker_tell(t, EV_LOST); /* kept until the next line */
        worker_tell(t, EV_OK);
        return;
    }
    free(p->prediction_id);
    p->prediction_id = TAKE(j->prediction_id);
    p->state = PURCHASE_BOUGHT;
    j->log.prediction_id = p->prediction_id;
    j->crashes = 0;
    log_job(LOG_INFO, JOB_BOUGHT, j, "Job %s: step %s is prediction %s", j->id, p->step,
            p->prediction_id);
    /* These wishes are kept in RECORDING, and granted by its end. */
    if (answer == RECORDED_LOST)
        worker_tell(t, EV_LOST);
    else if (answer == RECORDED_CANCEL || answer == RECORDED_GONE)
        worker_tell(t, EV_CANCEL);
    worker_tell(t, EV_OK);
}

static int on_record(sd_event_source *source, uint64_t usec, void *userdata) {
    Task *t = userdata;
    DbRequest request;

    (void) source;
    (void) usec;
    if (predict_record_ask(t->worker->id, t->job, &request) < 0 ||
        send_db(t, &request, recorded) < 0)
        (void) pause_for(t, USEC_PER_SEC, on_record);
    return 0;
}

static int enter_recording(Task *t) {
    if (t->job->tries > 0)
        return pause_for(t, short_delay(t), on_record);
    return on_record(NULL, 0, t);
}

/* --- polling ------------------------------------------------------------------------------- */

static void polled(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    Job *j = t->job;
    PollAnswer answer;
    JobEvent ev;

    t->http = NULL;
    j->fault = (Fault){ 0 };
    ev = poll_hear(reply, j, clock_now_usec(), &answer, &j->fault);
    if (answer.status)
        lane_open(lane(t, LANE_POLL));
    else if (reply->code != 404)
        service_trouble(t, LANE_POLL);
    if (answer.terminal) {
        settle(t, answer.status, answer.usable ? answer.output : NULL, answer.metrics,
               answer.error ? answer.error : j->fault.detail, answer.usable);
        if (!answer.usable)
            j->has_purchase = false;
    }
    json_decref(answer.root);
    if (ev == EV_STEP)
        job_next_step(j);
    worker_tell_fault(t, ev);
}

static void poll_now(void *userdata) {
    Task *t = userdata;
    HttpRequest request;
    int r = poll_ask(t->worker->config, t->job, &request);

    if (r < 0 || send_http(t, &request, polled) < 0) {
        out_of_memory(t);
        worker_tell(t, EV_WAIT);
    }
}

static int on_poll(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    queue(userdata, LANE_POLL, poll_now);
    return 0;
}

static int enter_polling(Task *t) {
    const Purchase *p = job_purchase(t->job);
    uint64_t now = clock_now_usec();

    /* A prediction that is over, or that we did not see begin, is asked for at once. */
    if (t->job->tries == 0 && (p->finished || p->intent_usec < t->job->claimed_usec))
        return pause_for(t, (uint64_t) (clock_chance() * 100) * USEC_PER_MSEC, on_poll);
    return pause_for(t, poll_delay_usec(t->worker->config, now - p->intent_usec, clock_chance()),
                     on_poll);
}

void stages_poll_now(Task *t) {
    if (t->job->at.state == JOB_POLLING && !t->http && !t->ticket.lane)
        (void) pause_for(t, 0, on_poll);
}

/* --- the file ------------------------------------------------------------------------------ */

static void download(void *userdata);

static void downloaded(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    Job *j = t->job;
    JobEvent ev = download_hear(t->worker->config, reply, t->redirects, &j->fault);

    t->http = NULL;
    if (ev == EV_ELSE) { /* a redirect that passed the check */
        t->redirects++;
        free(j->output_url);
        j->output_url = TAKE(reply->redirect);
        download(t);
        return;
    }
    if (ev == EV_OK && hash_final(t->hash, j->sha256) < 0) {
        out_of_memory(t);
        ev = EV_RETRY;
    }
    if (ev == EV_OK) {
        j->size_bytes = reply->body_size;
        spool_file_settle(t->file, j->size_bytes);
    } else
        t->file = spool_file_free(t->file);
    if (ev == EV_RETRY && j->fault.code == FAULT_OUTPUT_GONE) {
        job_purchase(j)->state = PURCHASE_ENDED;
        settle(t, "succeeded", NULL, NULL, j->fault.detail, false);
    }
    worker_tell_fault(t, ev);
}

static void download(void *userdata) {
    Task *t = userdata;
    Job *j = t->job;
    HttpRequest request;
    int r;

    t->hash = hash_free(t->hash);
    if (!t->file && (r = spool_open(t->worker->spool, &t->file)) < 0) {
        fault_set(&j->fault, r == -ENOMEM ? FAULT_INTERNAL : FAULT_SPOOL_FULL, "spool: %s",
                  r == -EAGAIN ? "spool_max is reached" : strerror(-r));
        worker_tell(t, EV_WAIT);
        return;
    }
    if ((r = hash_new(&t->hash)) < 0 ||
        (r = download_ask(t->worker->config, j->output_url, spool_file_fd(t->file), t->hash,
                          &request)) < 0 ||
        (r = send_http(t, &request, downloaded)) < 0)
        give_up(t, r);
}

static int enter_downloading(Task *t) {
    JobEvent ev = download_check(t->worker->config, t->job->output_url, &t->job->fault);

    t->redirects = 0;
    if (ev == EV_OK)
        queue(t, LANE_FILE, download);
    else
        worker_tell_fault(t, ev);
    return 0;
}

static int on_slice(sd_event_source *source, uint64_t usec, void *userdata) {
    Task *t = userdata;
    _cleanup_free_ char *bytes = NULL;
    uint64_t offset = 0;
    size_t size = 0;
    ssize_t n = 0;
    JobEvent ev;

    (void) source;
    (void) usec;
    if (glb_wants(t->glb, &offset, &size)) {
        if (size > SLICE_MAX)
            size = SLICE_MAX;
        if (!(bytes = malloc(size))) {
            out_of_memory(t);
            worker_tell_fault(t, EV_RETRY);
            return 0;
        }
        n = pread(spool_file_fd(t->file), bytes, size, (off_t) offset);
        if (n != (ssize_t) size) {
            fault_set(&t->job->fault, FAULT_INTERNAL, "spool: cannot be read back");
            worker_tell_fault(t, EV_RETRY);
            return 0;
        }
    }
    ev = validate_slice(t->glb, bytes, (size_t) n, t->job, &t->job->fault);
    if (ev == EV_WAIT)
        (void) pause_for(t, 0, on_slice);
    else
        worker_tell_fault(t, ev);
    return 0;
}

static int enter_validating(Task *t) {
    int r = validate_begin(t->worker->config, t->job->size_bytes, &t->glb);

    return r < 0 ? r : pause_for(t, 0, on_slice);
}

static int enter_scanning(Task *t) {
    worker_tell(t, EV_OK); /* there is no scanner: nothing to wait for */
    return 0;
}

/* --- storing ------------------------------------------------------------------------------- */

static void store_ended(Task *t, JobEvent ev) {
    Job *j = t->job;

    if (ev == EV_OK) {
        lane_open(lane(t, LANE_STORE));
        j->stored = true;
        log_job(LOG_INFO, JOB_STORED, j, "Job %s: %s, %llu bytes", j->id, j->object,
                (unsigned long long) j->size_bytes);
    } else if (ev == EV_WAIT)
        lane_hold(lane(t, LANE_STORE), &j->fault); /* the file is kept until the store is back */
    worker_tell_fault(t, ev);
}

static void stored_http(void *userdata, HttpReply *reply) {
    Task *t = userdata;

    t->http = NULL;
    store_ended(t, store_hear(reply, &t->job->fault));
}

static void stored_dir(void *userdata, int error) {
    Task *t = userdata;

    t->dir = NULL;
    if (error < 0)
        fault_set(&t->job->fault, FAULT_STORE_UNREACHED, "storage: %s", strerror(-error));
    store_ended(t, error < 0 ? EV_WAIT : EV_OK);
}

static void store(void *userdata) {
    Task *t = userdata;
    const Config *c = t->worker->config;
    HttpRequest request;
    int r = store_name(c, t->job), fd = spool_file_fd(t->file);

    if (r < 0) {
        give_up(t, r);
        return;
    }
    if (c->storage_driver == STORAGE_DIR) {
        r = dir_put(t->worker->event, c->storage_url, t->job->object, fd, t->job->size_bytes,
                    stored_dir, t, &t->dir);
        if (r < 0)
            stored_dir(t, r);
        return;
    }
    if ((r = store_ask(c, t->job, fd, &request)) < 0 ||
        (r = send_http(t, &request, stored_http)) < 0)
        give_up(t, r);
}

static int enter_storing(Task *t) {
    queue(t, LANE_STORE, store);
    return 0;
}

/* --- closing ------------------------------------------------------------------------------- */

static void closed(void *userdata, DbEnd end, const PGresult *res) {
    Task *t = userdata;
    Job *j = t->job;
    JobState state = j->at.state;
    Worker *w = t->worker;
    Fault trouble = { 0 }; /* not the job's, whose fault is what is being written down */
    JobEvent ev;

    if (!db_refused(t, end, res, &ev, &trouble))
        ev = complete_hear(res, state == JOB_COMPLETING, &trouble);
    if (ev == EV_RETRY)
        ev = EV_FINAL;
    if (ev == EV_FINAL && state == JOB_COMPLETING)
        j->fault = trouble;
    if (ev == EV_OK && state == JOB_COMPLETING) {
        w->done++;
        log_job(LOG_NOTICE, JOB_DONE, j, "Job %s is done: %s, %llu triangles", j->id, j->object,
                (unsigned long long) j->triangles);
    } else if (ev == EV_OK && state == JOB_FAILING) {
        w->failed++;
        log_job(LOG_NOTICE, JOB_FAILED, j, "Job %s has failed (%s): %s", j->id,
                fault_info(j->fault.code)->word, j->fault.detail);
    } else if (ev == EV_OK && state == JOB_CANCELLING) {
        w->canceled++;
        log_job(LOG_NOTICE, JOB_CANCELED, j, "Job %s is canceled", j->id);
    } else if (ev == EV_LOST && state != JOB_RELEASING)
        w->zombies++;
    worker_tell(t, ev);
}

static int on_close(sd_event_source *source, uint64_t usec, void *userdata) {
    Task *t = userdata;
    Worker *w = t->worker;
    DbRequest request;
    int r;

    (void) source;
    (void) usec;
    switch (t->job->at.state) {
    case JOB_COMPLETING:
        r = complete_done_ask(w->id, t->job, &request);
        break;
    case JOB_FAILING:
        r = complete_fail_ask(w->id, t->job, &request);
        break;
    case JOB_CANCELLING:
        r = complete_canceled_ask(w->id, t->job, &request);
        break;
    default: {
        HandBack how = complete_hand_back(w->config, t->job, clock_now_usec(), clock_chance());

        if (how.counted || t->job->fault.code != FAULT_NONE)
            log_job(LOG_INFO, JOB_RETRY, t->job, "Job %s goes back for %llu ms (%s): %s",
                    t->job->id, (unsigned long long) (how.delay_usec / 1000), how.reason,
                    t->job->fault.detail);
        r = complete_release_ask(w->id, t->job, &how, &request);
    }
    }
    if (r < 0 || send_db(t, &request, closed) < 0)
        (void) pause_for(t, USEC_PER_SEC, on_close);
    return 0;
}

/* A closing that met a lock or a shortage rests before it is sent again. */
static int enter_closing(Task *t) {
    if (t->job->tries > 0)
        return pause_for(t, short_delay(t), on_close);
    return on_close(NULL, 0, t);
}

/* --- resting and stopping ------------------------------------------------------------------ */

static int on_rest(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    worker_tell(userdata, EV_OK);
    return 0;
}

static int enter_resting(Task *t) {
    uint64_t usec = retry_delay_usec(USEC_PER_SEC, REST_MAX_USEC, t->job->tries, clock_chance());

    t->job->idle_usec += usec;
    return pause_for(t, usec, on_rest);
}

static void stopped(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    JobEvent ev = service_cancel_hear(reply, &(Fault){ 0 });
    Purchase *p = job_purchase(t->job);

    t->http = NULL;
    if (ev == EV_OK && p) {
        settle(t, "canceled", NULL, NULL, NULL, false);
        p->state = PURCHASE_ENDED;
        t->job->has_purchase = false;
    }
    worker_tell(t, ev == EV_WAIT && t->job->tries >= STOP_TRIES ? EV_FINAL : ev);
}

static void stop_bought(void *userdata) {
    Task *t = userdata;
    HttpRequest request;

    if (service_cancel_ask(t->worker->config, job_purchase(t->job)->prediction_id, &request) < 0 ||
        send_http(t, &request, stopped) < 0)
        worker_tell(t, EV_FINAL);
}

static void removed(void *userdata, HttpReply *reply) {
    Task *t = userdata;

    (void) reply; /* what is left behind is named by no row */
    t->http = NULL;
    worker_tell(t, EV_OK);
}

static int on_stop(sd_event_source *source, uint64_t usec, void *userdata) {
    Task *t = userdata;
    const Purchase *p = job_purchase(t->job);
    HttpRequest request;

    (void) source;
    (void) usec;
    if (p && p->state == PURCHASE_BOUGHT && !p->finished) {
        queue(t, LANE_REQUEST, stop_bought);
        return 0;
    }
    if (t->job->stored && t->worker->config->storage_driver == STORAGE_SUPABASE) {
        t->job->stored = false;
        if (store_remove_ask(t->worker->config, t->job, &request) == 0 &&
            send_http(t, &request, removed) == 0)
            return 0;
    }
    worker_tell(t, EV_OK);
    return 0;
}

static int enter_stopping(Task *t) {
    if (t->job->tries > 0)
        return pause_for(t, short_delay(t), on_stop);
    return on_stop(NULL, 0, t);
}

/* --- the table ----------------------------------------------------------------------------- */

/* clang-format off */
static int (*const enter[_JOB_STATE_MAX])(Task *t) = {
    [JOB_SIGNING]     = enter_signing,
    [JOB_INTENDING]   = enter_intending,
    [JOB_PREDICTING]  = enter_predicting,
    [JOB_LOOKING]     = enter_looking,
    [JOB_RECORDING]   = enter_recording,
    [JOB_POLLING]     = enter_polling,
    [JOB_DOWNLOADING] = enter_downloading,
    [JOB_VALIDATING]  = enter_validating,
    [JOB_SCANNING]    = enter_scanning,
    [JOB_STORING]     = enter_storing,
    [JOB_COMPLETING]  = enter_closing,
    [JOB_RESTING]     = enter_resting,
    [JOB_STOPPING]    = enter_stopping,
    [JOB_FAILING]     = enter_closing,
    [JOB_CANCELLING]  = enter_closing,
    [JOB_RELEASING]   = enter_closing,
};
/* clang-format on */

int stages_enter(Task *t) {
    return enter[t->job->at.state](t);
}

void stages_leave(Task *t) {
    t->http = http_op_cancel(t->http);
    t->db = db_op_cancel(t->db);
    t->dir = dir_op_cancel(t->dir);
    t->timer = sd_event_source_disable_unref(t->timer);
    t->glb = glb_free(t->glb);
    t->hash = hash_free(t->hash);
    /* The place in the queue is kept from the intent to the purchase: one token, one purchase. */
    if (t->job->at.state != JOB_PREDICTING)
        unqueue(t);
    switch (t->job->at.state) { /* the file is kept as long as it may still be stored */
    case JOB_DOWNLOADING:
    case JOB_VALIDATING:
    case JOB_SCANNING:
    case JOB_STORING:
    case JOB_RESTING:
        break;
    default:
        t->file = spool_file_free(t->file);
    }
}
