/* The worker's lease: heartbeats, the comparison of jobs after a reconnect, dead workers. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/lease.h"
#include "daemon/wakeup.h"
#include "flow/claim.h"
#include "flow/notify.h"
#include "io/db_errors.h"

#define SCHEMA_RETRY_USEC (5 * USEC_PER_SEC)
#define REAP_FULL 500 /* jobs one call takes over at most; then there may be more */

static void next_in(Worker *w, uint64_t usec) {
    (void) sd_event_source_set_time_relative(w->lease.timer, usec);
    (void) sd_event_source_set_enabled(w->lease.timer, SD_EVENT_ONESHOT);
}

static void trouble(Worker *w, NotReady not_ready, const char *what) {
    char text[sizeof w->trouble];

    w->not_ready = not_ready;

    str_clean(text, sizeof text, what);
    if (strcmp(w->trouble, text) == 0)
        return;
    memcpy(w->trouble, text, sizeof text);
    if (*text)
        log_line(LOG_WARNING, DB_DOWN, "Not ready: %s", text);
    worker_changed(w);
}

static void refused(Worker *w, const char *what, const PGresult *res) {
    char text[sizeof w->trouble];

    (void) snprintf(text, sizeof text, "the database refuses %s: %s", what,
                    PQresultErrorMessage(res));
    trouble(w, NOT_READY_REFUSED, text);
}

static uint64_t every_usec(const Worker *w) {
    return notify_beat_usec(w->config, w->listening.works);
}

/* Counted from the last one: whoever calls this often must not put it off. */
void lease_plan(Worker *w) {
    uint64_t now = clock_now_usec(), due = w->lease.beat_usec + every_usec(w);

    if (w->lease.registered)
        next_in(w, due > now ? due - now : 0);
}

static void still(Worker *w, bool is) {
    if (w->lease.still == is)
        return;
    w->lease.still = is;
    if (is)
        log_line(LOG_WARNING, LEASE_STILL,
                 "No heartbeat reached the database for 2/3 of the lease: nothing new is begun");
    for (int i = 0; !is && i < _LANE_MAX; i++)
        lane_look(&w->lanes[i]);
    if (!is)
        worker_wake(w);
}

/* The clock is asked, not a timer of ours: after a pause of the whole process it may be late. */
bool lease_is_trusted(Worker *w) {
    if (w->lease.registered && !w->lease.still &&
        clock_now_usec() >= w->lease.sent_usec + w->config->lease_usec / 3 * 2)
        still(w, true);
    return w->lease.registered && !w->lease.still;
}

static void acknowledged(Worker *w, uint64_t epoch) {
    w->lease.sent_usec = w->lease.beat_usec;
    w->lease.epoch = (int64_t) epoch;
    still(w, false);
}

int64_t lease_epoch(const Worker *w) {
    return w->lease.epoch + (int64_t) ((clock_now_usec() - w->lease.sent_usec) / USEC_PER_SEC);
}

static bool may_begin(void *userdata, void *waiter) {
    (void) waiter;
    return lease_is_trusted(userdata);
}

/* Calls of the lease are transactions of their own, go before all others, and are never repeated by
 * the connection: whatever they said is stale by then. */
static int call(Worker *w, unsigned flags, DbRequest *request, DbDone done) {
    int r = db_call(w->db, flags | DB_ALONE | DB_ONCE | DB_FIRST, request->sql,
                    (const char *const *) request->params, request->n_params, done, w, NULL);

    db_request_done(request);
    return r;
}

static const char *value(const PGresult *res, int column) {
    return PQntuples(res) > 0 && column < PQnfields(res) && !PQgetisnull(res, 0, column)
               ? PQgetvalue(res, 0, column)
               : "";
}

static uint64_t number(const PGresult *res, int column) {
    return strtoull(value(res, column), NULL, 10);
}

