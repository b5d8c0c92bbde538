/*
 * A job in flight.
 *
 * task_tell() moves it: core/job.c decides where an event leads and what it counts for, the table of states
 * (worker->states) begins what is done there, and what comes of that is told here again, in one loop. A task has one
 * operation at most, whose answer arrives in one of the functions below; they alone may free the task.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/retry.h"
#include "daemon/lockline.h"
#include "daemon/task.h"
#include "daemon/timer.h"
#include "io/db_errors.h"

#define REST_MAX_USEC (10 * USEC_PER_SEC)

/* --- leaving a state ----------------------------------------------------------------------- */

/* As long as the file may still be stored. */
static bool keeps_file(JobState s) {
    return s == JOB_DOWNLOADING || s == JOB_VALIDATING || s == JOB_SCANNING || s == JOB_STORING ||
           s == JOB_RESTING;
}

/* The room that the file had in the spool is free again, and downloads that wait for it are
 * looked at. */
static void drop_file(Task *t) {
    t->file = spool_file_free(t->file);
    t->hash = hash_free(t->hash);
    t->room_bytes = 0;
    download_done(&t->download);
}

static void cancel_op(Task *t) {
    if (t->op)
        t->cancel(t);
    t->op = NULL;
}

/* Ends what is under way, without a word, before the job begins what it is to do in the state where it is now. */
static void leave(Task *t) {
    cancel_op(t);
    t->timer = sd_event_source_disable_unref(t->timer);
    t->glb = glb_free(t->glb);
    /* The place in the lane is kept from the intent to the purchase: one token, one purchase. */
    if (t->job->at.state != JOB_PREDICTING)
        task_unqueue(t);
    if (!keeps_file(t->job->at.state))
        drop_file(t);
}

/* As leave(), but whatever the state is: nothing is kept for a next one. */
static void free_task(Task *t) {
    cancel_op(t);
    t->timer = sd_event_source_disable_unref(t->timer);
    t->glb = glb_free(t->glb);
    task_unqueue(t);
    drop_file(t);
    job_free(t->job);
    free(t);
}

/* The slot counts as free before anybody hears of it, so that a claim can be planned with it at
 * once. */
static void forget(Task *t) {
    Worker *w = t->worker;

    TAILQ_REMOVE(&w->tasks, t, link);
    w->n_tasks--;
    w->events->gone(w->userdata, t);
    free_task(t);
    worker_changed(w);
}

/* --- moving -------------------------------------------------------------------------------- */

/* A wait that was said is over: `meshifyctl status` has to hear that too. */
void task_got_further(Task *t) {
    t->waits.since_usec = clock_now_usec();
    t->worker->waits_changed = t->worker->waits_changed || t->waits.said;
    t->waits.said = false;
    t->patience.trouble = (Fault){ 0 };
}

/* A job that rests is still where it goes on. */
static void note_place(Task *t) {
    JobPos at = t->job->at;
    JobState place = at.state == JOB_RESTING ? at.resume : at.state;

    if (place == t->waits.place)
        return;
    task_got_further(t);
    t->waits.place = place;
}

/* For a developer: an operator reads what became of a job, not each of its moves. */
static void log_move(const Job *j, JobState from) {
    if (j->at.state != from && log_wanted(LOG_DEBUG))
        log_job(LOG_DEBUG, JOB_MOVED, j, "Job %s: %s -> %s%s%s", j->id, job_state_word(from),
                job_state_word(j->at.state), j->fault.detail[0] ? ": " : "", j->fault.detail);
}

/* The fields that each line about the job has. */
static void note_in_log(Job *j) {
    j->log.state = job_state_word(j->at.state);
    j->log.fault = j->fault.code != FAULT_NONE ? fault_info(j->fault.code)->word : NULL;
}

