/* Looks names up in threads, by getaddrinfo(), so that /etc/hosts, DNS and all else that
 * nsswitch.conf names are used. It can't be interrupted, and may take as long as a name server
 * stays silent: so one name can hold few threads only, and a name that hangs keeps no other
 * waiting. Which address is connected to is the caller's to decide. */
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "io/resolve.h"

#define THREADS_MAX 64
#define NAME_THREADS_MAX 4 /* that one name holds: see AGAIN_USEC */
/* A lookup that takes longer may never end, as where a name service died under it: then another
 * one is begun beside it, as long as there are threads to spare for names that have none. Those
 * of resolv.conf's defaults end after 20 s with two silent servers. */
#define AGAIN_USEC (10 * USEC_PER_SEC)
#define NAMES_MAX 256 /* remembered */

typedef struct Name Name;

/* One getaddrinfo(). The thread works on `text`, `error`, `why` and `found`; `name` is the loop's. */
typedef struct Lookup {
    Name *name; /* NULL: the answer is not wanted any more */
    char *text;
    uint64_t began_usec;
    int error, why; /* EAI_…, and errno for EAI_SYSTEM */
    struct addrinfo *found;
    LIST_ENTRY(Lookup) link;
} Lookup;

struct Resolve {
    ResolveDone done;
    void *userdata;
    LIST_ENTRY(Resolve) link;
};

typedef LIST_HEAD(Waits, Resolve) Waits;

struct Name {
    char *text;
    char addresses[RESOLVE_MAX][RESOLVE_ADDRESS_SIZE];
    unsigned n, n_lookups;
    uint64_t found_usec, newest_usec; /* when they were found; when the newest lookup began */
    Waits waits;
    LIST_HEAD(, Lookup) lookups;
    bool answering; /* its addresses are being read */
    TAILQ_ENTRY(Name) link;
};

struct Resolver {
    Aside *aside;
    TAILQ_HEAD(NameHead, Name) names; /* the one asked for last stands first */
    unsigned n_names;
};

/* --- what is remembered -------------------------------------------------------------------- */

/* The list has 256 names at most, and the ones in use stand first. */
static Name *name_find(const Resolver *r, const char *text) {
    Name *n;

    TAILQ_FOREACH(n, &r->names, link)
    if (strcasecmp(n->text, text) == 0)
        return n;
    return NULL;
}

static void name_forget(Resolver *r, Name *n) {
    TAILQ_REMOVE(&r->names, n, link);
    r->n_names--;
    free(n->text);
    free(n);
}

static bool is_idle(const Name *n) {
    return !n->answering && LIST_EMPTY(&n->waits) && LIST_EMPTY(&n->lookups);
}

/* Forgets names without waiters when there are too many; a name in use is never forgotten,
 * even if the list grows. */
static Name *name_get(Resolver *r, const char *text) {
    Name *n = name_find(r, text), *last = TAILQ_LAST(&r->names, NameHead);

    if (n) {
        TAILQ_REMOVE(&r->names, n, link);
        TAILQ_INSERT_HEAD(&r->names, n, link);
        return n;
    }
    while (r->n_names >= NAMES_MAX && last) {
        Name *before = TAILQ_PREV(last, NameHead, link);

        if (is_idle(last))
            name_forget(r, last);
        last = before;
    }
    if (!(n = calloc(1, sizeof *n)) || !(n->text = strdup(text))) {
        free(n);
        return NULL;
    }
    TAILQ_INSERT_HEAD(&r->names, n, link);
    r->n_names++;
    return n;
}

unsigned resolve_known(const Resolver *r, const char *name, uint64_t age_usec,
                       const char *ret[static RESOLVE_MAX]) {
    const Name *n = name_find(r, name);

    if (!n || n->n == 0 || clock_now_usec() - n->found_usec > age_usec)
        return 0;
    for (unsigned i = 0; i < n->n; i++)
        ret[i] = n->addresses[i];
    return n->n;
}

uint64_t resolve_hangs_usec(const Resolver *r, const char *name) {
    const Name *n = name_find(r, name);
    uint64_t now = clock_now_usec(), longest = 0;
    const Lookup *l;

    if (n)
        LIST_FOREACH(l, &n->lookups, link)
    longest = now - l->began_usec > longest ? now - l->began_usec : longest;
    return longest;
}

/* --- looking up ---------------------------------------------------------------------------- */

static void lookup_free(Lookup *l) {
    if (l->found)
        freeaddrinfo(l->found);
    free(l->text);
    free(l);
}

/* In a thread: nothing of the loop's is touched. */
static void look_up(void *arg) {
    Lookup *l = arg;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }; /* else each comes three times */

    l->error = getaddrinfo(l->text, NULL, &hints, &l->found);
    l->why = errno;
}

