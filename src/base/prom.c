#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/prom.h"

static void put(Prom *p, const char *bytes, size_t size) {
    if (!p->failed && strbuf_add(&p->text, bytes, size) < 0)
        p->failed = true;
}

static void put_text(Prom *p, const char *text) {
    put(p, text, strlen(text));
}

/* Within a label's value also the quotation mark is escaped. */
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
