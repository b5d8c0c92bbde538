/*
 * The pages that are served: /, /metrics, /healthz, /readyz.
 *
 * Here is what they say; io/httpd.c speaks HTTP. That they can't be served keeps no job from being worked on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/prom.h"
#include "base/str.h"
#include "daemon/metrics_text.h"
#include "daemon/pages.h"
#include "daemon/status.h"
#include "io/httpd.h"

struct Pages {
    Worker *worker;
    const Sample *sample;
    Httpd *httpd;
};

static int metrics(const Pages *p, HttpdPage *ret) {
    ret->code = 200;
    ret->type = PROM_CONTENT_TYPE;
    return metrics_write(p->worker, sample_queue(p->sample), &ret->body, &ret->size);
}

/* One line, for humans and for probes that only read the code. */
static int text(HttpdPage *ret, unsigned code, const char *line) {
    ret->code = code;
    ret->type = "text/plain; charset=utf-8";
    if (!(ret->body = str_printf("%s\n", line)))
        return -ENOMEM;
    ret->size = strlen(ret->body);
    return 0;
}

static int healthz(const Pages *p, HttpdPage *ret) {
    (void) p; /* the loop turns, or nobody would be here */
    return text(ret, 200, "ok");
}

/* Only words from our own closed list: this page may be read by anybody. */
static int readyz(const Pages *p, HttpdPage *ret) {
    const Worker *w = p->worker;
    char word[200], line[220];

    if (status_is_ready(w))
        return text(ret, 200, "ready");
    (void) snprintf(line, sizeof line, "not ready: %s", status_word(w, word, sizeof word));
    return text(ret, 503, line);
}

static const struct {
    const char *path;
    int (*make)(const Pages *p, HttpdPage *ret);
} pages[] = {
    { "/metrics", metrics },
    { "/healthz", healthz },
    { "/readyz", readyz },
};

static int page(void *userdata, const char *path, HttpdPage *ret) {
    const Pages *p = userdata;

    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (strcmp(path, pages[i].path) == 0)
            return pages[i].make(p, ret);
    return -ENOENT;
}

/* What STATUS says; false: it said so before. */
static bool tell(Worker *w, const char *text) {
    if (strcmp(text, w->pages) == 0)
        return false;
    (void) snprintf(w->pages, sizeof w->pages, "%s", text);
    worker_changed(w);
    return true;
}

/* The port may have been taken for a while; then this is news. */
static void listens(void *userdata, const char *address) {
    const Pages *p = userdata;
    char status[sizeof p->worker->pages];

    (void) snprintf(status, sizeof status, "metrics at %s", address);
    if (tell(p->worker, status))
        log_line(LOG_NOTICE, METRICS_UP, "Metrics are served at http://%s/metrics", address);
}

/* What mends it, for the mistakes that are made. */
static const char *advice(int error) {
    switch (-error) {
    case EADDRINUSE:
        return "another program has this port (ss -tlnp shows which): stop it, or give this "
               "instance another port";
    case EADDRNOTAVAIL:
        return "no interface of this machine has this address: give one that is here";
    case EACCES:
        return "ports below 1024 are for the privileged: give a higher one";
    default:
        return "give another address, or none to do without metrics";
    }
}

/* Tried again every ten seconds: said once, until the words change. */
static void fails(void *userdata, int error, const char *why) {
    const Pages *p = userdata;
    const char *address = p->worker->config->metrics_listen;
    char status[sizeof p->worker->pages];

    (void) snprintf(status, sizeof status, "no metrics at %s: %s", address, why);
    if (tell(p->worker, status))
        log_line(LOG_ERR, METRICS_DOWN,
                 "[metrics] listen: %s: %s; %s. Jobs go on without; trying again every 10 s",
                 address, why, advice(error));
    else
        log_line(LOG_DEBUG, METRICS_DOWN, "[metrics] listen: %s: still %s", address, why);
}

/* That nothing can be served is said, and keeps no job from being worked on. */
int pages_new(Pages **ret, Worker *w, const Sample *sample) {
    static const HttpdEvents events = { .page = page, .listens = listens, .fails = fails };
    Pages *p;
    int r;

    if (!w->config->metrics_listen[0])
        return 0;
    if (!(p = calloc(1, sizeof *p)))
        return -ENOMEM;
    p->worker = w;
    p->sample = sample;
    r = httpd_new(&p->httpd, w->event, w->resolver, w->config->metrics_listen, w->shares.clients,
                  &events, p);
    if (r < 0) {
        free(p);
        return r;
    }
    *ret = p;
    return 0;
}

Pages *pages_free(Pages *p) {
    if (p)
        httpd_free(p->httpd);
    free(p);
    return NULL;
}
