/*
 * The pass over the listing.
 *
 * Whoever joins waits for the next pass, so that what a pass does not show was not there after the joining.
 * Passes begin some time apart: how many requests an outage makes does not depend on how many jobs look.
 * What a page shows is found while it comes; who is told of it is told in slices.
 */
#include <errno.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/lease.h"
#include "daemon/looking.h"
#include "daemon/stage.h"
#include "flow/look.h"

#define APART_USEC (2 * USEC_PER_SEC) /* between the beginnings of two passes */
#define TELL_USEC (2 * USEC_PER_MSEC) /* in one turn */
#define BACK_SECONDS \
    7200 /* inputs are removed after an hour: who knows its intent no better needs no more */

static Task *task_of(Look *look) {
    return (Task *) ((char *) look - offsetof(Task, look));
}

static void move(Look *look, struct Looks *to) {
    if (look->in)
        TAILQ_REMOVE(look->in, look, link);
    if (to)
        TAILQ_INSERT_TAIL(to, look, link);
    look->in = to;
}

static void plan(Worker *w) {
    Looking *l = &w->looking;
    uint64_t now = clock_now_usec(), due = l->began_usec + APART_USEC;
    uint64_t wait = l->began_usec > 0 && due > now ? due - now : 0;

    if (l->running || (TAILQ_EMPTY(&l->waiting) && !l->audit))
        return;
    (void) sd_event_source_set_time_relative(l->timer, wait);
    (void) sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
}

/* --- telling ----------------------------------------------------------------------------------- */

static void tell(Worker *w, Look *look) {
    Task *t = task_of(look);
    Job *j = t->job;
    uint64_t now = clock_now_usec(), asked = look->asked_usec;
    bool complete = look->end == LOOK_COMPLETE;
    JobEvent ev;

    looking_leave(t);
    j->fault = (Fault){ 0 };
    if (look->end != LOOK_FAILED)
        stage_forgive(t);
    if (look_take(j, now))
        ev = EV_OK;
    else {
        if (!complete)
            j->fault = w->looking.fault;
        ev = look_end(j, complete, asked, now, &j->fault);
    }
    worker_tell(t, ev);
}