/* Each live worker's share of the limits follows its share of the running jobs. */
static void share_limits(Worker *w) {
    const Config *c = w->config;
    unsigned workers = w->lease.workers ? w->lease.workers : 1;
    double even = 1.0 / workers;
    double share = w->lease.running_all > 0 && w->n_tasks <= w->lease.running_all
                       ? (even + (double) w->n_tasks / w->lease.running_all) / 2
                       : even;
    uint64_t now = clock_now_usec();

    bucket_set(&w->lanes[LANE_CREATE].bucket, c->create_rate, share, now);
    bucket_set(&w->lanes[LANE_POLL].bucket, c->poll_rate, share, now);
    bucket_set(&w->lanes[LANE_REQUEST].bucket, c->request_rate, share, now);
}

/* --- what is ours -------------------------------------------------------------------------- */

static bool is_closing(const Task *t) {
    JobState s = t->job->at.state;

    return t->db &&
           (s == JOB_COMPLETING || s == JOB_FAILING || s == JOB_CANCELLING || s == JOB_RELEASING);
}

/* What the database says is ours, we have. */
static void compare_taken(Worker *w, const PGresult *res) {
    (void) res;
    w->lease.comparing = w->lease.rejoining = false;
    if (w->draining)
        worker_drain(w);
    trouble(w, NOT_READY_YET, "");
    db_go(w->db);
    worker_wake(w);
}

static void compared(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;
    Task *t, *next;

    if (end != DB_OK) {
        w->lease.comparing = false;
        if (end == DB_FAILED) { /* the next heartbeat brings another try */
            w->lease.rejoining = true;
            refused(w, "to say which jobs are ours", res);
            next_in(w, USEC_PER_SEC);
        }
        return;
    }
    /* A job whose closing is on its way is missing for a good reason, which its answer will tell. */
    for (t = TAILQ_FIRST(&w->tasks); t; t = next) {
        next = TAILQ_NEXT(t, link);
        if (!is_closing(t) && claim_is_gone(res, t->job->id)) {
            worker_tell(t, EV_CANCEL); /* what was bought for it is not left running */
        } else if (!is_closing(t) && claim_misses(res, t->job->id)) {
            worker_tell(t, EV_LOST);
        }
    }
    taking_start(&w->compared_rows, w, res, compare_taken);
}

static void compare(Worker *w) {
    _cleanup_free_ Job **known = calloc(w->n_tasks + 1, sizeof *known);
    DbRequest request;
    size_t n = 0;
    Task *t;

    if (!known || w->lease.comparing)
        return;
    TAILQ_FOREACH(t, &w->tasks, link)
    known[n++] = t->job;
    if (claim_ask_compare(w->id, known, n, &request) == 0 &&
        call(w, DB_SLOW, &request, compared) == 0)
        w->lease.comparing = true;
}

void lease_compare(Worker *w, unsigned held) {
    if (held != w->n_tasks && !taking_is_under_way(&w->claimed_rows))
        compare(w);
}

/* --- dead workers -------------------------------------------------------------------------- */

static void reap(Worker *w, const char *proven);

static void reaped(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;
    unsigned dead, taken;

    w->lease.reaping = false;
    if (end != DB_OK)
        return;
    dead = (unsigned) number(res, 0);
    taken = (unsigned) number(res, 1);
    if (dead > 0 || taken > 0) {
        w->lease.takeovers += taken;
        log_line(LOG_NOTICE, TAKEOVER,
                 "%u workers are dead, %u jobs of theirs are in the queue again", dead, taken);
        worker_wake(w);
    }
    if (taken >= REAP_FULL)
        reap(w, "{}");
}

static void reap(Worker *w, const char *proven) {
    DbRequest request = { .sql = "SELECT * FROM meshify.reap($1, $2, $3)" };
    uint64_t heard_usec = clock_now_usec() - w->lease.connected_usec;

    /* Whoever came back just now can't tell the dead from those who were cut off with it. */
    if (!w->lease.reaping && db_request_add(&request, w->id) == 0 &&
        db_request_add(&request, proven) == 0 && db_request_add_usec(&request, heard_usec) == 0 &&
        call(w, DB_SLOW, &request, reaped) == 0) {
        w->lease.reaping = true;
        w->lease.reaped_usec = clock_now_usec();
    }
    db_request_done(&request);
}

