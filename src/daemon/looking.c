/*
 * The pass over the listing.
 *
 * A job that joins waits for the next pass, so that a prediction that the pass does not show was not made before.
 * Passes begin some time apart: how many requests an outage makes does not depend on how many jobs look.
 * What a page shows is found while it comes; who is told of it is told in slices.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/looking.h"
#include "daemon/timer.h"
#include "flow/listing.h"
#include "flow/look.h"

#define APART_USEC (2 * USEC_PER_SEC) /* between the beginnings of two passes */
#define TELL_USEC (2 * USEC_PER_MSEC) /* in one turn */
#define BACK_SECONDS \
    7200 /* inputs are removed after an hour: who knows its intent no better needs no more */

struct Looking {
    Worker *worker;
    WantedTable table;
    struct Looks waiting; /* for the next pass */
    struct Looks members; /* of the pass under way: what it does not find was not there */
    struct Looks ended;   /* to be told */
    bool running;
    Listing listing;
    LaneTicket ticket;
    HttpOp *http;
    uint64_t began_usec; /* the pass under way, or the last one */
    Fault fault;         /* why the last one ended early */
    sd_event_source *timer, *teller;
    AuditList *audit; /* takes part; NULL: it does not */
    bool audit_is_in; /* in the pass under way */
    void (*audited)(void *userdata, const Fault *fault);
    void *audit_userdata;
};

/* A look stands in one list at a time, which says how far it is. */
static void move(Look *look, struct Looks *to) {
    if (look->in)
        TAILQ_REMOVE(look->in, look, link);
    if (to)
        TAILQ_INSERT_TAIL(to, look, link);
    look->in = to;
}

/* The first look after a pause begins at once; those that come within two seconds share the
 * next pass. */
static void plan(Looking *l) {
    uint64_t now = clock_now_usec(), due = l->began_usec + APART_USEC;
    uint64_t wait = l->began_usec > 0 && due > now ? due - now : 0;

    if (l->running || (TAILQ_EMPTY(&l->waiting) && !l->audit))
        return;
    timer_start(l->timer, wait);
}

/* --- telling ----------------------------------------------------------------------------------- */

