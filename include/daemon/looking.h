/* One pass over Replicate's listing serves every job that looks for its purchase, and the audit. */
#pragma once
#include <sys/queue.h>

#include "daemon/worker.h"
#include "flow/audit.h"
#include "flow/wanted.h"

typedef struct Look Look;
TAILQ_HEAD(Looks, Look);

typedef enum LookEnd {
    LOOK_FOUND,    /* look_take() has an id to try */
    LOOK_COMPLETE, /* the pass saw all that was made since the intent, and not this */
    LOOK_FAILED
} LookEnd;

/* Called once, from the loop, unless the look is left. The pass began at `asked_usec`; `why` it failed. */
typedef void (*LookDone)(void *userdata, LookEnd end, uint64_t asked_usec, const Fault *why);

struct Look {      /* lives in its owner; zeroed: it does not look */
    Wanted wanted; /* first: the table tells it what was found */
    Job *job;      /* borrowed: its live purchase is looked for */
    LookDone done;
    void *userdata;
    struct Looks *in;    /* the list that it stands in; NULL: none */
    bool is_new;         /* something was found on the page under way */
    uint64_t asked_usec; /* when its pass began */
    LookEnd end;
    TAILQ_ENTRY(Look) link;
};

/* 0, -ENOMEM or what libsystemd answers. */
int looking_new(Looking **ret, Worker *w);
Looking *looking_free(Looking *l); /* nobody may look any more */

/* The job waits for the next pass over the listing. -ENOMEM: it does not. */
int looking_join(Looking *l, Look *look, Job *job, LookDone done, void *userdata);
void looking_leave(Looking *l, Look *look);

/* The audit's rows are looked for; `heard` is called once (NULL: the pass was complete). The list stays where it is
 * until then, or until looking_leave_audit(). 0, -ENOMEM. */
int looking_join_audit(Looking *l, AuditList *list,
                       void (*heard)(void *userdata, const Fault *fault), void *userdata);
void looking_leave_audit(Looking *l);
