/* Holds the jobs in flight: claims them, moves them, lets them go. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/audit.h"
#include "daemon/finishing.h"
#include "daemon/lease.h"
#include "daemon/lockline.h"
#include "daemon/patience.h"
#include "daemon/prune.h"
#include "daemon/retelling.h"
#include "daemon/stage.h"
#include "daemon/stages.h"
#include "daemon/waits.h"
#include "daemon/wakeup.h"
#include "daemon/worker.h"
#include "flow/claim.h"
#include "io/db_errors.h"

#define TICK_USEC USEC_PER_SEC
#define PROGRESS_USEC (5 * USEC_PER_SEC) /* between two writes for a job */
#define PROGRESS_STEP 0.02
#define CLAIM_MAX 100 /* jobs at once; more follow at once */
#define FILES_MAX 16  /* downloads, and uploads, at once */
#define REQUESTS_MAX 64

/* --- moves --------------------------------------------------------------------------------- */

static void forget(Task *t) {
    Worker *w = t->worker;

    stages_leave(t);
    retelling_leave(t);
    spool_file_free(t->file);
    TAILQ_REMOVE(&w->tasks, t, link);
    w->n_tasks--;
    job_free(t->job);
    free(t);
    /* A slot is free: what could not be claimed when there was none, can be now. That a user's limit
     * kept a job back does not show in when the next comes due. */
    if (!w->draining && w->config->max_jobs_per_user > 0)
        worker_wake(w);
    else if (!w->draining)
        worker_plan(w);
    worker_changed(w);
}

/* What can't be begun, for want of memory, is begun by the tick. */
static void enter(Task *t) {
    Worker *w = t->worker;
    int r = stages_enter(t);

    if (r < 0 && !w->starved)
        log_job(LOG_ERR, INTERNAL, t->job, "Job %s can't go on now: %s: %s, retrying", t->job->id,
                job_state_word(t->job->at.state), strerror(-r));
    w->starved = w->starved || r < 0;
}

static bool waits_for_something(const Task *t) {
    return t->http || t->db || t->dir || t->ticket.lane || t->look.in ||
           (t->timer && sd_event_source_get_enabled(t->timer, NULL) > 0);
}

void worker_tell(Task *t, JobEvent ev) {
    Job *j = t->job;
    JobMove m = job_apply(j, ev, t->worker->config->max_attempts);
    JobState to = j->at.state;

    if (m.is_kept)
        return;
    if (m.is_bug)
        log_job(LOG_ERR, JOB_BUG, j, "Job %s: %s", j->id, j->fault.detail);
    if ((m.ev == EV_RETRY || m.ev == EV_FINAL) && m.from.state < JOB_COMPLETING)
        metrics_failed(&t->worker->metrics, j->fault.code);
    patience_moved(t, m.from, j->at, m.ev);
    if (to != m.from.state && to != JOB_RESTING && m.from.state != JOB_RESTING)
        t->refusal_said = false;
    if (m.ev == EV_EXPIRE && j->at.resume == JOB_FAILING)
        patience_over(t, m.from);
    j->log.state = job_state_word(to);
    j->log.fault = j->fault.code != FAULT_NONE ? fault_info(j->fault.code)->word : NULL;
    if (to != m.from.state && log_wanted(LOG_DEBUG))
        log_job(LOG_DEBUG, JOB_MOVED, j, "Job %s: %s -> %s%s%s", j->id,
                job_state_word(m.from.state), job_state_word(to), j->fault.detail[0] ? ": " : "",
                j->fault.detail);
    j->started_usec = clock_now_usec();
    waits_moved(t);
    if (to == JOB_GONE) {
        if (m.ev == EV_LOST)
            log_job(LOG_INFO, JOB_LOST, j, "Job %s is not ours any more", j->id);
        forget(t);
        return;
    }
    stages_leave(t);
    enter(t);
}

Task *worker_find(Worker *w, const char *job_id) {
    Task *t;

    TAILQ_FOREACH(t, &w->tasks, link)
    if (strcmp(t->job->id, job_id) == 0)
        return t;
    return NULL;
}

