/*
 * The life of a job.
 *
 * Every way a job can go is a cell of the grid below, and job_apply() is the only place where a job's state
 * changes; tests/lint/moves checks that. What an attempt, a rest and a fault count for is decided here too.
 * Nothing in this file reads a clock or talks to anybody: daemon/task.c does what was decided.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/job.h"

#define AT(s) [JOB_##s]
#define TO(s) JOB_##s
#define NO JOB_BAD
#define RESTS_MAX 6 /* in a row in one state; then the job is requeued */

/* clang-format off */
static const JobState grid[_JOB_STATE_MAX][_JOB_EVENT_MAX] = {
    /*                       OK               STEP           BOUGHT       NOT_BOUGHT   TAKEN        OVERTAKEN     WAIT                  UNSURE       RETRY           FINAL           LOST      CANCEL        EXPIRE        DRAIN */
    AT(SIGNING)          = { TO(INTENDING),   NO,            NO,          NO,          NO,          NO,           TO(RESTING),          NO,          TO(REQUEUEING), TO(FAILING),    TO(GONE), TO(STOPPING), TO(STOPPING), TO(REQUEUEING) },
    AT(INTENDING)        = { TO(PREDICTING),  NO,            TO(POLLING), NO,          NO,          NO,           TO(RESTING),          NO,          TO(REQUEUEING), TO(FAILING),    TO(GONE), TO(STOPPING), TO(STOPPING), TO(REQUEUEING) },
    AT(PREDICTING)       = { TO(RECORDING),   NO,            NO,          NO,          NO,          NO,           TO(REQUEUEING),       TO(LOOKING), TO(REQUEUEING), TO(FAILING),    TO(KEEP), TO(KEEP),     TO(KEEP),     TO(KEEP) },
    AT(LOOKING)          = { TO(RECORDING),   NO,            NO,          TO(SIGNING), NO,          NO,           TO(LOOKING),          NO,          NO,             TO(FAILING),    TO(GONE), TO(KEEP),     TO(KEEP),     TO(REQUEUEING) },
    AT(RECORDING)        = { TO(POLLING),     NO,            NO,          NO,          TO(LOOKING), NO,           TO(RECORDING),        NO,          NO,             TO(STOPPING),   TO(KEEP), TO(KEEP),     TO(KEEP),     TO(KEEP) },
    AT(POLLING)          = { TO(DOWNLOADING), TO(INTENDING), NO,          NO,          NO,          NO,           TO(POLLING),          NO,          TO(REQUEUEING), TO(FAILING),    TO(GONE), TO(STOPPING), TO(STOPPING), TO(REQUEUEING) },
    AT(DOWNLOADING)      = { TO(VALIDATING),  NO,            NO,          NO,          NO,          NO,           TO(RESTING),          NO,          TO(REQUEUEING), TO(FAILING),    TO(GONE), TO(STOPPING), TO(STOPPING), TO(REQUEUEING) },
    AT(VALIDATING)       = { TO(SCANNING),    NO,            NO,          NO,          NO,          NO,           NO,                   NO,          TO(REQUEUEING), TO(FAILING),    TO(GONE), TO(STOPPING), TO(STOPPING), TO(REQUEUEING) },
    AT(SCANNING)         = { TO(STORING),     NO,            NO,          NO,          NO,          NO,           TO(RESTING),          NO,          TO(REQUEUEING), TO(FAILING),    TO(GONE), TO(STOPPING), TO(STOPPING), TO(REQUEUEING) },
    AT(STORING)          = { TO(COMPLETING),  NO,            NO,          NO,          NO,          NO,           TO(RESTING),          NO,          TO(REQUEUEING), TO(FAILING),    TO(GONE), TO(STOPPING), TO(STOPPING), TO(KEEP) },
    AT(COMPLETING)       = { TO(GONE),        NO,            NO,          NO,          NO,          TO(STOPPING), TO(COMPLETING),       NO,          NO,             TO(FAILING),    TO(GONE), TO(KEEP),     TO(KEEP),     TO(KEEP) },
    AT(RESTING)          = { TO(RESUME),      NO,            NO,          NO,          NO,          NO,           NO,                   NO,          NO,             NO,             TO(GONE), TO(STOPPING), TO(STOPPING), TO(REQUEUEING) },
    AT(STOPPING)         = { TO(RESUME),      NO,            NO,          NO,          NO,          NO,           TO(STOPPING),         NO,          NO,             TO(RESUME),     TO(GONE), TO(KEEP),     TO(KEEP),     TO(REQUEUEING) },
    AT(FAILING)          = { TO(GONE),        NO,            NO,          NO,          NO,          NO,           TO(FAILING),          NO,          NO,             TO(REQUEUEING), TO(GONE), TO(KEEP),     TO(KEEP),     TO(KEEP) },
    AT(CLOSING_CANCELED) = { TO(GONE),        NO,            NO,          NO,          NO,          NO,           TO(CLOSING_CANCELED), NO,          NO,             TO(REQUEUEING), TO(GONE), TO(KEEP),     TO(KEEP),     TO(KEEP) },
    AT(REQUEUEING)       = { TO(GONE),        NO,            NO,          NO,          NO,          NO,           TO(REQUEUEING),       NO,          NO,             TO(GONE),       TO(GONE), TO(KEEP),     TO(KEEP),     TO(KEEP) },
};

