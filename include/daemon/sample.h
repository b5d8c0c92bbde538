/* How long the queue is, for the metrics: one worker of all asks, every 15 seconds. */
#pragma once
#include "daemon/worker.h"

typedef struct Sample Sample;

typedef struct SampleQueue {
    unsigned long long ready, later, refunds;
    double oldest_seconds;
} SampleQueue;

/* Nobody reads it where no metrics are served: *ret is NULL then. 0, -ENOMEM or what libsystemd answers. */
int sample_new(Sample **ret, Worker *w);
Sample *sample_free(Sample *s);

/* What the last sample said; NULL: another worker is the one who asks. */
const SampleQueue *sample_queue(const Sample *s);
