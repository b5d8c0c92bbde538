/* The ground: what all parts of one running instance share. Nothing here knows of the parts above; they hear through
 * WorkerEvents what concerns all. A part's own state is laid out in its own file. */
#pragma once
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/db_message.h"
#include "core/config.h"
#include "core/job.h"
#include "daemon/lane.h"
#include "daemon/metrics.h"
#include "daemon/store_op.h"
#include "io/db.h"
#include "io/descriptors.h"
#include "io/http.h"
#include "io/spool.h"

typedef struct Worker Worker;
typedef struct Task Task;
typedef struct LockLine LockLine;
typedef struct Looking Looking;
typedef struct Finishing Finishing;

/* What keeps us from being ready, as anybody may read it: /readyz shows no other words. */
typedef enum NotReady {
    NOT_READY_YET, /* connecting, or nothing keeps us */
    NOT_READY_REFUSED,
    NOT_READY_GRANT,
    NOT_READY_NO_SCHEMA,
    NOT_READY_OLD_SCHEMA,
    NOT_READY_NEW_SCHEMA,
    _NOT_READY_MAX
} NotReady;

typedef enum LaneName {
    LANE_CREATE,  /* buying */
    LANE_POLL,    /* reading one prediction */
    LANE_REQUEST, /* listings and cancels */
    LANE_FILE,    /* downloads */
    LANE_STORE,   /* uploads and signatures */
    LANE_CLOSE,   /* closings and requeueing: they wait for nothing but the lease */
    LANE_AGAIN, /* the same once more, where somebody held a row: so many a second, whatever there is */
    _LANE_MAX,
} LaneName;

typedef struct WorkerEvents {
    void (*gone)(void *userdata, Task *t); /* a job has left, its slot is free; `t` is freed next */
    void (*requeued)(void *userdata,
                     uint64_t due_usec); /* a job of ours was requeued: it comes due then */
    void (*changed)(void *userdata);     /* readiness or counts */
} WorkerEvents;

struct Worker {
    const Config *config;
    sd_event *event;
    char id[37];
    Resolver *resolver;
    Db *db;
    Http *http;
    Dir *dir;         /* of driver dir */
    StoreEdges store; /* what its work is done with */
    Spool *spool;
    DescriptorShares shares;
    Lane lanes[_LANE_MAX];
    Metrics metrics;
    LockLine *line;       /* this and the next two are set by who makes them */
    Looking *looking;     /* over Replicate's listing */
    Finishing *finishing; /* of closings that were put off */

    /* Written by the lease: */
    bool registered;             /* a row of ours was there when we last heard */
    bool schema_fits;            /* this program and the database */
    uint64_t trusted_until_usec; /* 2/3 of the lease: nothing is begun after it; 0: no lease */
    int64_t epoch;               /* the database's clock, in seconds since 1970; 0: unknown, ... */
    uint64_t epoch_usec;         /* ... at that time on ours */

    bool listens;               /* notifications arrive; written by the listener */
    NotReady not_ready;         /* from a closed list, for those who may not read all */
    char not_ready_reason[300]; /* the same in full; "": nothing keeps us */
    char pages[200];            /* where metrics are served, or why not; "": they are off */
    bool draining;              /* nothing new is begun, jobs are requeued */
    bool out_of_memory;         /* a job can't go on for want of it; said once */
    bool waits_changed;         /* whose jobs wait for long: the database does not know yet */
    uint64_t no_room_usec;      /* when it was last said that downloads wait; 0: never */
    TAILQ_HEAD(Tasks, Task) tasks;
    unsigned n_tasks;
    JobEvent (*const *states)(Task *t); /* by JobState: what is begun there */
    const WorkerEvents *events;
    void *userdata;
};

/* `states` and `events` are borrowed; `db_events` hears of the working connection; all get `userdata`. -ENOTDIR:
 * spool_dir can't be used, which has been said; else -ENOMEM or what libsystemd answers. */
int worker_new(Worker **ret, sd_event *event, const Config *config,
               JobEvent (*const *states)(Task *t), const WorkerEvents *events,
               const DbEvents *db_events, void *userdata);

/* No task may be left. */
Worker *worker_free(Worker *w);

/* May something be begun that costs money or writes an object? The clock is asked, not a timer: after a pause of the
 * whole process a timer may be late. */
bool worker_is_trusted(const Worker *w);

/* The time of day in seconds since 1970, by the database's clock: ours may be wrong, and may step. */
int64_t worker_epoch(const Worker *w);

/* Says, once, what keeps us from being ready; "": nothing. */
void worker_not_ready(Worker *w, NotReady not_ready, const char *reason);

/* The same: the database refuses `what` ("the heartbeat"). */
void worker_refused(Worker *w, const char *what, const PGresult *res);

void worker_changed(Worker *w);

/* A fault that concerns the whole service holds the lane, not only this job; a refusal of one request shows that the
 * service is there, and opens it. */
void worker_hold_for(Worker *w, LaneName name, const Fault *fault);

/* Sends a call by DbFlags. The request is done with in any case. 0, -ENOMEM. */
int worker_ask(Worker *w, unsigned flags, DbRequest *request, DbDone done, void *userdata);

/* A call that nobody waits for; `what`, a literal, ends a line of the log that begins with "Could not". */
void worker_call(Worker *w, DbRequest *request, const char *what);
