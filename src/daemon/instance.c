/*
 * One running instance, the top of daemon/.
 *
 * Makes the parts and wires them: the parts below tell of what happens by their events, and here is decided whom that
 * concerns. Nothing below includes this file's header.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/audit.h"
#include "daemon/claims.h"
#include "daemon/file_states.h"
#include "daemon/finishing.h"
#include "daemon/instance.h"
#include "daemon/lease.h"
#include "daemon/listener.h"
#include "daemon/lockline.h"
#include "daemon/looking.h"
#include "daemon/loop.h"
#include "daemon/notes.h"
#include "daemon/pages.h"
#include "daemon/prune.h"
#include "daemon/purchase_states.h"
#include "daemon/retelling.h"
#include "daemon/sample.h"
#include "daemon/states.h"
#include "daemon/status.h"
#include "daemon/sweep.h"
#include "daemon/task.h"
#include "daemon/timer.h"
#include "daemon/waits.h"
#include "io/db_errors.h"

#define TICK_USEC USEC_PER_SEC

struct Instance {
    Worker *worker;
    Lease *lease;
    Listener *listener;
    Claims *claims;
    Audit *audit;
    Sweep *sweep;
    Prune *prune;
    Sample *sample;
    Retelling *retelling;
    Waits *waits;
    Status *status;
    Pages *pages;
    unsigned workers, running_all; /* as the last heartbeat said */
    bool is_paused;
    bool stop_asked;          /* by an operator; a second signal would not wait for the jobs */
    bool was_up;              /* the working connection, ever */
    uint64_t down_since_usec; /* the database is away since then; 0: it is there */
    sd_event_source *tick;
};

/* --- limits and orders --------------------------------------------------------------------- */

/* Each live worker's share of the limits follows its share of the running jobs. */
static void share_limits(Instance *i) {
    Worker *w = i->worker;
    const Config *c = w->config;
    double even = 1.0 / (i->workers ? i->workers : 1);
    double share = i->running_all > 0 && w->n_tasks <= i->running_all
                       ? (even + (double) w->n_tasks / i->running_all) / 2
                       : even;
    uint64_t now = clock_now_usec();

    bucket_set(&w->lanes[LANE_CREATE].bucket, c->create_rate, share, now);
    bucket_set(&w->lanes[LANE_POLL].bucket, c->poll_rate, share, now);
    bucket_set(&w->lanes[LANE_REQUEST].bucket, c->request_rate, share, now);
}

static const char operator_asks[] = "An operator asks us to stop";

static void asked_to_stop(Instance *i, const char *why) {
    if (i->stop_asked || i->worker->draining)
        return;
    i->stop_asked = true;
    log_line(LOG_NOTICE, STOPPING, "%s", why);
    (void) kill(getpid(), SIGTERM); /* there is one way to stop */
}

/* `ids` is text that names jobs, as the database says. */
static void take_cancels(Worker *w, const char *ids) {
    Task *t, *next;

    if (strlen(ids) < 36)
        return;
    for (t = TAILQ_FIRST(&w->tasks); t; t = next) {
        next = TAILQ_NEXT(t, link);
        if (t->job->cancel_asked || !strstr(ids, t->job->id))
            continue;
        t->job->cancel_asked = true;
        task_tell(t, EV_CANCEL);
    }
}

/* --- the lease ----------------------------------------------------------------------------- */

/* With a row of our own a wake-up can be proved, and other calls, which are held until our jobs
 * are compared, have a worker to be checked against. */
static void on_ready(void *userdata, const LeaseNews *news) {
    Instance *i = userdata;

    if (news) {
        i->workers = news->workers;
        share_limits(i);
        claims_heard(i->claims, news->workers, i->is_paused);
        claims_compare(i->claims);
    }
    listener_prove(i->listener);
}

/* A reason not to be ready that the database gave is over when it answers; but while we rejoin,
 * our jobs are not known to be ours. */
static void on_heartbeat(void *userdata, const LeaseNews *news) {
    Instance *i = userdata;
    Worker *w = i->worker;
    bool rejoining = claims_is_rejoining(i->claims);

    if (!rejoining)
        worker_not_ready(w, NOT_READY_YET, "");
    i->workers = news->workers;
    i->running_all = news->running_all;
    share_limits(i);
    i->is_paused = news->is_paused;
    claims_heard(i->claims, news->workers, news->is_paused);
    if (rejoining)
        claims_compare(i->claims);
    listener_ask(i->listener); /* our jobs' rows may be locked: the heartbeat did not read them */
    if (news->to_drain)
        asked_to_stop(i, operator_asks);
    if (news->compatible_from > SCHEMA_VERSION) /* to go on would be to work by rules of before */
        asked_to_stop(i, "The schema is made for newer programs: stopping; upgrade meshifyd");
    claims_plan(i->claims); /* a claim that came due while the lease was in doubt was not made */
    worker_changed(w);
}