/* Keeps what the task has to remember of the state that its job has left. */
static void note_move(Task *t, const JobMove *m) {
    Job *j = t->job;
    JobState from = m->from.state, to = j->at.state;
    uint64_t now = clock_now_usec(), spent = now - j->started_usec;
    uint64_t waited = lane_waited_usec(&t->ticket);

    if (m->is_bug)
        log_job(LOG_ERR, JOB_BUG, j, "Job %s: %s", j->id, j->fault.detail);
    /* Closings repeat the fault of the work before them, which was counted then. */
    if ((m->ev == EV_RETRY || m->ev == EV_FINAL) && from < JOB_COMPLETING)
        metrics_failed(&t->worker->metrics, j->fault.code);
    if (from == JOB_LOOKING && spent > waited) /* what it waited in a lane is added by itself */
        j->idle_usec += spent - waited;
    patience_moved(&t->patience, m, j);
    if (m->ev == EV_EXPIRE && j->at.resume == JOB_FAILING)
        patience_over(&t->patience, m->from, &j->fault);
    /* A rest is part of the state that it interrupts. */
    if (to != from && to != JOB_RESTING && from != JOB_RESTING)
        t->refusal_said = false;
    note_in_log(j);
    log_move(j, from);
    j->started_usec = now;
    note_place(t);
}

/* Begins what is done in the state. EV_NONE: the task waits, or is gone. */
static JobEvent enter(Task *t) {
    return t->worker->states[t->job->at.state](t);
}

/* One move. The task is gone where it leads to the end. */
static JobEvent move(Task *t, JobEvent ev) {
    JobMove m = job_apply(t->job, ev, t->worker->config->max_attempts);

    if (m.is_kept)
        return EV_NONE;
    note_move(t, &m);
    if (t->job->at.state == JOB_GONE) {
        if (m.ev == EV_LOST)
            log_job(LOG_INFO, JOB_LOST, t->job,
                    "Job %s belongs to another worker now, or has ended: dropped", t->job->id);
        forget(t);
        return EV_NONE;
    }
    leave(t);
    return enter(t);
}

/* Not recursive: an event may lead through any number of states that have nothing to do. */
void task_tell(Task *t, JobEvent ev) {
    while (ev != EV_NONE)
        ev = move(t, ev);
}

/* The first state is entered and not moved to: there is nothing to leave, and no event to
 * count. */
int task_begin(Worker *w, Job *job) {
    Task *t = calloc(1, sizeof *t);

    if (!t)
        return -ENOMEM;
    t->worker = w;
    t->job = job;
    TAILQ_INSERT_TAIL(&w->tasks, t, link);
    w->n_tasks++;
    w->metrics.claimed++;
    metrics_claimed(&w->metrics, job);
    if (job_purchase(job))
        job->log.prediction_id = job_purchase(job)->prediction_id;
    if (w->draining) /* it was claimed before that, and is requeued before anything is begun */
        (void) job_apply(job, EV_DRAIN, w->config->max_attempts);
    note_place(t);
    note_in_log(job);
    log_job(LOG_INFO, JOB_CLAIMED, job, "Job %s claimed, attempt %u, to begin with %s", job->id,
            job->attempts, job->log.state);
    task_tell(t, enter(t));
    return 0;
}

/* A lane counts also while the task is being served there: its request is under way, or about
 * to be. */
bool task_is_waiting(const Task *t) {
    return t->op || t->ticket.lane || timer_runs(t->timer);
}

void task_resume(Task *t) {
    leave(t);
    task_tell(t, enter(t));
}

/* A walk over all tasks: it is made once for a claimed row, and after a fail-over. */
Task *task_find(Worker *w, const char *job_id) {
    Task *t;

    TAILQ_FOREACH(t, &w->tasks, link)
    if (strcmp(t->job->id, job_id) == 0)
        return t;
    return NULL;
}

/* --- all of them --------------------------------------------------------------------------- */

/* Telling a task may free it, but no other one: the next is noted before. */
void tasks_drain(Worker *w) {
    Task *t, *next;

    w->draining = true;
    for (t = TAILQ_FIRST(&w->tasks); t; t = next) {
        next = TAILQ_NEXT(t, link);
        if (!job_has_wish(t->job, EV_DRAIN))
            task_tell(t, EV_DRAIN);
    }
}

/* A purchase whose answer may still come is looked for by the next worker, as after a crash; an
 * upload is repeated. Other states have been left already by the drain. */
