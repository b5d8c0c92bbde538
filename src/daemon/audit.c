#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/audit.h"
#include "flow/service.h"

#define FIRST_USEC (5 * USEC_PER_SEC)
#define EVERY_USEC (60 * USEC_PER_SEC)

static void next(Worker *w);

static void next_in(Worker *w, uint64_t usec) {
    (void) sd_event_source_set_time_relative(w->audit.timer, usec);
    (void) sd_event_source_set_enabled(w->audit.timer, SD_EVENT_ONESHOT);
}

static void cancelled(void *userdata, HttpReply *reply) {
    Worker *w = userdata;
    const char *status = service_terminal_status(reply);
    DbRequest request = { .sql = "SELECT meshify.audited($1, $2)" };
    Fault fault = { 0 };
    unsigned at = w->audit.at++;

    w->audit.http = NULL;
    if (service_cancel_hear(reply, &fault) != EV_OK) {
        log_line(LOG_WARNING, JOB_SURPLUS,
                 "A prediction that nobody waits for can't be cancelled: %s", fault.detail);
        w->audit.n = 0; /* the others would fare no better; in a minute they come again */
        return;
    }
    /* Not there any more, or over; what still runs after all is asked for again in a minute. */
    if (status || reply->code / 100 != 2) {
        log_line(LOG_NOTICE, JOB_SURPLUS, "Prediction %s, which nobody waited for, is %s",
                 w->audit.rows[at].prediction_id, status ? status : "gone");
        if (db_request_addf(&request, "%lld", (long long) w->audit.rows[at].id) == 0 &&
            db_request_add(&request, status) == 0)
            worker_call(w, &request, "audited");
        db_request_done(&request);
    }
    next(w);
}

/* One after the other: they have time. */
static void next(Worker *w) {
    HttpRequest request;

    if (w->audit.at >= w->audit.n ||
        service_cancel_ask(w->config, w->audit.rows[w->audit.at].prediction_id, &request) < 0 ||
        http_send(w->http, &request, cancelled, w, &w->audit.http) < 0) {
        w->audit.n = 0;
        w->audit.http = NULL;
    }
}

static void asked(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;

    w->audit.asking = false;
    if (end == DB_FAILED)
        log_line(LOG_WARNING, INTERNAL, "The audit was refused: %s", PQresultErrorMessage(res));
    if (end != DB_OK)
        return;
    w->audit.n = w->audit.at = 0;
    for (int i = 0; i < PQntuples(res) && w->audit.n < AUDIT_MAX; i++) {
        if (!service_is_id(PQgetvalue(res, i, 1)))
            continue;
        w->audit.rows[w->audit.n].id = strtoll(PQgetvalue(res, i, 0), NULL, 10);
        (void) snprintf(w->audit.rows[w->audit.n].prediction_id,
                        sizeof w->audit.rows[w->audit.n].prediction_id, "%s",
                        PQgetvalue(res, i, 1));
        w->audit.n++;
    }
    next(w);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Worker *w = userdata;
    DbRequest request = { .sql = "SELECT id, prediction_id FROM meshify.audit($1, $2)" };

    (void) source;
    (void) usec;
    next_in(w, EVERY_USEC);
    if (w->lease.registered && db_is_up(w->db) && !w->audit.asking && w->audit.n == 0 &&
        !w->draining && db_request_add(&request, w->id) == 0 &&
        db_request_addf(&request, "%d", AUDIT_MAX) == 0)
        w->audit.asking =
            db_call(w->db, DB_ALONE | DB_ONCE, request.sql, (const char *const *) request.params,
                    request.n_params, asked, w, NULL) == 0;
    db_request_done(&request);
    return 0;
}

int audit_init(Worker *w) {
    return sd_event_add_time_relative(w->event, &w->audit.timer, CLOCK_MONOTONIC, FIRST_USEC,
                                      USEC_PER_SEC, on_timer, w);
}

void audit_done(Worker *w) {
    w->audit.timer = sd_event_source_disable_unref(w->audit.timer);
    if (w->audit.http)
        http_op_cancel(w->audit.http);
    w->audit.http = NULL;
}
