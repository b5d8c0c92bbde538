/*
 * The worker's lease: heartbeats, whether they can be trusted, a lost lease, dead workers.
 *
 * What all that means for the jobs is not decided here: LeaseEvents tell its owner.
 */
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
#include "daemon/timer.h"
#include "flow/notify.h"
#include "io/db_errors.h"

#define SCHEMA_RETRY_USEC (5 * USEC_PER_SEC)
#define REAP_FULL 500 /* jobs one call takes over at most; then there may be more */

struct Lease {
    Worker *worker;
    const LeaseEvents *events;
    void *userdata;
    uint64_t sent_usec;      /* the last acknowledged heartbeat was sent then */
    uint64_t beat_usec;      /* the last one was */
    uint64_t connected_usec; /* the connection came up then */
    uint64_t reaped_usec;    /* when the last reaping was asked for */
    bool is_suspended;       /* past 2/3 of the lease, and said */
    bool beating, reaping;   /* under way */
    sd_event_source *timer;
};

/* Where nobody is woken, heartbeats bring cancels, and come as often as polls. */
static uint64_t every_usec(const Lease *l) {
    return notify_beat_usec(l->worker->config, l->worker->listens);
}

/* Counted from the last one: a caller that comes often must not put it off. */
void lease_plan(Lease *l) {
    uint64_t now = clock_now_usec(), due = l->beat_usec + every_usec(l);

    if (l->worker->registered)
        timer_start(l->timer, due > now ? due - now : 0);
}

void lease_beat_soon(Lease *l) {
    timer_start(l->timer, USEC_PER_SEC);
}

/* --- trust --------------------------------------------------------------------------------- */

/* Called once a second while there are jobs: what is forbidden does not depend on it, only that it
 * is said. */
void lease_check(Lease *l) {
    if (l->is_suspended || !l->worker->registered || worker_is_trusted(l->worker))
        return;
    l->is_suspended = true;
    log_line(LOG_WARNING, LEASE_SUSPENDED,
             "No heartbeat was answered for 2/3 of the lease: nothing new is started");
}

bool lease_is_suspended(const Lease *l) {
    return l->is_suspended;
}

uint64_t lease_sent_usec(const Lease *l) {
    return l->sent_usec;
}

/* What was kept from beginning is looked at again. */
static void acknowledged(Lease *l, uint64_t epoch) {
    Worker *w = l->worker;

    lease_check(l);
    l->sent_usec = l->beat_usec;
    w->trusted_until_usec = l->sent_usec + w->config->lease_usec / 3 * 2;
    w->epoch = (int64_t) epoch;
    w->epoch_usec = l->sent_usec;
    if (!l->is_suspended)
        return;
    l->is_suspended = false;
    for (int i = 0; i < _LANE_MAX; i++)
        lane_look(&w->lanes[i]);
    l->events->resumed(l->userdata);
}

/* --- asking -------------------------------------------------------------------------------- */

/* Calls of the lease are transactions of their own, go before all others, and are never repeated by
 * the connection: whatever they said is stale by then. */
static int call(Lease *l, unsigned flags, DbRequest *request, DbDone done) {
    return worker_ask(l->worker, flags | DB_ALONE | DB_ONCE | DB_FIRST, request, done, l);
}

/* Of the first row; "" where it or the column is not there: another version may answer more, or
 * less. */
static const char *value(const PGresult *res, int column) {
    return PQntuples(res) > 0 && column < PQnfields(res) && !PQgetisnull(res, 0, column)
               ? PQgetvalue(res, 0, column)
               : "";
}

static uint64_t number(const PGresult *res, int column) {
    return strtoull(value(res, column), NULL, 10);
}

/* --- dead workers -------------------------------------------------------------------------- */

static void reap(Lease *l, const char *proven);

/* One call takes over a bounded number of jobs, so that its locks are short; a full one is
 * followed by the next. */