void tasks_let_go(Worker *w) {
    Task *t, *next;

    for (t = TAILQ_FIRST(&w->tasks); t; t = next) {
        JobState s = t->job->at.state;

        next = TAILQ_NEXT(t, link);
        if (s == JOB_PREDICTING)
            task_tell(t, EV_UNSURE);
        else if (s == JOB_STORING)
            task_tell(t, EV_WAIT);
    }
}

void tasks_drop(Worker *w) {
    Task *t, *next;

    for (t = TAILQ_FIRST(&w->tasks); t; t = next) {
        next = TAILQ_NEXT(t, link);
        task_tell(t, EV_LOST);
    }
}

/* The jobs are left to their lease, as after a crash: nothing of this is written. */
void tasks_free(Worker *w) {
    for (Task *t; (t = TAILQ_FIRST(&w->tasks));) {
        TAILQ_REMOVE(&w->tasks, t, link);
        free_task(t);
    }
}

/* --- waiting ------------------------------------------------------------------------------- */

Lane *task_lane(Task *t, LaneName name) {
    return &t->worker->lanes[name];
}

/* Of the lane, or of the timer: only one of the two is waited for at a time. */
static void on_turn(void *userdata) {
    Task *t = userdata;

    task_tell(t, t->then.turn(t));
}

/* The ticket may go at once; then nothing else calls `go`, and the loop is not asked. */
static JobEvent queue(Task *t, LaneName name, TaskTurn go,
                      bool (*enter_lane)(Lane *lane, LaneTicket *ticket,
                                         void (*turn)(void *userdata), void *userdata)) {
    t->then.turn = go;
    return enter_lane(task_lane(t, name), &t->ticket, on_turn, t) ? go(t) : EV_NONE;
}

JobEvent task_queue(Task *t, LaneName name, TaskTurn go) {
    return queue(t, name, go, lane_enter);
}

JobEvent task_queue_first(Task *t, LaneName name, TaskTurn go) {
    return queue(t, name, go, lane_enter_first);
}

void task_unqueue(Task *t) {
    t->job->idle_usec += lane_waited_usec(&t->ticket);
    lane_leave(&t->ticket);
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    on_turn(userdata);
    return 0;
}

/* Said once for all tasks, until a tick finds all of them at work: there may be hundreds, and
 * one cause. */
JobEvent task_begin_later(Task *t, int error) {
    if (!t->worker->out_of_memory)
        log_job(LOG_ERR, INTERNAL, t->job, "Job %s is delayed in %s: %s; retrying", t->job->id,
                job_state_word(t->job->at.state), strerror(-error));
    t->worker->out_of_memory = true;
    return EV_NONE;
}

JobEvent task_pause(Task *t, uint64_t usec, TaskTurn then) {
    uint64_t accuracy_usec = usec < 100 * USEC_PER_MSEC ? 1 : 0; /* 0: sd-event's own, 250 ms */
    int r;

    t->then.turn = then;
    t->timer = sd_event_source_disable_unref(t->timer);
    r = sd_event_add_time_relative(t->worker->event, &t->timer, CLOCK_MONOTONIC, usec,
                                   accuracy_usec, on_pause_over, t);
    return r < 0 ? task_begin_later(t, r) : EV_NONE;
}

/* From a fifth of a second on: most locks are held for less. */
uint64_t task_short_delay(const Task *t) {
    return retry_delay_usec(USEC_PER_SEC / 5, REST_MAX_USEC, t->job->tries, clock_chance());
}

/* --- asking -------------------------------------------------------------------------------- */

/* The state that began it is left with `cancel`, whatever kind of edge it is of. */
void task_wait(Task *t, void *op, void (*cancel)(Task *t)) {
    t->op = op;
    t->cancel = cancel;
}

void task_op_over(Task *t) {
    t->op = NULL;
}

static void cancel_http(Task *t) {
    (void) http_op_cancel(t->op);
}

/* The operation is gone when its edge calls back, and must not be canceled any more. */
static void on_http(void *userdata, HttpReply *reply) {
    Task *t = userdata;

    t->op = NULL;
    task_tell(t, t->then.http(t, reply));
}

