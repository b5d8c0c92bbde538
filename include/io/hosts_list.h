/* The servers that a database URL, its service and libpq's environment name. No lookups, no connection. */
#pragma once
#include <stdbool.h>

#include "io/resolve.h"

#define HOSTS_MAX 32 /* that a URL names */

/* libpq's parameters of these names; "" where nothing is said. Heap; the caller's. */
typedef struct HostsText {
    char *host, *hostaddr, *port;
} HostsText;

/* Asks libpq, which reads service files and may ask a directory server for them: it may block. 0 or -ENOMEM;
 * what libpq does not understand is all "": it says why when it is to connect. */
int hosts_text_read(const char *url, HostsText *ret);
void hosts_text_done(HostsText *t);

typedef struct Server {
    char *host, *port;
    char *addresses[RESOLVE_MAX]; /* the first may be "": libpq goes by the host */
    unsigned n;
    bool is_name; /* to be looked up: it has no address yet */
} Server;

typedef struct HostsList {
    Server servers[HOSTS_MAX];
    unsigned n;
} HostsList;

/* 0; -ENOMEM; -E2BIG: more than HOSTS_MAX. Lists that do not fit each other give an empty one: libpq refuses
 * them. Nothing of `ret` is left to free on failure. */
int hosts_list_read(const HostsText *t, HostsList *ret);
void hosts_list_done(HostsList *l);

/* As libpq takes them: an element for each address, beginning with number `first`, and around. Returns how many
 * there are, 0 with nothing in `ret`, or -ENOMEM. */
int hosts_list_write(const HostsList *l, unsigned first, HostsText *ret);
