/*
 * Which jobs are ours.
 *
 * A claim brings new ones; when it is made is flow/notify.c's decision. A comparison finds what went amiss: a claim whose
 * answer was lost, a job that another worker took over or a user deleted. Rows become jobs in flow/claim.c, and jobs
 * tasks in task.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/claims.h"
#include "daemon/taking.h"
#include "daemon/task.h"
#include "daemon/timer.h"
#include "flow/claim.h"
#include "flow/notify.h"

#define CLAIM_MAX 100 /* jobs at once; more follow at once */

struct Claims {
    Worker *worker;
    Lease *lease;
    NotifyPlan plan;
    Taking claimed_rows, compared_rows;
    unsigned workers; /* that are alive */
    bool is_paused;   /* claims are, everywhere */
    bool only_bought; /* the claim under way asks for bought jobs only */
    bool is_refused;  /* by the database; said once */
    bool rejoining;   /* connected, and our jobs not yet compared: other calls are held */
    bool comparing;   /* the question is under way, or its rows are being taken up */
    sd_event_source *timer;
};

/* Also a job that is being closed takes a slot, until the database has answered. */
static unsigned free_slots(const Worker *w) {
    return w->n_tasks < w->config->max_jobs ? w->config->max_jobs - w->n_tasks : 0;
}

/* A row that can't be taken now is still ours in the database: the next comparison brings it again. */
static void take_row(void *userdata, const PGresult *res, int row) {
    Worker *w = ((Claims *) userdata)->worker;
    _cleanup_(job_freep) Job *j = NULL;
    int r = claim_read(res, row, w->config, clock_now_usec(), &j);

    if (r < 0)
        log_line(LOG_ERR, INTERNAL, "Could not read a claimed job: %s", strerror(-r));
    else if (task_find(w, j->id))
        return;
    else if (task_begin(w, j) < 0)
        log_line(LOG_ERR, INTERNAL, "Could not take job %s: out of memory", j->id);
    else
        j = NULL; /* it is the task's */
}

/* --- claiming ------------------------------------------------------------------------------ */

/* Cheap enough to be called whenever something changed: it only sets a timer. */
void claims_plan(Claims *c) {
    const Worker *w = c->worker;
    uint64_t now = clock_now_usec();
    uint64_t when =
        notify_when(&c->plan, w->config, w->listens, c->workers, free_slots(w), clock_chance());

    if (w->draining || !w->registered || when == UINT64_MAX)
        timer_stop(c->timer);
    else
        timer_start(c->timer, when > now ? when - now : 0);
}

/* The first of several wake-ups counts: the claim must not be put off by more of them. */
void claims_wake(Claims *c) {
    if (!c->plan.woken) {
        c->plan.woken = true;
        c->plan.woken_usec = clock_now_usec();
    }
    claims_plan(c);
}

void claims_requeued(Claims *c, uint64_t due_usec) {
    if (due_usec < c->plan.due_usec)
        c->plan.due_usec = due_usec;
}

void claims_heard(Claims *c, unsigned workers, bool is_paused) {
    bool goes_on = c->is_paused && !is_paused;

    c->workers = workers;
    c->is_paused = is_paused;
    if (goes_on)
        claims_wake(c);
}

/* All rows of the claim are jobs now. */
static void claim_taken(void *userdata, const PGresult *res) {
    Claims *c = userdata;
    const Hold *hold = &c->worker->lanes[LANE_CREATE].hold;
    uint64_t next = claim_next_usec(res);

    c->plan.claiming = false;
    c->plan.due_usec = next == UINT64_MAX ? UINT64_MAX : c->plan.claimed_usec + next;
    /* While buying is held, jobs that wait for it are not asked for again and again; but when the hold
     * ends, which may be already. */
    if (c->only_bought && hold->until_usec < c->plan.due_usec)
        c->plan.due_usec = hold->until_usec;
    else if (c->is_paused && next != 0) /* 0: more are to be canceled */
        c->plan.due_usec = UINT64_MAX;
    claims_plan(c);
    worker_changed(c->worker);
}

static void claimed(void *userdata, DbEnd end, const PGresult *res) {
    static const TakingEvents events = { .row = take_row, .done = claim_taken };
    Claims *c = userdata;
    uint64_t now = clock_now_usec();

    c->plan.claimed_usec = now;
    if (end != DB_OK) {
        c->plan.claiming = false;
        if (end == DB_FAILED && !c->is_refused)
            log_line(LOG_ERR, DB_REFUSED, "Claims are refused by the database: %s",
                     PQresultErrorMessage(res));
        c->is_refused = c->is_refused || end == DB_FAILED;
        c->plan.due_usec = now + USEC_PER_SEC;
        claims_plan(c);
        return;
    }
    c->is_refused = false;
    c->plan.claimed_none = PQntuples(res) <= 1;
    taking_start(&c->claimed_rows, c->worker->event, res, &events, c);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Claims *c = userdata;
    Worker *w = c->worker;
    unsigned n = free_slots(w);
    DbRequest request;

    (void) usec;
    if (w->draining || c->plan.claiming || n == 0 || !worker_is_trusted(w) || !db_is_up(w->db))
        return 0;
    /* Jobs that have nothing to buy, or to cancel, can go on while buying is held. */
    c->only_bought = lane_is_held(&w->lanes[LANE_CREATE]);
    /* Sent once: a claim whose answer is lost may have been made, and the comparison brings its
     * jobs. */
    if (claim_ask(w->config, w->id, n < CLAIM_MAX ? n : CLAIM_MAX, c->only_bought, &request) == 0 &&
        worker_ask(w, DB_ALONE | DB_ONCE, &request, claimed, c) == 0) {
        c->plan.claiming = true;
        c->plan.woken = false;
    } else /* for want of memory */
        timer_start(source, USEC_PER_SEC);
    return 0;
}

