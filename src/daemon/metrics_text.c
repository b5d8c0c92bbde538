/* Writes the metrics as Prometheus text: what metrics.c counted, and gauges, which are looked up when they are asked
 * for. The manual explains them; tests/lint/man compares the names. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/prom.h"
#include "daemon/metrics_text.h"
#include "daemon/task.h"

static double seconds(uint64_t usec) {
    return (double) usec / (double) USEC_PER_SEC;
}

static void counter(Prom *p, const char *name, const char *help, unsigned long long value) {
    prom_one(p, name, "counter", help, (double) value);
}

static void gauge(Prom *p, const char *name, const char *help, double value) {
    prom_one(p, name, "gauge", help, value);
}

/* Every label of a closed list is there from the start, with zero: a rate needs a first sample. */
static void write_jobs(Prom *p, const Worker *w) {
    const Metrics *m = &w->metrics;
    unsigned running[_JOB_STATE_MAX] = { 0 };
    const FaultCode *rejections;
    const Task *t;
    size_t n;

    /* The list is closed: a series that is there from the start shows its first event too. */
    prom_begin(p, "meshify_jobs_finished_total", "counter",
               "Jobs closed by this worker; reason is the fault's word.");
    prom_add(p, (double) m->finished[JOB_COMPLETING][FAULT_NONE], "status", "done", "reason",
             fault_info(FAULT_NONE)->word, PROM_END);
    prom_add(p, (double) m->finished[JOB_CLOSING_CANCELED][FAULT_NONE], "status", "canceled",
             "reason", fault_info(FAULT_NONE)->word, PROM_END);
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
    rejections = metrics_rejections(&n);
    for (size_t i = 0; i < n; i++)
        prom_add(p, (double) m->rejected[rejections[i]], "reason", fault_info(rejections[i])->word,
                 PROM_END);
}

/* One worker knows; the others have no samples of these, so that a sum counts nothing twice. */
static void write_queue(Prom *p, const SampleQueue *s) {
    prom_begin(p, "meshify_queue_depth", "gauge",
               "Pending jobs, at most 100000 are counted; said by one worker.");
    if (s) {
        prom_add(p, (double) s->ready, "state", "ready", PROM_END);
        prom_add(p, (double) s->later, "state", "later", PROM_END);
    }
    prom_begin(p, "meshify_queue_oldest_seconds", "gauge",
               "Age of the oldest pending job; said by one worker.");
    if (s)
        prom_add(p, s->oldest_seconds, PROM_END);
    prom_begin(p, "meshify_refunds_total", "counter",
               "Times that credits were given back, by whomever; said by one worker.");
    if (s)
        prom_add(p, (double) s->refunds, PROM_END);
}

/* Only codes that came: the list is long, and most are never seen. */
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

/* Held lanes are the first thing to look at when jobs take long. */
static void write_services(Prom *p, const Worker *w) {
    static const char *const endpoints[] = { "create", "get", "list", "cancel" };
    const Metrics *m = &w->metrics;

    prom_begin(p, "meshify_replicate_requests_total", "counter",
               "Requests to Replicate; code 0: no answer.");
    for (int e = 0; e < _METRICS_ENDPOINT_MAX; e++)
        write_codes(p, m->replicate[e], endpoints[e]);
    prom_histogram(p, "meshify_replicate_request_seconds", "How long requests to Replicate took.",
                   &m->replicate_request);
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

/* Most of them count what went wrong around us and was made good: they should stay near zero. */
static void write_counters(Prom *p, const Metrics *m) {
#define METRICS_WRITE(field, name, help) counter(p, name, help, m->field);
    METRICS_COUNTERS(METRICS_WRITE)
#undef METRICS_WRITE
}

static void write_worker(Prom *p, const Worker *w) {
    gauge(p, "meshify_db_up", "1 while the database is connected.", db_is_up(w->db));
    gauge(p, "meshify_spool_bytes", "Bytes in the spool, set aside ones too.",
          (double) spool_used_bytes(w->spool));
    prom_begin(p, "meshify_build_info", "gauge", "1; what program this is.");
    prom_add(p, 1, "version", VERSION, PROM_END);
}

/* Whether something held the loop, so that heartbeats and answers waited for it. */
static void write_loop(Prom *p, const Metrics *m) {
    prom_histogram(p, "meshify_loop_turn_seconds",
                   "Work of the event loop on one event, by the wall clock.", &m->loop_turn);
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

/* The limit is shared among jobs, connections and clients at the start; this shows how near it
 * is. */
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

/* By the names that Prometheus' own clients use. */
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

int metrics_write(const Worker *w, const SampleQueue *queue, char **ret, size_t *ret_size) {
    Prom p = { 0 };

    write_counters(&p, &w->metrics);
    write_jobs(&p, w);
    write_queue(&p, queue);
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