/* As texts: callers hand them to libcurl and libpq. */
static void take_addresses(Name *n, const Lookup *l) {
    n->n = 0;
    n->found_usec = clock_now_usec();
    for (const struct addrinfo *a = l->found; a && n->n < RESOLVE_MAX; a = a->ai_next)
        if (getnameinfo(a->ai_addr, a->ai_addrlen, n->addresses[n->n], RESOLVE_ADDRESS_SIZE, NULL,
                        0, NI_NUMERICHOST) == 0)
            n->n++;
}

/* Answers all who wait for this name. Those who ask again from within their answer wait for the
 * next one. */
static void answer(Name *n, const char *error) {
    const char *addresses[RESOLVE_MAX];
    Waits waits = LIST_HEAD_INITIALIZER(waits);
    Resolve *w;

    for (unsigned i = 0; i < n->n; i++)
        addresses[i] = n->addresses[i];
    while ((w = LIST_FIRST(&n->waits))) {
        LIST_REMOVE(w, link);
        LIST_INSERT_HEAD(&waits, w, link);
    }
    n->answering = true;
    while ((w = LIST_FIRST(&waits))) {
        ResolveDone done = w->done;
        void *userdata = w->userdata;

        resolve_cancel(w);
        done(userdata, error ? NULL : addresses, error ? 0 : n->n, error);
    }
    n->answering = false;
}

/* On the loop again. Without a name the answer is not wanted any more. */
static void looked_up(void *arg) {
    Lookup *l = arg;
    Name *n = l->name;

    if (!n) {
        lookup_free(l);
        return;
    }
    LIST_REMOVE(l, link);
    n->n_lookups--;
    if (l->error == 0 && l->found) {
        take_addresses(n, l);
        answer(n, NULL);
    } else {
        const char *error = l->error == EAI_SYSTEM ? strerror(l->why)
                            : l->error             ? gai_strerror(l->error)
                                                   : "it was not looked up";

        if (l->error == EAI_NONAME) /* there is no such name: what was known of it is over */
            n->n = 0;
        if (LIST_EMPTY(&n->lookups)) /* else a newer one may still find it */
            answer(n, error);
    }
    lookup_free(l);
}

static int lookup_start(Resolver *r, Name *n) {
    Lookup *l = calloc(1, sizeof *l);
    int k;

    /* The thread has a copy of the name: the list may forget its own. */
    if (!l || !(l->text = strdup(n->text))) {
        free(l);
        return -ENOMEM;
    }
    l->name = n;
    l->began_usec = n->newest_usec = clock_now_usec();
    if ((k = aside_start(r->aside, look_up, looked_up, l)) < 0) {
        lookup_free(l);
        return k;
    }
    LIST_INSERT_HEAD(&n->lookups, l, link);
    n->n_lookups++;
    return 0;
}

/* A lookup that runs already is shared, unless it seems to hang; then another one may be begun
 * beside it. */
int resolve_start(Resolver *r, const char *name, ResolveDone done, void *userdata, Resolve **ret) {
    _cleanup_free_ Resolve *w = malloc(sizeof *w);
    Name *n = w ? name_get(r, name) : NULL;
    bool hangs;
    int k;

    if (!n)
        return -ENOMEM;
    /* One that has run for ten seconds may never end; another one may find what it does not. */
    hangs = n->n_lookups > 0 && n->n_lookups < NAME_THREADS_MAX &&
            clock_now_usec() - n->newest_usec > AGAIN_USEC && !aside_is_busy(r->aside);
    if ((n->n_lookups == 0 || hangs) && (k = lookup_start(r, n)) < 0 && n->n_lookups == 0)
        return k;
    *w = (Resolve){ .done = done, .userdata = userdata };
    LIST_INSERT_HEAD(&n->waits, w, link);
    *ret = TAKE(w);
    return 0;
}

Resolve *resolve_cancel(Resolve *w) {
    if (w) {
        LIST_REMOVE(w, link);
        free(w);
    }
    return NULL;
}

/* --- owning -------------------------------------------------------------------------------- */

Aside *resolver_aside(Resolver *r) {
    return r->aside;
}

int resolver_new(Resolver **ret, sd_event *event) {
    Resolver *r = calloc(1, sizeof *r);
    int k;

    if (!r)
        return -ENOMEM;
    TAILQ_INIT(&r->names);
    if ((k = aside_new(&r->aside, event, THREADS_MAX)) < 0) {
        free(r);
        return k;
    }
    *ret = r;
    return 0;
}

/* Lookups under way end in their threads, and find their answer unwanted. */
Resolver *resolver_free(Resolver *r) {
    Name *n;

    if (!r)
        return NULL;
    while ((n = TAILQ_FIRST(&r->names))) {
        for (Lookup *l; (l = LIST_FIRST(&n->lookups));) {
            LIST_REMOVE(l, link);
            l->name = NULL;
        }
        name_forget(r, n);
    }
    aside_free(r->aside);
    free(r);
    return NULL;
}
