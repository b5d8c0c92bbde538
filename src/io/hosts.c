/* Finds the addresses of a database's servers, so that libpq has no name to look up: it would do
 * so in the loop, and wait. A name that hangs delays a connection for a moment, and keeps nobody
 * from the other servers. How a list of servers is read and written is hosts_list.c's; the
 * lookups are resolve.c's. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "io/hosts.h"
#include "io/hosts_list.h"

#define FIRST_WAIT_USEC USEC_PER_SEC /* while there is an address to go on with */
#define WAIT_USEC (5 * USEC_PER_SEC)
#define KNOWN_USEC (3600 * USEC_PER_SEC) /* an address that old is better than none */

/* A question to libpq, asked in a thread. */
typedef struct Question {
    Hosts *hosts; /* NULL: nobody waits for the answer */
    char *url;    /* may hold a password */
    HostsText text;
    int error;
} Question;

/* The lookup of one server's name. */
typedef struct Wanted {
    Hosts *hosts;
    Resolve *resolve;
    Server *server;
} Wanted;

struct Hosts {
    Resolver *resolver;
    Question *question; /* under way */
    sd_event_source *timer;
    HostsList list;
    Wanted wanted[HOSTS_MAX];
    unsigned first, open; /* `open`: lookups under way */
    uint64_t began_usec;
    char error[160];
    HostsDone done;
    void *userdata;
};

static void question_free(Question *q) {
    if (q->url)
        explicit_bzero(q->url, strlen(q->url));
    free(q->url);
    hosts_text_done(&q->text);
    free(q);
}

Hosts *hosts_cancel(Hosts *h) {
    if (!h)
        return NULL;
    if (h->question)
        h->question->hosts = NULL; /* asked() frees it */
    for (unsigned i = 0; i < h->list.n; i++)
        resolve_cancel(h->wanted[i].resolve);
    sd_event_source_disable_unref(h->timer);
    hosts_list_done(&h->list);
    free(h);
    return NULL;
}

/* The callback may start all over again, so `h` is not used after it but to be freed. */
static void fail(Hosts *h, const char *error) {
    h->done(h->userdata, NULL, NULL, NULL, 0, error);
    hosts_cancel(h);
}

/* The addresses found so far are enough: one reachable server will do. */
static void end(Hosts *h) {
    HostsText t = { 0 };
    int n = hosts_list_write(&h->list, h->first, &t);

    if (n > 0) {
        h->done(h->userdata, t.host, t.hostaddr, t.port, (unsigned) n, NULL);
        hosts_cancel(h);
    } else
        fail(h, n < 0                 ? "out of memory"
                : h->list.n == 0      ? NULL
                : h->error[0] != '\0' ? h->error
                                      : "its name is not found in time");
    hosts_text_done(&t);
}

static bool has_address(const Hosts *h) {
    for (unsigned i = 0; i < h->list.n; i++)
        if (h->list.servers[i].n > 0)
            return true;
    return false;
}

/* A shortage of memory takes fewer addresses, which is better than none. */
static void take(Server *s, const char *const *addresses, unsigned n) {
    for (s->n = 0; s->n < n && (s->addresses[s->n] = strdup(addresses[s->n]));)
        s->n++;
}

/* Takes the last known addresses for names that were not found. False when there is no address at
 * all. An hour-old address is better than none: the name server may be away together with the
 * database. */
static bool make_do(Hosts *h) {
    const char *known[RESOLVE_MAX];

    for (unsigned i = 0; i < h->list.n; i++) {
        Server *s = &h->list.servers[i];

        if (s->is_name && s->n == 0)
            take(s, known, resolve_known(h->resolver, s->host, KNOWN_USEC, known));
    }
    return has_address(h);
}

/* The end of one lookup. The first error is kept for the message. */
static void resolved(void *userdata, const char *const *addresses, unsigned n, const char *error) {
    Wanted *w = userdata;
    Hosts *h = w->hosts;

    w->resolve = NULL;
    h->open--;
    take(w->server, addresses, n);
    if (n == 0 && !h->error[0])
        (void) snprintf(h->error, sizeof h->error, "%.100s: %s", str_host(w->server->host), error);
    if (h->open > 0)
        return;
    (void) make_do(h);
    end(h);
}

/* After a second it goes on with what there is; without any address it waits for five. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Hosts *h = userdata;

    (void) usec;
    if (!make_do(h) && clock_now_usec() - h->began_usec < WAIT_USEC) {
        (void) sd_event_source_set_time_relative(source, USEC_PER_SEC / 2);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
    }
    end(h);
    return 0;
}

/* The servers are known now; their names are looked up side by side. */
static void look_up(Hosts *h) {
    for (unsigned i = 0; i < h->list.n; i++) {
        Server *s = &h->list.servers[i];
        Wanted *w = &h->wanted[i];

        if (!s->is_name)
            continue;
        free(s->addresses[0]);
        s->n = 0;
        *w = (Wanted){ .hosts = h, .server = s };
        if (resolve_start(h->resolver, s->host, resolved, w, &w->resolve) == 0)
            h->open++;
        else
            (void) snprintf(h->error, sizeof h->error, "the host's name can't be looked up now");
    }
    /* Only addresses in the URL, or no lookup could be begun: there is nothing to wait for. */
    if (h->open == 0) {
        end(h);
        return;
    }
    h->began_usec = clock_now_usec();
    (void) sd_event_source_set_time_relative(h->timer, FIRST_WAIT_USEC);
    (void) sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT);
}

/* In a thread: libpq reads its service file here, which may lie on a network's disk. */
static void ask(void *arg) {
    Question *q = arg;

    q->error = hosts_text_read(q->url, &q->text);
}

static void asked(void *arg) {
    Question *q = arg;
    Hosts *h = q->hosts;
    int r = q->error;

    if (h) {
        h->question = NULL;
        r = r < 0 || !q->text.host ? -ENOMEM : hosts_list_read(&q->text, &h->list);
    }
    question_free(q);
    if (!h)
        return;
    if (r < 0)
        fail(h, r == -E2BIG ? "the URL names more than 32 hosts" : "out of memory");
    else
        look_up(h);
}

int hosts_start(sd_event *event, Resolver *resolver, const char *url, unsigned first,
                HostsDone done, void *userdata, Hosts **ret) {
    Hosts *h = calloc(1, sizeof *h);
    Question *q = calloc(1, sizeof *q);
    int r = -ENOMEM;

    if (h && q && (q->url = strdup(url)) &&
        (r = sd_event_add_time(event, &h->timer, CLOCK_MONOTONIC, 0, 1, on_timer, h)) >= 0 &&
        (r = sd_event_source_set_enabled(h->timer, SD_EVENT_OFF)) >= 0 &&
        (r = aside_start(resolver_aside(resolver), ask, asked, q)) >= 0) {
        h->resolver = resolver;
        h->first = first;
        h->done = done;
        h->userdata = userdata;
        h->question = q;
        q->hosts = h;
        *ret = h;
        return 0;
    }
    if (q)
        question_free(q);
    hosts_cancel(h);
    return r;
}
