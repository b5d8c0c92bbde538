/* Counts what happens: the buckets, and which faults count as a rejected output. How it is written for Prometheus
 * is in metrics_text.c. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/metrics.h"

#define N(array) (sizeof(array) / sizeof *(array))

/* Bounds in seconds, close where the usual is, wide where it is too late anyway. Changing them
 * breaks dashboards. */
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

/* The model made something, and it was not kept: each cost money. */
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
    /* Later claims of a job, after it was requeued, say nothing of how quick we are. */
    if (j->attempts == 1 && j->worked_usec == 0 && j->n_purchases == 0)
        prom_histogram_add(&m->claim_latency, seconds(j->age_usec));
}

/* From the job's creation on, on the database's clock until its claim and on ours since. */
void metrics_finished(Metrics *m, const Job *j, JobState state) {
    m->finished[state][state == JOB_FAILING ? j->fault.code : FAULT_NONE]++;
    prom_histogram_add(&m->job_duration, seconds(j->age_usec + clock_now_usec() - j->claimed_usec));
}

const FaultCode *metrics_rejections(size_t *ret_n) {
    *ret_n = N(rejections);
    return rejections;
}

void metrics_failed(Metrics *m, FaultCode code) {
    for (size_t i = 0; i < N(rejections); i++)
        if (rejections[i] == code)
            m->rejected[code]++;
}

/* Codes that HTTP does not have are counted with no answer at all. */
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

/* The histogram is of the wall clock, which is what others wait for. */
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
