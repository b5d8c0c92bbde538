/* Lists of servers as libpq takes them: read from a URL and what it refers to, and written back
 * with an address for each name. Nothing is looked up here. */
#include <arpa/inet.h>
#include <errno.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "io/hosts_list.h"

void hosts_text_done(HostsText *t) {
    free(t->host);
    free(t->hostaddr);
    free(t->port);
    *t = (HostsText){ 0 };
}

static const char *or_empty(const char *text) {
    return text ? text : "";
}

/* PQconninfoParse() does not look into a service. What does, is to begin a connection: so one is begun with a
 * value that libpq refuses before it does anything, and asked for what it was given. The password keeps libpq
 * from its password file, whose faults it would tell twice. */
int hosts_text_read(const char *url, HostsText *ret) {
    static const char *const keys[] = { "dbname", "sslmode", "password", NULL };
    const char *const values[] = { url, "none of them", "none", NULL };
    PGconn *conn = PQconnectStartParams(keys, values, 1);
    PQconninfoOption *options = conn ? PQconninfo(conn) : NULL;
    const char *host = NULL, *hostaddr = NULL, *port = NULL;

    for (const PQconninfoOption *o = options; o && o->keyword; o++) {
        if (strcmp(o->keyword, "host") == 0)
            host = o->val;
        else if (strcmp(o->keyword, "hostaddr") == 0)
            hostaddr = o->val;
        else if (strcmp(o->keyword, "port") == 0)
            port = o->val;
    }
    *ret =
        (HostsText){ strdup(or_empty(host)), strdup(or_empty(hostaddr)), strdup(or_empty(port)) };
    PQconninfoFree(options);
    PQfinish(conn);
    if (ret->host && ret->hostaddr && ret->port)
        return 0;
    hosts_text_done(ret);
    return -ENOMEM;
}

/* libpq's lists have commas between their elements; an empty list has one empty element. */
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

/* A directory (a Unix socket) or an abstract socket has no name to look up. */
static int add_server(HostsList *l, const HostsText *t, unsigned i) {
    Server *s = &l->servers[l->n++];

    *s = (Server){ .host = element(t->host, i, false), .port = element(t->port, i, true) };
    s->addresses[0] = element(t->hostaddr, i, false);
    s->n = s->addresses[0] != NULL;
    if (!s->host || !s->port || !s->addresses[0])
        return -ENOMEM;
    s->is_name =
        !*s->addresses[0] && *s->host && *s->host != '/' && *s->host != '@' && !is_address(s->host);
    return 0;
}

/* Where the lists do not fit together, the list stays empty: libpq says what is wrong when it is
 * asked to connect. */
int hosts_list_read(const HostsText *t, HostsList *ret) {
    unsigned n = count(*t->hostaddr ? t->hostaddr : t->host);

    *ret = (HostsList){ 0 };
    if ((*t->host && *t->hostaddr && count(t->host) != n) ||
        (count(t->port) != 1 && count(t->port) != n))
        return 0;
    if (n > HOSTS_MAX)
        return -E2BIG;
    for (unsigned i = 0; i < n; i++)
        if (add_server(ret, t, i) < 0) {
            hosts_list_done(ret);
            return -ENOMEM;
        }
    return 0;
}

void hosts_list_done(HostsList *l) {
    for (unsigned i = 0; i < l->n; i++) {
        free(l->servers[i].host);
        free(l->servers[i].port);
        for (unsigned k = 0; k < l->servers[i].n; k++)
            free(l->servers[i].addresses[k]);
    }
    l->n = 0;
}

/* One entry for each address, beginning with the one that is next in turn: libpq tries them in
 * this order. */
int hosts_list_write(const HostsList *l, unsigned first, HostsText *ret) {
    StrBuf host = { 0 }, hostaddr = { 0 }, port = { 0 };
    unsigned all = 0;
    int r = 0;

    for (unsigned i = 0; i < l->n; i++)
        all += l->servers[i].n;
    for (unsigned k = 0; k < all && r == 0; k++) {
        unsigned i = 0, at = (first + k) % all;

        for (; at >= l->servers[i].n; i++)
            at -= l->servers[i].n;
        if ((r = strbuf_printf(&host, "%s%s", k ? "," : "", l->servers[i].host)) == 0 &&
            (r = strbuf_printf(&hostaddr, "%s%s", k ? "," : "", l->servers[i].addresses[at])) == 0)
            r = strbuf_printf(&port, "%s%s", k ? "," : "", l->servers[i].port);
    }
    *ret = (HostsText){ host.text, hostaddr.text, port.text };
    if (r < 0) {
        hosts_text_done(ret);
        return r;
    }
    return (int) all;
}