int task_send_http(Task *t, HttpRequest *request, TaskHeardHttp heard) {
    HttpOp *op;
    int r;

    t->sent_usec = clock_now_usec();
    if ((r = http_send(t->worker->http, request, on_http, t, &op)) < 0)
        return r;
    t->then.http = heard;
    task_wait(t, op, cancel_http);
    return 0;
}

static void cancel_store(Task *t) {
    (void) store_op_cancel(t->op);
}

static void on_store(void *userdata, JobEvent ev, const StoreWork *work) {
    Task *t = userdata;

    t->op = NULL;
    task_tell(t, t->then.store(t, ev, work));
}

JobEvent task_store(Task *t, JobEvent ev, StoreWork *work, TaskHeardStore heard) {
    StoreOp *op;

    if (ev == EV_MORE && store_op_start(&op, &t->worker->store, work, on_store, t) < 0) {
        fault_set(&work->fault, FAULT_INTERNAL, "out of memory");
        ev = EV_RETRY;
    }
    if (ev != EV_MORE)
        return heard(t, ev, work);
    t->then.store = heard;
    task_wait(t, op, cancel_store);
    return EV_NONE;
}

/* The call may be carried out all the same. Each is fenced, so that it finds the job as it left
 * it, or does nothing. */
static void cancel_db(Task *t) {
    (void) db_op_cancel(t->op);
    lockline_leave(t->worker->line, t);
}

bool task_calls_db(const Task *t) {
    return t->op && t->cancel == cancel_db;
}

static void on_db(void *userdata, DbEnd end, const PGresult *res) {
    Task *t = userdata;

    t->op = NULL;
    lockline_leave(t->worker->line, t);
    task_tell(t, t->then.db(t, end, res));
}

unsigned task_db_flags(const Task *t) {
    return t->job->tries > 0 ? DB_ALONE : 0;
}

int task_send_db(Task *t, unsigned flags, DbRequest *request, TaskHeardDb heard) {
    Worker *w = t->worker;
    DbOp *op;
    int r = db_call(flags & DB_WAIT ? lockline_db(w->line) : w->db, flags, request, on_db, t, &op);

    t->sent_usec = clock_now_usec();
    db_request_done(request);
    if (r < 0) {
        lockline_leave(w->line, t);
        return r;
    }
    t->then.db = heard;
    task_wait(t, op, cancel_db);
    return 0;
}

/* --- refusals and shortages ---------------------------------------------------------------- */

/* A passing error (a lock, a shortage) and one of the statement (a missing right, which
 * somebody will mend) are waited for; any other would come again, and ends the attempt. */
bool task_db_refused(Task *t, DbEnd end, const PGresult *res, JobEvent *ret_ev, Fault *reterr) {
    bool passing = db_error_is_passing(res), all = db_error_is_of_statement(res);

    if (end == DB_OK)
        return false;
    fault_set(reterr, passing || all ? FAULT_DATABASE_BUSY : FAULT_DATABASE, "database: %s %s",
              db_sqlstate(res), res ? PQresultErrorMessage(res) : "connection lost");
    *ret_ev = passing || all ? EV_WAIT : EV_FINAL;
    if (*ret_ev == EV_FINAL || (all && !t->refusal_said))
        log_job(LOG_ERR, DB_REFUSED, t->job, "The database refused a call for job %s: %s",
                t->job->id, reterr->detail);
    t->refusal_said = t->refusal_said || all;
    return true;
}

void task_out_of_memory(Task *t) {
    fault_set(&t->job->fault, FAULT_INTERNAL, "out of memory");
    t->job->is_shortage = true;
}

/* In PREDICTING the request may have gone out: only a look tells whether it was bought. */
JobEvent task_give_up(Task *t, int error) {
    fault_set(&t->job->fault, FAULT_INTERNAL, "%s: %s", job_state_word(t->job->at.state),
              strerror(-error));
    t->job->is_shortage = true;
    return t->job->at.state == JOB_PREDICTING ? EV_UNSURE : EV_RETRY;
}