void worker_take(Worker *w, const PGresult *res, int row) {
    _cleanup_(job_freep) Job *j = NULL;
    int r = claim_read(res, row, w->config, clock_now_usec(), &j);
    Task *t;

    /* What can't be taken now is still ours in the database: the next comparison brings it again. */
    if (r < 0) {
        log_line(LOG_ERR, INTERNAL, "A claimed job can't be read: %s", strerror(-r));
        return;
    }
    if (worker_find(w, j->id))
        return;
    if (!(t = calloc(1, sizeof *t))) {
        log_line(LOG_ERR, INTERNAL, "Job %s can't be taken: out of memory", j->id);
        return;
    }
    t->worker = w;
    t->job = TAKE(j);
    TAILQ_INSERT_TAIL(&w->tasks, t, link);
    w->n_tasks++;
    w->claimed++;
    metrics_claimed(&w->metrics, t->job);
    if (job_purchase(t->job))
        t->job->log.prediction_id = job_purchase(t->job)->prediction_id;
    t->job->log.state = job_state_word(t->job->at.state);
    log_job(LOG_INFO, JOB_CLAIMED, t->job, "Job %s claimed, attempt %u, to begin with %s",
            t->job->id, t->job->attempts, t->job->log.state);
    enter(t);
}

/* An answer whose rows are not all taken up counts as one that was lost. */
void worker_drop_rows(Worker *w) {
    if (taking_is_under_way(&w->claimed_rows))
        w->plan.claiming = false;
    if (taking_is_under_way(&w->compared_rows))
        w->lease.comparing = false;
    taking_drop(&w->claimed_rows);
    taking_drop(&w->compared_rows);
}

void worker_drop_all(Worker *w) {
    Task *t, *next;

    worker_drop_rows(w);
    for (t = TAILQ_FIRST(&w->tasks); t; t = next) {
        next = TAILQ_NEXT(t, link);
        worker_tell(t, EV_LOST);
    }
}

void worker_take_cancels(Worker *w, const char *ids) {
    Task *t, *next;

    if (strlen(ids) < 36)
        return;
    for (t = TAILQ_FIRST(&w->tasks); t; t = next) {
        next = TAILQ_NEXT(t, link);
        if (t->job->cancel_asked || !strstr(ids, t->job->id))
            continue;
        t->job->cancel_asked = true;
        worker_tell(t, EV_CANCEL);
    }
}

/* --- claiming ------------------------------------------------------------------------------ */

static unsigned free_slots(const Worker *w) {
    return w->n_tasks < w->config->max_jobs ? w->config->max_jobs - w->n_tasks : 0;
}

/* All rows of the claim are jobs now. */
static void claim_taken(Worker *w, const PGresult *res) {
    uint64_t next = claim_next_usec(res);

    w->plan.claiming = false;
    w->plan.due_usec = next == UINT64_MAX ? UINT64_MAX : w->plan.claimed_usec + next;
    /* While buying is held, what waits for it is not asked for again and again; but when the hold
     * ends, which may be already. */
    if (w->only_bought && w->lanes[LANE_CREATE].hold.until_usec < w->plan.due_usec)
        w->plan.due_usec = w->lanes[LANE_CREATE].hold.until_usec;
    else if (w->lease.paused && next != 0) /* 0: more are to be canceled */
        w->plan.due_usec = UINT64_MAX;
    if (w->draining)
        worker_drain(w);
    worker_plan(w);
    worker_changed(w);
}

static void claimed(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;
    uint64_t now = clock_now_usec();

    w->plan.claimed_usec = now;
    if (end != DB_OK) {
        w->plan.claiming = false;
        if (end == DB_FAILED && !w->claim_refused)
            log_line(LOG_ERR, DB_REFUSED, "The database refuses to let us claim: %s",
                     PQresultErrorMessage(res));
        w->claim_refused = w->claim_refused || end == DB_FAILED;
        w->plan.due_usec = now + USEC_PER_SEC;
        worker_plan(w);
        return;
    }
    w->claim_refused = false;
    w->plan.claimed_none = PQntuples(res) <= 1;
    taking_start(&w->claimed_rows, w, res, claim_taken);
}

