/* Counts what happens, and writes it as Prometheus text. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/metrics.h"
#include "daemon/worker.h"

#define N(array) (sizeof(array) / sizeof *(array))

/* --- counting -------------------------------------------------------------------------------- */

static const double latency_bounds[] = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                         1,     2.5,    5,     10,   30,    60,   300, 1800, 7200 };
static const double duration_bounds[] = { 1,   2,   5,   10,  15,   20,   30,   45,   60,   90,
                                          120, 180, 300, 600, 1200, 1800, 3600, 7200, 86400 };
static const double request_bounds[] = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                         1,     2.5,  5,     10,   20,  30,   60 };
static const double turn_bounds[] = { 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                      0.02,   0.05,    0.1,    0.25,  0.5,    1 };

_Static_assert(N(latency_bounds) <= PROM_BUCKETS_MAX && N(duration_bounds) <= PROM_BUCKETS_MAX &&
                   N(request_bounds) <= PROM_BUCKETS_MAX && N(turn_bounds) <= PROM_BUCKETS_MAX,
               "a bucket each");

static const FaultCode rejections[] = {
    FAULT_OUTPUT_MISSING,  FAULT_OUTPUT_FORBIDDEN, FAULT_OUTPUT_DAMAGED,
    FAULT_ASSET_TOO_LARGE, FAULT_ASSET_INVALID,    FAULT_STORE_TOO_LARGE,
};

void metrics_init(Metrics *m) {
    m->started = time(NULL);
    m->claim_latency = (PromHistogram){ .bounds = latency_bounds, .n_bounds = N(latency_bounds) };
    m->job_duration = (PromHistogram){ .bounds = duration_bounds, .n_bounds = N(duration_bounds) };
    m->replicate_request =
        (PromHistogram){ .bounds = request_bounds, .n_bounds = N(request_bounds) };
    m->loop_turn = (PromHistogram){ .bounds = turn_bounds, .n_bounds = N(turn_bounds) };
}

static double seconds(uint64_t usec) {
    return (double) usec / (double) USEC_PER_SEC;
}

void metrics_claimed(Metrics *m, const Job *j) {
    /* Later claims of a job, after a hand-back, say nothing of how quick we are. */
    if (j->attempts == 1 && j->worked_usec == 0 && j->n_purchases == 0)
        prom_histogram_add(&m->claim_latency, seconds(j->age_usec));
}

void metrics_finished(Metrics *m, const Job *j, JobState state) {
    m->finished[state][state == JOB_FAILING ? j->fault.code : FAULT_NONE]++;
    prom_histogram_add(&m->job_duration, seconds(j->age_usec + clock_now_usec() - j->claimed_usec));
}

void metrics_failed(Metrics *m, FaultCode code) {
    for (size_t i = 0; i < N(rejections); i++)
        if (rejections[i] == code)
            m->rejected[code]++;
}

static size_t code_of(const HttpReply *reply) {
    return reply->code > 0 && reply->code < METRICS_CODES ? (size_t) reply->code : 0;
}

void metrics_replicate(Metrics *m, MetricsEndpoint endpoint, const HttpReply *reply) {
    m->replicate[endpoint][code_of(reply)]++;
    m->throttled += reply->code == 429;
    prom_histogram_add(&m->replicate_request, seconds(reply->took_usec));
}

void metrics_storage(Metrics *m, const HttpReply *reply) {
    m->storage[code_of(reply)]++;
}

void metrics_turn(Metrics *m, uint64_t usec, uint64_t cpu_usec) {
    prom_histogram_add(&m->loop_turn, seconds(usec));
    m->slow_turns += cpu_usec > METRICS_SLOW_TURN_USEC;
    if (usec > m->longest_turn_usec)
        m->longest_turn_usec = usec;
    if (cpu_usec > m->longest_turn_cpu_usec)
        m->longest_turn_cpu_usec = cpu_usec;
}

void metrics_describe_turns(const Metrics *m, char *ret, size_t room) {
    const PromHistogram *h = &m->loop_turn;
    unsigned long long n = 0;
    size_t used;

    for (unsigned i = 0; i <= h->n_bounds; i++)
        n += h->counts[i];
    (void) snprintf(
        ret, room,
        "%llu turns, longest %.1f ms, longest CPU time %.1f ms, %llu above %u ms of CPU "
        "time; turns by ms:",
        n, (double) m->longest_turn_usec / 1e3, (double) m->longest_turn_cpu_usec / 1e3,
        m->slow_turns, METRICS_SLOW_TURN_USEC / 1000);
    for (unsigned i = 0; i <= h->n_bounds; i++) {
        used = strlen(ret);
        if (h->counts[i] == 0)
            continue;
        if (i < h->n_bounds)
            (void) snprintf(ret + used, room - used, " <=%g:%llu", h->bounds[i] * 1e3,
                            h->counts[i]);
        else
            (void) snprintf(ret + used, room - used, " more:%llu", h->counts[i]);
    }
}

