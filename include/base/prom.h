/* Metrics in the text form that Prometheus reads (version 0.0.4). Pure. */
#pragma once
#include <stdbool.h>

#include "base/str.h"

#define PROM_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define PROM_BUCKETS_MAX 20

typedef struct PromHistogram {
    const double *bounds; /* upper ones, rising, +Inf not among them; borrowed */
    unsigned n_bounds;    /* at most PROM_BUCKETS_MAX */
    unsigned long long counts[PROM_BUCKETS_MAX + 1]; /* of each bucket alone; the last is +Inf's */
    double sum;
} PromHistogram;

typedef struct Prom {
    StrBuf text;
    const char *name; /* of the metric that samples are added to; borrowed */
    bool failed;      /* out of memory: the text is not whole */
} Prom;

/* Begins a metric. `type`: "counter", "gauge"; histograms begin themselves. */
void prom_begin(Prom *p, const char *name, const char *type, const char *help);

#define PROM_END ((const char *) NULL) /* NULL alone need be no pointer */

/* Adds a sample. Behind `value` come pairs of a label's name and value, then PROM_END. */
void prom_add(Prom *p, double value, ...) __attribute__((sentinel));

/* A metric of one sample without labels. */
void prom_one(Prom *p, const char *name, const char *type, const char *help, double value);

void prom_histogram(Prom *p, const char *name, const char *help, const PromHistogram *h);
void prom_histogram_add(PromHistogram *h, double value);

/* Frees the text. */
void prom_done(Prom *p);
