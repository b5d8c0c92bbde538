/* Nothing of ours stands still without a word: what each job waits for, in the words of an operator. Where a job is, and
 * since when, is noted by task.c. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/waits.h"

#define LONG_USEC (60 * USEC_PER_SEC)
#define TOLD_USEC (5 * USEC_PER_SEC) /* between two calls */
#define TOLD_MAX 50                  /* jobs in one; an operator reads no more */
#define LINES_MAX 20                 /* in one turn */

/* clang-format off */
static const char *const things[_JOB_STATE_MAX] = {
    [JOB_SIGNING]     = "a URL for its image",
    [JOB_INTENDING]   = "its purchase to be written down",
    [JOB_PREDICTING]  = "the answer to its purchase",
    [JOB_LOOKING]     = "the listing to show whether it was bought, since the answer was lost",
    [JOB_RECORDING]   = "its prediction to be written down",
    [JOB_POLLING]     = "an answer about its prediction",
    [JOB_DOWNLOADING] = "the output's file",
    [JOB_VALIDATING]  = "the file to be read",
    [JOB_SCANNING]    = "the virus scanner",
    [JOB_STORING]     = "the store",
    [JOB_COMPLETING]  = "the closing transaction",
    [JOB_STOPPING]    = "what was bought to be canceled",
    [JOB_FAILING]     = "the closing transaction of its failure",
    [JOB_CLOSING_CANCELED]  = "the closing transaction of its cancel",
    [JOB_REQUEUEING]   = "being requeued",
};
/* clang-format on */

struct Waits {
    Worker *worker;
    uint64_t told_usec;
};

/* What it waits for at the moment. A held lane says more than the state: what holds it is what the
 * operator can mend. Returns `to`. */
static const char *what_for(const Task *t, char *to, size_t room) {
    const char *thing = things[t->waits.place], *why = t->patience.trouble.detail;
    const Lane *lane = t->ticket.waiting ? t->ticket.lane : NULL;
    char clean[120];

    if (t->look.in && lane_is_held(&t->worker->lanes[LANE_REQUEST]))
        lane = &t->worker->lanes[LANE_REQUEST];
    if (lane)
        (void) snprintf(to, room, "lane %s%s%s", lane->name, lane_is_held(lane) ? ", held" : "",
                        why[0] ? ": " : "");
    else
        (void) snprintf(to, room, "%s%s", thing ? thing : "its next step", why[0] ? ": " : "");
    if (why[0] && strlen(to) + 1 < room)
        (void) snprintf(to + strlen(to), room - strlen(to), "%s",
                        str_clean(clean, sizeof clean, why));
    return to;
}

void waits_dump(const Task *t, uint64_t now_usec) {
    const Job *j = t->job;
    char what[300], wishes[40];

    log_job(
        LOG_NOTICE, DUMP, j, "Job %s: %s for %llu ms, waits for %s, attempt %u, wishes: %s", j->id,
        job_state_word(j->at.state), (unsigned long long) ((now_usec - j->started_usec) / 1000),
        what_for(t, what, sizeof what), j->attempts, job_wish_words(j->at, wishes, sizeof wishes));
}

/* Where it is now; a job that gets further, slowly, does not wait. */
static bool is_long(const Task *t, uint64_t now) {
    return t->waits.since_usec > 0 && now > t->waits.since_usec + LONG_USEC;
}

/* One for `meshifyctl status`. */
static int add(json_t *all, const Task *t, uint64_t now) {
    char what[300];

    return json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:I}", "job", t->job->id, "state",
                                                job_state_word(t->waits.place), "for",
                                                what_for(t, what, sizeof what), "usec",
                                                (json_int_t) (now - t->waits.since_usec)));
}

/* All of them, each time: the row that `meshifyctl status` reads is overwritten. */
static void tell(Waits *waits, uint64_t now) {
    Worker *w = waits->worker;
    _cleanup_(json_unrefp) json_t *all = json_array();
    _cleanup_free_ char *text = NULL;
    DbRequest request = { .sql = "SELECT meshify.waits($1, $2)" };
    const Task *t;
    int r = all ? 0 : -1;

    TAILQ_FOREACH(t, &w->tasks, link)
    if (r == 0 && t->waits.said && json_array_size(all) < TOLD_MAX)
        r = add(all, t, now);
    if (r == 0 && (text = json_write(all)) && db_request_add(&request, w->id) == 0 &&
        db_request_add(&request, text) == 0) {
        worker_call(w, &request, "say what jobs wait for");
        w->waits_changed = false;
        waits->told_usec = now;
    }
    db_request_done(&request);
}

/* A few lines in a turn: in an outage hundreds of jobs begin to wait in the same second. */
void waits_tick(Waits *waits) {
    Worker *w = waits->worker;
    uint64_t now = clock_now_usec();
    unsigned lines = 0;
    char what[300];
    Task *t;

    TAILQ_FOREACH(t, &w->tasks, link) {
        if (t->waits.said || !is_long(t, now) || lines++ >= LINES_MAX)
            continue;
        t->waits.said = w->waits_changed = true;
        log_job(LOG_NOTICE, JOB_WAITS, t->job, "Job %s: %s for more than a minute, it waits for %s",
                t->job->id, job_state_word(t->waits.place), what_for(t, what, sizeof what));
    }
    if (w->waits_changed && db_is_up(w->db) && now > waits->told_usec + TOLD_USEC)
        tell(waits, now);
}

int waits_new(Waits **ret, Worker *w) {
    Waits *waits = calloc(1, sizeof *waits);

    if (!waits)
        return -ENOMEM;
    waits->worker = w;
    *ret = waits;
    return 0;
}

Waits *waits_free(Waits *waits) {
    free(waits);
    return NULL;
}