/* Workers of this machine, boot and pid namespace: a pid that is nobody's proves its worker dead. */
static void predecessors(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;
    StrBuf proven = { 0 };

    if (end != DB_OK)
        return;
    for (int row = 0; row < PQntuples(res); row++) {
        const char *id = PQgetvalue(res, row, 0);
        pid_t pid = (pid_t) strtol(PQgetvalue(res, row, 1), NULL, 10);

        if (pid > 0 && str_is_uuid(id) && (pid == getpid() || (kill(pid, 0) < 0 && errno == ESRCH)))
            (void) strbuf_printf(&proven, "%c%s", proven.size ? ',' : '{', id);
    }
    if (proven.size > 0 && strbuf_add(&proven, "}", 1) == 0)
        reap(w, proven.text);
    strbuf_done(&proven);
}

static void ask_predecessors(Worker *w) {
    DbRequest request = { .sql = "SELECT * FROM meshify.predecessors($1)" };

    if (db_request_add(&request, w->id) == 0)
        (void) call(w, 0, &request, predecessors);
    db_request_done(&request);
}

/* --- heartbeat ----------------------------------------------------------------------------- */

static void enrol(Worker *w);

static bool is_fenced_write(const Task *t) {
    return t->db && t->job->at.state != JOB_RELEASING &&
           (is_closing(t) || t->job->at.state == JOB_INTENDING || t->job->at.state == JOB_STORING);
}

/* Our row is gone or marked dead: whatever we held is another's. We begin again as somebody new. */
static void lost(Worker *w) {
    sd_id128_t id;
    Task *t;

    w->lease.lost++;
    /* What is under way is refused, though nobody will wait for these answers. */
    TAILQ_FOREACH(t, &w->tasks, link)
    w->zombies += is_fenced_write(t);
    log_line(LOG_ERR, LEASE_LOST, "The lease is lost: %u jobs are another worker's now",
             w->n_tasks);
    w->lease.registered = false;
    worker_drop_all(w);
    if (sd_id128_randomize(&id) >= 0)
        (void) sd_id128_to_uuid_string(id, w->id);
    enrol(w);
}

static void beaten(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;
    bool paused;

    w->lease.beating = false;
    if (end != DB_OK) { /* a lost connection comes back by itself and beats again */
        if (end == DB_FAILED) {
            refused(w, "the heartbeat", res);
            next_in(w, USEC_PER_SEC);
        }
        return;
    }
    if (strcmp(value(res, 0), "ok") != 0) {
        lost(w);
        return;
    }
    acknowledged(w, number(res, 5));
    if (!w->lease.rejoining)
        trouble(w, NOT_READY_YET, "");
    w->lease.workers = (unsigned) number(res, 1);
    w->lease.running_all = (unsigned) number(res, 2);
    share_limits(w);
    paused = value(res, 3)[0] == 't';
    if (w->lease.paused && !paused)
        worker_wake(w);
    w->lease.paused = paused;
    if (w->lease.rejoining)
        compare(w);
    wakeup_ask(w); /* what the project's tables say of our jobs, which may be locked */
    if (clock_now_usec() >= w->lease.reaped_usec + w->config->lease_usec / 3)
        reap(w, "{}");
    lease_plan(w);
    if (value(res, 4)[0] == 't')
        worker_asked_to_stop(w);
    worker_plan(w); /* a claim that came due while the lease was in doubt was not made */
    worker_changed(w);
}

static void beat(Worker *w) {
    DbRequest request = { .sql = "SELECT answer, workers, running_all, paused, to_drain, epoch "
                                 "FROM meshify.beat($1, $2, $3, $4, $5)" };

    if (w->lease.beating || !db_is_up(w->db))
        return;
    w->lease.beat_usec = clock_now_usec();
    if (db_request_add(&request, w->id) == 0 &&
        db_request_add_usec(&request, w->config->lease_usec) == 0 &&
        db_request_addf(&request, "%u", w->n_tasks) == 0 &&
        db_request_add(&request, w->draining ? "t" : "f") == 0 &&
        db_request_addf(&request, "%u", w->config->max_jobs) == 0 &&
        call(w, 0, &request, beaten) == 0)
        w->lease.beating = true;
    db_request_done(&request);
}

