/* Whose addresses a request needs, its host's or its proxy's, and where they come from. libcurl is handed them and
 * looks up nothing by itself: its threads are waited for when a transfer ends, in the loop. Which proxy is meant for
 * which host is base/proxy.c's; looking up is resolve.c's. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"
#include "io/http_route.h"

#define FRESH_USEC (60 * USEC_PER_SEC)     /* an address this young is not looked up anew */
#define KNOWN_USEC (3600 * USEC_PER_SEC)   /* one this old is better than none */
#define KNOWN_WAIT_USEC (2 * USEC_PER_SEC) /* for a lookup, when there is such a one */
#define WAIT_USEC (10 * USEC_PER_SEC)      /* for a lookup, when there is none */
#define CURL_CACHE_SECONDS 3600L /* in which a transfer waits at most before it connects */

struct HttpRoute {
    Resolver *resolver;
    const Proxy *proxy;       /* NULL: goes directly */
    char host[STR_HOST_SIZE]; /* whose addresses are needed; "": nobody's */
    unsigned port;
    bool public_only;
    bool found;     /* no address is needed from us */
    bool forbidden; /* its target is a private address, whoever connects to it */
    Resolve *resolve;
    sd_event_source *timer;
    struct curl_slist *addresses;
    char why[100];
    HttpRouteDone done;
    void *userdata;
};

HttpRoute *http_route_free(HttpRoute *route) {
    if (!route)
        return NULL;
    resolve_cancel(route->resolve);
    sd_event_source_disable_unref(route->timer);
    curl_slist_free_all(route->addresses);
    free(route);
    return NULL;
}

