/* The doctor's look at addresses in the configuration that would fail only after something was
 * bought: the store as Replicate sees it, and the hosts that files come from. Names are looked up
 * as the daemon looks them up; nothing is connected to. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/address.h"
#include "base/str.h"
#include "ctl/doctor_hosts.h"
#include "flow/store.h"

/* Resolvers give up after 5 s by default, and ask a second server then. */
#define LOOKUP_USEC (UINT64_C(10) * 1000000)

typedef enum Place {
    PLACE_PUBLIC,
    PLACE_PRIVATE,
    PLACE_BARE,   /* a name without a dot: some network's own */
    PLACE_NOWHERE /* no address was found */
} Place;

typedef struct Lookup {
    bool over;
    unsigned n, private;
} Lookup;

/* An address that can't be read counts as private: the daemon will not connect to it. */
static bool is_private(const char *address) {
    const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    bool private;

    if (getaddrinfo(address, NULL, &hints, &found) != 0)
        return true;
    private = address_is_private(found->ai_addr);
    freeaddrinfo(found);
    return private;
}

static void resolved(void *userdata, const char *const *addresses, unsigned n, const char *error) {
    Lookup *l = userdata;

    (void) error;
    l->over = true;
    for (l->n = 0; l->n < n; l->n++)
        l->private += is_private(addresses[l->n]);
}

static bool is_address(const char *host) {
    unsigned char bytes[16];

    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* From here a name may look public and be private from there; all that can be said is what this
 * machine sees. */
static Place find(Outside *o, const char *host) {
    Lookup l = { 0 };
    Resolve *op = NULL;

    if (is_address(host))
        return is_private(host) ? PLACE_PRIVATE : PLACE_PUBLIC;
    if (!strchr(host, '.') && strcasecmp(host, "localhost") != 0)
        return PLACE_BARE;
    if (resolve_start(o->resolver, host, resolved, &l, &op) < 0)
        return PLACE_NOWHERE;
    /* The loop turns here alone: nothing else runs in it. */
    while (!l.over && sd_event_run(o->event, LOOKUP_USEC) > 0)
        ;
    if (!l.over)
        resolve_cancel(op);
    return l.n == 0 ? PLACE_NOWHERE : l.private == l.n ? PLACE_PRIVATE : PLACE_PUBLIC;
}

/* The HOST of "http://HOST:PORT/…" or of "HOST:PORT". */
static void host_of(const char *text, char *to, size_t room) {
    const char *host = strstr(text, "://");

    host = host ? host + 3 : text;
    (void) snprintf(to, room, "%.*s", (int) strcspn(host, ":/ "), host);
}

/* Images that are paths in the bucket are handed to Replicate as signed URLs of the store, so it
 * has to reach the store from outside. */
static void check_store(Doctor *d, Outside *o) {
    const Config *c = d->config;
    const char *url = c->public_url ? c->public_url : c->storage_url, *what = NULL;
    char host[STR_HOST_SIZE], replicate[STR_HOST_SIZE];
    Place place;

    host_of(url, host, sizeof host);
    host_of(c->replicate_url, replicate, sizeof replicate);
    if (strcmp(host, replicate) == 0) /* a simulator beside the store sees what we see */
        return;
    place = find(o, host);
    /* In this order: the first that applies is what the operator has to mend first. */
    if (place == PLACE_BARE)
        what = "a name that only your network knows";
    else if (place == PLACE_PRIVATE)
        what = "a private address";
    else if (!c->public_url && strncmp(url, "http://", 7) == 0)
        what = "http, which shows them to whoever stands between";
    if (what)
        doctor_say(d, GRADE_WARN, "storage",
                   "Set [storage] public_url to the address that the store has from outside.",
                   "images that are paths in the bucket are handed to Replicate with [storage] "
                   "%s, %s: %s",
                   c->public_url ? "public_url" : "url", url, what);
}

/* Behind a proxy, and for a whole domain, there is no name that this machine could look up. */
static void check_download(Doctor *d, Outside *o, const char *entry) {
    const Config *c = d->config;
    const char *what = NULL, *colon = strchr(entry, ':');
    unsigned port = colon ? (unsigned) strtoul(colon + 1, NULL, 10) : 443;
    char host[STR_HOST_SIZE];
    Place place;

    host_of(entry, host, sizeof host);
    if (*host == '*' || proxies_find(&c->proxies, !c->allow_insecure, host, port))
        return; /* of a domain any host may come; behind a proxy, names are its to know */
    place = find(o, host);
    if (place == PLACE_NOWHERE)
        what = "its name can't be found";
    else if (place == PLACE_BARE && !c->allow_insecure)
        what = "a name without a dot is of a private network, and refused";
    else if (place == PLACE_PRIVATE && !c->allow_insecure)
        what = "its address is private, and refused";
    if (what)
        doctor_say(d, GRADE_WARN, "download",
                   "Name in [replicate] download_hosts the hosts that outputs come from; only in "
                   "tests, with allow_insecure, may they be private.",
                   "%s: %s", entry, what);
}

void doctor_hosts(Doctor *d, Outside *o) {
    const Config *c = d->config;
    /* A copy, since strtok_r() writes into it. */
    char *entries = strdup(c->download_hosts), *rest = NULL;

    if (store_driver(c)->sign)
        check_store(d, o);
    for (char *entry = entries ? strtok_r(entries, " ", &rest) : NULL; entry;
         entry = strtok_r(NULL, " ", &rest))
        check_download(d, o, entry);
    free(entries);
}
