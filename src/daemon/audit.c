/* Once a minute: looks for purchases that nobody could find, and cancels predictions that no job waits for.
 *
 * One thing is done after the other, since they have time: what was not reached comes again in a minute. Which rows are
 * due is the database's decision, which gives each to one worker at a time; the pass over the listing is looking.c's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/audit.h"
#include "daemon/looking.h"
#include "daemon/timer.h"
#include "flow/replicate.h"

#define FIRST_USEC (5 * USEC_PER_SEC)
#define EVERY_USEC (60 * USEC_PER_SEC)
#define AUDIT_MAX 20 /* predictions that one audit cancels */

struct Audit {
    Worker *worker;
    sd_event_source *timer;
    bool busy;
    HttpOp *http;   /* the cancel under way */
    AuditList lost; /* to be looked for */
    unsigned n, at; /* rows to be canceled, and the one whose turn it is */
    struct {
        char key[STR_UUID_SIZE];
        char prediction_id[65];
    } rows[AUDIT_MAX];
};

static void ended(Audit *a) {
    a->busy = false;
    looking_leave_audit(a->worker->looking);
    audit_list_done(&a->lost);
}

/* It is done with; what was not reached comes again in a minute. */
static void failed(Audit *a, const char *what, const char *why) {
    log_line(LOG_WARNING, AUDIT_FAILED, "%s: %s; retrying in a minute", what, why);
    ended(a);
}

static bool ask(Audit *a, DbRequest *request, DbDone done) {
    return worker_ask(a->worker, DB_SLOW | DB_ONCE, request, done, a) == 0;
}

/* Asks a function of the database for rows: meshify.audit_unknown() or audit_running(). */
static bool ask_rows(Audit *a, const char *sql, int max, DbDone done) {
    DbRequest request = { .sql = sql };

    if (db_request_add(&request, a->worker->id) == 0 && db_request_addf(&request, "%d", max) == 0)
        return ask(a, &request, done);
    db_request_done(&request);
    return false;
}

/* True when there is an answer to work with; otherwise this audit is over. A lost connection is no news: it is said
 * elsewhere, and the next minute brings another audit. */
static bool answered(Audit *a, DbEnd end, const PGresult *res) {
    if (end == DB_OK)
        return true;
    if (end == DB_FAILED)
        failed(a, "The audit was refused", PQresultErrorMessage(res));
    else
        ended(a);
    return false;
}

/* --- canceling what runs for nobody ------------------------------------------------------- */

static void next(Audit *a);

/* What still runs after all is asked for again in a minute. */
static void over(Audit *a, const HttpReply *reply) {
    bool gone = reply->end == HTTP_ANSWERED && reply->code == 404;
    DbRequest request = { .sql = "SELECT meshify.audit_ended($1, $2)" };
    unsigned at = a->at++;
    const char *status = replicate_terminal_status(reply, a->rows[at].prediction_id);

    if (status || gone) {
        log_line(LOG_NOTICE, JOB_SURPLUS, "Surplus prediction %s is %s", a->rows[at].prediction_id,
                 status ? status : "gone");
        if (db_request_add(&request, a->rows[at].key) == 0 && db_request_add(&request, status) == 0)
            worker_call(a->worker, &request, "write down that a prediction is over");
        db_request_done(&request);
    }
    next(a);
}

/* A prediction that was over before its cancel is told by its own page, not by the refusal. */
static void read_again(void *userdata, HttpReply *reply) {
    Audit *a = userdata;

    a->http = NULL;
    metrics_replicate(&a->worker->metrics, METRICS_GET, reply);
    over(a, reply);
}

/* A refusal that concerns the whole account ends this audit; one of a single prediction does
 * not. */
static void canceled(void *userdata, HttpReply *reply) {
    Audit *a = userdata;
    HttpRequest request;
    Fault fault = { 0 };
    bool heard = replicate_cancel_hear(reply, &fault) == EV_OK;

    a->http = NULL;
    metrics_replicate(&a->worker->metrics, METRICS_CANCEL, reply);
    if (!heard && (reply->end != HTTP_ANSWERED || reply->code == 401 || reply->code == 402 ||
                   reply->code == 429)) /* the others would fare no better */
        failed(a, "Predictions that nobody waits for can't be canceled", fault.detail);
    else if (!heard) {
        log_line(LOG_WARNING, CANCEL_FAILED,
                 "Could not cancel surplus prediction %s: %s; retrying in a minute",
                 a->rows[a->at++].prediction_id, fault.detail);
        next(a);
    } else if (reply->code != 409)
        over(a, reply);
    /* It can't be canceled, which does not say that it is over. */
    else if (replicate_read_ask(a->worker->config, a->rows[a->at].prediction_id, &request) < 0 ||
             http_send(a->worker->http, &request, read_again, a, &a->http) < 0)
        ended(a);
}

