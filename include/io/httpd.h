/* A small HTTP server on the loop, for pages that are made when they are asked for: GET and HEAD,
 * nothing else. libmicrohttpd without a thread; who sends nothing is let go after ten seconds. */
#pragma once
#include <stddef.h>
#include <systemd/sd-event.h>

#include "io/resolve.h"

typedef struct Httpd Httpd;

typedef struct HttpdPage {
    unsigned code;
    const char *type; /* static */
    char *body;       /* malloc()ed; taken over */
    size_t size;
} HttpdPage;

/* All are called from the loop, never from within httpd_new(). */
typedef struct HttpdEvents {
    /* Makes the page of `path` (without a query). 0; -ENOENT: there is none; another negative errno is
     * answered with 500. Must not free the server. */
    int (*page)(void *userdata, const char *path, HttpdPage *ret);
    void (*listens)(void *userdata, const char *address); /* numeric, with the port that it got */
    /* It can't listen there: called for each try, one every ten seconds. `error`: a negative errno;
     * 0: the name was not found, and `why` says more. */
    void (*fails)(void *userdata, int error, const char *why);
} HttpdEvents;

/* `address`: HOST:PORT or [V6]:PORT, see str_split_address(); port 0: any free one. `clients`: connected at
 * once; the next one gets the place of the oldest. Returns 0,
 * -ENOMEM or what libsystemd answers. That the address can't be had is told to `fails`. */
int httpd_new(Httpd **ret, sd_event *event, Resolver *resolver, const char *address,
              unsigned clients, const HttpdEvents *events, void *userdata);
Httpd *httpd_free(Httpd *h);