static const char *const words[_JOB_STATE_MAX] = {
    AT(SIGNING)          = "signing",
    AT(INTENDING)        = "intending",
    AT(PREDICTING)       = "predicting",
    AT(LOOKING)          = "looking",
    AT(RECORDING)        = "recording",
    AT(POLLING)          = "polling",
    AT(DOWNLOADING)      = "downloading",
    AT(VALIDATING)       = "validating",
    AT(SCANNING)         = "scanning",
    AT(STORING)          = "storing",
    AT(COMPLETING)       = "completing",
    AT(RESTING)          = "resting",
    AT(STOPPING)         = "stopping",
    AT(FAILING)          = "failing",
    AT(CLOSING_CANCELED) = "closing_canceled",
    AT(REQUEUEING)       = "requeueing",
    AT(GONE)             = "gone",
};
/* clang-format on */

const char *job_state_word(JobState s) {
    return s >= 0 && s < _JOB_STATE_MAX && words[s] ? words[s] : "bad";
}

const char *job_wish_words(JobPos at, char *to, size_t room) {
    static const char *const wishes[_JOB_EVENT_MAX] = {
        [EV_LOST] = "lost",
        [EV_CANCEL] = "cancel",
        [EV_EXPIRE] = "expire",
        [EV_DRAIN] = "drain",
    };
    size_t n = 0;

    (void) snprintf(to, room, "none");
    for (JobEvent wish = EV_LOST; wish < _JOB_EVENT_MAX && n < room; wish++)
        if (at.wishes & 1u << wish)
            n += (size_t) snprintf(to + n, room - n, "%s%s", n > 0 ? ", " : "", wishes[wish]);
    return to;
}

/* The position after a move to `to` because of `ev`. */
static JobPos move(JobPos at, JobState to, JobEvent ev) {
    JobState resume = JOB_BAD;

    if (to == JOB_RESUME)
        to = at.resume;
    else if (to == JOB_RESTING)
        resume = at.state;
    else if (to == JOB_STOPPING && at.state == JOB_STOPPING)
        resume = at.resume;
    else if (to == JOB_STOPPING)
        resume = ev == EV_EXPIRE || ev == EV_FINAL ? JOB_FAILING : JOB_CLOSING_CANCELED;

    return (JobPos){ to, resume, at.wishes };
}

JobPos job_transition(JobPos at, JobEvent ev) {
    JobState to = ev >= 0 ? grid[at.state][ev] : JOB_BAD; /* EV_MORE is the stage's own affair */

    if (to == JOB_BAD)
        return (JobPos){ .state = JOB_BAD };
    if (to == JOB_KEEP) {
        at.wishes |= 1u << ev;
        return at;
    }
    at = move(at, to, ev);

    /* A wish that had to wait is granted in the first state that can. */
    for (JobEvent wish = EV_LOST; wish < _JOB_EVENT_MAX; wish++)
        if (at.wishes & 1u << wish && grid[at.state][wish] > JOB_RESUME) {
            at.wishes &= ~(1u << wish);
            at = move(at, grid[at.state][wish], wish);
        }

    return at;
}

/* --- what an event counts for -------------------------------------------------------------- */

bool job_is_last_attempt(const Job *j, unsigned max_attempts) {
    const FaultInfo *info = fault_info(j->fault.code);

    return info->verdict == VERDICT_RETRY &&
           (j->attempts >= max_attempts || (info->most > 0 && j->attempts >= info->most));
}

/* Resting is for what passes soon. A file that is fetched waits for its store, whatever it takes. */
static bool rests_are_counted(JobState s) {
    return s == JOB_SIGNING || s == JOB_INTENDING || s == JOB_DOWNLOADING;
}

static JobEvent as_it_counts(const Job *j, JobEvent ev, unsigned max_attempts) {
    if (j->is_shortage)
        return ev;
    if (ev == EV_WAIT && j->tries >= RESTS_MAX && rests_are_counted(j->at.state))
        ev = EV_RETRY;
    if (ev == EV_RETRY && job_is_last_attempt(j, max_attempts))
        ev = EV_FINAL;
    return ev;
}

