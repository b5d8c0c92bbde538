/* The jobs in flight: does what core/job.c decides, and tells it what came of it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/db_message.h"
#include "base/hash.h"
#include "core/config.h"
#include "core/glb.h"
#include "core/job.h"
#include "daemon/lane.h"
#include "daemon/looking.h"
#include "daemon/metrics.h"
#include "daemon/sample.h"
#include "daemon/taking.h"
#include "flow/audit.h"
#include "flow/download.h"
#include "flow/notify.h"
#include "io/aside.h"
#include "io/db.h"
#include "io/descriptors.h"
#include "io/dir.h"
#include "io/http.h"
#include "io/spool.h"

typedef struct Worker Worker;
typedef struct Untold Untold;

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

/* A job and the one operation that it has under way. */
typedef struct Task {
    Worker *worker;
    Job *job;
    HttpOp *http;
    DbOp *db;
    DirOp *dir;
    sd_event_source *timer; /* a pause, or the next slice */
    LaneTicket ticket;
    Look look;
    SpoolFile *file;
    uint64_t room_bytes; /* what the file wants of the spool; 0: nothing known yet */
    Hash *hash;
    Download download; /* what of it is in the file */
    Glb *glb;
    uint64_t sent_usec;         /* when the call under way was made */
    uint64_t polled_usec;       /* when its prediction was last read */
    Fault trouble;              /* what kept it waiting the last time, where it is */
    bool troubled;              /* a service had trouble with it in this state, ... */
    bool own_trouble;           /* ... and not with others */
    unsigned long long answers; /* of the lane's, when it had */
    bool refusal_said;          /* in this state, that the database refuses the call to everybody */
    uint64_t back_usec;         /* a job that was handed back comes due then */
    struct {
        JobState place;      /* where it goes on, while it rests */
        uint64_t since_usec; /* it came there, or got further there */
        bool said;           /* that it waits */
    } waits;
    Untold *untold; /* what the database may have lost of it; NULL: nothing */
    TAILQ_ENTRY(Task) link;
} Task;

typedef enum LaneName {
    LANE_CREATE,  /* buying */
    LANE_POLL,    /* reading one prediction */
    LANE_REQUEST, /* listings and cancels */
    LANE_FILE,    /* downloads */
    LANE_STORE,   /* uploads and signatures */
    LANE_CLOSE,   /* closings and hand-backs: they wait for nothing but the lease */
    LANE_AGAIN, /* the same once more, where somebody held a row: so many a second, whatever there is */
    _LANE_MAX,
} LaneName;

typedef struct Lease {
    bool registered;         /* a row of ours was there when we last heard */
    uint64_t sent_usec;      /* the last acknowledged heartbeat was sent then */
    int64_t epoch;           /* when that was on the database's clock, in seconds since 1970 */
    uint64_t connected_usec; /* the connection came up then */
    bool still;              /* past 2/3 of the lease: nothing is begun */
    bool paused;             /* claims are paused everywhere */
    unsigned workers, running_all;
    bool beating;       /* a heartbeat is under way */
    uint64_t beat_usec; /* when it was sent */
    bool rejoining;     /* connected, and our jobs not yet compared: other calls are held */
    bool comparing, reaping;
    uint64_t reaped_usec; /* when the last reaping was asked for */
    unsigned long long lost, takeovers;
    sd_event_source *timer;
} Lease;

#define HINTS_MAX 200 /* predictions that notifications named and that are not looked for yet */

typedef struct Listening {
    Db *db;
    bool works;          /* the last ping came back */
    bool said;           /* that it does not work */
    char why[160];       /* it was lost, or never there */
    unsigned failures;   /* pings in a row that did not come back */
    bool waiting;        /* for the ping */
    char ping[37];       /* what it says, another each time */
    bool hinted;         /* that something is asked of us: the rows are to be read */
    bool asking;         /* they are being read */
    uint64_t asked_usec; /* when they, and the predictions below, were last looked at */
    char predictions[HINTS_MAX][65];
    unsigned n_predictions;
    sd_event_source *timer, *hint_timer;
} Listening;

#define AUDIT_MAX 20 /* predictions that one audit cancels */

typedef struct Audit { /* one thing after the other; they have time */
    sd_event_source *timer;
    bool busy;
    HttpOp *http;   /* the cancel under way */
    AuditList lost; /* to be looked for */
    unsigned n, at; /* rows to be cancelled */
    struct {
        char key[STR_UUID_SIZE];
        char prediction_id[65];
    } rows[AUDIT_MAX];
} Audit;