/* --- text ------------------------------------------------------------------------------------ */

static void counter(Prom *p, const char *name, const char *help, unsigned long long value) {
    prom_one(p, name, "counter", help, (double) value);
}

static void gauge(Prom *p, const char *name, const char *help, double value) {
    prom_one(p, name, "gauge", help, value);
}

static void write_jobs(Prom *p, const Worker *w) {
    const Metrics *m = &w->metrics;
    unsigned running[_JOB_STATE_MAX] = { 0 };
    const Task *t;

    counter(p, "meshify_jobs_claimed_total", "Jobs taken from the queue.", w->claimed);

    /* The list is closed: a series that is there from the start shows its first event too. */
    prom_begin(p, "meshify_jobs_finished_total", "counter",
               "Jobs closed by this worker; reason is the fault's word.");
    prom_add(p, (double) m->finished[JOB_COMPLETING][FAULT_NONE], "status", "done", "reason",
             fault_info(FAULT_NONE)->word, PROM_END);
    prom_add(p, (double) m->finished[JOB_CANCELLING][FAULT_NONE], "status", "canceled", "reason",
             fault_info(FAULT_NONE)->word, PROM_END);
    for (int code = FAULT_NONE + 1; code < _FAULT_MAX; code++)
        prom_add(p, (double) m->finished[JOB_FAILING][code], "status", "error", "reason",
                 fault_info((FaultCode) code)->word, PROM_END);

    TAILQ_FOREACH(t, &w->tasks, link)
    running[t->job->at.state]++;
    prom_begin(p, "meshify_jobs_running", "gauge", "Jobs in flight, by what they wait for.");
    for (int state = JOB_SIGNING; state < JOB_GONE; state++)
        prom_add(p, running[state], "state", job_state_word((JobState) state), PROM_END);

    prom_histogram(p, "meshify_claim_latency_seconds", "From a job's creation to its first claim.",
                   &m->claim_latency);
    prom_histogram(p, "meshify_job_duration_seconds",
                   "From a job's creation to its end, however it ended.", &m->job_duration);
    prom_begin(p, "meshify_assets_rejected_total", "counter",
               "Outputs of models that were not kept, by fault.");
    for (size_t i = 0; i < N(rejections); i++)
        prom_add(p, (double) m->rejected[rejections[i]], "reason", fault_info(rejections[i])->word,
                 PROM_END);
}

/* One worker knows; the others have no samples of these, so that a sum counts nothing twice. */
static void write_queue(Prom *p, const Worker *w) {
    const Sample *s = &w->sample;

    prom_begin(p, "meshify_queue_depth", "gauge",
               "Pending jobs, at most 100000 are counted; said by one worker.");
    if (s->valid) {
        prom_add(p, (double) s->ready, "state", "ready", PROM_END);
        prom_add(p, (double) s->later, "state", "later", PROM_END);
    }
    prom_begin(p, "meshify_queue_oldest_seconds", "gauge",
               "Age of the oldest pending job; said by one worker.");
    if (s->valid)
        prom_add(p, s->oldest_seconds, PROM_END);
    prom_begin(p, "meshify_refunds_total", "counter",
               "Times that credits were given back, by whomever; said by one worker.");
    if (s->valid)
        prom_add(p, (double) s->refunds, PROM_END);
}

static void write_codes(Prom *p, const unsigned long long *counts, const char *endpoint) {
    for (int code = 0; code < METRICS_CODES; code++) {
        char text[8];

        if (counts[code] == 0)
            continue;
        (void) snprintf(text, sizeof text, "%d", code);
        if (endpoint)
            prom_add(p, (double) counts[code], "endpoint", endpoint, "code", text, PROM_END);
        else
            prom_add(p, (double) counts[code], "code", text, PROM_END);
    }
}

static void write_services(Prom *p, const Worker *w) {
    static const char *const endpoints[] = { "create", "get", "list", "cancel" };
    const Metrics *m = &w->metrics;

    prom_begin(p, "meshify_replicate_requests_total", "counter",
               "Requests to Replicate; code 0: no answer.");
    for (int e = 0; e < _METRICS_ENDPOINT_MAX; e++)
        write_codes(p, m->replicate[e], endpoints[e]);
    prom_histogram(p, "meshify_replicate_request_seconds", "How long requests to Replicate took.",
                   &m->replicate_request);
    counter(p, "meshify_replicate_throttled_total", "Answers 429 of Replicate.", m->throttled);
    counter(p, "meshify_storage_bytes_total", "Bytes of meshes that were stored.", m->stored_bytes);
    prom_begin(p, "meshify_storage_requests_total", "counter",
               "Requests to the store; code 0: no answer.");
    write_codes(p, m->storage, NULL);
    prom_begin(p, "meshify_lane_held", "gauge", "1 while a service asked to wait, or is away.");
    for (int i = 0; i < _LANE_MAX; i++) {
        const Lane *lane = &w->lanes[i];
        bool held = lane_is_held(lane);

        prom_add(p, held, "lane", lane->name, "reason",
                 fault_info(held ? lane->hold.code : FAULT_NONE)->word, PROM_END);
    }
}

