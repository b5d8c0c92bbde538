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

typedef struct Metrics {
    time_t started;
    unsigned long long claimed, done, failed, canceled; /* jobs */
    unsigned long long adopted, surplus;                /* purchases */
    unsigned long long leases_lost, takeovers;
    unsigned long long zombies; /* writes that were refused since the job is another worker's */
    unsigned long long finished[_JOB_STATE_MAX][_FAULT_MAX]; /* by the state that closed the job */
    unsigned long long rejected[_FAULT_MAX];
    unsigned long long replicate[_METRICS_ENDPOINT_MAX][METRICS_CODES], throttled;
    unsigned long long storage[METRICS_CODES], stored_bytes;
    unsigned long long connects; /* of the working connection */
    PromHistogram claim_latency, job_duration, replicate_request;
    PromHistogram loop_turn; /* by the wall clock */
    unsigned long long slow_turns;
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
