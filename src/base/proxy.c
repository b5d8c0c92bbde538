/* Decides which proxy a request goes through, from the environment variables that all programs of
 * a machine are told by. libcurl would decide the same, but names are resolved by io/resolve.c,
 * which has to know beforehand whose name is needed: the target's or the proxy's. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/proxy.h"

/* An empty variable counts as unset, as libcurl has it. */
static const char *variable(char *const *environ, const char *name) {
    size_t n = strlen(name);

    for (char *const *v = environ; v && *v; v++)
        if (strncmp(*v, name, n) == 0 && (*v)[n] == '=' && (*v)[n + 1])
            return *v + n + 1;
    return NULL;
}

/* The first of `names` that is set. The lower-case name overrides the other, as libcurl has it;
 * HTTP_PROXY is not among them, because a CGI program's client can set it by a header "Proxy:". */
static const char *first_of(char *const *environ, const char *const *names, const char **ret_name) {
    for (; *names; names++) {
        const char *value = variable(environ, *names);

        *ret_name = *names;
        if (value)
            return value;
    }
    return NULL;
}

/* With socks4 and socks5 libcurl would look up the target's name here; their variants leave it to the proxy. */
static const struct {
    const char *scheme, *as;
    unsigned port; /* libcurl's defaults */
} schemes[] = {
    { "http://", "http://", 1080 },       { "https://", "https://", 443 },
    { "socks5h://", "socks5h://", 1080 }, { "socks5://", "socks5h://", 1080 },
    { "socks4a://", "socks4a://", 1080 }, { "socks4://", "socks4a://", 1080 },
};

/* HOST, HOST:PORT, [V6], [V6]:PORT of `size` bytes. An IPv6 address has colons of its own, so a
 * port begins behind the bracket. */
static bool read_host(const char *text, size_t size, unsigned standard_port, Proxy *ret) {
    char address[STR_HOST_SIZE + 16];
    const char *bracket = memchr(text, ']', size);
    const char *colon =
        bracket ? memchr(bracket, ':', size - (size_t) (bracket - text)) : memchr(text, ':', size);

    if (size >= STR_HOST_SIZE)
        return false;
    (void) snprintf(address, sizeof address, "%.*s", (int) size, text);
    if (!colon)
        (void) snprintf(address + size, sizeof address - size, ":%u", standard_port);
    return str_split_address(address, ret->host, &ret->port) && ret->port > 0;
}

/* [SCHEME://][USER[:PASSWORD]@]HOST[:PORT][/]. A path or a query is refused: it would be a part
 * of a password that was not percent-encoded. */
static int proxy_read(const char *text, Proxy *ret) {
    const char *at = text, *end, *login;
    Proxy p = { 0 };
    size_t i = 0, size;

    if (!str_is_graphic(text))
        return -EINVAL;
    if (strstr(text, "://")) {
        while (i < sizeof schemes / sizeof *schemes &&
               strncasecmp(text, schemes[i].scheme, strlen(schemes[i].scheme)) != 0)
            i++;
        if (i == sizeof schemes / sizeof *schemes)
            return -EINVAL;
        at += strlen(schemes[i].scheme);
    }
    /* The login goes into the URL as it was written: libcurl decodes it. */
    login = at;
    size = strcspn(at, "/?#\\");
    end = memchr(at, '@', size);
    if (end) {
        at = end + 1;
        size -= (size_t) (at - login);
    }
    if (strcmp(at + size, "") != 0 && strcmp(at + size, "/") != 0)
        return -EINVAL;
    if (!read_host(at, size, schemes[i].port, &p))
        return -EINVAL;
    p.url = str_printf(strchr(p.host, ':') ? "%s%.*s[%s]:%u" : "%s%.*s%s:%u", schemes[i].as,
                       (int) (at - login), login, p.host, p.port);
    if (!p.url)
        return -ENOMEM;
    *ret = p;
    return 0;
}

/* The URL may hold a password. */
static void proxy_done(Proxy *p) {
    if (p->url)
        explicit_bzero(p->url, strlen(p->url));
    free(p->url);
    *p = (Proxy){ 0 };
}

void proxies_done(Proxies *p) {
    proxy_done(&p->http);
    proxy_done(&p->https);
    free(p->none);
    p->none = NULL;
}

/* The variable's name is all that an error tells of it: its value may hold a password. */
int proxies_read(char *const *environ, Proxies *ret, const char **reterr_name) {
    static const char *const http[] = { "http_proxy", "all_proxy", "ALL_PROXY", NULL };
    static const char *const https[] = { "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
                                         NULL };
    static const char *const none[] = { "no_proxy", "NO_PROXY", NULL };
    const char *value, *name = NULL;
    Proxies p = { 0 };
    int r = 0;

    /* The first error ends it; its variable's name is in `name`. */
    if ((value = first_of(environ, http, &name)))
        r = proxy_read(value, &p.http);
    if (r == 0 && (value = first_of(environ, https, &name)))
        r = proxy_read(value, &p.https);
    if (r == -EINVAL)
        *reterr_name = name;
    if (r == 0 && (value = first_of(environ, none, &name)) && !(p.none = strdup(value)))
        r = -ENOMEM;
    if (r < 0)
        proxies_done(&p);
    else
        *ret = p;
    return r;
}

