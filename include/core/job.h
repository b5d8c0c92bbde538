/* The life of a job: where it is, what may happen there, where that leads. Pure. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/log_context.h"
#include "base/str.h"
#include "core/pipeline.h"
#include "core/purchase.h"

/* Each state is named for the one thing the job waits for in it. Flow order. */
typedef enum JobState {
    JOB_BAD,              /* not a state: an empty cell of the grid, no such move */
    JOB_KEEP,             /* not a state: stay, and remember the wish */
    JOB_RESUME,           /* not a state: on to `.resume`, out of RESTING and STOPPING */
    JOB_SIGNING,          /* http:  a URL for the job's image */
    JOB_INTENDING,        /* db:    writing down that we are about to buy */
    JOB_PREDICTING,       /* http:  buying: the one POST */
    JOB_LOOKING,          /* timer, then http: was it bought? */
    JOB_RECORDING,        /* db:    writing the prediction's id down */
    JOB_POLLING,          /* timer, then http: is it there yet? */
    JOB_DOWNLOADING,      /* http -> spool */
    JOB_VALIDATING,       /* spool: is it a mesh we want to keep? */
    JOB_SCANNING,         /* a place for a virus scanner: passed at once */
    JOB_STORING,          /* spool -> http */
    JOB_COMPLETING,       /* db:    the closing transaction */
    JOB_RESTING,          /* timer: before the same thing again, at most 10 s */
    JOB_STOPPING,         /* http:  canceling what was bought, deleting what was stored */
    JOB_FAILING,          /* db:    the closing transaction of a failure */
    JOB_CLOSING_CANCELED, /* db:    the closing transaction of a cancel */
    JOB_REQUEUEING,       /* db:    requeueing it */
    JOB_GONE,             /* forgotten */
    _JOB_STATE_MAX,
} JobState;

typedef enum JobEvent {
    EV_MORE = -2, /* the stage goes on, with its next request or slice; the grid is not asked */
    EV_NONE = -1, /* nothing yet: what was begun will tell; the grid is not asked */

    EV_OK = 0,     /* what we waited for went well */
    EV_STEP,       /* this step of the pipeline is done; another follows */
    EV_BOUGHT,     /* INTENDING: the purchase that was to be given up was bought meanwhile */
    EV_NOT_BOUGHT, /* LOOKING: surely not bought */
    EV_TAKEN,      /* RECORDING: the prediction stands in another row */
    EV_OVERTAKEN,  /* COMPLETING: a cancel came first, or the job is gone */
    EV_WAIT,       /* not there yet, or not now: the same again later, uncounted */
    EV_UNSURE,     /* it was sent, and its answer is lost */
    EV_RETRY,      /* this attempt failed, another may do: counted */
    EV_FINAL,      /* it went wrong for good */
    EV_LOST, /* the lease is gone or the job is another's. Wishes from here on, in the order they are granted */
    EV_CANCEL,
    EV_EXPIRE,
    EV_DRAIN,
    _JOB_EVENT_MAX,
} JobEvent;

typedef struct JobPos {
    JobState state;
    JobState resume; /* where RESTING and STOPPING lead; else JOB_BAD */
    unsigned wishes; /* bit per EV_LOST.. that had to wait */
} JobPos;

/* Where `ev` takes a job that is at `at`; .state is JOB_BAD if nothing leads there. */
JobPos job_transition(JobPos at, JobEvent ev);

const char *job_state_word(JobState s);

/* "cancel, drain": what has to wait; "none". */
const char *job_wish_words(JobPos at, char *to, size_t room);