static void count_tries(Job *j, JobPos from) {
    if (j->at.state == from.state || j->at.state == JOB_RESTING)
        j->tries++;
    else if (from.state != JOB_RESTING) /* after a rest the same thing is tried again */
        j->tries = 0;
}

/* What went well ends a fault, and so does a drain, since the job is requeued for no fault of its own. But STOPPING is
 * left for what the fault says, and REQUEUEING tells the database why. */
static bool ends_fault(JobPos from, JobEvent ev, JobPos to) {
    bool went_well = ev == EV_OK || ev == EV_STEP || ev == EV_BOUGHT || ev == EV_NOT_BOUGHT ||
                     ev == EV_TAKEN || ev == EV_OVERTAKEN;

    return ev == EV_DRAIN ||
           (went_well && from.state != JOB_STOPPING && to.state != JOB_REQUEUEING);
}

JobMove job_apply(Job *j, JobEvent ev, unsigned max_attempts) {
    JobMove m = { .from = j->at, .ev = as_it_counts(j, ev, max_attempts) };
    JobPos to = job_transition(m.from, m.ev);

    if (to.state == JOB_BAD) {
        m.is_bug = true;
        fault_set(&j->fault, FAULT_INTERNAL, "no way leads out of %s by event %d",
                  job_state_word(m.from.state), (int) m.ev);
        to = (JobPos){ .state = JOB_REQUEUEING };
    }
    j->at = to;
    m.is_kept = m.ev >= EV_LOST && to.state == m.from.state;
    if (m.is_kept)
        return m;
    j->is_shortage = false;
    count_tries(j, m.from);
    if (m.ev == EV_STEP && !m.is_bug)
        job_next_step(j);
    if (!m.is_bug && ends_fault(m.from, m.ev, to))
        j->fault = (Fault){ 0 };
    if ((to.state == JOB_FAILING || to.resume == JOB_FAILING) && j->fault.code == FAULT_NONE)
        fault_set(&j->fault, FAULT_TIMEOUT, "worked on for longer than job_timeout");
    return m;
}

void job_wish(Job *j, JobEvent ev) {
    j->at.wishes |= 1u << ev;
}

bool job_has_wish(const Job *j, JobEvent ev) {
    return j->at.wishes & 1u << ev;
}

/* --- the job itself ------------------------------------------------------------------------ */

Job *job_free(Job *j) {
    if (!j)
        return NULL;
    for (size_t i = 0; i < j->n_purchases; i++)
        purchase_done(&j->purchases[i]);
    for (size_t i = 0; i < j->n_not_ours; i++)
        free(j->not_ours[i]);
    free(j->not_ours);
    free(j->purchases);
    free(j->prompt);
    free(j->image);
    free(j->image_url);
    json_decref(j->input);
    free(j->prediction_id);
    for (size_t i = 0; i < j->n_found; i++)
        free(j->found[i]);
    free(j->found);
    free(j->output_url);
    free(j->object);
    pipeline_unref(j->pipeline);
    free(j);
    return NULL;
}

const Step *job_current_step(const Job *j) {
    return &j->pipeline->steps[j->step];
}

bool job_at_last_step(const Job *j) {
    return j->step + 1 == j->pipeline->n_steps;
}

Purchase *job_purchase(const Job *j) {
    return j->has_purchase ? &j->purchases[j->purchase] : NULL;
}

/* By its name, which its purchases are numbered under. */
static bool of_step(const Job *j, const Purchase *p, size_t step) {
    return strcmp(p->step, j->pipeline->steps[step].name) == 0;
}

bool job_serves(const Job *j, const Purchase *p, size_t step) {
    bool last = step + 1 == j->pipeline->n_steps;

    if (!p->pipeline) /* of a version that wrote nothing of it down */
        return of_step(j, p, step);
    return p->is_last ? last : !last && of_step(j, p, step);
}

bool job_is_stray(const Job *j, const Purchase *p) {
    if (p->finished || (p->state != PURCHASE_INTENDED && p->state != PURCHASE_BOUGHT))
        return false;
    for (size_t i = 0; i < j->pipeline->n_steps; i++)
        if (job_serves(j, p, i))
            return false;
    return true;
}

void job_use_purchase(Job *j, Purchase *p) {
    j->purchase = (size_t) (p - j->purchases);
    j->has_purchase = true;
    for (size_t i = 0; i < j->pipeline->n_steps; i++)
        if (job_serves(j, p, i))
            j->step = i;
}

