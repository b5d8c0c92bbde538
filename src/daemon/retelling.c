/*
 * What is told again after each connection.
 *
 * A primary may have died with commits that its standby has not seen. Predictions that we know may then be in no row,
 * and with their tasks, which the next comparison drops, the last who knows of them would be gone. So what is to be
 * told is kept apart from the tasks, until the database has it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "core/retry.h"
#include "daemon/retelling.h"
#include "daemon/stage.h"
#include "flow/predict.h"

#define AT_ONCE 200 /* jobs in one call */
#define PAUSE_MAX_USEC (10 * USEC_PER_SEC)

/* The purchases of a job, as the array's elements that meshify.tell_again() reads. */
struct Untold {
    Task *task; /* NULL: it is gone */
    char job_id[STR_UUID_SIZE];
    char *text;
    bool sent, busy;
    TAILQ_ENTRY(Untold) link;
};

static void forget(Worker *w, Untold *u) {
    TAILQ_REMOVE(&w->retelling.untold, u, link);
    if (u->task)
        u->task->untold = NULL;
    free(u->text);
    free(u);
}

static void to_the_end(Worker *w, Untold *u) {
    TAILQ_REMOVE(&w->retelling.untold, u, link);
    TAILQ_INSERT_TAIL(&w->retelling.untold, u, link);
    u->sent = u->busy = false;
}

/* --- what is told -------------------------------------------------------------------------- */

/* Of a step that is over, or of the one that is polled. */
static bool is_known(const Purchase *p) {
    return p->state == PURCHASE_BOUGHT && p->prediction_id && (!p->finished || p->usable);
}

/* As predict_identity(), but quick: there may be a thousand. A name that would have to be escaped is none of ours. */
static int add(StrBuf *text, const Task *t, const Purchase *p) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    _cleanup_free_ char *output = NULL;
    int r;

    if (p->step[strspn(p->step, plain)] || !p->buyer[0] || !p->input_hash ||
        p->input_hash[strspn(p->input_hash, plain)])
        return 0;
    r = strbuf_printf(text,
                      "%s{\"key\":\"%s\",\"job\":\"%s\",\"step\":\"%s\",\"purchase\":%u,"
                      "\"worker\":\"%s\",\"hash\":\"%s\",\"prediction\":\"%s\"",
                      text->size ? "," : "", p->key, t->job->id, p->step, p->number, p->buyer,
                      p->input_hash, p->prediction_id);
    if (r < 0 || !p->finished)
        return r < 0 ? r : strbuf_add(text, "}", 1);
    if (p->output && !(output = json_write(p->output)))
        return -1;
    if (p->predict_time >= 0)
        r = strbuf_printf(text, ",\"metrics\":{\"predict_time\":%.6f}", p->predict_time);
    return r < 0 ? r : strbuf_printf(text, ",\"output\":%s}", output ? output : "null");
}

/* One of which nobody knows yet whether it was bought: whoever looks for it needs all that its row says. */
static int add_intent(StrBuf *text, const Task *t, const Purchase *p) {
    _cleanup_(json_unrefp) json_t *all = predict_identity(t->job, p);
    _cleanup_free_ char *written = NULL;
    uint64_t now = clock_now_usec();
    json_t *more =
        json_pack("{s:i, s:s?, s:O?, s:s?, s:b, s:s?, s:f, s:f}", "attempt", (int) t->job->attempts,
                  "model", p->model, "input_keys", p->input_keys, "pipeline", p->pipeline,
                  "last_step", (int) p->is_last, "output_pointer", p->pointer, "age",
                  (double) (now - p->intent_usec) / USEC_PER_SEC, "give_up_in",
                  p->give_up_usec > now ? (double) (p->give_up_usec - now) / USEC_PER_SEC : 0.0);
    int r = all && more ? json_object_update(all, more) : -1;

    json_decref(more);
    if (r < 0 || !(written = json_write(all)))
        return -1;
    return strbuf_printf(text, "%s%s", text->size ? "," : "", written);
}

/* What there is to tell of a task takes the place of what was to be told of it before. */
static void note(Worker *w, Task *t) {
    StrBuf text = { 0 };
    int r = 0;

    for (size_t i = 0; i < t->job->n_purchases && r == 0; i++) {
        const Purchase *p = &t->job->purchases[i];

        if (p->state == PURCHASE_INTENDED)
            r = add_intent(&text, t, p);
        else if (is_known(p))
            r = add(&text, t, p);
    }
    if (r == 0 && text.size > 0 && !t->untold && (t->untold = calloc(1, sizeof *t->untold))) {
        t->untold->task = t;
        memcpy(t->untold->job_id, t->job->id, sizeof t->untold->job_id);
        TAILQ_INSERT_TAIL(&w->retelling.untold, t->untold, link);
    }
    if (r == 0 && text.size > 0 && t->untold) {
        free(t->untold->text);
        t->untold->text = TAKE(text.text);
    }
    strbuf_done(&text);
}

/* --- telling ------------------------------------------------------------------------------- */

