/* How long the queue is, for the metrics: one worker of all asks, every 15 seconds. */
#pragma once
#include <stdbool.h>
#include <systemd/sd-event.h>

typedef struct Worker Worker;

typedef struct Sample {
    sd_event_source *timer;
    bool valid; /* we are the one who asks, and know */
    unsigned long long ready, later, refunds;
    double oldest_seconds;
    /* Refunds before that time are counted already; as the database wrote them. */
    char known[24], known_at[64];
} Sample;

int sample_init(Worker *w);
void sample_done(Worker *w);
