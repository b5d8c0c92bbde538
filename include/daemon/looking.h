/* One pass over Replicate's listing serves every job that looks for its purchase, and the audit. */
#pragma once
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "daemon/lane.h"
#include "flow/audit.h"
#include "flow/listing.h"
#include "flow/wanted.h"
#include "io/http.h"

typedef struct Worker Worker;
typedef struct Task Task;
typedef struct Look Look;
TAILQ_HEAD(Looks, Look);

struct Look {            /* of a task; zeroed: it does not look */
    Wanted wanted;       /* first: the table tells it what was found */
    struct Looks *in;    /* the list that it stands in; NULL: none */
    bool is_new;         /* something was found on the page under way */
    uint64_t asked_usec; /* when its pass began */
    enum {
        LOOK_FOUND,
        LOOK_COMPLETE,
        LOOK_FAILED
    } end;
    TAILQ_ENTRY(Look) link;
};

typedef struct Looking {
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
    bool page_was_good;
    sd_event_source *timer, *teller;
    AuditList *audit;                               /* takes part; NULL: it does not */
    bool audit_is_in;                               /* in the pass under way */
    void (*audited)(Worker *w, const Fault *fault); /* NULL: complete */
} Looking;

int looking_init(Worker *w);
void looking_done(Worker *w);

/* The task waits for the listing, and is told EV_OK with j->prediction_id, or what look_end() says.
 * -ENOMEM: it does not. */
int looking_join(Task *t);
void looking_leave(Task *t);

/* The audit's rows are looked for; `heard` is called once. The list stays where it is until then, or until
 * looking_leave_audit(). 0, -ENOMEM. */
int looking_join_audit(Worker *w, AuditList *list, void (*heard)(Worker *w, const Fault *fault));
void looking_leave_audit(Worker *w);