static void reaped(void *userdata, DbEnd end, const PGresult *res) {
    Lease *l = userdata;
    unsigned dead, taken;

    l->reaping = false;
    if (end != DB_OK)
        return;
    dead = (unsigned) number(res, 0);
    taken = (unsigned) number(res, 1);
    if (dead > 0 || taken > 0) {
        l->worker->metrics.takeovers += taken;
        log_line(LOG_NOTICE, TAKEOVER, "Took over from %u dead workers: %u jobs requeued", dead,
                 taken);
        l->events->takeover(l->userdata);
    }
    if (taken >= REAP_FULL)
        reap(l, "{}");
}

static void reap(Lease *l, const char *proven) {
    DbRequest request = { .sql = "SELECT * FROM meshify.reap($1, $2, $3)" };
    uint64_t heard_usec = clock_now_usec() - l->connected_usec;

    /* A worker that came back just now can't tell dead workers from those that were cut off with it. */
    if (!l->reaping && db_request_add(&request, l->worker->id) == 0 &&
        db_request_add(&request, proven) == 0 && db_request_add_usec(&request, heard_usec) == 0 &&
        call(l, DB_SLOW, &request, reaped) == 0) {
        l->reaping = true;
        l->reaped_usec = clock_now_usec();
    }
    db_request_done(&request);
}

/* Workers of this machine, boot and pid namespace: a pid that is nobody's proves its worker dead. */
static void predecessors(void *userdata, DbEnd end, const PGresult *res) {
    Lease *l = userdata;
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
        reap(l, proven.text);
    strbuf_done(&proven);
}

/* A worker that crashed and was started again need not wait for its own lease to run out. */
static void ask_predecessors(Lease *l) {
    DbRequest request = { .sql = "SELECT * FROM meshify.predecessors($1)" };

    if (db_request_add(&request, l->worker->id) == 0)
        (void) call(l, 0, &request, predecessors);
    db_request_done(&request);
}

/* --- heartbeat ----------------------------------------------------------------------------- */

static void enrol(Lease *l);

/* Our row is gone or marked dead: whatever we held is another's. We begin again as somebody new. */
static void lost(Lease *l) {
    Worker *w = l->worker;
    sd_id128_t id;

    w->metrics.leases_lost++;
    log_line(LOG_ERR, LEASE_LOST, "Lease lost: %u jobs now belong to other workers", w->n_tasks);
    w->registered = false;
    w->trusted_until_usec = 0;
    l->events->lost(l->userdata);
    if (sd_id128_randomize(&id) >= 0)
        (void) sd_id128_to_uuid_string(id, w->id);
    enrol(l);
}

static void beaten(void *userdata, DbEnd end, const PGresult *res) {
    Lease *l = userdata;
    LeaseNews news = { 0 };

    l->beating = false;
    if (end != DB_OK) { /* a lost connection comes back by itself and beats again */
        if (end == DB_FAILED) {
            worker_refused(l->worker, "the heartbeat", res);
            lease_beat_soon(l);
        }
        return;
    }
    if (strcmp(value(res, 0), "ok") != 0) {
        lost(l);
        return;
    }
    acknowledged(l, number(res, 5));
    if (clock_now_usec() >= l->reaped_usec + l->worker->config->lease_usec / 3)
        reap(l, "{}");
    lease_plan(l);
    news.workers = (unsigned) number(res, 1);
    news.running_all = (unsigned) number(res, 2);
    news.is_paused = value(res, 3)[0] == 't';
    news.to_drain = value(res, 4)[0] == 't';
    news.compatible_from = (unsigned) number(res, 6);
    l->events->heartbeat(l->userdata, &news);
}

/* A heartbeat that is not answered is followed by no other: the connection is broken off
 * instead. */
static void beat(Lease *l) {
    DbRequest request = { .sql = "SELECT answer, workers, running_all, paused, to_drain, epoch, "
                                 "compatible_from FROM meshify.heartbeat($1, $2, $3, $4, $5)" };

    Worker *w = l->worker;

    if (l->beating || !db_is_up(w->db))
        return;
    l->beat_usec = clock_now_usec();
    if (db_request_add(&request, w->id) == 0 &&
        db_request_add_usec(&request, w->config->lease_usec) == 0 &&
        db_request_addf(&request, "%u", w->n_tasks) == 0 &&
        db_request_add(&request, w->draining ? "t" : "f") == 0 &&
        db_request_addf(&request, "%u", w->config->max_jobs) == 0 &&
        call(l, 0, &request, beaten) == 0)
        l->beating = true;
    db_request_done(&request);
}