/* --- beginning ----------------------------------------------------------------------------- */

static void enrolled(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;

    if (end != DB_OK) {
        if (end == DB_FAILED) {
            refused(w, "to register us", res);
            next_in(w, SCHEMA_RETRY_USEC);
        }
        return;
    }
    if (strcmp(value(res, 0), "ok") != 0) {
        lost(w);
        return;
    }
    w->lease.registered = true;
    w->lease.workers = (unsigned) number(res, 1);
    acknowledged(w, number(res, 3));
    share_limits(w);
    log_line(LOG_NOTICE, DB_UP, "The database is connected, this is worker %s", w->id);
    compare(w);
    ask_predecessors(w);
    wakeup_prove(w);
    lease_plan(w);
}

static void read_line(const char *path, char *to, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, to, size - 1) : 0;

    if (fd >= 0)
        close(fd);
    to[n > 0 ? n : 0] = '\0';
    to[strcspn(to, "\n")] = '\0';
}

/* Registers this worker. What the row says of the machine is what proves a dead one later. */
static void enrol(Worker *w) {
    DbRequest r = { .sql = "SELECT *, extract(epoch FROM now())::bigint FROM "
                           "meshify.register($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)" };
    char host[256] = "", machine[64], boot[64], pid_ns[64] = "";
    struct stat st;

    (void) gethostname(host, sizeof host - 1);
    read_line("/etc/machine-id", machine, sizeof machine);
    read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    if (stat("/proc/self/ns/pid", &st) == 0)
        (void) snprintf(pid_ns, sizeof pid_ns, "%llu", (unsigned long long) st.st_ino);
    w->lease.beat_usec = clock_now_usec();
    if (db_request_add(&r, w->id) == 0 && db_request_add(&r, w->config->instance) == 0 &&
        db_request_add(&r, host) == 0 && db_request_add(&r, machine) == 0 &&
        db_request_add(&r, boot) == 0 && db_request_add(&r, pid_ns) == 0 &&
        db_request_addf(&r, "%ld", (long) getpid()) == 0 && db_request_add(&r, VERSION) == 0 &&
        db_request_addf(&r, "%u", w->config->max_jobs) == 0 &&
        db_request_add_usec(&r, w->config->lease_usec) == 0)
        (void) call(w, 0, &r, enrolled);
    db_request_done(&r);
}

static void checked(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;
    unsigned version = end == DB_OK ? (unsigned) number(res, 0) : 0;
    unsigned from = end == DB_OK ? (unsigned) number(res, 1) : 0;
    NotReady not_ready = NOT_READY_YET;
    char what[200] = "";

    if (end == DB_LOST)
        return;
    if (end == DB_FAILED && strcmp(db_sqlstate(res), "42P01") != 0 &&
        strcmp(db_sqlstate(res), "3F000") != 0 && strcmp(db_sqlstate(res), "42501") != 0) {
        refused(w, "to show its schema's version", res);
        next_in(w, SCHEMA_RETRY_USEC);
        return;
    }
    if (end == DB_FAILED && strcmp(db_sqlstate(res), "42501") == 0) {
        not_ready = NOT_READY_GRANT;
        (void) snprintf(what, sizeof what,
                        "the login role may not use the schema: GRANT meshify_worker TO it");
    } else if (end == DB_FAILED || version == 0) {
        not_ready = NOT_READY_NO_SCHEMA;
        (void) snprintf(what, sizeof what,
                        "the database has no meshify schema: run meshifyctl migrate");
    } else if (version < SCHEMA_VERSION) {
        not_ready = NOT_READY_OLD_SCHEMA;
        (void) snprintf(what, sizeof what,
                        "the schema is version %u, this program needs %u: run meshifyctl migrate",
                        version, SCHEMA_VERSION);
    } else if (from > SCHEMA_VERSION) {
        not_ready = NOT_READY_NEW_SCHEMA;
        (void) snprintf(what, sizeof what,
                        "the schema is made for newer programs (from %u on): upgrade meshifyd",
                        from);
    }
    w->schema_fits = !what[0];
    if (!w->schema_fits) {
        trouble(w, not_ready, what);
        next_in(w, SCHEMA_RETRY_USEC);
        return;
    }
    if (w->lease.registered) {
        w->lease.beating = false;
        beat(w);
        wakeup_prove(w);
    } else
        enrol(w);
}

