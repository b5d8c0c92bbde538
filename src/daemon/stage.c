/* What the functions of the states share: lanes, pauses, requests and calls. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/retry.h"
#include "daemon/stage.h"
#include "flow/predict.h"
#include "flow/replicate.h"
#include "io/db_errors.h"

#define REST_MAX_USEC (10 * USEC_PER_SEC)

Lane *stage_lane(Task *t, LaneName name) {
    return &t->worker->lanes[name];
}

/* Queues for a lane; `go` runs at once or later. */
void stage_queue(Task *t, LaneName name, void (*go)(void *userdata)) {
    if (lane_enter(stage_lane(t, name), &t->ticket, go, t))
        go(t);
}

void stage_queue_first(Task *t, LaneName name, void (*go)(void *userdata)) {
    if (lane_enter_first(stage_lane(t, name), &t->ticket, go, t))
        go(t);
}

/* Leaves the lane; what was waited there does not count as work. */
void stage_unqueue(Task *t) {
    t->job->idle_usec += lane_waited_usec(&t->ticket);
    lane_leave(&t->ticket);
}

int stage_out_of_memory(Task *t) {
    fault_set(&t->job->fault, FAULT_INTERNAL, "out of memory");
    return -ENOMEM;
}

/* A stage could not even ask. */
void stage_give_up(Task *t, int r) {
    fault_set(&t->job->fault, FAULT_INTERNAL, "%s: %s", job_state_word(t->job->at.state),
              strerror(-r));
    t->job->is_shortage = true;
    worker_tell(t, t->job->at.state == JOB_PREDICTING ? EV_UNSURE : EV_RETRY);
}

/* Before the same thing again, which costs nothing. */
uint64_t stage_short_delay(const Task *t) {
    return retry_delay_usec(USEC_PER_SEC / 5, REST_MAX_USEC, t->job->tries, clock_chance());
}

int stage_pause_for(Task *t, uint64_t usec, sd_event_time_handler_t then) {
    if (t->timer)
        t->timer = sd_event_source_disable_unref(t->timer);
    return sd_event_add_time_relative(t->worker->event, &t->timer, CLOCK_MONOTONIC, usec,
                                      usec < 100 * USEC_PER_MSEC ? 1 : 0, then, t);
}

int stage_send_http(Task *t, HttpRequest *request, HttpDone heard) {
    t->sent_usec = clock_now_usec();
    return http_send(t->worker->http, request, heard, t, &t->http);
}

/* What met a lock before is sent alone: there it finds a table that is locked without waiting for it. */
int stage_send_db(Task *t, DbRequest *request, DbDone heard) {
    return stage_send_db_as(t, t->job->tries > 0 ? DB_ALONE : 0, request, heard);
}

int stage_send_db_as(Task *t, unsigned flags, DbRequest *request, DbDone heard) {
    Db *db = flags & DB_WAIT ? t->worker->line.db : t->worker->db;
    int r = db_call(db, flags, request->sql, (const char *const *) request->params,
                    request->n_params, heard, t, &t->db);

    t->sent_usec = clock_now_usec();
    db_request_done(request);
    return r;
}

/* The answer of a database call is here: what an error of the server means for the job. */
bool stage_db_refused(Task *t, DbEnd end, const PGresult *res, JobEvent *ret_ev, Fault *reterr) {
    bool passing = db_error_is_passing(res), all = db_error_is_of_statement(res);

    t->db = NULL;
    if (end == DB_OK)
        return false;
    fault_set(reterr, passing || all ? FAULT_DATABASE_BUSY : FAULT_DATABASE, "database: %s %s",
              db_sqlstate(res), res ? PQresultErrorMessage(res) : "connection lost");
    *ret_ev = passing || all ? EV_WAIT : EV_FINAL;
    if (*ret_ev == EV_FINAL || (all && !t->refusal_said))
        log_job(LOG_ERR, DB_REFUSED, t->job, "The database refused a call for job %s: %s",
                t->job->id, reterr->detail);
    t->refusal_said = t->refusal_said || all;
    return true;
}

/* Replicate's other answers: what holds a lane, holds it. */
void stage_hold_for(Worker *w, LaneName name, const Fault *fault) {
    FaultCode code = fault->code;

    if (code == FAULT_SERVICE_CREDIT || code == FAULT_SERVICE_AUTH) {
        lane_hold(&w->lanes[LANE_CREATE], fault);
        if (name != LANE_CREATE && code == FAULT_SERVICE_AUTH)
            lane_hold(&w->lanes[name], fault);
    } else if (code == FAULT_SERVICE_THROTTLED || code == FAULT_SERVICE_UNREACHED)
        lane_hold(&w->lanes[name], fault);
    else if (code == FAULT_SERVICE_REFUSED || code == FAULT_MODEL_INPUT)
        lane_open(&w->lanes[name]); /* it refuses this request: the service is there */
}

void stage_service_trouble(Task *t, LaneName name) {
    stage_hold_for(t->worker, name, &t->job->fault);
}

/* It gets further: what its workers died of before is forgiven. */
void stage_forgive(Task *t) {
    DbRequest request = { .sql = "SELECT meshify.further($1, $2)" };

    if (t->job->crashes == 0)
        return;
    t->job->crashes = 0;
    if (db_request_add(&request, t->worker->id) == 0 && db_request_add(&request, t->job->id) == 0)
        worker_call(t->worker, &request, "forgive crashes");
    db_request_done(&request);
}

/* Writes down what became of the live purchase; nobody waits for it. */
void stage_settle(Task *t, const char *status, const json_t *output, const json_t *metrics,
                  const char *error, bool usable) {
    DbRequest r;
    const Purchase *p = job_purchase(t->job);

    if (p && predict_settle_ask(t->job, p, status, output, metrics, error, usable, &r) == 0)
        worker_call(t->worker, &r, "settle a purchase");
}

/* The live purchase was never sent, or was refused: nothing was bought. */
void stage_not_bought(Task *t, const char *status) {
    Purchase *p = job_purchase(t->job);

    stage_settle(t, status, NULL, NULL, t->job->fault.detail, false);
    p->state = PURCHASE_ENDED;
    t->job->has_purchase = false;
}

static void cancelled_surplus(void *userdata, HttpReply *reply) {
    Worker *w = userdata;
    Fault fault;

    metrics_replicate(&w->metrics, METRICS_CANCEL, reply);
    if (replicate_cancel_hear(reply, &fault) != EV_OK)
        log_line(LOG_WARNING, CANCEL_FAILED,
                 "A surplus prediction could not be cancelled, the audit goes on trying: %s",
                 fault.detail);
}

void stage_cancel(Worker *w, const char *prediction_id) {
    HttpRequest request;
    HttpOp *op;

    if (replicate_cancel_ask(w->config, prediction_id, &request) == 0)
        (void) http_send(w->http, &request, cancelled_surplus, w, &op);
}

static void called(void *userdata, DbEnd end, const PGresult *res) {
    (void) userdata;
    if (end == DB_FAILED)
        log_line(LOG_WARNING, DB_REFUSED, "A note to the database was refused: %s",
                 PQresultErrorMessage(res));
}

void worker_call(Worker *w, DbRequest *request, const char *what) {
    if (db_call(w->db, 0, request->sql, (const char *const *) request->params, request->n_params,
                called, w, NULL) < 0)
        log_line(LOG_ERR, INTERNAL, "Out of memory: could not %s", what);
    db_request_done(request);
}