int job_add_purchase(Job *j, const Purchase *p) {
    Purchase *all = reallocarray(j->purchases, j->n_purchases + 1, sizeof *all);

    if (!all)
        return -ENOMEM;
    j->purchases = all;
    j->purchases[j->n_purchases++] = *p;
    return 0;
}

unsigned job_next_number(const Job *j) {
    unsigned highest = 0;

    for (size_t i = 0; i < j->n_purchases; i++)
        if (of_step(j, &j->purchases[i], j->step) && j->purchases[i].number > highest)
            highest = j->purchases[i].number;
    return highest + 1;
}

unsigned job_given_up(const Job *j) {
    unsigned n = 0;

    for (size_t i = 0; i < j->n_purchases; i++)
        n += job_serves(j, &j->purchases[i], j->step) && j->purchases[i].state == PURCHASE_GIVEN_UP;
    return n;
}

/* Makes the newest purchase of the current step the live one, if it is one that still matters. */
static void find_purchase(Job *j) {
    const Purchase *newest = NULL;

    j->has_purchase = false;
    for (size_t i = 0; i < j->n_purchases; i++) {
        const Purchase *p = &j->purchases[i];

        /* Numbers are a name's; of two names the database has told the newer one last. */
        if (!job_serves(j, p, j->step) ||
            (newest && strcmp(newest->step, p->step) == 0 && p->number < newest->number))
            continue;
        newest = p;
        j->purchase = i;
        j->has_purchase = p->state == PURCHASE_INTENDED || p->state == PURCHASE_BOUGHT;
    }
}

/* Goes behind the last of the first `n` steps whose output is there: a step needs that of the one before
 * it alone. True when there is one. */
static bool go_behind(Job *j, size_t n, uint64_t now_usec) {
    const Purchase *p;

    for (j->step = n; j->step-- > 0;) {
        find_purchase(j);
        if ((p = job_purchase(j)) && purchase_output_lives(p, now_usec)) {
            j->step++;
            return true;
        }
    }
    j->step = 0;
    return false;
}

/* By its purchases alone. REQUEUEING: a stray is the live purchase. */
static JobPos start_of(Job *j, uint64_t now_usec) {
    size_t n = j->pipeline->n_steps;
    const Purchase *p;

    /* A purchase of another configuration serves no step: the job is requeued without it. */
    for (size_t i = 0; i < j->n_purchases; i++)
        if (job_is_stray(j, &j->purchases[i])) {
            j->purchase = i;
            j->has_purchase = true;
            return (JobPos){ .state = JOB_REQUEUEING };
        }
    /* A later step's prediction that runs, or may run, needs nothing of the steps before it. */
    for (j->step = n; j->step-- > 0;) {
        find_purchase(j);
        if ((p = job_purchase(j)) && !p->finished)
            return (JobPos){ .state = p->state == PURCHASE_BOUGHT ? JOB_POLLING : JOB_LOOKING };
    }
    if (go_behind(j, n, now_usec) && j->step == n) {
        j->step--; /* all is there: the last one's output is fetched */
        return (JobPos){ .state = JOB_POLLING };
    }
    j->has_purchase = false; /* it is bought, as the step's next purchase */
    return (JobPos){ .state = JOB_SIGNING };
}

void job_start(Job *j, unsigned max_attempts, uint64_t now_usec) {
    JobPos at = start_of(j, now_usec);

    if (at.state == JOB_REQUEUEING && j->fault.code == FAULT_NONE) {
        fault_set(&j->fault, FAULT_STEP_GONE, "step %s is not in the configuration any more",
                  job_purchase(j)->step);
        if (job_is_last_attempt(j, max_attempts))
            at = (JobPos){ .state = JOB_STOPPING, .resume = JOB_FAILING };
    } else if (j->fault.code != FAULT_NONE && job_purchase(j)) {
        /* What may have been bought is looked up and canceled before the job fails. */
        at = (JobPos){ .state = JOB_STOPPING, .resume = JOB_FAILING };
    } else if (j->fault.code != FAULT_NONE)
        at = (JobPos){ .state = JOB_FAILING };
    j->at = j->cancel_asked ? job_transition(at, EV_CANCEL) : at;
    j->started_usec = now_usec;
}

void job_previous_step(Job *j, uint64_t now_usec) {
    (void) go_behind(j, j->step, now_usec);
    free(TAKE(j->image_url));
    j->has_purchase = false;
}

void job_next_step(Job *j) {
    j->step++;
    free(TAKE(j->image_url)); /* the step's image is this step's output now */
    /* What was bought of the next step before used another output of this one. */
    j->has_purchase = false;
}