#define SWEEP_MAX 20 /* objects that one sweep removes */

typedef struct Sweep {
    sd_event_source *timer;
    bool busy;
    Aside *aside;           /* where directories are read */
    struct SweepCall *call; /* the reading under way */
    uint64_t files_usec;    /* of the next one */
    HttpOp *http;           /* the removal under way */
    unsigned n, at;         /* names, and the one whose turn it is */
    char *names[SWEEP_MAX];
} Sweep;

typedef struct LockLine {
    Db *db;             /* NULL: not needed now */
    const void *who;    /* waits for a lock; NULL: nobody */
    uint64_t left_usec; /* when one last did */
    sd_event_source *idle;
} LockLine;

typedef struct Retelling {
    TAILQ_HEAD(, Untold) untold;
    unsigned at_once;       /* jobs in one call */
    unsigned pauses;        /* in a row */
    bool telling;           /* a call is under way */
    sd_event_source *timer; /* of the next one */
} Retelling;

struct Worker {
    const Config *config;
    sd_event *event;
    char id[37];
    Resolver *resolver;
    Db *db;
    Http *http;
    Spool *spool;
    Lane lanes[_LANE_MAX];
    Lease lease;
    Listening listening;
    Looking looking;
    Audit audit;
    Sweep sweep;
    Metrics metrics;
    DescriptorShares shares;
    Sample sample;
    NotifyPlan plan;
    Taking claimed_rows, compared_rows;
    LockLine line;
    Retelling retelling;
    bool only_bought;      /* the claim under way asks for bought jobs only */
    uint64_t no_room_usec; /* when it was last said that downloads wait for room; 0: never */
    bool starved;          /* a job can't go on for want of memory; said once */
    bool claim_refused;    /* by the database; said once */
    bool finish_refused;   /* the same of closings that were put off */
    bool waits_changed;    /* whose jobs wait for long: the database does not know yet */
    uint64_t waits_told_usec;
    bool schema_fits;
    char trouble[300];  /* what keeps us from being ready; "": nothing */
    NotReady not_ready; /* the same from a closed list, for those who may not read all */
    char pages[200];    /* where metrics are served, or why not; "": they are off */
    bool draining, hurried, stop_asked;
    sd_event_source *claim_timer, *tick, *prune_timer, *finish_timer;
    bool finish_starves; /* a closing that was put off never finds its rows free */
    uint64_t down_since_usec;
    TAILQ_HEAD(, Task) tasks;
    unsigned n_tasks;
    unsigned long long claimed, done, failed, canceled, returned, adopted, surplus, zombies;
    void (*changed)(void *userdata); /* readiness or counts */
    void *userdata;
};

/* -ENOTDIR: spool_dir can't be used, which has been said; else -ENOMEM or what libsystemd answers. */
int worker_new(Worker **ret, sd_event *event, const Config *config);
Worker *worker_free(Worker *w);

/* Tells a job what happened. The task may be gone afterwards. */
void worker_tell(Task *t, JobEvent ev);

/* A claimed row becomes a task and begins. */
void worker_take(Worker *w, const PGresult *res, int row);

/* `ids` is text that names the jobs of ours that a cancel is asked for, as the database says. */
void worker_take_cancels(Worker *w, const char *ids);

Task *worker_find(Worker *w, const char *job_id);

/* There may be work; or the plan changed. */
void worker_wake(Worker *w);
void worker_plan(Worker *w);

/* Rows of ours that are not taken up yet come with the next comparison. */
void worker_drop_rows(Worker *w);

/* All jobs are another's now: they are dropped, nothing is written. */
void worker_drop_all(Worker *w);

/* No more claims; jobs go back. */
void worker_drain(Worker *w);

/* An operator wants this instance to stop: as SIGTERM does. */
void worker_asked_to_stop(Worker *w);

/* drain_timeout is over: what still waits is let go. */
void worker_hurry(Worker *w);
bool worker_is_idle(const Worker *w);

/* One line, and one a job, to the log. */
void worker_dump(const Worker *w);

void worker_changed(Worker *w);

/* A call that nobody waits for. The request is done with in any case. */
void worker_call(Worker *w, DbRequest *request, const char *what);