/* Will it be refused, though nobody waits for its answer any more? */
static bool is_fenced_write(const Task *t) {
    JobState s = t->job->at.state;

    return task_calls_db(t) && (s == JOB_INTENDING || s == JOB_STORING || s == JOB_COMPLETING ||
                                s == JOB_FAILING || s == JOB_CLOSING_CANCELED);
}

/* The database refuses what is under way, and its answers find no task any more: they are
 * counted here. */
static void on_lost(void *userdata) {
    Instance *i = userdata;
    Worker *w = i->worker;
    Task *t;

    TAILQ_FOREACH(t, &w->tasks, link)
    w->metrics.zombies += is_fenced_write(t);
    claims_drop_rows(i->claims);
    tasks_drop(w);
}

/* What could be begun, or may be there: the next claim shows it. */
static void on_more_work(void *userdata) {
    claims_wake(((Instance *) userdata)->claims);
}

/* --- the listener -------------------------------------------------------------------------- */

/* Notifications were missed while they did not arrive, so a claim is due when they do again;
 * without them polls and heartbeats come more often. */
static void on_listens(void *userdata) {
    Instance *i = userdata;

    if (i->worker->listens) {
        claims_wake(i->claims);
        worker_changed(i->worker);
    } else {
        claims_plan(i->claims);
        lease_plan(i->lease);
    }
}

/* A cancel comes before the comparison: a job that the database counts as ours may be about to
 * leave. */
static void on_news(void *userdata, const ListenerNews *news) {
    Instance *i = userdata;

    take_cancels(i->worker, news->cancels);
    claims_compare_held(i->claims, news->held);
    if (news->to_drain)
        asked_to_stop(i, operator_asks);
}

static int by_id(const void *a, const void *b) {
    return strcmp(a, b);
}

/* Most ids are of other workers' jobs: notifications go to all. */
static void on_predictions(void *userdata, const ListenerId *ids, unsigned n) {
    Worker *w = ((Instance *) userdata)->worker;
    Task *t;

    TAILQ_FOREACH(t, &w->tasks, link) {
        const Purchase *p = job_purchase(t->job);

        if (p && p->prediction_id && bsearch(p->prediction_id, ids, n, sizeof *ids, by_id))
            purchase_poll_now(t);
    }
}

/* --- the connection ------------------------------------------------------------------------ */

/* Waiting for the database does not count as work. */
static void end_outage(Instance *i) {
    uint64_t away = clock_now_usec() - i->down_since_usec;
    Task *t;

    if (!i->down_since_usec)
        return;
    TAILQ_FOREACH(t, &i->worker->tasks, link)
    t->job->idle_usec += away;
    log_line(LOG_NOTICE, DB_UP, "Database connection restored after %.1f s",
             (double) away / USEC_PER_SEC);
    i->down_since_usec = 0;
}

/* What a fail-over may have lost is told before anything else is asked: the database answers in
 * this order. */
static void on_up(void *userdata) {
    Instance *i = userdata;

    if (i->was_up)
        i->worker->metrics.reconnects++;
    i->was_up = true;
    retelling_start(i->retelling);
    claims_connected(i->claims);
    end_outage(i);
    lease_connected(i->lease);
}

static void on_down(void *userdata, const char *why, uint64_t retry_usec) {
    Instance *i = userdata;
    Worker *w = i->worker;
    bool is_lost = i->was_up && !i->down_since_usec;
    char what[sizeof w->not_ready_reason], then[40] = "reconnecting";
    unsigned long long seconds = retry_usec / USEC_PER_SEC;

    if (seconds > 0)
        (void) snprintf(then, sizeof then, "reconnecting in %llu s", seconds);
    log_line(LOG_WARNING, DB_DOWN, "%s: %s, %s. %s",
             is_lost ? "Database connection lost" : "No database connection", why, then,
             db_failure_advice(db_failure(w->db)));
    claims_disconnected(i->claims);
    lease_disconnected(i->lease);
    i->down_since_usec = i->down_since_usec ? i->down_since_usec : clock_now_usec();
    w->not_ready = NOT_READY_YET;
    (void) snprintf(what, sizeof what, "no database connection: %s", why);
    str_clean(w->not_ready_reason, sizeof w->not_ready_reason, what); /* the log has it already */
    worker_changed(w);
}

