/*
 * What is told again after each connection.
 *
 * A primary may have died with commits that its standby has not seen. Predictions that we poll may then be in no
 * row, and with their tasks, which the next comparison drops, the last who knows of them would be gone.
 */
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/retelling.h"
#include "daemon/stage.h"

#define AGAIN_MAX 1000 /* what is beyond it, Cancel-After ends */

/* The purchase that the task polls; NULL: none. */
static const Purchase *polled(const Task *t) {
    const Purchase *p = job_purchase(t->job);

    return p && p->state == PURCHASE_BOUGHT && !p->finished ? p : NULL;
}

/* These have no row of their own, and have been written down as surplus. */
static void told(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;

    for (int i = 0; end == DB_OK && i < PQntuples(res); i++) {
        const char *id = PQgetvalue(res, i, 1);
        Task *t = worker_find(w, PQgetvalue(res, i, 0));
        const Purchase *p = t && t->job->at.state == JOB_POLLING ? polled(t) : NULL;

        w->surplus++;
        log_line(LOG_WARNING, JOB_SURPLUS,
                 "Prediction %s is in no row any more after a fail-over, and is cancelled", id);
        stage_cancel(w, id);
        if (p && strcmp(p->prediction_id, id) == 0)
            worker_tell(t, EV_LOST); /* whoever has the job buys for it again */
    }
}

/* As predict_identity(), but quick: there may be a thousand. A name that would have to be escaped is none of ours. */
static int add(StrBuf *text, const Task *t, const Purchase *p) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

    if (p->step[strspn(p->step, plain)] || !p->buyer[0] || !p->input_hash ||
        p->input_hash[strspn(p->input_hash, plain)])
        return 0;
    return strbuf_printf(text,
                         "%c{\"key\":\"%s\",\"job\":\"%s\",\"step\":\"%s\",\"purchase\":%u,"
                         "\"worker\":\"%s\",\"hash\":\"%s\",\"prediction\":\"%s\"}",
                         text->size ? ',' : '[', p->key, t->job->id, p->step, p->number, p->buyer,
                         p->input_hash, p->prediction_id);
}

void retelling_start(Worker *w) {
    DbRequest request = { .sql = "SELECT * FROM meshify.tell_again($1, $2)" };
    StrBuf text = { 0 };
    Task *t;
    int r = 0, n = 0;

    TAILQ_FOREACH(t, &w->tasks, link) {
        const Purchase *p = polled(t);

        if (p && r == 0 && n++ < AGAIN_MAX)
            r = add(&text, t, p);
    }
    if (r == 0 && text.size > 0 && strbuf_add(&text, "]", 1) == 0 &&
        db_request_add(&request, w->id) == 0 && db_request_add(&request, text.text) == 0)
        (void) db_call(w->db, 0, request.sql, (const char *const *) request.params,
                       request.n_params, told, w, NULL);
    db_request_done(&request);
    strbuf_done(&text);
}