/* --- beginning ----------------------------------------------------------------------------- */

static void enrolled(void *userdata, DbEnd end, const PGresult *res) {
    Lease *l = userdata;
    LeaseNews news = { 0 };

    if (end != DB_OK) {
        if (end == DB_FAILED) {
            worker_refused(l->worker, "to register us", res);
            timer_start(l->timer, SCHEMA_RETRY_USEC);
        }
        return;
    }
    if (strcmp(value(res, 0), "ok") != 0) {
        lost(l);
        return;
    }
    acknowledged(l, number(res, 3));
    l->worker->registered = true;
    news.workers = (unsigned) number(res, 1);
    log_line(LOG_NOTICE, DB_UP, "Database connected, registered as worker %s", l->worker->id);
    ask_predecessors(l);
    lease_plan(l);
    l->events->ready(l->userdata, &news);
}

/* A file that can't be read is as good as an empty one: then no predecessor is proved dead. */
static void read_line(const char *path, char *to, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, to, size - 1) : 0;

    if (fd >= 0)
        close(fd);
    to[n > 0 ? n : 0] = '\0';
    to[strcspn(to, "\n")] = '\0';
}

/* Registers this worker. What the row says of the machine is what proves a dead one later. */
static void enrol(Lease *l) {
    DbRequest r = { .sql = "SELECT *, extract(epoch FROM now())::bigint FROM "
                           "meshify.register($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)" };
    char host[256] = "", machine[64], boot[64], pid_ns[64] = "";
    const Worker *w = l->worker;
    struct stat st;

    (void) gethostname(host, sizeof host - 1);
    read_line("/etc/machine-id", machine, sizeof machine);
    read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    if (stat("/proc/self/ns/pid", &st) == 0)
        (void) snprintf(pid_ns, sizeof pid_ns, "%llu", (unsigned long long) st.st_ino);
    l->beat_usec = clock_now_usec();
    if (db_request_add(&r, w->id) == 0 && db_request_add(&r, w->config->instance) == 0 &&
        db_request_add(&r, host) == 0 && db_request_add(&r, machine) == 0 &&
        db_request_add(&r, boot) == 0 && db_request_add(&r, pid_ns) == 0 &&
        db_request_addf(&r, "%ld", (long) getpid()) == 0 && db_request_add(&r, VERSION) == 0 &&
        db_request_addf(&r, "%u", w->config->max_jobs) == 0 &&
        db_request_add_usec(&r, w->config->lease_usec) == 0)
        (void) call(l, 0, &r, enrolled);
    db_request_done(&r);
}

/* What a refused query of the version says, beside that it was refused. */
static bool is_no_schema(const PGresult *res) {
    return strcmp(db_sqlstate(res), "42P01") == 0 || strcmp(db_sqlstate(res), "3F000") == 0;
}

/* "" where this program and the schema fit. */
static NotReady compare_versions(DbEnd end, const PGresult *res, char *to, size_t room) {
    unsigned version = end == DB_OK ? (unsigned) number(res, 0) : 0;
    unsigned from = end == DB_OK ? (unsigned) number(res, 1) : 0;

    *to = '\0';
    if (end == DB_FAILED && strcmp(db_sqlstate(res), "42501") == 0) {
        (void) snprintf(to, room,
                        "the login role may not use the schema: GRANT meshify_worker TO it");
        return NOT_READY_GRANT;
    }
    if (version == 0) {
        (void) snprintf(to, room, "the database has no meshify schema: run meshifyctl migrate");
        return NOT_READY_NO_SCHEMA;
    }
    if (version < SCHEMA_VERSION) {
        (void) snprintf(to, room,
                        "the schema is version %u, this program needs %u: run meshifyctl migrate",
                        version, SCHEMA_VERSION);
        return NOT_READY_OLD_SCHEMA;
    }
    if (from > SCHEMA_VERSION)
        (void) snprintf(
            to, room, "the schema is made for newer programs (from %u on): upgrade meshifyd", from);
    return NOT_READY_NEW_SCHEMA;
}