static int on_claim(sd_event_source *source, uint64_t usec, void *userdata) {
    Worker *w = userdata;
    unsigned n = free_slots(w);
    DbRequest request;

    (void) usec;
    if (w->draining || w->plan.claiming || n == 0 || !lease_is_trusted(w) || !db_is_up(w->db))
        return 0;
    w->only_bought = lane_is_held(&w->lanes[LANE_CREATE]);
    if (claim_ask(w->config, w->id, n < CLAIM_MAX ? n : CLAIM_MAX, w->only_bought, &request) == 0 &&
        db_call(w->db, DB_ALONE | DB_ONCE, request.sql, (const char *const *) request.params,
                request.n_params, claimed, w, NULL) == 0) {
        w->plan.claiming = true;
        w->plan.woken = false;
    } else { /* for want of memory */
        (void) sd_event_source_set_time_relative(source, USEC_PER_SEC);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    }
    db_request_done(&request);
    return 0;
}

void worker_plan(Worker *w) {
    uint64_t when = notify_when(&w->plan, w->config, w->listening.works, w->lease.workers,
                                free_slots(w), clock_chance());
    uint64_t now = clock_now_usec();

    if (w->draining || !w->lease.registered || when == UINT64_MAX) {
        (void) sd_event_source_set_enabled(w->claim_timer, SD_EVENT_OFF);
        return;
    }
    (void) sd_event_source_set_time_relative(w->claim_timer, when > now ? when - now : 0);
    (void) sd_event_source_set_enabled(w->claim_timer, SD_EVENT_ONESHOT);
}

void worker_wake(Worker *w) {
    if (!w->plan.woken) {
        w->plan.woken = true;
        w->plan.woken_usec = clock_now_usec();
    }
    worker_plan(w);
}

/* --- every second, while there are jobs ---------------------------------------------------- */

static void write_progress(Worker *w) {
    StrBuf ids = { 0 }, values = { 0 };
    DbRequest request = { .sql = "SELECT meshify.progress($1, $2, $3)" };
    uint64_t now = clock_now_usec();
    Task *t;
    int r = 0, n = 0;

    TAILQ_FOREACH(t, &w->tasks, link) {
        Job *j = t->job;

        if (j->progress < j->progress_written + PROGRESS_STEP || j->at.state != JOB_POLLING ||
            now < j->progress_usec)
            continue;
        j->progress_usec = now + PROGRESS_USEC;
        j->progress_written = j->progress;
        if (r == 0)
            r = strbuf_printf(&ids, "%c%s", n ? ',' : '{', j->id);
        if (r == 0)
            r = strbuf_printf(&values, "%c%.3f", n ? ',' : '{', j->progress);
        n++;
    }
    if (n > 0 && r == 0 && strbuf_add(&ids, "}", 1) == 0 && strbuf_add(&values, "}", 1) == 0 &&
        db_request_add(&request, w->id) == 0 && db_request_add(&request, ids.text) == 0 &&
        db_request_add(&request, values.text) == 0)
        worker_call(w, &request, "write progress");
    else
        db_request_done(&request);
    strbuf_done(&ids);
    strbuf_done(&values);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
    Worker *w = userdata;
    uint64_t now = clock_now_usec();
    bool starved = false;
    Task *t, *next;

    (void) usec;
    for (t = TAILQ_FIRST(&w->tasks); t; t = next) {
        Job *j = t->job;
        uint64_t waiting =
            j->at.state == JOB_LOOKING ? now - j->started_usec : lane_waited_usec(&t->ticket);

        next = TAILQ_NEXT(t, link);
        /* Whoever slept through its lease would cancel what another waits for by now. */
        if (lease_is_trusted(w) && db_is_up(w->db) &&
            j->worked_usec + (now - j->claimed_usec) >
                w->config->job_timeout_usec + j->idle_usec + waiting &&
            !job_has_wish(j, EV_EXPIRE))
            worker_tell(t, EV_EXPIRE);
        else if (!waits_for_something(t)) {
            starved = true;
            enter(t);
        }
    }
    w->starved = starved;
    waits_tick(w);
    if (db_is_up(w->db))
        write_progress(w);
    if (w->n_tasks > 0) {
        (void) sd_event_source_set_time_relative(source, TICK_USEC);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    }
    return 0;
}

void worker_changed(Worker *w) {
    int enabled = SD_EVENT_OFF;

    if (w->n_tasks > 0 && sd_event_source_get_enabled(w->tick, &enabled) >= 0 &&
        enabled == SD_EVENT_OFF) {
        (void) sd_event_source_set_time_relative(w->tick, TICK_USEC);
        (void) sd_event_source_set_enabled(w->tick, SD_EVENT_ONESHOT);
    }
    if (w->changed)
        w->changed(w->userdata);
}

