/*
 * Notes that nobody waits for.
 *
 * None of them decides anything: one that is lost is made good by the next claim, the next heartbeat or the audit.
 */
#include "daemon/notes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "flow/predict.h"
#include "flow/replicate.h"

#define PROGRESS_USEC (5 * USEC_PER_SEC) /* between two writes for a job */
#define PROGRESS_STEP 0.02

/* --- of a job ------------------------------------------------------------------------------ */

/* Only where there is something to forgive: this is asked at each poll. */
void notes_forgive(Task *t) {
    DbRequest request = { .sql = "SELECT meshify.reset_crashes($1, $2)" };

    if (t->job->crashes == 0)
        return;
    t->job->crashes = 0;
    if (db_request_add(&request, t->worker->id) == 0 && db_request_add(&request, t->job->id) == 0)
        worker_call(t->worker, &request, "reset the count of crashes");
    db_request_done(&request);
}

/* Fenced by the purchase's key and not by the job: what became of it is a fact, whoever has the
 * job. */
void notes_settle(Task *t, const char *status, const json_t *output, const json_t *metrics,
                  const char *error, bool usable) {
    DbRequest r;
    const Purchase *p = job_purchase(t->job);

    if (p && predict_settle_ask(t->job, p, status, output, metrics, error, usable, &r) == 0)
        worker_call(t->worker, &r, "settle a purchase");
}

void notes_not_bought(Task *t, const char *status) {
    Purchase *p = job_purchase(t->job);

    notes_settle(t, status, NULL, NULL, t->job->fault.detail, false);
    p->state = PURCHASE_ENDED;
    t->job->has_purchase = false;
}

/* One call for all jobs, and only for those whose progress a user would notice. */
void notes_progress(Worker *w) {
    StrBuf ids = { 0 }, values = { 0 };
    DbRequest request = { .sql = "SELECT meshify.progress($1, $2, $3)" };
    uint64_t now = clock_now_usec();
    Task *t;
    int r = 0, n = 0;

    TAILQ_FOREACH(t, &w->tasks, link) {
        Job *j = t->job;

        if (j->progress < j->progress_written + PROGRESS_STEP || j->at.state != JOB_POLLING ||
            now < j->progress_usec)
            continue;
        j->progress_usec = now + PROGRESS_USEC;
        j->progress_written = j->progress;
        if (r == 0)
            r = strbuf_printf(&ids, "%c%s", n ? ',' : '{', j->id);
        if (r == 0)
            r = strbuf_printf(&values, "%c%.3f", n ? ',' : '{', j->progress);
        n++;
    }
    if (n > 0 && r == 0 && strbuf_add(&ids, "}", 1) == 0 && strbuf_add(&values, "}", 1) == 0 &&
        db_request_add(&request, w->id) == 0 && db_request_add(&request, ids.text) == 0 &&
        db_request_add(&request, values.text) == 0)
        worker_call(w, &request, "write progress");
    else
        db_request_done(&request);
    strbuf_done(&ids);
    strbuf_done(&values);
}

/* --- of a prediction ----------------------------------------------------------------------- */

/* The audit cancels again what still runs. */
static void canceled(void *userdata, HttpReply *reply) {
    Worker *w = userdata;
    Fault fault;

    metrics_replicate(&w->metrics, METRICS_CANCEL, reply);
    if (replicate_cancel_hear(reply, &fault) != EV_OK)
        log_line(LOG_WARNING, CANCEL_FAILED,
                 "Could not cancel a surplus prediction: %s; the audit retries", fault.detail);
}

/* Not by way of the lane: what runs for nobody costs money until it ends. */
void notes_cancel(Worker *w, const char *prediction_id) {
    HttpRequest request;
    HttpOp *op;

    if (replicate_cancel_ask(w->config, prediction_id, &request) == 0)
        (void) http_send(w->http, &request, canceled, w, &op);
}

void notes_cancel_surplus(Worker *w, const char *prediction_id) {
    w->metrics.surplus++;
    notes_cancel(w, prediction_id);
}
