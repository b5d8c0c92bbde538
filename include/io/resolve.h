/* Host names are looked up off the loop, for libpq, libcurl and our own listener: each of them would wait in it.
 *
 * Lookups of one name are one: whoever asks while it is under way waits for the same answer. What was found is
 * remembered, for those who would rather have an old address than none. */
#pragma once
#include <stdint.h>
#include <systemd/sd-event.h>

#include "io/aside.h"

typedef struct Resolver Resolver;
typedef struct Resolve Resolve;

#define RESOLVE_MAX 16          /* addresses of one name */
#define RESOLVE_ADDRESS_SIZE 64 /* of an address as text, with its scope */

int resolver_new(Resolver **ret, sd_event *event);

/* Nobody may wait for a name any more. Takes NULL, returns NULL; never waits. */
Resolver *resolver_free(Resolver *r);

/* For other calls that may have to look up a name. */
Aside *resolver_aside(Resolver *r);

/* `addresses`: numeric, `n` of them; or none with `error` saying why. Called once, from the loop and never from
 * within resolve_start(); the operation is gone then, and the addresses with it. */
typedef void (*ResolveDone)(void *userdata, const char *const *addresses, unsigned n,
                            const char *error);

/* Looks `name` up anew. Returns 0, -ENOMEM or -EAGAIN. */
int resolve_start(Resolver *r, const char *name, ResolveDone done, void *userdata, Resolve **ret);

/* Takes NULL, returns NULL; never waits. */
Resolve *resolve_cancel(Resolve *w);

/* What is known of `name` that is not older than `age_usec`: how many addresses, and they; the caller's to read
 * before the next call. */
unsigned resolve_known(const Resolver *r, const char *name, uint64_t age_usec,
                       const char *ret[static RESOLVE_MAX]);

/* How long the lookup of `name` that is under way has taken so far; 0: none is. */
uint64_t resolve_hangs_usec(const Resolver *r, const char *name);