static void write_worker(Prom *p, const Worker *w) {
    const Metrics *m = &w->metrics;

    gauge(p, "meshify_db_up", "1 while the database is connected.", db_is_up(w->db));
    counter(p, "meshify_db_reconnects_total", "Times that the database was connected anew.",
            m->connects > 0 ? m->connects - 1 : 0);
    gauge(p, "meshify_spool_bytes", "Bytes in the spool, set aside ones too.",
          (double) spool_used_bytes(w->spool));
    counter(p, "meshify_leases_lost_total", "Times that others declared this worker dead.",
            w->lease.lost);
    counter(p, "meshify_zombie_writes_total",
            "Writes that were refused since the job is another worker's.", w->zombies);
    counter(p, "meshify_takeovers_total",
            "Jobs of dead workers that were put into the queue again.", w->lease.takeovers);
    counter(p, "meshify_predictions_adopted_total",
            "Purchases whose answer was lost, and that were found in the listing.", w->adopted);
    counter(p, "meshify_predictions_surplus_total",
            "Purchases that turned up when nobody needed them any more, and were cancelled.",
            w->surplus);
    prom_begin(p, "meshify_build_info", "gauge", "1; what program this is.");
    prom_add(p, 1, "version", VERSION, PROM_END);
}

static void write_loop(Prom *p, const Metrics *m) {
    prom_histogram(p, "meshify_loop_turn_seconds",
                   "Work of the event loop on one event, by the wall clock.", &m->loop_turn);
    counter(p, "meshify_loop_slow_turns_total", "Turns that used more than 20 ms of CPU time.",
            m->slow_turns);
    prom_begin(p, "meshify_loop_longest_turn_seconds", "gauge",
               "The longest turn since the start, by the wall clock and in CPU time.");
    prom_add(p, seconds(m->longest_turn_usec), "clock", "wall", PROM_END);
    prom_add(p, seconds(m->longest_turn_cpu_usec), "clock", "cpu", PROM_END);
}

/* Pages of the program and of its data. */
static void read_memory(double *ret_virtual, double *ret_resident) {
    double page = (double) sysconf(_SC_PAGESIZE);
    unsigned long long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file) {
        if (fscanf(file, "%llu %llu", &size, &resident) != 2)
            size = resident = 0;
        (void) fclose(file);
    }
    *ret_virtual = (double) size * page;
    *ret_resident = (double) resident * page;
}

static double count_descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    double n = -3; /* ".", ".." and the directory itself */

    if (!dir)
        return 0;
    while (readdir(dir))
        n++;
    (void) closedir(dir);
    return n;
}

static void write_process(Prom *p, const Metrics *m) {
    double size, resident;
    struct rusage used = { 0 };
    struct rlimit limit = { 0 };

    (void) getrusage(RUSAGE_SELF, &used);
    (void) getrlimit(RLIMIT_NOFILE, &limit);
    read_memory(&size, &resident);
    prom_one(p, "process_cpu_seconds_total", "counter", "CPU time, of user and system.",
             (double) (used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double) (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    gauge(p, "process_resident_memory_bytes", "Memory in use.", resident);
    gauge(p, "process_virtual_memory_bytes", "Address space in use.", size);
    gauge(p, "process_open_fds", "Open file descriptors.", count_descriptors());
    gauge(p, "process_max_fds", "File descriptors that may be open at once.",
          (double) limit.rlim_cur);
    gauge(p, "process_start_time_seconds", "When the process started, since 1970.",
          (double) m->started);
}

int metrics_write(const Worker *w, char **ret, size_t *ret_size) {
    Prom p = { 0 };

    write_jobs(&p, w);
    write_queue(&p, w);
    write_services(&p, w);
    write_worker(&p, w);
    write_loop(&p, &w->metrics);
    counter(&p, "meshify_log_lines_lost_total", "Lines that were lost since nobody read the log.",
            log_lost());
    write_process(&p, &w->metrics);
    if (p.failed) {
        prom_done(&p);
        return -ENOMEM;
    }
    *ret = p.text.text;
    *ret_size = p.text.size;
    return 0;
}
