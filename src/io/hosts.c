#include <arpa/inet.h>
#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "io/hosts.h"
#include "io/resolve.h"

#define HOSTS_MAX 16 /* that a URL names */

typedef struct Server {
    char *host, *port;
    char *addresses[RESOLVE_MAX];
    unsigned n;
    bool is_name; /* to be looked up */
} Server;

struct Hosts {
    sd_event *event;
    sd_event_source *turn;
    Resolve *resolve;
    Server servers[HOSTS_MAX];
    unsigned n, at, first;
    char error[160];
    HostsDone done;
    void *userdata;
};

Hosts *hosts_cancel(Hosts *h) {
    if (!h)
        return NULL;
    resolve_cancel(h->resolve);
    sd_event_source_disable_unref(h->turn);
    for (unsigned i = 0; i < h->n; i++) {
        free(h->servers[i].host);
        free(h->servers[i].port);
        for (unsigned k = 0; k < h->servers[i].n; k++)
            free(h->servers[i].addresses[k]);
    }
    sd_event_unref(h->event);
    free(h);
    return NULL;
}
DEFINE_CLEANUP(Hosts *, hosts_cancel)

/* --- what the URL says --------------------------------------------------------------------- */

static unsigned count(const char *list) {
    unsigned n = 1;

    for (; *list; list++)
        n += *list == ',';
    return n;
}

/* The element of a list, "" past its end; a list of one counts for all. */
static char *element(const char *list, unsigned i, bool one_for_all) {
    if (one_for_all && count(list) == 1)
        i = 0;
    while (i > 0 && (list = strchr(list, ',')) && list++)
        i--;
    return list ? strndup(list, strcspn(list, ",")) : strdup("");
}

static bool is_address(const char *host) {
    unsigned char bytes[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static int add_server(Hosts *h, char *host, char *hostaddr, char *port) {
    Server *s = &h->servers[h->n++];

    *s = (Server){ .host = host, .port = port };
    if (!host || !hostaddr || !port) {
        free(hostaddr);
        return -ENOMEM;
    }
    s->addresses[s->n++] = hostaddr; /* "": libpq goes by the host */
    s->is_name = !*hostaddr && *host && *host != '/' && *host != '@' && !is_address(host);
    return 0;
}

/* What libpq would not understand is left to it: it says why. */
static int read_url(Hosts *h, const char *url) {
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    const char *host = getenv("PGHOST"), *hostaddr = getenv("PGHOSTADDR"), *port = getenv("PGPORT");
    unsigned n;
    int r = 0;

    for (PQconninfoOption *o = options; o && o->keyword; o++) {
        if (o->val && strcmp(o->keyword, "host") == 0)
            host = o->val;
        else if (o->val && strcmp(o->keyword, "hostaddr") == 0)
            hostaddr = o->val;
        else if (o->val && strcmp(o->keyword, "port") == 0)
            port = o->val;
    }
    host = host ? host : "";
    hostaddr = hostaddr ? hostaddr : "";
    port = port ? port : "";
    n = count(*hostaddr ? hostaddr : host);
    if (n <= HOSTS_MAX && (!*host || count(host) == n) && (count(port) == 1 || count(port) == n))
        for (unsigned i = 0; i < n && r == 0; i++)
            r = add_server(h, element(host, i, false), element(hostaddr, i, false),
                           element(port, i, true));
    PQconninfoFree(options);
    return r;
}

/* --- their addresses ----------------------------------------------------------------------- */

static void end(Hosts *h) {
    StrBuf host = { 0 }, hostaddr = { 0 }, port = { 0 };
    HostsDone done = h->done;
    void *userdata = h->userdata;
    unsigned all = 0;
    int r = 0;

    for (unsigned i = 0; i < h->n; i++)
        all += h->servers[i].n;
    for (unsigned k = 0; k < all && r == 0; k++) {
        unsigned i = 0, at = (h->first + k) % all;

        for (; at >= h->servers[i].n; i++)
            at -= h->servers[i].n;
        if ((r = strbuf_printf(&host, "%s%s", k ? "," : "", h->servers[i].host)) == 0 &&
            (r = strbuf_printf(&hostaddr, "%s%s", k ? "," : "", h->servers[i].addresses[at])) == 0)
            r = strbuf_printf(&port, "%s%s", k ? "," : "", h->servers[i].port);
    }
    if (r < 0)
        (void) snprintf(h->error, sizeof h->error, "out of memory");
    if (all > 0 && r == 0)
        done(userdata, host.text, hostaddr.text, port.text, all, NULL);
    else
        done(userdata, NULL, NULL, NULL, 0, h->error[0] ? h->error : NULL);
    strbuf_done(&host);
    strbuf_done(&hostaddr);
    strbuf_done(&port);
}

static void go_on(Hosts *h);

static void resolved(void *userdata, const char *const *addresses, unsigned n, const char *error) {
    Hosts *h = userdata;
    Server *s = &h->servers[h->at++];

    h->resolve = NULL;
    free(s->addresses[0]);
    for (s->n = 0; s->n < n && (s->addresses[s->n] = strdup(addresses[s->n]));)
        s->n++;
    if (s->n == 0 && !h->error[0])
        (void) snprintf(h->error, sizeof h->error, "%.100s: %s", s->host, error);
    go_on(h);
}

static void go_on(Hosts *h) {
    _cleanup_(hosts_cancelp) Hosts *over = NULL;

    for (; h->at < h->n; h->at++)
        if (h->servers[h->at].is_name) {
            if (resolve_start(h->event, h->servers[h->at].host, resolved, h, &h->resolve) == 0)
                return;
            free(h->servers[h->at].addresses[0]);
            h->servers[h->at].n = 0;
            (void) snprintf(h->error, sizeof h->error, "the host's name can't be looked up now");
        }
    over = h;
    end(h);
}

static int on_turn(sd_event_source *source, void *userdata) {
    (void) source;
    go_on(userdata);
    return 0;
}

int hosts_start(sd_event *event, const char *url, unsigned first, HostsDone done, void *userdata,
                Hosts **ret) {
    _cleanup_(hosts_cancelp) Hosts *h = calloc(1, sizeof *h);
    int r;

    if (!h)
        return -ENOMEM;
    h->event = sd_event_ref(event);
    h->first = first;
    h->done = done;
    h->userdata = userdata;
    if ((r = read_url(h, url)) < 0 || (r = sd_event_add_defer(event, &h->turn, on_turn, h)) < 0)
        return r;
    *ret = TAKE(h);
    return 0;
}