/* Our functions warn with a SQLSTATE of ours where a human is needed. Notices of the project's own triggers are only
 * for an operator who asks for them. */
static void on_notice(void *userdata, const PGresult *res) {
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    int level = strncmp(db_sqlstate(res), "MF", 2) == 0        ? LOG_ERR
                : severity && strcmp(severity, "WARNING") == 0 ? LOG_WARNING
                                                               : LOG_DEBUG;

    (void) userdata;
    log_line(level, DB_SAYS, "The database says: %s", message ? message : "");
}

/* --- the jobs ------------------------------------------------------------------------------ */

/* A slot is free: what could not be claimed when there was none, can be now. The claim's answer does not say when a
 * job comes due that only the limit of its user kept back. */
static void on_gone(void *userdata, Task *t) {
    Instance *i = userdata;
    const Worker *w = i->worker;

    retelling_leave(t);
    if (w->draining)
        return;
    if (w->config->max_jobs_per_user > 0)
        claims_wake(i->claims);
    else
        claims_plan(i->claims);
}

/* It may be the next to come due, and we may be the only worker. */
static void on_requeued(void *userdata, uint64_t due_usec) {
    claims_requeued(((Instance *) userdata)->claims, due_usec);
}

/* The tick runs only while there are jobs: an idle daemon does not wake up. */
static void on_changed(void *userdata) {
    Instance *i = userdata;

    if (i->worker && i->worker->n_tasks > 0 && !timer_runs(i->tick))
        timer_start(i->tick, TICK_USEC);
    if (i->status)
        status_changed(i->status);
}

/* Time spent in line is no work. What is over is in idle_usec; the wait that goes on now is added here. */
static bool is_over_time(const Task *t, uint64_t now) {
    const Job *j = t->job;
    uint64_t waiting =
        j->at.state == JOB_LOOKING ? now - j->started_usec : lane_waited_usec(&t->ticket);

    return j->worked_usec + (now - j->claimed_usec) >
           t->worker->config->job_timeout_usec + j->idle_usec + waiting;
}

/* What has no timer of its own: time-outs, tasks that could not begin for want of memory,
 * progress, and jobs that wait for long. */
static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
    Instance *i = userdata;
    Worker *w = i->worker;
    uint64_t now = clock_now_usec();
    bool out_of_memory = false;
    Task *t, *next;

    (void) usec;
    lease_check(i->lease);
    for (t = TAILQ_FIRST(&w->tasks); t; t = next) {
        next = TAILQ_NEXT(t, link);
        /* After a long suspend another instance may own this job; the time-out would cancel its prediction. */
        if (worker_is_trusted(w) && db_is_up(w->db) && is_over_time(t, now) &&
            !job_has_wish(t->job, EV_EXPIRE))
            task_tell(t, EV_EXPIRE);
        else if (!task_is_waiting(t)) {
            out_of_memory = true;
            task_resume(t);
        }
    }
    w->out_of_memory = out_of_memory;
    waits_tick(i->waits);
    if (db_is_up(w->db))
        notes_progress(w);
    if (w->n_tasks > 0)
        timer_start(source, TICK_USEC);
    return 0;
}

/* --- stopping ------------------------------------------------------------------------------ */

/* systemd hears first: requeueing jobs may take until drain_timeout. */
void instance_drain(Instance *i) {
    status_stopping(i->status);
    tasks_drain(i->worker);
    claims_plan(i->claims);
}

void instance_let_go(Instance *i) {
    tasks_let_go(i->worker);
}

/* A claim under way may bring jobs, and a call that nobody waits for may be a job's end. */
bool instance_is_idle(const Instance *i) {
    return i->worker->n_tasks == 0 && claims_is_idle(i->claims) && db_pending(i->worker->db) == 0;
}

void instance_end(Instance *i) {
    lease_end(i->lease);
}

/* For an operator (SIGUSR1): enough to see whether something stands still, and what it waits
 * for. */
