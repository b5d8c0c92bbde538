/* Which servers a database URL names, with the addresses of their names: as the lists that libpq takes. */
#pragma once
#include <systemd/sd-event.h>

#include "io/resolve.h"

typedef struct Hosts Hosts;

/* Lists of `n` each, for libpq's parameters of these names; the callee's to read, not to keep.
 * All NULL with `error` NULL: the URL has no list and no name, libpq needs no help. All NULL with an
 * `error`: none of its names has an address. Called once, from the loop; the operation is gone then. */
typedef void (*HostsDone)(void *userdata, const char *host, const char *hostaddr, const char *port,
                          unsigned n, const char *error);

/* libpq tries the servers in turn for as long as we let it. So that one which does not answer at all
 * can't keep it from the others, the list begins with number `first` of it, and goes around. All names are
 * looked up at once; one that takes longer than a second is left out where another server has an address, and
 * after five seconds in any case. Its last known address counts, within an hour. */
int hosts_start(sd_event *event, Resolver *resolver, const char *url, unsigned first,
                HostsDone done, void *userdata, Hosts **ret);

/* Takes NULL, returns NULL. */
Hosts *hosts_cancel(Hosts *h);