/* --- stopping ------------------------------------------------------------------------------ */

void worker_drain(Worker *w) {
    Task *t, *next;

    w->draining = true;
    (void) sd_event_source_set_enabled(w->claim_timer, SD_EVENT_OFF);
    for (t = TAILQ_FIRST(&w->tasks); t; t = next) {
        next = TAILQ_NEXT(t, link);
        if (!job_has_wish(t->job, EV_DRAIN))
            worker_tell(t, EV_DRAIN);
    }
}

void worker_asked_to_stop(Worker *w) {
    if (w->stop_asked || w->draining) /* a second signal would not wait for what is in flight */
        return;
    w->stop_asked = true;
    log_line(LOG_NOTICE, STOPPING, "An operator asks us to stop");
    (void) kill(getpid(), SIGTERM); /* there is one way to stop */
}

void worker_hurry(Worker *w) {
    Task *t, *next;

    w->hurried = true;
    for (t = TAILQ_FIRST(&w->tasks); t; t = next) {
        JobState s = t->job->at.state;

        next = TAILQ_NEXT(t, link);
        if (s == JOB_PREDICTING)
            worker_tell(t, EV_UNSURE);
        else if (s == JOB_STORING)
            worker_tell(t, EV_WAIT);
    }
}

bool worker_is_idle(const Worker *w) {
    return w->n_tasks == 0 && !w->plan.claiming && !taking_is_under_way(&w->compared_rows) &&
           db_pending(w->db) == 0;
}

void worker_dump(const Worker *w) {
    uint64_t now = clock_now_usec();
    bool ready = w->lease.registered && !w->trouble[0];
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
        w->trouble, w->n_tasks, w->done, w->failed, w->canceled,
        (unsigned long long) ((now - w->lease.sent_usec) / 1000),
        w->lease.still ? ", holding still" : "", w->lease.takeovers, w->lease.lost, w->zombies);
    metrics_describe_turns(&w->metrics, turns, sizeof turns);
    log_line(LOG_NOTICE, DUMP, "Event loop: %s", turns);
    TAILQ_FOREACH(t, &w->tasks, link)
    waits_dump(t, now);
}

/* --- owning -------------------------------------------------------------------------------- */

static void on_up(void *userdata) {
    Worker *w = userdata;

    w->metrics.connects++;
    retelling_start(w);
    lease_connected(w);
}

static void on_down(void *userdata, const char *why, uint64_t retry_usec) {
    lease_disconnected(userdata, why, retry_usec);
}

static void on_lane(void *userdata) {
    worker_changed(userdata);
}

/* Our functions warn with a SQLSTATE of ours where a human is needed. What triggers of the project
 * say is for whoever asks for it. */
static void on_notice(void *userdata, const PGresult *res) {
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    int level = strncmp(db_sqlstate(res), "MF", 2) == 0        ? LOG_ERR
                : severity && strcmp(severity, "WARNING") == 0 ? LOG_WARNING
                                                               : LOG_DEBUG;

    (void) userdata;
    log_line(level, DB_SAYS, "The database says: %s", message ? message : "");
}

static int init_lanes(Worker *w) {
    static const struct {
        const char *name;
        unsigned max;
    } lanes[_LANE_MAX] = {
        [LANE_CREATE] = { "create", REQUESTS_MAX },   [LANE_POLL] = { "poll", REQUESTS_MAX },
        [LANE_REQUEST] = { "request", REQUESTS_MAX }, [LANE_FILE] = { "download", FILES_MAX },
        [LANE_STORE] = { "store", FILES_MAX },        [LANE_CLOSE] = { "close", UINT_MAX },
        [LANE_AGAIN] = { "again", UINT_MAX },
    };
    int r = 0;

    for (int i = 0; i < _LANE_MAX && r >= 0; i++)
        r = lane_init(&w->lanes[i], w->event, lanes[i].name, lanes[i].max, on_lane, w);
    lane_guard(&w->lanes[LANE_FILE], stage_room_guard, w);
    return r;
}

static void on_room(void *userdata) {
    Worker *w = userdata;

    lane_look(&w->lanes[LANE_FILE]);
}