void instance_dump(const Instance *i) {
    const Worker *w = i->worker;
    const Metrics *m = &w->metrics;
    uint64_t now = clock_now_usec();
    bool ready = w->registered && !w->not_ready_reason[0];
    char turns[500];
    const Task *t;

    log_line(
        LOG_NOTICE, DUMP,
        "Worker %s: %s%s; %u jobs, %llu done, %llu failed, %llu canceled; heartbeat %llu ms ago%s; "
        "%llu taken over, %llu lost, %llu writes refused",
        w->id,
        w->draining ? ready ? "stopping" : "stopping, not ready: "
        : ready     ? "ready"
                    : "not ready: ",
        w->not_ready_reason, w->n_tasks, m->done, m->failed, m->canceled,
        (unsigned long long) ((now - lease_sent_usec(i->lease)) / 1000),
        lease_is_suspended(i->lease) ? ", holding still" : "", m->takeovers, m->leases_lost,
        m->zombies);
    metrics_describe_turns(m, turns, sizeof turns);
    log_line(LOG_NOTICE, DUMP, "Event loop: %s", turns);
    TAILQ_FOREACH(t, &w->tasks, link)
    waits_dump(t, now);
}

/* --- owning -------------------------------------------------------------------------------- */

const Worker *instance_worker(const Instance *i) {
    return i->worker;
}

int instance_run(Instance *i) {
    return loop_run(i->worker->event, &i->worker->metrics);
}

/* The three that the states use hang on the ground, where the states find them. */
static int make_ground(Instance *i, sd_event *event, const Config *config) {
    static const WorkerEvents events = { .gone = on_gone,
                                         .requeued = on_requeued,
                                         .changed = on_changed };
    static const DbEvents db_events = { .up = on_up, .down = on_down, .notice = on_notice };
    int r = worker_new(&i->worker, event, config, states, &events, &db_events, i);

    if (r < 0)
        return r;
    lane_guard(&i->worker->lanes[LANE_FILE], file_has_room, i->worker);
    if ((r = lockline_new(&i->worker->line, i->worker)) < 0 ||
        (r = looking_new(&i->worker->looking, i->worker)) < 0)
        return r;
    return finishing_new(&i->worker->finishing, i->worker);
}

/* Each part stands on the ground; two need another part too: claims.c the lease, pages.c the
 * sample. */
static int make_parts(Instance *i) {
    static const LeaseEvents lease_events = { .ready = on_ready,
                                              .heartbeat = on_heartbeat,
                                              .lost = on_lost,
                                              .resumed = on_more_work,
                                              .takeover = on_more_work };
    static const ListenerEvents listener_events = {
        .work = on_more_work, .changed = on_listens, .news = on_news, .predictions = on_predictions
    };
    Worker *w = i->worker;
    int r;

    if ((r = timer_new(w->event, &i->tick, 100 * USEC_PER_MSEC, on_tick, i)) < 0 ||
        (r = lease_new(&i->lease, w, &lease_events, i)) < 0 ||
        (r = listener_new(&i->listener, w, &listener_events, i)) < 0 ||
        (r = claims_new(&i->claims, w, i->lease)) < 0 ||
        (r = retelling_new(&i->retelling, w)) < 0 || (r = waits_new(&i->waits, w)) < 0 ||
        (r = prune_new(&i->prune, w)) < 0 || (r = sweep_new(&i->sweep, w)) < 0 ||
        (r = audit_new(&i->audit, w)) < 0 || (r = sample_new(&i->sample, w)) < 0 ||
        (r = status_new(&i->status, w)) < 0)
        return r;
    return pages_new(&i->pages, w, i->sample);
}

int instance_new(Instance **ret, sd_event *event, const Config *config) {
    Instance *i = calloc(1, sizeof *i);
    int r;

    if (!i)
        return -ENOMEM;
    i->workers = 1;
    if ((r = make_ground(i, event, config)) < 0 || (r = make_parts(i)) < 0) {
        instance_free(i);
        return r;
    }
    *ret = i;
    return 0;
}

/* Tasks hold operations of the edges, places in lanes and rows of the listing: they go before
 * all of these. */
Instance *instance_free(Instance *i) {
    Worker *w;

    if (!i)
        return NULL;
    i->pages = pages_free(i->pages);
    i->status = status_free(i->status);
    i->claims = claims_free(i->claims);
    i->retelling = retelling_free(i->retelling);
    if ((w = i->worker)) {
        tasks_free(w);
        sample_free(i->sample);
        audit_free(i->audit);
        sweep_free(i->sweep);
        w->looking = looking_free(w->looking);
        prune_free(i->prune);
        w->finishing = finishing_free(w->finishing);
        waits_free(i->waits);
        w->line = lockline_free(w->line);
        listener_free(i->listener);
        lease_free(i->lease);
        i->worker = worker_free(w);
    }
    sd_event_source_disable_unref(i->tick);
    free(i);
    return NULL;
}