typedef struct Job {
    JobPos at;
    char id[37], user_id[37], project_id[37], asset_id[37];
    bool has_asset, cancel_asked;
    char *prompt; /* NULL: none */
    char *image;  /* as the row says: URL or path in the bucket; NULL: none */
    unsigned attempts, crashes;
    uint64_t worked_usec;             /* before this claim */
    uint64_t claimed_usec, idle_usec; /* on our clock; waiting that does not count */
    uint64_t age_usec;                /* when it was claimed */

    Pipeline *pipeline; /* a reference of its own */
    size_t step;        /* the one being worked on */
    Purchase *purchases;
    size_t n_purchases;
    size_t purchase; /* index of the live one; valid while has_purchase */
    bool has_purchase;
    size_t give_up; /* the purchase that the next intent gives up, counted from 1; 0: none */
    char next_key[STR_UUID_SIZE]; /* of the purchase that is about to be intended; "": none yet */
    char *image_url;              /* what ${image} stands for in this step */
    json_t *input;                /* of the purchase that is being written down */
    char *prediction_id;          /* that an answer or a look brought, until it is recorded */
    char **not_ours;              /* ids that look like ours but stand in other rows */
    size_t n_not_ours;
    unsigned late_looks;  /* looks made after give_up_usec */
    uint64_t looked_usec; /* at the end of the last look for this purchase; 0: none */
    char **found;         /* ids that a look brought, to be tried one after the other */
    size_t n_found;
    bool look_is_blind; /* it could not remember all that it saw */

    unsigned missing_reads; /* in a row that did not know the live prediction; 0: it is known */
    uint64_t missing_since_usec; /* when the first of them was heard */

    char *output_url; /* of the mesh */
    char sha256[HASH_HEX_SIZE];
    uint64_t size_bytes, meshes, triangles;
    char *object;  /* its name in the store, which is written down; NULL: not yet in this claim */
    bool stored;   /* something may be there under this name, or come */
    bool unproven; /* an upload of it went out whole, and Storage did not say what became of it */

    double progress, progress_written;
    uint64_t progress_usec; /* not written before then */
    uint64_t started_usec;  /* of the state it is in */
    unsigned tries;         /* of this state, uncounted */
    Fault fault;
    bool is_shortage; /* the fault is a want of ours (memory, room): not held against the job */
    LogContext log;
} Job;

Job *job_free(Job *j);
DEFINE_CLEANUP(Job *, job_free)

/* Is it a purchase of this step (an index), whatever configuration it was bought with? One of a last step is the
 * mesh, whatever that step is called now; any other serves the step of its name, unless that is the last one. */
bool job_serves(const Job *j, const Purchase *p, size_t step);

/* Does it run, or may it, for a step that the configuration does not have any more? */
bool job_is_stray(const Job *j, const Purchase *p);

/* What came of an event. */
typedef struct JobMove {
    JobPos from;
    JobEvent ev;  /* as it counted: a wait too many is EV_RETRY, a last attempt EV_FINAL */
    bool is_kept; /* a wish that has to wait: what is under way goes on */
    bool is_bug;  /* nothing leads there: the job is requeued with a fault that says so */
} JobMove;

/* Moves a job: where `ev` takes it, what it counts for, and what becomes of its fault (EV_WAIT, EV_RETRY and EV_FINAL
 * come with j->fault set). The caller leaves the old state and begins the new one. */
JobMove job_apply(Job *j, JobEvent ev, unsigned max_attempts);

/* Remembers one of EV_LOST.. in a state that keeps it: the next move grants it. */
void job_wish(Job *j, JobEvent ev);
bool job_has_wish(const Job *j, JobEvent ev);

/* Has the job used up its attempts with the fault it has now? Then the fault is made final. Some faults have fewer than
 * the configuration allows, since each attempt may be billed. */
bool job_is_last_attempt(const Job *j, unsigned max_attempts);

/* Where a claimed job begins: finds its step, its live purchase and its state. What runs or may run comes first; then
 * what follows the last output that is there. A job with a fault goes to its end, by way of a cancel where something
 * may run. JOB_REQUEUEING: a stray is the live purchase. */
void job_start(Job *j, unsigned max_attempts, uint64_t now_usec);

/* The current step is about to be bought: when the output it needs is not there any more, goes back to
 * the step that has to be bought before it. */
void job_previous_step(Job *j, uint64_t now_usec);

/* Goes on to the next step, as EV_STEP does. */
void job_next_step(Job *j);

/* The live purchase, NULL if there is none. */
Purchase *job_purchase(const Job *j);

/* Adds a purchase; its strings are taken over. -ENOMEM leaves them with the caller. */
int job_add_purchase(Job *j, const Purchase *p);

/* Makes one of its purchases the live one, and that one's step the current one. */
void job_use_purchase(Job *j, Purchase *p);

/* The number that the next purchase of the current step gets. */
unsigned job_next_number(const Job *j);

/* Purchases of the current step that were given up. */
unsigned job_given_up(const Job *j);

/* Is the current step the last one? */
bool job_at_last_step(const Job *j);

const Step *job_current_step(const Job *j);