/* A file of driver dir needs the directory and the new file beside its own. */
static void share_descriptors(Worker *w) {
    const Config *c = w->config;
    DescriptorShares *s = &w->shares;

    *s = descriptors_share(c->max_jobs, c->storage_driver == STORAGE_DIR ? 3 : 1);
    spool_limit(w->spool, s->files);
    http_limit(w->http, s->connections);
    if (s->scarce)
        log_line(
            LOG_WARNING, CONFIG,
            "No more than %u file descriptors: at most %u connections and %u files at once, the "
            "rest waits; [worker] max_jobs = %u needs %u: raise LimitNOFILE= or ulimit -n to that",
            s->limit, s->connections, s->files, c->max_jobs, s->needed);
}

int worker_new(Worker **ret, sd_event *event, const Config *config) {
    static const DbEvents events = { .up = on_up, .down = on_down, .notice = on_notice };
    Worker *w = calloc(1, sizeof *w);
    sd_id128_t id;
    int r;

    if (!w)
        return -ENOMEM;
    TAILQ_INIT(&w->tasks);
    retelling_init(w);
    w->event = sd_event_ref(event);
    w->config = config;
    w->plan.due_usec = UINT64_MAX;
    w->lease.workers = 1;
    metrics_init(&w->metrics);
    if ((r = sd_id128_randomize(&id)) < 0 || (r = init_lanes(w)) < 0)
        goto fail;
    (void) sd_id128_to_uuid_string(id, w->id);
    r = spool_new(&w->spool, config->spool_dir, config->spool_max_bytes, on_room, w);
    if (r < 0) {
        log_line(LOG_ERR, CONFIG,
                 "[worker] spool_dir: %s: %s; it must be a directory that we may write%s",
                 config->spool_dir, strerror(-r),
                 r == -ENOENT ? ", and the one above it must be there" : "");
        if (r == -EACCES || r == -EPERM || r == -ENOENT || r == -EROFS || r == -EINVAL)
            r = -ENOTDIR; /* waiting mends none of these */
        goto fail;
    }
    if ((r = resolver_new(&w->resolver, event)) < 0 ||
        (r = http_new(&w->http, event, w->resolver, &config->proxies, "meshifyd/" VERSION)) < 0 ||
        (r = sd_event_add_time(event, &w->claim_timer, CLOCK_MONOTONIC, 0, 1, on_claim, w)) < 0 ||
        (r = sd_event_source_set_enabled(w->claim_timer, SD_EVENT_OFF)) < 0 ||
        (r = sd_event_add_time(event, &w->tick, CLOCK_MONOTONIC, 0, 100000, on_tick, w)) < 0 ||
        (r = sd_event_source_set_enabled(w->tick, SD_EVENT_OFF)) < 0 || (r = lease_init(w)) < 0 ||
        (r = db_new(&w->db, event, w->resolver, config->database_url.text, "meshifyd", &events,
                    w)) < 0 ||
        (r = wakeup_init(w)) < 0 || (r = prune_init(w)) < 0 || (r = finishing_init(w)) < 0 ||
        (r = looking_init(w)) < 0 || (r = audit_init(w)) < 0 || (r = sample_init(w)) < 0)
        goto fail;
    share_descriptors(w);
    *ret = w;
    return 0;

fail:
    worker_free(w);
    return r;
}

Worker *worker_free(Worker *w) {
    if (!w)
        return NULL;
    taking_drop(&w->claimed_rows);
    taking_drop(&w->compared_rows);
    for (Task *t; (t = TAILQ_FIRST(&w->tasks));) {
        TAILQ_REMOVE(&w->tasks, t, link);
        t->job->at.state = JOB_GONE;
        stages_leave(t);
        spool_file_free(t->file);
        job_free(t->job);
        free(t);
    }
    sample_done(w);
    audit_done(w);
    looking_done(w);
    prune_done(w);
    finishing_done(w);
    retelling_done(w);
    lockline_done(w);
    wakeup_done(w);
    lease_done(w);
    w->db = db_free(w->db);
    w->http = http_free(w->http);
    w->resolver = resolver_free(w->resolver);
    w->spool = spool_free(w->spool);
    for (int i = 0; i < _LANE_MAX; i++)
        lane_done(&w->lanes[i]);
    sd_event_source_disable_unref(w->claim_timer);
    sd_event_source_disable_unref(w->tick);
    sd_event_unref(w->event);
    free(w);
    return NULL;
}
