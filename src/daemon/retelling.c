/*
 * What is told again after each connection.
 *
 * A primary may have died with commits that its standby has not seen. Predictions that we know may then be in no row,
 * and with their tasks, which the next comparison drops, the last who knows of them would be gone. So what is to be
 * told is kept apart from the tasks, until the database has it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "core/retry.h"
#include "daemon/notes.h"
#include "daemon/retelling.h"
#include "daemon/task.h"
#include "daemon/timer.h"
#include "flow/predict.h"

#define AT_ONCE 200 /* jobs in one call */
#define PAUSE_MAX_USEC (10 * USEC_PER_SEC)

/* The purchases of a job, as the array's elements that meshify.tell_again() reads. */
typedef struct Untold {
    Task *task; /* NULL: it is gone */
    char job_id[STR_UUID_SIZE];
    char *text;
    bool sent, busy;
    TAILQ_ENTRY(Untold) link;
} Untold;

struct Retelling {
    Worker *worker;
    TAILQ_HEAD(, Untold) untold;
    unsigned at_once;       /* jobs in one call */
    unsigned pauses;        /* in a row */
    bool telling;           /* a call is under way */
    sd_event_source *timer; /* of the next one */
};

/* The database has it, or knows better. */
static void forget(Retelling *re, Untold *u) {
    TAILQ_REMOVE(&re->untold, u, link);
    if (u->task)
        u->task->untold = NULL;
    free(u->text);
    free(u);
}

/* Others are told first: a row that somebody locks is not worth waiting for. */
static void to_the_end(Retelling *re, Untold *u) {
    TAILQ_REMOVE(&re->untold, u, link);
    TAILQ_INSERT_TAIL(&re->untold, u, link);
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

/* One of which nobody knows yet whether it was bought: the worker that looks for it needs all that its row says. */
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
static void note(Retelling *re, Task *t) {
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
        TAILQ_INSERT_TAIL(&re->untold, t->untold, link);
    }
    if (r == 0 && text.size > 0 && t->untold) {
        free(t->untold->text);
        t->untold->text = TAKE(text.text);
    }
    strbuf_done(&text);
}

/* --- telling ------------------------------------------------------------------------------- */

static void send_next(Retelling *re);

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    send_next(userdata);
    return 0;
}

/* Longer each time, up to ten seconds: a database that has just taken over is busy enough. */
static void tell_later(Retelling *re) {
    timer_start(re->timer,
                retry_delay_usec(USEC_PER_SEC / 2, PAUSE_MAX_USEC, ++re->pauses, clock_chance()));
}

/* It has no row of its own, and has been written down as surplus. */
static void cancel(Retelling *re, const char *job_id, const char *id) {
    Worker *w = re->worker;
    Task *t = task_find(w, job_id);
    const Purchase *p = t && t->job->at.state == JOB_POLLING ? job_purchase(t->job) : NULL;

    log_line(LOG_WARNING, JOB_SURPLUS,
             "Prediction %s has no row after a fail-over; canceling it as surplus", id);
    notes_cancel_surplus(w, id);
    if (p && !p->finished && p->prediction_id && strcmp(p->prediction_id, id) == 0)
        task_tell(t, EV_LOST); /* the worker that has the job buys for it again */
}

/* Somebody holds the job's row: it is told again. */
static void keep(Retelling *re, const char *job_id) {
    Untold *u;

    TAILQ_FOREACH(u, &re->untold, link)
    if (u->sent && strcmp(u->job_id, job_id) == 0)
        u->busy = true;
}

/* All of one call is refused for what one of it met: then they are told one by one. */
static void refused(Retelling *re, const PGresult *res) {
    Untold *u, *next;

    if (re->at_once == 1 && re->pauses == 0)
        log_line(LOG_WARNING, DB_REFUSED,
                 "Could not record what was bought before the connection was lost; retrying: %s",
                 PQresultErrorMessage(res));
    re->at_once = 1;
    for (u = TAILQ_FIRST(&re->untold); u && u->sent; u = next) {
        next = TAILQ_NEXT(u, link);
        to_the_end(re, u);
    }
    tell_later(re);
}

/* A job's row that somebody holds is no answer: that job is told again, the others are done. */
static void told(void *userdata, DbEnd end, const PGresult *res) {
    Retelling *re = userdata;
    Untold *u, *next;
    bool busy = false;

    re->telling = false;
    if (end == DB_FAILED)
        refused(re, res);
    if (end != DB_OK) /* lost: the next connection begins anew */
        return;
    for (int i = 0; i < PQntuples(res); i++)
        if (strcmp(PQgetvalue(res, i, 2), "busy") == 0)
            keep(re, PQgetvalue(res, i, 0));
        else
            cancel(re, PQgetvalue(res, i, 0), PQgetvalue(res, i, 1));
    for (u = TAILQ_FIRST(&re->untold); u && u->sent; u = next) {
        next = TAILQ_NEXT(u, link);
        busy = busy || u->busy;
        if (u->busy)
            to_the_end(re, u);
        else
            forget(re, u);
    }
    if (busy) {
        tell_later(re);
        return;
    }
    re->pauses = 0;
    send_next(re);
}

/* One call at a time, in the order of the list, which to_the_end() changes. */
static void send_next(Retelling *re) {
    DbRequest request = { .sql = "SELECT job_id, prediction_id, answer "
                                 "FROM meshify.tell_again($1, $2)" };
    Worker *w = re->worker;
    StrBuf text = { 0 };
    Untold *u;
    unsigned n = 0;
    int r = 0;

    if (re->telling || TAILQ_EMPTY(&re->untold) || !db_is_up(w->db))
        return;
    TAILQ_FOREACH(u, &re->untold, link) {
        u->sent = n++ < re->at_once;
        if (u->sent && r == 0)
            r = strbuf_printf(&text, "%c%s", text.size ? ',' : '[', u->text);
    }
    if (r == 0 && strbuf_add(&text, "]", 1) == 0 && db_request_add(&request, w->id) == 0 &&
        db_request_add(&request, text.text) == 0 &&
        worker_ask(w, DB_ALONE | DB_ONCE, &request, told, re) == 0)
        re->telling = true;
    else
        tell_later(re);
    db_request_done(&request);
    strbuf_done(&text);
}

/* --- owning -------------------------------------------------------------------------------- */

/* Asked on each connection: whether it is another server, and what that one lost, nobody tells
 * us. */
void retelling_start(Retelling *re) {
    Task *t;

    timer_stop(re->timer);
    re->pauses = 0;
    re->at_once = AT_ONCE;
    TAILQ_FOREACH(t, &re->worker->tasks, link)
    note(re, t);
    send_next(re);
}

void retelling_leave(Task *t) {
    if (t->untold)
        t->untold->task = NULL;
    t->untold = NULL;
}

int retelling_new(Retelling **ret, Worker *w) {
    Retelling *re = calloc(1, sizeof *re);
    int r;

    if (!re)
        return -ENOMEM;
    re->worker = w;
    TAILQ_INIT(&re->untold);
    if ((r = timer_new(w->event, &re->timer, USEC_PER_SEC / 10, on_timer, re)) < 0) {
        retelling_free(re);
        return r;
    }
    *ret = re;
    return 0;
}

Retelling *retelling_free(Retelling *re) {
    if (!re)
        return NULL;
    sd_event_source_disable_unref(re->timer);
    for (Untold *u; (u = TAILQ_FIRST(&re->untold));)
        forget(re, u);
    free(re);
    return NULL;
}
