/* A job in flight: its moves, and the one thing that it waits for.
 *
 * The functions of the states (states.h) begin something and return; what they began is answered by a function that
 * they named for it. Both return what it means for the job: an event, or EV_NONE, "I wait". Only task.c acts on it,
 * in one loop, and may free the task then; so no function of a state has to know when a task ends. */
#pragma once
#include "base/hash.h"
#include "base/http_message.h"
#include "core/glb.h"
#include "daemon/looking.h"
#include "daemon/patience.h"
#include "daemon/worker.h"
#include "flow/download.h"

typedef JobEvent (*TaskTurn)(Task *t);
typedef JobEvent (*TaskHeardHttp)(Task *t, HttpReply *reply);
typedef JobEvent (*TaskHeardDb)(Task *t, DbEnd end, const PGresult *res);
typedef JobEvent (*TaskHeardStore)(Task *t, JobEvent ev, const StoreWork *work);

struct Task {
    Worker *worker;
    Job *job;
    void *op;                /* under way; NULL: none */
    void (*cancel)(Task *t); /* ends it without a word */
    sd_event_source *timer;  /* a pause, or the next slice */
    LaneTicket ticket;
    union {
        TaskTurn turn; /* the pause is over, or it is our turn in the lane */
        TaskHeardHttp http;
        TaskHeardDb db;
        TaskHeardStore store;
    } then;
    Look look;
    SpoolFile *file;
    uint64_t room_bytes; /* what the file wants of the spool; 0: nothing known yet */
    Hash *hash;
    Download download; /* what of it is in the file */
    Glb *glb;
    uint64_t sent_usec;   /* when the call under way was made */
    uint64_t polled_usec; /* when its prediction was last read */
    uint64_t due_usec;    /* a job that was requeued comes due then */
    Patience patience;
    bool refusal_said; /* in this state, that the database refuses the call to everybody */
    struct {
        JobState place;      /* where it goes on, while it rests */
        uint64_t since_usec; /* it came there, or got further there */
        bool said;           /* that it waits */
    } waits;
    struct Untold *untold; /* what the database may have lost of it (retelling.c); NULL: nothing */
    TAILQ_ENTRY(Task) link;
};

/* A claimed job, which is taken over, becomes a task and begins. -ENOMEM leaves it with the caller. */
int task_begin(Worker *w, Job *job);

/* Tells a task what happened, from outside of its states. It may be gone afterwards. */
void task_tell(Task *t, JobEvent ev);

Task *task_find(Worker *w, const char *job_id);

/* Does it wait for something? What could not be begun, for want of memory, is begun by task_resume(). */
bool task_is_waiting(const Task *t);
void task_resume(Task *t);

/* Is the database being asked for it? */
bool task_calls_db(const Task *t);

/* It gets further where it is: its wait begins anew. */
void task_got_further(Task *t);

void tasks_drain(Worker *w); /* no more is begun; jobs are requeued as soon as they can be */
void tasks_let_go(
    Worker *w);             /* the time for that is over: what still holds them is not waited for */
void tasks_drop(Worker *w); /* all are another's now: nothing is written */
void tasks_free(Worker *w); /* ends all without a word */

/* --- for the functions of the states. Each of those that return an event is returned at once. */

Lane *task_lane(Task *t, LaneName name);

/* Queues for a lane; `go` is called at once or later. The second goes before all others. */
JobEvent task_queue(Task *t, LaneName name, TaskTurn go);
JobEvent task_queue_first(Task *t, LaneName name, TaskTurn go);

/* Leaves the lane; what was waited there does not count as work. */
void task_unqueue(Task *t);

/* `then` is called after `usec`. */
JobEvent task_pause(Task *t, uint64_t usec, TaskTurn then);

/* How long before the same thing again, which costs nothing: grows with the job's tries. */
uint64_t task_short_delay(const Task *t);

/* Hands the request to an edge; it is done with in any case. `flags` of DbFlags; with DB_WAIT the task is in the lock
 * line. 0, -ENOMEM. */
int task_send_http(Task *t, HttpRequest *request, TaskHeardHttp heard);
int task_send_db(Task *t, unsigned flags, DbRequest *request, TaskHeardDb heard);

/* `work` was begun and answered `ev`: what is left of it is done. `heard` is told its end, at once where that is known
 * already. */
JobEvent task_store(Task *t, JobEvent ev, StoreWork *work, TaskHeardStore heard);

/* How a call is first sent, and again. What met a lock before is sent alone: there it finds a table that is locked
 * without waiting for it. */
unsigned task_db_flags(const Task *t);

/* For operations of any other kind: `op` is under way, and `cancel` ends it without a word. Its callback says
 * task_op_over() first, and task_tell() last. */
void task_wait(Task *t, void *op, void (*cancel)(Task *t));
void task_op_over(Task *t);

/* The answer of a database call is here. True when it is a refusal, with what that means for the job. */
bool task_db_refused(Task *t, DbEnd end, const PGresult *res, JobEvent *ret_ev, Fault *reterr);

/* A state could not even ask. */
JobEvent task_give_up(Task *t, int error);

/* Sets the job's fault to a shortage of ours. */
void task_out_of_memory(Task *t);

/* Nothing can be begun for want of memory: task_resume() tries again. */
JobEvent task_begin_later(Task *t, int error);