/* In slices: a pass may end for hundreds of jobs, and each of them goes on at once. */
static int on_teller(sd_event_source *source, void *userdata) {
    Looking *l = userdata;
    uint64_t until = clock_now_usec() + TELL_USEC;
    Look *look;

    while ((look = TAILQ_FIRST(&l->ended)) && clock_now_usec() < until) {
        looking_leave(l, look);
        look->done(look->userdata, look->end, look->asked_usec, &l->fault);
    }
    if (!TAILQ_EMPTY(&l->ended))
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

/* Told later, not from within a page: what it goes on with might join this pass again. */
static void end_look(Looking *l, Look *look, LookEnd end) {
    look->end = end;
    move(look, &l->ended);
    (void) sd_event_source_set_enabled(l->teller, SD_EVENT_ONESHOT);
}

/* What the page showed counts, or not. Those who wait for the next pass may have found theirs, too. */
static void end_page(Looking *l, bool is_good) {
    struct Looks *lists[] = { &l->members, &l->waiting };
    Look *look, *next;

    for (size_t i = 0; i < 2; i++)
        for (look = TAILQ_FIRST(lists[i]); look; look = next) {
            next = TAILQ_NEXT(look, link);
            if (!look->is_new)
                continue;
            look->is_new = false;
            if (is_good)
                end_look(l, look, LOOK_FOUND);
            else
                look_forget(look->job);
        }
    if (l->audit)
        audit_page(l->audit, is_good);
}

static void end_audit(Looking *l, const Fault *fault) {
    looking_leave_audit(l);
    l->audited(l->audit_userdata, fault);
}

/* --- the pass ---------------------------------------------------------------------------------- */

/* The token of the lane was one page's; the next pass queues for its own. */
static void end_pass(Looking *l) {
    l->http = http_op_cancel(l->http);
    lane_leave(&l->ticket);
    if (l->listing.too_large > 0)
        log_line(LOG_DEBUG, JOB_MOVED,
                 "%llu predictions in the listing have inputs larger than any of ours",
                 l->listing.too_large);
    listing_done(&l->listing);
    l->running = l->audit_is_in = false;
    plan(l);
}

/* Nobody is left who needs it. */
static bool is_needless(const Looking *l) {
    return TAILQ_EMPTY(&l->members) && !l->audit_is_in;
}

/* All that take part hear the same reason; what pages showed before is true all the same. */
static void fail_pass(Looking *l, const Fault *fault) {
    bool with_audit = l->audit_is_in;

    l->fault = *fault;
    for (Look *look; (look = TAILQ_FIRST(&l->members));)
        end_look(l, look, LOOK_FAILED);
    end_pass(l);
    if (with_audit)
        end_audit(l, fault);
}

static void no_memory(Looking *l) {
    Fault fault;

    fault_set(&fault, FAULT_INTERNAL, "out of memory");
    fail_pass(l, &fault);
}

/* Ends those whose time the pass has reached; all of them after its last page. */
static void end_reached(Looking *l, bool is_last) {
    Look *look, *next;

    for (look = TAILQ_FIRST(&l->members); look; look = next) {
        next = TAILQ_NEXT(look, link);
        if (is_last || listing_has_reached(&l->listing, job_purchase(look->job)->intent_epoch))
            end_look(l, look, LOOK_COMPLETE);
    }
}

static void ask(void *userdata);

/* Each page is one request, and takes its turn among cancels. */
static void ask_soon(Looking *l) {
    if (lane_enter(&l->worker->lanes[LANE_REQUEST], &l->ticket, ask, l))
        ask(l);
}

static void heard(void *userdata, HttpReply *reply) {
    Looking *l = userdata;
    Fault fault = { 0 };
    int r = listing_hear(&l->listing, reply, &fault);
    bool audit_ends;

    l->http = NULL;
    lane_leave(&l->ticket);
    metrics_replicate(&l->worker->metrics, METRICS_LIST, reply);
    end_page(l, r >= 0);
    if (r == -ENOMEM) {
        no_memory(l);
        return;
    }
    if (r < 0) {
        worker_hold_for(l->worker, LANE_REQUEST, &fault);
        fail_pass(l, &fault);
        return;
    }
    lane_open(&l->worker->lanes[LANE_REQUEST]);
    end_reached(l, r == 0);
    audit_ends = l->audit_is_in && (r == 0 || l->listing.pages >= AUDIT_PAGES);
    if (audit_ends)
        l->audit_is_in = false;
    if (is_needless(l))
        end_pass(l);
    else
        ask_soon(l);
    if (audit_ends)
        end_audit(l, NULL);
}

static void ask(void *userdata) {
    Looking *l = userdata;
    HttpRequest request;

    if (listing_ask(l->worker->config, &l->listing, &request) < 0 ||
        http_send(l->worker->http, &request, heard, l, &l->http) < 0)
        no_memory(l);
}

/* Called while the page comes: nobody holds all of a page. */
static int shown(void *userdata, const char *id, const json_t *input) {
    return wanted_show(&((Looking *) userdata)->table, id, input);
}

/* The first request leaves now: each job that joined before takes part. */
static void begin(void *userdata) {
    Looking *l = userdata;
    const Worker *w = l->worker;
    int64_t from = INT64_MAX;

    l->began_usec = clock_now_usec();
    for (Look *look; (look = TAILQ_FIRST(&l->waiting));) {
        int64_t intent = job_purchase(look->job)->intent_epoch;

        look->asked_usec = l->began_usec;
        if (intent < from)
            from = intent;
        move(look, &l->members);
    }
    if (l->audit) {
        int64_t oldest = worker_epoch(w) - (int64_t) (l->audit->age_usec / USEC_PER_SEC);

        l->audit_is_in = true;
        if (oldest < from)
            from = oldest;
    }
    if (is_needless(l)) {
        end_pass(l);
        return;
    }
    if (w->epoch > 0 && from < worker_epoch(w) - BACK_SECONDS)
        from = worker_epoch(w) - BACK_SECONDS;
    listing_begin(&l->listing, from, shown, l);
    ask(l);
}

/* Those that have left meanwhile need no pass. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Looking *l = userdata;

    (void) source;
    (void) usec;
    if (l->running || (TAILQ_EMPTY(&l->waiting) && !l->audit))
        return 0;
    l->running = true;
    if (lane_enter(&l->worker->lanes[LANE_REQUEST], &l->ticket, begin, l))
        begin(l);
    return 0;
}

/* --- taking part ------------------------------------------------------------------------------- */

/* The same input may stand in several predictions: each is one to be tried. */
static void found(Wanted *wanted, const char *id) {
    Look *look = (Look *) wanted;

    if (look_found(look->job, id))
        look->is_new = true;
}

int looking_join(Looking *l, Look *look, Job *job, LookDone done, void *userdata) {
    const Purchase *p = job_purchase(job);
    int r = wanted_add(&l->table, &look->wanted, p->input_hash, p->input_keys, found);

    if (r < 0)
        return r;
    look->job = job;
    look->done = done;
    look->userdata = userdata;
    look->is_new = false;
    move(look, &l->waiting);
    plan(l);
    return 0;
}

void looking_leave(Looking *l, Look *look) {
    if (!look->in)
        return;
    wanted_remove(&l->table, &look->wanted);
    move(look, NULL);
}

int looking_join_audit(Looking *l, AuditList *list,
                       void (*heard_by)(void *userdata, const Fault *fault), void *userdata) {
    int r = 0;

    for (size_t i = 0; i < list->n && r == 0; i++)
        r = wanted_add(&l->table, &list->rows[i].wanted, list->rows[i].hash, list->rows[i].keys,
                       audit_found);
    l->audit = list;
    l->audited = heard_by;
    l->audit_userdata = userdata;
    if (r < 0) {
        looking_leave_audit(l);
        return r;
    }
    plan(l);
    return 0;
}

void looking_leave_audit(Looking *l) {
    for (size_t i = 0; l->audit && i < l->audit->n; i++)
        wanted_remove(&l->table, &l->audit->rows[i].wanted);
    l->audit = NULL;
    l->audit_is_in = false;
}

int looking_new(Looking **ret, Worker *w) {
    Looking *l = calloc(1, sizeof *l);
    int r;

    if (!l)
        return -ENOMEM;
    l->worker = w;
    TAILQ_INIT(&l->waiting);
    TAILQ_INIT(&l->members);
    TAILQ_INIT(&l->ended);
    if ((r = timer_new(w->event, &l->timer, 1, on_timer, l)) < 0 ||
        (r = sd_event_add_defer(w->event, &l->teller, on_teller, l)) < 0 ||
        (r = sd_event_source_set_enabled(l->teller, SD_EVENT_OFF)) < 0) {
        looking_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

Looking *looking_free(Looking *l) {
    if (!l)
        return NULL;
    http_op_cancel(l->http);
    lane_leave(&l->ticket);
    looking_leave_audit(l);
    listing_done(&l->listing);
    sd_event_source_disable_unref(l->timer);
    sd_event_source_disable_unref(l->teller);
    free(l);
    return NULL;
}