/* --- comparing ----------------------------------------------------------------------------- */

/* What the database says is ours, we have. */
static void compare_taken(void *userdata, const PGresult *res) {
    Claims *c = userdata;

    (void) res;
    c->comparing = c->rejoining = false;
    worker_not_ready(c->worker, NOT_READY_YET, "");
    db_go(c->worker->db);
    claims_wake(c);
}

/* A job whose closing is on its way is missing for a good reason, which its answer will tell. */
static bool is_closing(const Task *t) {
    JobState s = t->job->at.state;

    return task_calls_db(t) && (s == JOB_COMPLETING || s == JOB_FAILING ||
                                s == JOB_CLOSING_CANCELED || s == JOB_REQUEUEING);
}

static void compared(void *userdata, DbEnd end, const PGresult *res) {
    static const TakingEvents events = { .row = take_row, .done = compare_taken };
    Claims *c = userdata;
    Worker *w = c->worker;
    Task *t, *next;

    if (end != DB_OK) {
        c->comparing = false;
        if (end == DB_FAILED) { /* the next heartbeat brings another try */
            c->rejoining = true;
            worker_refused(w, "to say which jobs are ours", res);
            lease_beat_soon(c->lease);
        }
        return;
    }
    for (t = TAILQ_FIRST(&w->tasks); t; t = next) {
        next = TAILQ_NEXT(t, link);
        if (is_closing(t))
            continue;
        if (claim_is_gone(res, t->job->id))
            task_tell(t, EV_CANCEL); /* what was bought for it is not left running */
        else if (claim_misses(res, t->job->id))
            task_tell(t, EV_LOST);
    }
    taking_start(&c->compared_rows, w->event, res, &events, c);
}

/* First in line, and alone: other calls are held until it is answered. */
void claims_compare(Claims *c) {
    Worker *w = c->worker;
    _cleanup_free_ Job **known = calloc(w->n_tasks + 1, sizeof *known);
    DbRequest request;
    size_t n = 0;
    Task *t;

    if (!known || c->comparing)
        return;
    TAILQ_FOREACH(t, &w->tasks, link)
    known[n++] = t->job;
    c->comparing =
        claim_ask_compare(w->id, known, n, &request) == 0 &&
        worker_ask(w, DB_SLOW | DB_ALONE | DB_ONCE | DB_FIRST, &request, compared, c) == 0;
}

/* Rows of a claim that are still being taken up are ours, and not yet counted by us. */
void claims_compare_held(Claims *c, unsigned held) {
    if (held != c->worker->n_tasks && !taking_is_under_way(&c->claimed_rows))
        claims_compare(c);
}

/* --- the connection ------------------------------------------------------------------------ */

void claims_connected(Claims *c) {
    c->rejoining = true;
}

bool claims_is_rejoining(const Claims *c) {
    return c->rejoining;
}

void claims_drop_rows(Claims *c) {
    if (taking_is_under_way(&c->claimed_rows))
        c->plan.claiming = false;
    if (taking_is_under_way(&c->compared_rows))
        c->comparing = false;
    taking_drop(&c->claimed_rows);
    taking_drop(&c->compared_rows);
}

void claims_disconnected(Claims *c) {
    claims_drop_rows(c);
    c->comparing = false;
}

bool claims_is_idle(const Claims *c) {
    return !c->plan.claiming && !taking_is_under_way(&c->compared_rows);
}

/* --- owning -------------------------------------------------------------------------------- */

int claims_new(Claims **ret, Worker *w, Lease *lease) {
    Claims *c = calloc(1, sizeof *c);
    int r;

    if (!c)
        return -ENOMEM;
    *c = (Claims){ .worker = w, .lease = lease, .workers = 1, .plan.due_usec = UINT64_MAX };
    if ((r = timer_new(w->event, &c->timer, 1, on_timer, c)) < 0) {
        claims_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

Claims *claims_free(Claims *c) {
    if (!c)
        return NULL;
    taking_drop(&c->claimed_rows);
    taking_drop(&c->compared_rows);
    sd_event_source_disable_unref(c->timer);
    free(c);
    return NULL;
}
