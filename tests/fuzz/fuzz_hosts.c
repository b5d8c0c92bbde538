/* What names servers and hosts: database URLs and services, lists of hosts, proxies, addresses, a host among
 * patterns. The first byte says which; NUL bytes part the texts. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/proxy.h"
#include "io/hosts_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Written again, a list has an element for each address, everywhere; and is read as what it was. */
static void lists(const HostsText *t) {
    HostsText again = { 0 };
    HostsList l, m;
    int n;

    if (hosts_list_read(t, &l) < 0)
        return;
    if (l.n > HOSTS_MAX)
        abort();
    n = hosts_list_write(&l, 3, &again);
    if (n > 0) {
        if (!again.host || !again.hostaddr || !again.port || hosts_list_read(&again, &m) < 0)
            abort();
        if (m.n != (unsigned) n || m.n != l.n)
            abort();
        for (unsigned i = 0; i < m.n; i++) {
            const Server *a = &l.servers[(3 + i) % l.n], *b = &m.servers[i];

            if (strcmp(a->host, b->host) != 0 || strcmp(a->port, b->port) != 0 ||
                strcmp(a->addresses[0], b->addresses[0]) != 0 || a->is_name != b->is_name)
                abort();
        }
        hosts_list_done(&m);
    }
    hosts_text_done(&again);
    hosts_list_done(&l);
}

static void database(const char *url) {
    HostsText t;

    if (hosts_text_read(url, &t) == 0)
        lists(&t);
    hosts_text_done(&t);
}

static void proxy(const char *value, const char *none, const char *host) {
    char *all = str_printf("all_proxy=%s", value), *no = str_printf("no_proxy=%s", none);
    char *environ_[] = { all, no, NULL }, text[600];
    const char *name = NULL;
    Proxies p = { 0 };

    if (all && no && proxies_read(environ_, &p, &name) == 0) {
        if (p.https.url && (p.https.port == 0 || !p.https.host[0] ||
                            !strstr(p.https.url, p.https.host) || !strstr(p.https.url, "://")))
            abort();
        (void) proxies_find(&p, true, host, 443);
        /* A login is never described: it ends at the last @. */
        if (strchr(proxies_describe(&p, text, sizeof text), '@'))
            abort();
        proxies_done(&p);
    } else if (!name || strcmp(name, "all_proxy") != 0)
        abort();
    free(all);
    free(no);
}

/* What stands for an IPv4 address is judged as that is. */
static void address(const uint8_t *bytes, size_t size) {
    static const char *const around[] = { "::", "::ffff:", "::ffff:0:", "64:ff9b::" };
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    char number[INET_ADDRSTRLEN], text[64];

    if (size < 4)
        return;
    memcpy(&v4.sin_addr, bytes, 4);
    (void) inet_ntop(AF_INET, &v4.sin_addr, number, sizeof number);
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

        (void) snprintf(text, sizeof text, "%s%s", around[i], number);
        if (inet_pton(AF_INET6, text, &v6.sin6_addr) != 1 ||
            address_is_private((const struct sockaddr *) &v6) !=
                address_is_private((const struct sockaddr *) &v4))
            abort();
    }
    if (size >= 16) {
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

        memcpy(&v6.sin6_addr, bytes, 16);
        (void) address_is_private((const struct sockaddr *) &v6);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char *text = malloc(size + 1), *part[3];
    size_t at = 1;

    if (!text || size == 0) {
        free(text);
        return 0;
    }
    memcpy(text, bytes, size);
    text[size] = '\0';
    for (int i = 0; i < 3; i++) {
        part[i] = text + at;
        at += strlen(part[i]);
        at += at < size;
    }
    switch (text[0]) {
    case 'd':
        database(part[0]);
        break;
    case 'l':
        lists(&(HostsText){ part[0], part[1], part[2] });
        break;
    case 'p':
        proxy(part[0], part[1], part[2]);
        break;
    case 'a':
        address(bytes + 1, size - 1);
        break;
    default:
        (void) str_host_matches(part[0], part[1], 443, 443);
    }
    free(text);
    return 0;
}