static bool is_number(const char *host) {
    unsigned char bytes[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* Is a numeric address one that nothing public stands behind? */
static bool is_private(const char *text) {
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return address_is_private((const struct sockaddr *) &v4);
    return inet_pton(AF_INET6, text, &v6.sin6_addr) != 1 ||
           address_is_private((const struct sockaddr *) &v6);
}

/* Scheme, host and port of `url`, as libcurl reads them. False: it will say what is wrong with it. */
static bool read_url(const char *url, char host[static STR_HOST_SIZE], unsigned *ret_port,
                     bool *ret_secure) {
    /* International names are looked up in the letters that libcurl will want an address for. */
    unsigned flags = CURLU_DEFAULT_PORT;
    char *name = NULL, *port = NULL, *scheme = NULL;
    CURLU *u = curl_url();
    bool good = false;

#ifdef CURLU_PUNYCODE
    flags |= CURLU_PUNYCODE;
#endif
    if (u && curl_url_set(u, CURLUPART_URL, url, CURLU_PATH_AS_IS) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &name, flags) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK) {
        bool v6 = name[0] == '[';
        size_t size = strlen(name) - (v6 ? 2 : 0);

        good = size > 0 && size < STR_HOST_SIZE;
        if (good)
            (void) snprintf(host, STR_HOST_SIZE, "%.*s", (int) size, name + v6);
        *ret_port = (unsigned) strtoul(port, NULL, 10);
        *ret_secure = strcmp(scheme, "https") == 0;
    }
    curl_free(name);
    curl_free(port);
    curl_free(scheme);
    curl_url_cleanup(u);
    return good;
}

/* --- looking up ---------------------------------------------------------------------------- */

static void end(HttpRoute *route) {
    resolve_cancel(route->resolve);
    route->resolve = NULL;
    route->timer = sd_event_source_disable_unref(route->timer);
    route->done(route->userdata);
}

static void resolved(void *userdata, const char *const *addresses, unsigned n, const char *error) {
    HttpRoute *route = userdata;

    (void) addresses;
    route->resolve = NULL;
    if (n == 0)
        (void) snprintf(route->why, sizeof route->why, "%s", error ? error : "no address");
    end(route);
}

/* The lookup goes on in its thread, and its answer is known to the next request. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    HttpRoute *route = userdata;

    (void) source;
    (void) usec;
    (void) snprintf(route->why, sizeof route->why, "its name is not found in time");
    end(route);
    return 0;
}

/* Waits for a lookup, but not for long where an old address will do: not at all when the lookup hangs. */
static int look_up(HttpRoute *route, sd_event *event, uint64_t timeout_usec) {
    const char *known[RESOLVE_MAX];
    uint64_t wait = WAIT_USEC, hangs = resolve_hangs_usec(route->resolver, route->host);
    int r;

    if (resolve_known(route->resolver, route->host, FRESH_USEC, known) > 0)
        return 1;
    if (resolve_known(route->resolver, route->host, KNOWN_USEC, known) > 0) {
        if (hangs > KNOWN_WAIT_USEC && hangs < WAIT_USEC)
            return 1;
        wait = KNOWN_WAIT_USEC;
    }
    if (timeout_usec > 0 && timeout_usec < wait)
        wait = timeout_usec;
    r = resolve_start(route->resolver, route->host, resolved, route, &route->resolve);
    if (r == -ENOMEM)
        return r;
    if (r < 0) /* no thread for it now: told from the loop, as all else */
        wait = 0;
    r = sd_event_add_time_relative(event, &route->timer, CLOCK_MONOTONIC, wait, 1, on_timer, route);
    return r < 0 ? -ENOMEM : 0;
}

int http_route_new(HttpRoute **ret, sd_event *event, Resolver *resolver, const Proxies *proxies,
                   const HttpRequest *request, HttpRouteDone done, void *userdata) {
    HttpRoute *route = calloc(1, sizeof *route);
    char target[STR_HOST_SIZE];
    bool secure = false;
    int r = 1;

    if (!route)
        return -ENOMEM;
    route->resolver = resolver;
    route->public_only = request->public_only;
    route->done = done;
    route->userdata = userdata;
    if (read_url(request->url, target, &route->port, &secure)) {
        route->proxy = proxies_find(proxies, secure, target, route->port);
        (void) snprintf(route->host, sizeof route->host, "%s",
                        route->proxy ? route->proxy->host : target);
        if (route->proxy)
            route->port = route->proxy->port;
        route->found = is_number(route->host);
        /* A numeric target is judged here, since a proxy would be told the number and ask nobody. */
        route->forbidden = request->public_only && is_number(target) && is_private(target);
        if (!route->found && (r = look_up(route, event, request->timeout_usec)) < 0) {
            http_route_free(route);
            return r;
        }
    } else
        route->found = true; /* libcurl refuses the URL */
    *ret = route;
    return r;
}

/* --- telling libcurl ------------------------------------------------------------------------- */

/* "+HOST:PORT:ADDRESS,ADDRESS…". The plus lets it age like what libcurl finds by itself. */
static CURLcode list_addresses(HttpRoute *route, HttpReply *reply) {
    const char *known[RESOLVE_MAX];
    unsigned n = resolve_known(route->resolver, route->host, KNOWN_USEC, known), used = 0;
    bool check = route->public_only && !route->proxy, private = false;
    StrBuf text = { 0 };
    int r = strbuf_printf(&text, "+%s:%u:", route->host, route->port);

    for (unsigned i = 0; i < n && r == 0; i++)
        if (check && is_private(known[i]))
    private = true;
    else if (is_number(known[i])) /* libcurl reads no scopes: fe80::1%eth0 */
        r = strbuf_printf(&text, "%s%s", used++ ? "," : "", known[i]);
    if (r == 0 && used > 0 && !(route->addresses = curl_slist_append(NULL, text.text)))
        r = -ENOMEM;
    strbuf_done(&text);
    if (r < 0)
        return CURLE_OUT_OF_MEMORY;
    if (used > 0)
        return CURLE_OK;
    if (private) {
        reply->end = HTTP_PRIVATE;
        return CURLE_COULDNT_CONNECT;
    }
    (void) snprintf(reply->error, sizeof reply->error, "%s%.50s: %.80s",
                    route->proxy ? "the proxy " : "", route->host,
                    route->why[0] ? route->why : "no address");
    return CURLE_COULDNT_RESOLVE_HOST;
}

/* libcurl does not know the name after all: it fails rather than to look it up. */
static int refuse_lookup(void *resolver, void *reserved, void *userdata) {
    (void) resolver;
    (void) reserved;
    (void) userdata;
    return 1;
}

CURLcode http_route_apply(HttpRoute *route, CURL *easy, HttpReply *reply) {
    CURLcode r = route->found ? CURLE_OK : list_addresses(route, reply);

    if (route->forbidden) {
        reply->end = HTTP_PRIVATE;
        r = CURLE_COULDNT_CONNECT;
    }
#define SET(option, value) (r = r != CURLE_OK ? r : curl_easy_setopt(easy, option, value))
    SET(CURLOPT_PROXY,
        route->proxy ? route->proxy->url : ""); /* "": none, whatever the environment says */
    SET(CURLOPT_NOPROXY, "");
    SET(CURLOPT_DNS_CACHE_TIMEOUT, CURL_CACHE_SECONDS);
    if (!route->found) {
        SET(CURLOPT_RESOLVE, route->addresses);
        SET(CURLOPT_RESOLVER_START_FUNCTION, refuse_lookup);
    }
#if LIBCURL_VERSION_NUM >= 0x075700
    SET(CURLOPT_QUICK_EXIT,
        1L); /* should it look up something after all, its thread is not waited for */
#endif
#undef SET
    return r;
}

bool http_route_is_direct(const HttpRoute *route) {
    return !route->proxy;
}

/* A tunnel through it was refused (CONNECT), or it wants another login for a plain request. */
bool http_route_refused(const HttpRoute *route, CURL *easy, HttpReply *reply) {
    long tunnel = 0, code = 0;

    if (!route || !route->proxy)
        return false;
    (void) curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &tunnel);
    (void) curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
    if (tunnel > 0 ? tunnel / 100 == 2 : code != 407)
        return false;
    (void) snprintf(reply->error, sizeof reply->error, "the proxy %.60s answers HTTP %ld%s",
                    route->proxy->host, tunnel > 0 ? tunnel : code,
                    tunnel == 407 || code == 407 ? ": it wants another login" : "");
    return true;
}

void http_route_explain(const HttpRoute *route, CURL *easy, const char *why, HttpReply *reply) {
    long tunnel = 0;

    (void) curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &tunnel);
    if (route && route->proxy && reply->end == HTTP_UNSENT && tunnel == 0)
        (void) snprintf(reply->error, sizeof reply->error, "the proxy %.60s:%u: %.80s",
                        route->proxy->host, route->proxy->port, why);
    else
        str_clean(reply->error, sizeof reply->error, why);
}