static void check_schema(Worker *w) {
    DbRequest request = { .sql = "SELECT version, compatible_from FROM meshify.schema_version" };

    (void) call(w, 0, &request, checked);
}

void lease_connected(Worker *w) {
    w->lease.rejoining = true;
    w->lease.connected_usec = clock_now_usec();
    if (w->down_since_usec) { /* waiting for the database does not count as work */
        uint64_t away = clock_now_usec() - w->down_since_usec;
        Task *t;

        TAILQ_FOREACH(t, &w->tasks, link)
        t->job->idle_usec += away;
        log_line(LOG_NOTICE, DB_UP, "The database is back after %llu ms",
                 (unsigned long long) (away / 1000));
        w->down_since_usec = 0;
    }
    next_in(w, SCHEMA_RETRY_USEC); /* for want of memory the next line may come to nothing */
    check_schema(w);
}

void lease_disconnected(Worker *w, const char *why, uint64_t retry_usec) {
    char what[sizeof w->trouble], then[40] = "retrying";

    if (retry_usec >= USEC_PER_SEC)
        (void) snprintf(then, sizeof then, "trying again in %llu s",
                        (unsigned long long) (retry_usec / USEC_PER_SEC));
    log_line(LOG_WARNING, DB_DOWN, "The database is away: %s, %s. %s", why, then,
             db_failure_advice(db_failure(w->db)));
    worker_drop_rows(w);
    w->not_ready = NOT_READY_YET;
    w->lease.beating = w->lease.comparing = w->lease.reaping = false;
    if (!w->down_since_usec)
        w->down_since_usec = clock_now_usec();
    (void) snprintf(what, sizeof what, "the database is away: %s", why);
    str_clean(w->trouble, sizeof w->trouble, what); /* the log has it already */
    worker_changed(w);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Worker *w = userdata;
    bool was_still = w->lease.still;

    (void) source;
    (void) usec;
    /* Nobody answers: another connection may reach the database, or another server. Whoever was asleep
     * himself first looks whether the answer is there. */
    if (!lease_is_trusted(w) && was_still && w->lease.beating &&
        clock_now_usec() >= w->lease.beat_usec + w->config->lease_usec / 3)
        db_reconnect(w->db, "a heartbeat is not answered");
    if (db_is_up(w->db)) {
        if (!w->schema_fits || !w->lease.registered)
            check_schema(w);
        else
            beat(w);
    }
    next_in(w, w->lease.registered ? every_usec(w) : SCHEMA_RETRY_USEC);
    return 0;
}

void lease_end(Worker *w) {
    DbRequest request = { .sql = "SELECT meshify.unregister($1)" };

    if (w->lease.registered && db_is_up(w->db) && db_request_add(&request, w->id) == 0)
        worker_call(w, &request, "unregister");
    db_request_done(&request);
    w->lease.registered = false;
}

int lease_init(Worker *w) {
    static const LaneName guarded[] = { LANE_CREATE, LANE_STORE, LANE_CLOSE, LANE_AGAIN };
    int r = sd_event_add_time(w->event, &w->lease.timer, CLOCK_BOOTTIME, 0, 1, on_timer, w);

    for (size_t i = 0; i < sizeof guarded / sizeof *guarded; i++)
        lane_guard(&w->lanes[guarded[i]], may_begin, w);
    if (r >= 0) /* after a pause of the whole process it comes before all that came meanwhile */
        r = sd_event_source_set_priority(w->lease.timer, SD_EVENT_PRIORITY_IMPORTANT);
    return r < 0 ? r : sd_event_source_set_enabled(w->lease.timer, SD_EVENT_OFF);
}

void lease_done(Worker *w) {
    w->lease.timer = sd_event_source_disable_unref(w->lease.timer);
}