/* --- who goes without ------------------------------------------------------------------------ */

/* Are the first `bits` of two addresses the same? */
static bool same_network(const unsigned char *a, const unsigned char *b, unsigned bits) {
    unsigned rest = bits % 8;

    return memcmp(a, b, bits / 8) == 0 &&
           (rest == 0 || (a[bits / 8] ^ b[bits / 8]) >> (8 - rest) == 0);
}

/* `entry` is an address, or a network as ADDRESS/BITS, which libcurl takes since 7.86. */
static bool is_in_network(const char *entry, const char *host) {
    unsigned char network[sizeof(struct in6_addr)], address[sizeof(struct in6_addr)];
    char text[INET6_ADDRSTRLEN];
    const char *slash = strchr(entry, '/');
    size_t size = slash ? (size_t) (slash - entry) : strlen(entry);
    int family = memchr(entry, ':', size) ? AF_INET6 : AF_INET;
    unsigned long bits = family == AF_INET ? 32 : 128;
    char *end;

    if (size >= sizeof text)
        return false;
    memcpy(text, entry, size);
    text[size] = '\0';
    if (inet_pton(family, text, network) != 1 || inet_pton(family, host, address) != 1)
        return false;
    if (slash) {
        unsigned long n = strtoul(slash + 1, &end, 10);

        if (!isdigit((unsigned char) slash[1]) || *end || n > bits)
            return false;
        bits = n;
    }
    return same_network(network, address, (unsigned) bits);
}

/* Is `host` meant by one element of no_proxy? `entry` is changed. A name means itself and all
 * names below it, with or without a dot, or a star and a dot, before it; a port narrows it. */
static bool goes_without(char *entry, const char *host, size_t size, unsigned port) {
    char *colon;
    size_t n;

    if (strcmp(entry, "*") == 0)
        return true;
    if (entry[0] == '[') { /* [V6] or [V6]:PORT */
        char *bracket = strchr(entry, ']');

        if (!bracket || (bracket[1] && bracket[1] != ':') ||
            (bracket[1] == ':' && strtoul(bracket + 2, NULL, 10) != port))
            return false;
        *bracket = '\0';
        return is_in_network(entry + 1, host);
    }
    if (is_in_network(entry, host))
        return true;
    colon = strchr(entry, ':');
    if (colon && strtoul(colon + 1, NULL, 10) != port)
        return false;
    if (colon)
        *colon = '\0';
    if (is_in_network(entry, host))
        return true;
    entry += entry[0] == '*' && entry[1] == '.';
    entry += *entry == '.';
    n = strlen(entry);
    /* A dot at the end is the root of DNS, and says nothing. */
    n -= n > 0 && entry[n - 1] == '.';
    return n > 0 && size >= n && strncasecmp(host + size - n, entry, n) == 0 &&
           (size == n || host[size - n - 1] == '.');
}

/* A dot at the end of a name (the root of DNS) makes no difference. */
static bool is_excepted(const char *list, const char *host, unsigned port) {
    size_t size = strlen(host);

    size -= size > 0 && host[size - 1] == '.';
    for (const char *at = list; at && *at;) {
        size_t n = strcspn(at, ", \t");
        char entry[STR_HOST_SIZE + 8];

        if (n > 0 && n < sizeof entry) {
            memcpy(entry, at, n);
            entry[n] = '\0';
            if (goes_without(entry, host, size, port))
                return true;
        }
        at += n;
        at += strspn(at, ", \t");
    }
    return false;
}

const Proxy *proxies_find(const Proxies *p, bool secure, const char *host, unsigned port) {
    const Proxy *proxy = secure ? &p->https : &p->http;

    return proxy->url && !is_excepted(p->none, host, port) ? proxy : NULL;
}

/* For the log at start. Host and port only: user and password stay out. */
const char *proxies_describe(const Proxies *p, char *to, size_t room) {
    char text[2][STR_HOST_SIZE + 32] = { "", "" };

    if (p->https.url)
        (void) snprintf(text[0], sizeof text[0], "https by %s:%u", p->https.host, p->https.port);
    if (p->http.url)
        (void) snprintf(text[1], sizeof text[1], "http by %s:%u", p->http.host, p->http.port);
    (void) snprintf(to, room, "%s%s%s", text[0], text[0][0] && text[1][0] ? ", " : "", text[1]);
    return to;
}
