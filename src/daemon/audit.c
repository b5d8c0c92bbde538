/* Once a minute: looks for purchases that nobody could find, and cancels predictions that no job
 * waits for. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/audit.h"
#include "daemon/sweep.h"
#include "flow/replicate.h"

#define FIRST_USEC (5 * USEC_PER_SEC)
#define EVERY_USEC (60 * USEC_PER_SEC)

static void ended(Worker *w) {
    w->audit.busy = false;
    looking_leave_audit(w);
    audit_list_done(&w->audit.lost);
}

/* It is done with; what was not reached comes again in a minute. */
static void failed(Worker *w, const char *what, const char *why) {
    log_line(LOG_WARNING, AUDIT_FAILED, "%s: %s, retrying in a minute", what, why);
    ended(w);
}

static bool ask(Worker *w, DbRequest *request, DbDone done) {
    int r = db_call(w->db, DB_SLOW | DB_ONCE, request->sql, (const char *const *) request->params,
                    request->n_params, done, w, NULL);

    db_request_done(request);
    return r == 0;
}

/* Asks a function of the database for rows: meshify.audit_unknown() or audit_running(). */
static bool ask_rows(Worker *w, const char *sql, int max, DbDone done) {
    DbRequest request = { .sql = sql };

    if (db_request_add(&request, w->id) == 0 && db_request_addf(&request, "%d", max) == 0)
        return ask(w, &request, done);
    db_request_done(&request);
    return false;
}

/* True when there is an answer to work with; otherwise this audit is over. */
static bool answered(Worker *w, DbEnd end, const PGresult *res) {
    if (end == DB_OK)
        return true;
    if (end == DB_FAILED)
        failed(w, "The audit was refused", PQresultErrorMessage(res));
    else
        ended(w);
    return false;
}

/* --- cancelling what runs for nobody ------------------------------------------------------- */

static void next(Worker *w);

/* What still runs after all is asked for again in a minute. */
static void over(Worker *w, const HttpReply *reply) {
    bool gone = reply->end == HTTP_ANSWERED && reply->code == 404;
    DbRequest request = { .sql = "SELECT meshify.audit_ended($1, $2)" };
    unsigned at = w->audit.at++;
    const char *status = replicate_terminal_status(reply, w->audit.rows[at].prediction_id);

    if (status || gone) {
        log_line(LOG_NOTICE, JOB_SURPLUS, "Prediction %s, which nobody waited for, is %s",
                 w->audit.rows[at].prediction_id, status ? status : "gone");
        if (db_request_add(&request, w->audit.rows[at].key) == 0 &&
            db_request_add(&request, status) == 0)
            worker_call(w, &request, "audited");
        db_request_done(&request);
    }
    next(w);
}

static void read_again(void *userdata, HttpReply *reply) {
    Worker *w = userdata;

    w->audit.http = NULL;
    metrics_replicate(&w->metrics, METRICS_GET, reply);
    over(w, reply);
}

static void cancelled(void *userdata, HttpReply *reply) {
    Worker *w = userdata;
    HttpRequest request;
    Fault fault = { 0 };
    bool heard = replicate_cancel_hear(reply, &fault) == EV_OK;

    w->audit.http = NULL;
    metrics_replicate(&w->metrics, METRICS_CANCEL, reply);
    if (!heard && (reply->end != HTTP_ANSWERED || reply->code == 401 || reply->code == 402 ||
                   reply->code == 429)) /* the others would fare no better */
        failed(w, "Predictions that nobody waits for can't be cancelled", fault.detail);
    else if (!heard) {
        log_line(LOG_WARNING, CANCEL_FAILED,
                 "Prediction %s, which nobody waits for, can't be cancelled: %s, retrying in a "
                 "minute",
                 w->audit.rows[w->audit.at++].prediction_id, fault.detail);
        next(w);
    } else if (reply->code != 409)
        over(w, reply);
    /* It can't be cancelled, which does not say that it is over. */
    else if (replicate_read_ask(w->config, w->audit.rows[w->audit.at].prediction_id, &request) <
                 0 ||
             http_send(w->http, &request, read_again, w, &w->audit.http) < 0)
        ended(w);
}

static void next(Worker *w) {
    HttpRequest request;

    if (w->audit.at >= w->audit.n || lane_is_held(&w->lanes[LANE_REQUEST]) ||
        replicate_cancel_ask(w->config, w->audit.rows[w->audit.at].prediction_id, &request) < 0 ||
        http_send(w->http, &request, cancelled, w, &w->audit.http) < 0)
        ended(w);
}

static void running(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;

    if (!answered(w, end, res))
        return;
    w->audit.n = w->audit.at = 0;
    for (int i = 0; i < PQntuples(res) && w->audit.n < AUDIT_MAX; i++) {
        if (!replicate_is_id(PQgetvalue(res, i, 1)))
            continue;
        (void) snprintf(w->audit.rows[w->audit.n].key, sizeof w->audit.rows[w->audit.n].key, "%s",
                        PQgetvalue(res, i, 0));
        (void) snprintf(w->audit.rows[w->audit.n].prediction_id,
                        sizeof w->audit.rows[w->audit.n].prediction_id, "%s",
                        PQgetvalue(res, i, 1));
        w->audit.n++;
    }
    next(w);
}

static void cancel_running(Worker *w) {
    if (!ask_rows(w, "SELECT id, prediction_id FROM meshify.audit_running($1, $2)", AUDIT_MAX,
                  running))
        ended(w);
}

/* --- looking for what was given up --------------------------------------------------------- */

static void found(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;

    for (int i = 0; end == DB_OK && i < PQntuples(res); i++) {
        w->surplus++;
        log_line(LOG_WARNING, JOB_SURPLUS, "Prediction %s was given up for lost, and is surplus",
                 PQgetvalue(res, i, 0));
    }
    if (!answered(w, end, res))
        return;
    cancel_running(w);
}

/* What was found before the listing failed is true all the same. */
static void listed(Worker *w, const Fault *fault) {
    DbRequest request;
    int r = audit_surplus_ask(w->id, &w->audit.lost, &request);

    if (r < 0)
        failed(w, "The audit can't go on", "out of memory");
    else if (request.sql) {
        if (!ask(w, &request, found))
            ended(w);
    } else if (fault)
        failed(w, "The listing can't be read", fault->detail);
    else
        cancel_running(w);
}

static void lost(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;

    if (!answered(w, end, res))
        return;
    if (audit_read(res, &w->audit.lost) < 0)
        failed(w, "The audit can't be read", "no memory, or another schema");
    else if (w->audit.lost.n == 0)
        cancel_running(w);
    else if (looking_join_audit(w, &w->audit.lost, listed) < 0)
        ended(w);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Worker *w = userdata;

    (void) usec;
    (void) sd_event_source_set_time_relative(source, EVERY_USEC);
    (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    if (w->lease.registered && db_is_up(w->db) && !w->audit.busy && !w->draining &&
        !lane_is_held(&w->lanes[LANE_REQUEST]))
        w->audit.busy =
            ask_rows(w, "SELECT * FROM meshify.audit_unknown($1, $2)", AUDIT_ROWS, lost);
    return 0;
}

int audit_init(Worker *w) {
    int r = sd_event_add_time_relative(w->event, &w->audit.timer, CLOCK_MONOTONIC, FIRST_USEC,
                                       USEC_PER_SEC, on_timer, w);

    return r < 0 ? r : sweep_init(w);
}

void audit_done(Worker *w) {
    sweep_done(w);
    w->audit.timer = sd_event_source_disable_unref(w->audit.timer);
    w->audit.http = http_op_cancel(w->audit.http);
    ended(w);
}