static void checked(void *userdata, DbEnd end, const PGresult *res) {
    Lease *l = userdata;
    Worker *w = l->worker;
    NotReady not_ready;
    char what[200];

    if (end == DB_DISCONNECTED)
        return;
    if (end == DB_FAILED && !is_no_schema(res) && strcmp(db_sqlstate(res), "42501") != 0) {
        worker_refused(w, "to show its schema's version", res);
        timer_start(l->timer, SCHEMA_RETRY_USEC);
        return;
    }
    not_ready = compare_versions(end, res, what, sizeof what);
    w->schema_fits = !what[0];
    if (!w->schema_fits) {
        worker_not_ready(w, not_ready, what);
        timer_start(l->timer, SCHEMA_RETRY_USEC);
    } else if (w->registered) {
        l->beating = false;
        beat(l);
        l->events->ready(l->userdata, NULL);
    } else
        enrol(l);
}

/* Asked on each connection: somebody may have migrated meanwhile, and it may be another server. */
static void check_schema(Lease *l) {
    DbRequest request = { .sql = "SELECT version, compatible_from FROM meshify.schema_version" };

    (void) call(l, 0, &request, checked);
}

void lease_connected(Lease *l) {
    l->connected_usec = clock_now_usec();
    timer_start(l->timer,
                SCHEMA_RETRY_USEC); /* for want of memory the next line comes to nothing */
    check_schema(l);
}

/* Their answers will not come: these calls are not repeated on the next connection. */
void lease_disconnected(Lease *l) {
    l->beating = l->reaping = false;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Lease *l = userdata;
    Worker *w = l->worker;
    bool was_suspended = l->is_suspended;

    (void) usec;
    lease_check(l);
    /* Nobody answers: another connection may reach the database, or another server. But a daemon that was asleep
     * itself first looks whether the answer is there. */
    if (!worker_is_trusted(w) && was_suspended && l->beating &&
        clock_now_usec() >= l->beat_usec + w->config->lease_usec / 3)
        db_reconnect(w->db, "a heartbeat is not answered");
    if (db_is_up(w->db)) {
        if (!w->schema_fits || !w->registered)
            check_schema(l);
        else
            beat(l);
    }
    timer_start(source, w->registered ? every_usec(l) : SCHEMA_RETRY_USEC);
    return 0;
}

/* Without a row of ours no other worker waits for our lease to run out. */
void lease_end(Lease *l) {
    Worker *w = l->worker;
    DbRequest request = { .sql = "SELECT meshify.unregister($1)" };

    if (w->registered && db_is_up(w->db) && db_request_add(&request, w->id) == 0)
        worker_call(w, &request, "unregister");
    db_request_done(&request);
    w->registered = false;
    w->trusted_until_usec = 0;
}

int lease_new(Lease **ret, Worker *w, const LeaseEvents *events, void *userdata) {
    Lease *l = calloc(1, sizeof *l);
    int r;

    if (!l)
        return -ENOMEM;
    *l = (Lease){ .worker = w, .events = events, .userdata = userdata };
    /* Not timer_new(): this clock goes on while the machine is suspended, and after a pause of the whole process the
     * heartbeat comes before all that came meanwhile. */
    if ((r = sd_event_add_time(w->event, &l->timer, CLOCK_BOOTTIME, 0, 1, on_timer, l)) < 0 ||
        (r = sd_event_source_set_priority(l->timer, SD_EVENT_PRIORITY_IMPORTANT)) < 0 ||
        (r = sd_event_source_set_enabled(l->timer, SD_EVENT_OFF)) < 0) {
        lease_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

Lease *lease_free(Lease *l) {
    if (l)
        sd_event_source_disable_unref(l->timer);
    free(l);
    return NULL;
}
