/* Which proxy an HTTP request goes through, by the variables that curl and others obey: https_proxy, http_proxy
 * (in lower case only, since a web server sets HTTP_PROXY from a request's header), all_proxy and no_proxy. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

typedef struct Proxy {
    char *url;                /* as libcurl takes it, perhaps with a password; NULL: none */
    char host[STR_HOST_SIZE]; /* without brackets */
    unsigned port;
} Proxy;

typedef struct Proxies {
    Proxy http, https; /* for URLs of these schemes */
    char *none;        /* hosts that are reached without; NULL: none */
} Proxies;

/* `environ`: "NAME=value", NULL at the end; may be NULL. 0; -ENOMEM; -EINVAL with the name of the variable that
 * is no proxy's URL in `reterr_name`, static. Nothing of `ret` is left to free on failure. */
int proxies_read(char *const *environ, Proxies *ret, const char **reterr_name);
void proxies_done(Proxies *p);

/* The proxy for a URL of that scheme, host (an IPv6 address without brackets) and port; NULL: none. */
const Proxy *proxies_find(const Proxies *p, bool secure, const char *host, unsigned port);

/* "https by HOST:PORT, http by HOST:PORT", without a login; "" where there is none. */
const char *proxies_describe(const Proxies *p, char *to, size_t room);
