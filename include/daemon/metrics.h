/* What is counted. Each thing is counted where it is heard of; metrics_text.h writes all of it. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/http_message.h"
#include "base/prom.h"
#include "core/job.h"

#define METRICS_CODES 600 /* of HTTP; 0: no answer */
/* A turn that used more CPU time is slow: heartbeats and everybody's answers waited for it. */
#define METRICS_SLOW_TURN_USEC 20000u

typedef enum MetricsEndpoint { /* of Replicate */
    METRICS_CREATE,
    METRICS_GET,
    METRICS_LIST,
    METRICS_CANCEL,
    _METRICS_ENDPOINT_MAX,
} MetricsEndpoint;

/* Counters without labels, a row each: the field, the name, the help line. Whoever hears of the thing adds to the
 * field; the row alone puts it on the page. */
#define METRICS_COUNTERS(X)                                                                     \
    X(claimed, "meshify_jobs_claimed_total", "Jobs taken from the queue.")                      \
    X(throttled, "meshify_replicate_throttled_total", "Answers 429 of Replicate.")              \
    X(stored_bytes, "meshify_storage_bytes_total", "Bytes of meshes that were stored.")         \
    X(reconnects, "meshify_db_reconnects_total", "Times that the database was connected anew.") \
    X(leases_lost, "meshify_leases_lost_total", "Times that others declared this worker dead.") \
    X(zombies, "meshify_zombie_writes_total",                                                   \
      "Writes that were refused since the job is another worker's.")                            \
    X(takeovers, "meshify_takeovers_total", "Jobs of dead workers that were requeued.")         \
    X(adopted, "meshify_predictions_adopted_total",                                             \
      "Purchases whose answer was lost, and that were found in the listing.")                   \
    X(surplus, "meshify_predictions_surplus_total",                                             \
      "Purchases that turned up when nobody needed them any more, and were canceled.")          \
    X(slow_turns, "meshify_loop_slow_turns_total", "Turns that used more than 20 ms of CPU time.")

typedef struct Metrics {
    time_t started;
#define METRICS_FIELD(field, name, help) unsigned long long field;
    METRICS_COUNTERS(METRICS_FIELD)
#undef METRICS_FIELD
    unsigned long long done, failed, canceled;               /* jobs, for lines of the log */
    unsigned long long finished[_JOB_STATE_MAX][_FAULT_MAX]; /* by the state that closed the job */
    unsigned long long rejected[_FAULT_MAX];
    unsigned long long replicate[_METRICS_ENDPOINT_MAX][METRICS_CODES];
    unsigned long long storage[METRICS_CODES];
    PromHistogram claim_latency, job_duration, replicate_request;
    PromHistogram loop_turn; /* by the wall clock */
    uint64_t longest_turn_usec, longest_turn_cpu_usec;
} Metrics;

void metrics_init(Metrics *m);

void metrics_claimed(Metrics *m, const Job *j);

/* The job was closed in `state`: JOB_COMPLETING, JOB_FAILING or JOB_CLOSING_CANCELED. */
void metrics_finished(Metrics *m, const Job *j, JobState state);

/* Outputs of models that are counted as rejected, by fault; `*ret_n` of them. */
const FaultCode *metrics_rejections(size_t *ret_n);

/* An attempt failed. Counts it if that is because the model's output was rejected. */
void metrics_failed(Metrics *m, FaultCode code);

void metrics_replicate(Metrics *m, MetricsEndpoint endpoint, const HttpReply *reply);
void metrics_storage(Metrics *m, const HttpReply *reply);

/* The loop dispatched one event, which took `usec` by the wall clock and `cpu_usec` of its thread's
 * CPU time. Beside busy neighbours the wall clock counts also what they took, so that the CPU time
 * decides whether a turn was slow. */
void metrics_turn(Metrics *m, uint64_t usec, uint64_t cpu_usec);

/* One line: how many turns there were, and how long they were. Always ended with '\0'. */
void metrics_describe_turns(const Metrics *m, char *ret, size_t room);