/* One at a time: what runs for nobody is rare, and jobs go first. */
static void next(Audit *a) {
    HttpRequest request;

    if (a->at >= a->n || lane_is_held(&a->worker->lanes[LANE_REQUEST]) ||
        replicate_cancel_ask(a->worker->config, a->rows[a->at].prediction_id, &request) < 0 ||
        http_send(a->worker->http, &request, canceled, a, &a->http) < 0)
        ended(a);
}

/* An id that could not be ours is left out: it would go into a URL. */
static void running(void *userdata, DbEnd end, const PGresult *res) {
    Audit *a = userdata;

    if (!answered(a, end, res))
        return;
    a->n = a->at = 0;
    for (int i = 0; i < PQntuples(res) && a->n < AUDIT_MAX; i++) {
        if (!replicate_is_id(PQgetvalue(res, i, 1)))
            continue;
        (void) snprintf(a->rows[a->n].key, sizeof a->rows[a->n].key, "%s", PQgetvalue(res, i, 0));
        (void) snprintf(a->rows[a->n].prediction_id, sizeof a->rows[a->n].prediction_id, "%s",
                        PQgetvalue(res, i, 1));
        a->n++;
    }
    next(a);
}

static void cancel_running(Audit *a) {
    if (!ask_rows(a, "SELECT id, prediction_id FROM meshify.audit_running($1, $2)", AUDIT_MAX,
                  running))
        ended(a);
}

/* --- looking for what was given up --------------------------------------------------------- */

static void found(void *userdata, DbEnd end, const PGresult *res) {
    Audit *a = userdata;

    for (int i = 0; end == DB_OK && i < PQntuples(res); i++) {
        a->worker->metrics.surplus++;
        log_line(LOG_WARNING, JOB_SURPLUS,
                 "Prediction %s was found after its purchase had been given up; it is surplus",
                 PQgetvalue(res, i, 0));
    }
    if (!answered(a, end, res))
        return;
    cancel_running(a);
}

/* What was found before the listing failed is true all the same. */
static void listed(void *userdata, const Fault *fault) {
    Audit *a = userdata;
    DbRequest request;
    int r = audit_surplus_ask(a->worker->id, &a->lost, &request);

    if (r < 0)
        failed(a, "The audit can't go on", "out of memory");
    else if (request.sql) {
        if (!ask(a, &request, found))
            ended(a);
    } else if (fault)
        failed(a, "The listing can't be read", fault->detail);
    else
        cancel_running(a);
}

/* Nothing to look for is the usual answer; then no listing is read. */
static void lost(void *userdata, DbEnd end, const PGresult *res) {
    Audit *a = userdata;

    if (!answered(a, end, res))
        return;
    if (audit_read(res, &a->lost) < 0)
        failed(a, "The audit can't be read", "no memory, or another schema");
    else if (a->lost.n == 0)
        cancel_running(a);
    else if (looking_join_audit(a->worker->looking, &a->lost, listed, a) < 0)
        ended(a);
}

/* While the lane of requests is held, all of this would be in vain. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Audit *a = userdata;
    const Worker *w = a->worker;

    (void) usec;
    timer_start(source, EVERY_USEC);
    if (w->registered && db_is_up(w->db) && !a->busy && !w->draining &&
        !lane_is_held(&w->lanes[LANE_REQUEST]))
        a->busy = ask_rows(a, "SELECT * FROM meshify.audit_unknown($1, $2)", AUDIT_ROWS, lost);
    return 0;
}

int audit_new(Audit **ret, Worker *w) {
    Audit *a = calloc(1, sizeof *a);
    int r;

    if (!a)
        return -ENOMEM;
    a->worker = w;
    if ((r = timer_new(w->event, &a->timer, USEC_PER_SEC, on_timer, a)) < 0) {
        audit_free(a);
        return r;
    }
    timer_start(a->timer, FIRST_USEC);
    *ret = a;
    return 0;
}

Audit *audit_free(Audit *a) {
    if (!a)
        return NULL;
    sd_event_source_disable_unref(a->timer);
    http_op_cancel(a->http);
    ended(a);
    free(a);
    return NULL;
}
