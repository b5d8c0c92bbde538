/* Writes metrics in the text format of Prometheus, version 0.0.4. A failed allocation is
 * remembered and reported once, at the end, so that each line need not check. Which metrics there
 * are is told by daemon/metrics.c. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/prom.h"

/* After the first failure nothing more is added: half a page would be taken for the whole. */
static void put(Prom *p, const char *bytes, size_t size) {
    if (!p->failed && strbuf_add(&p->text, bytes, size) < 0)
        p->failed = true;
}

static void put_text(Prom *p, const char *text) {
    put(p, text, strlen(text));
}

/* The format escapes a backslash and a line feed everywhere, a quotation mark within a label's
 * value only. */
static void put_escaped(Prom *p, const char *text, bool quoted) {
    const char *special = quoted ? "\\\n\"" : "\\\n";

    while (*text) {
        size_t n = strcspn(text, special);

        put(p, text, n);
        text += n;
        if (*text) {
            put_text(p, *text == '\n' ? "\\n" : *text == '"' ? "\\\"" : "\\\\");
            text++;
        }
    }
}

/* The format has its own words for what is no number; %.15g gives back every count up to 2^49
 * exactly. */
static void put_number(Prom *p, double value) {
    char text[32];

    if (isnan(value))
        put_text(p, "NaN");
    else if (isinf(value))
        put_text(p, value > 0 ? "+Inf" : "-Inf");
    else {
        (void) snprintf(text, sizeof text, "%.15g", value);
        put_text(p, text);
    }
}

static void put_value(Prom *p, double value) {
    put_text(p, " ");
    put_number(p, value);
    put_text(p, "\n");
}

/* HELP and TYPE come once, before all samples of a metric: a parser refuses them later. */
void prom_begin(Prom *p, const char *name, const char *type, const char *help) {
    p->name = name;
    put_text(p, "# HELP ");
    put_text(p, name);
    put_text(p, " ");
    put_escaped(p, help, false);
    put_text(p, "\n# TYPE ");
    put_text(p, name);
    put_text(p, " ");
    put_text(p, type);
    put_text(p, "\n");
}

/* Labels come in pairs of name and value, up to PROM_END. They have to be static words: each set
 * of values is a series that the server keeps for ever. */
void prom_add(Prom *p, double value, ...) {
    const char *label, *separator = "{";
    va_list ap;

    put_text(p, p->name);
    va_start(ap, value);
    while ((label = va_arg(ap, const char *))) {
        put_text(p, separator);
        put_text(p, label);
        put_text(p, "=\"");
        put_escaped(p, va_arg(ap, const char *), true);
        put_text(p, "\"");
        separator = ",";
    }
    va_end(ap);
    if (*separator == ',')
        put_text(p, "}");
    put_value(p, value);
}

void prom_one(Prom *p, const char *name, const char *type, const char *help, double value) {
    prom_begin(p, name, type, help);
    prom_add(p, value, PROM_END);
}

/* Buckets are cumulative in this format, and each counts what is below it as well; we count each
 * value once. */
void prom_histogram(Prom *p, const char *name, const char *help, const PromHistogram *h) {
    unsigned long long n = 0;

    prom_begin(p, name, "histogram", help);
    for (unsigned i = 0; i <= h->n_bounds; i++) {
        n += h->counts[i];
        put_text(p, name);
        put_text(p, "_bucket{le=\"");
        put_number(p, i < h->n_bounds ? h->bounds[i] : INFINITY);
        put_text(p, "\"}");
        put_value(p, (double) n);
    }
    put_text(p, name);
    put_text(p, "_sum");
    put_value(p, h->sum);
    put_text(p, name);
    put_text(p, "_count");
    put_value(p, (double) n);
}

/* The bucket behind the last bound is +Inf. */
void prom_histogram_add(PromHistogram *h, double value) {
    unsigned i = 0;

    while (i < h->n_bounds && value > h->bounds[i])
        i++;
    h->counts[i]++;
    h->sum += value;
}

void prom_done(Prom *p) {
    strbuf_done(&p->text);
}