static void send_next(Worker *w);

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    send_next(userdata);
    return 0;
}

static void tell_later(Worker *w) {
    Retelling *r = &w->retelling;
    uint64_t usec = retry_delay_usec(USEC_PER_SEC / 2, PAUSE_MAX_USEC, ++r->pauses, clock_chance());

    r->timer = sd_event_source_disable_unref(r->timer);
    (void) sd_event_add_time_relative(w->event, &r->timer, CLOCK_MONOTONIC, usec, USEC_PER_SEC / 10,
                                      on_timer, w);
}

/* It has no row of its own, and has been written down as surplus. */
static void cancel(Worker *w, const char *job_id, const char *id) {
    Task *t = worker_find(w, job_id);
    const Purchase *p = t && t->job->at.state == JOB_POLLING ? job_purchase(t->job) : NULL;

    w->surplus++;
    log_line(LOG_WARNING, JOB_SURPLUS,
             "Prediction %s is in no row any more after a fail-over, and is cancelled", id);
    stage_cancel(w, id);
    if (p && !p->finished && p->prediction_id && strcmp(p->prediction_id, id) == 0)
        worker_tell(t, EV_LOST); /* whoever has the job buys for it again */
}

/* Somebody holds the job's row: it is told again. */
static void keep(Worker *w, const char *job_id) {
    Untold *u;

    TAILQ_FOREACH(u, &w->retelling.untold, link)
    if (u->sent && strcmp(u->job_id, job_id) == 0)
        u->busy = true;
}

/* All of one call is refused for what one of it met: then they are told one by one. */
static void refused(Worker *w, const PGresult *res) {
    Untold *u, *next;

    if (w->retelling.at_once == 1 && w->retelling.pauses == 0)
        log_line(LOG_WARNING, DB_REFUSED,
                 "The database does not take what was bought before it was connected, trying "
                 "again: %s",
                 PQresultErrorMessage(res));
    w->retelling.at_once = 1;
    for (u = TAILQ_FIRST(&w->retelling.untold); u && u->sent; u = next) {
        next = TAILQ_NEXT(u, link);
        to_the_end(w, u);
    }
    tell_later(w);
}

static void told(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;
    Untold *u, *next;
    bool busy = false;

    w->retelling.telling = false;
    if (end == DB_FAILED)
        refused(w, res);
    if (end != DB_OK) /* lost: the next connection begins anew */
        return;
    for (int i = 0; i < PQntuples(res); i++)
        if (strcmp(PQgetvalue(res, i, 2), "busy") == 0)
            keep(w, PQgetvalue(res, i, 0));
        else
            cancel(w, PQgetvalue(res, i, 0), PQgetvalue(res, i, 1));
    for (u = TAILQ_FIRST(&w->retelling.untold); u && u->sent; u = next) {
        next = TAILQ_NEXT(u, link);
        busy = busy || u->busy;
        if (u->busy)
            to_the_end(w, u);
        else
            forget(w, u);
    }
    if (busy) {
        tell_later(w);
        return;
    }
    w->retelling.pauses = 0;
    send_next(w);
}

static void send_next(Worker *w) {
    DbRequest request = { .sql = "SELECT job_id, prediction_id, answer "
                                 "FROM meshify.tell_again($1, $2)" };
    StrBuf text = { 0 };
    Untold *u;
    unsigned n = 0;
    int r = 0;

    if (w->retelling.telling || TAILQ_EMPTY(&w->retelling.untold) || !db_is_up(w->db))
        return;
    TAILQ_FOREACH(u, &w->retelling.untold, link) {
        u->sent = n++ < w->retelling.at_once;
        if (u->sent && r == 0)
            r = strbuf_printf(&text, "%c%s", text.size ? ',' : '[', u->text);
    }
    if (r == 0 && strbuf_add(&text, "]", 1) == 0 && db_request_add(&request, w->id) == 0 &&
        db_request_add(&request, text.text) == 0 &&
        db_call(w->db, DB_ALONE | DB_ONCE, request.sql, (const char *const *) request.params,
                request.n_params, told, w, NULL) == 0)
        w->retelling.telling = true;
    else
        tell_later(w);
    db_request_done(&request);
    strbuf_done(&text);
}

/* --- owning -------------------------------------------------------------------------------- */

void retelling_start(Worker *w) {
    Task *t;

    w->retelling.timer = sd_event_source_disable_unref(w->retelling.timer);
    w->retelling.pauses = 0;
    w->retelling.at_once = AT_ONCE;
    TAILQ_FOREACH(t, &w->tasks, link)
    note(w, t);
    send_next(w);
}

void retelling_leave(Task *t) {
    if (t->untold)
        t->untold->task = NULL;
    t->untold = NULL;
}

void retelling_init(Worker *w) {
    TAILQ_INIT(&w->retelling.untold);
}

void retelling_done(Worker *w) {
    w->retelling.timer = sd_event_source_disable_unref(w->retelling.timer);
    for (Untold *u; (u = TAILQ_FIRST(&w->retelling.untold));) {
        u->task = NULL;
        forget(w, u);
    }
}