static int on_teller(sd_event_source *source, void *userdata) {
    Worker *w = userdata;
    uint64_t until = clock_now_usec() + TELL_USEC;
    Look *look;

    while ((look = TAILQ_FIRST(&w->looking.ended)) && clock_now_usec() < until)
        tell(w, look);
    if (!TAILQ_EMPTY(&w->looking.ended))
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

static void end_look(Worker *w, Look *look, int end) {
    look->end = end;
    move(look, &w->looking.ended);
    (void) sd_event_source_set_enabled(w->looking.teller, SD_EVENT_ONESHOT);
}

/* What the page showed counts, or not. Those who wait for the next pass may have found theirs, too. */
static void end_page(Worker *w, bool is_good) {
    struct Looks *lists[] = { &w->looking.members, &w->looking.waiting };
    Look *look, *next;

    for (size_t i = 0; i < 2; i++)
        for (look = TAILQ_FIRST(lists[i]); look; look = next) {
            next = TAILQ_NEXT(look, link);
            if (!look->is_new)
                continue;
            look->is_new = false;
            if (is_good)
                end_look(w, look, LOOK_FOUND);
            else
                look_forget(task_of(look)->job);
        }
    if (w->looking.audit)
        audit_page(w->looking.audit, is_good);
}

static void end_audit(Worker *w, const Fault *fault) {
    Looking *l = &w->looking;
    void (*audited)(Worker *, const Fault *) = l->audited;

    looking_leave_audit(w);
    audited(w, fault);
}

/* --- the pass ---------------------------------------------------------------------------------- */

static void end_pass(Worker *w) {
    Looking *l = &w->looking;

    l->http = http_op_cancel(l->http);
    lane_leave(&l->ticket);
    if (l->listing.too_large > 0)
        log_line(LOG_DEBUG, JOB_MOVED,
                 "%llu predictions in the listing have inputs larger than any of ours",
                 l->listing.too_large);
    listing_done(&l->listing);
    l->running = l->audit_is_in = false;
    plan(w);
}

/* Nobody is left who needs it. */
static bool is_needless(const Looking *l) {
    return TAILQ_EMPTY(&l->members) && !l->audit_is_in;
}

static void fail_pass(Worker *w, const Fault *fault) {
    Looking *l = &w->looking;
    bool with_audit = l->audit_is_in;

    l->fault = *fault;
    for (Look *look; (look = TAILQ_FIRST(&l->members));)
        end_look(w, look, LOOK_FAILED);
    end_pass(w);
    if (with_audit)
        end_audit(w, fault);
}

static void no_memory(Worker *w) {
    Fault fault;

    fault_set(&fault, FAULT_INTERNAL, "out of memory");
    fail_pass(w, &fault);
}

/* Ends those whose time the pass has reached; all of them after its last page. */
static void end_reached(Worker *w, bool is_last) {
    Looking *l = &w->looking;
    Look *look, *next;

    for (look = TAILQ_FIRST(&l->members); look; look = next) {
        next = TAILQ_NEXT(look, link);
        if (is_last ||
            listing_has_reached(&l->listing, job_purchase(task_of(look)->job)->intent_epoch))
            end_look(w, look, LOOK_COMPLETE);
    }
}

static void ask(void *userdata);

static void ask_soon(Worker *w) {
    if (lane_enter(&w->lanes[LANE_REQUEST], &w->looking.ticket, ask, w))
        ask(w);
}

static void heard(void *userdata, HttpReply *reply) {
    Worker *w = userdata;
    Looking *l = &w->looking;
    Fault fault = { 0 };
    int r = listing_hear(&l->listing, reply, &fault);
    bool audit_ends;

    l->http = NULL;
    lane_leave(&l->ticket);
    metrics_replicate(&w->metrics, METRICS_LIST, reply);
    end_page(w, r >= 0);
    if (r == -ENOMEM) {
        no_memory(w);
        return;
    }
    if (r < 0) {
        stage_hold_for(w, LANE_REQUEST, &fault);
        fail_pass(w, &fault);
        return;
    }
    lane_open(&w->lanes[LANE_REQUEST]);
    end_reached(w, r == 0);
    audit_ends = l->audit_is_in && (r == 0 || l->listing.pages >= AUDIT_PAGES);
    if (audit_ends)
        l->audit_is_in = false;
    if (is_needless(l))
        end_pass(w);
    else
        ask_soon(w);
    if (audit_ends)
        end_audit(w, NULL);
}

static void ask(void *userdata) {
    Worker *w = userdata;
    Looking *l = &w->looking;
    HttpRequest request;

    if (listing_ask(w->config, &l->listing, &request) < 0 ||
        http_send(w->http, &request, heard, w, &l->http) < 0)
        no_memory(w);
}

static int shown(void *userdata, const char *id, const json_t *input) {
    return wanted_show(&((Worker *) userdata)->looking.table, id, input);
}

/* The first request leaves now: whoever joined before takes part. */
static void begin(void *userdata) {
    Worker *w = userdata;
    Looking *l = &w->looking;
    int64_t from = INT64_MAX;

    l->began_usec = clock_now_usec();
    for (Look *look; (look = TAILQ_FIRST(&l->waiting));) {
        int64_t intent = job_purchase(task_of(look)->job)->intent_epoch;

        look->asked_usec = l->began_usec;
        if (intent < from)
            from = intent;
        move(look, &l->members);
    }
    if (l->audit) {
        int64_t oldest = lease_epoch(w) - (int64_t) (l->audit->age_usec / USEC_PER_SEC);

        l->audit_is_in = true;
        if (oldest < from)
            from = oldest;
    }
    if (is_needless(l)) {
        end_pass(w);
        return;
    }
    if (w->lease.epoch > 0 && from < lease_epoch(w) - BACK_SECONDS)
        from = lease_epoch(w) - BACK_SECONDS;
    listing_begin(&l->listing, from, shown, w);
    ask(w);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Worker *w = userdata;
    Looking *l = &w->looking;

    (void) source;
    (void) usec;
    if (l->running || (TAILQ_EMPTY(&l->waiting) && !l->audit))
        return 0;
    l->running = true;
    if (lane_enter(&w->lanes[LANE_REQUEST], &l->ticket, begin, w))
        begin(w);
    return 0;
}

/* --- taking part ------------------------------------------------------------------------------- */

static void found(Wanted *wanted, const char *id) {
    Look *look = (Look *) wanted;

    if (look_found(task_of(look)->job, id))
        look->is_new = true;
}

int looking_join(Task *t) {
    Looking *l = &t->worker->looking;
    const Purchase *p = job_purchase(t->job);
    int r = wanted_add(&l->table, &t->look.wanted, p->input_hash, p->input_keys, found);

    if (r < 0)
        return r;
    t->look.is_new = false;
    move(&t->look, &l->waiting);
    plan(t->worker);
    return 0;
}

void looking_leave(Task *t) {
    Looking *l = &t->worker->looking;

    if (!t->look.in)
        return;
    wanted_remove(&l->table, &t->look.wanted);
    move(&t->look, NULL);
}

int looking_join_audit(Worker *w, AuditList *list, void (*audited)(Worker *w, const Fault *fault)) {
    Looking *l = &w->looking;
    int r = 0;

    for (size_t i = 0; i < list->n && r == 0; i++)
        r = wanted_add(&l->table, &list->rows[i].wanted, list->rows[i].hash, list->rows[i].keys,
                       audit_found);
    l->audit = list;
    l->audited = audited;
    if (r < 0) {
        looking_leave_audit(w);
        return r;
    }
    plan(w);
    return 0;
}

void looking_leave_audit(Worker *w) {
    Looking *l = &w->looking;

    for (size_t i = 0; l->audit && i < l->audit->n; i++)
        wanted_remove(&l->table, &l->audit->rows[i].wanted);
    l->audit = NULL;
    l->audit_is_in = false;
}

int looking_init(Worker *w) {
    Looking *l = &w->looking;
    int r;

    TAILQ_INIT(&l->waiting);
    TAILQ_INIT(&l->members);
    TAILQ_INIT(&l->ended);
    r = sd_event_add_time(w->event, &l->timer, CLOCK_MONOTONIC, 0, 1, on_timer, w);
    if (r >= 0)
        r = sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_defer(w->event, &l->teller, on_teller, w);
    return r < 0 ? r : sd_event_source_set_enabled(l->teller, SD_EVENT_OFF);
}

void looking_done(Worker *w) {
    Looking *l = &w->looking;

    l->http = http_op_cancel(l->http);
    lane_leave(&l->ticket);
    looking_leave_audit(w);
    listing_done(&l->listing);
    l->timer = sd_event_source_disable_unref(l->timer);
    l->teller = sd_event_source_disable_unref(l->teller);
}
