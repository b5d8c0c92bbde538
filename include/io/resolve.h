/* Host names are looked up off the loop: libpq would block in it. */
#pragma once
#include <systemd/sd-event.h>

typedef struct Resolve Resolve;

#define RESOLVE_MAX 8 /* addresses of one name */

/* `addresses`: numeric, `n` of them; or none with `error` saying why. Called once, from the loop; the
 * operation is gone then, and the addresses with it. */
typedef void (*ResolveDone)(void *userdata, const char *const *addresses, unsigned n,
                            const char *error);

int resolve_start(sd_event *event, const char *name, ResolveDone done, void *userdata,
                  Resolve **ret);

/* Takes NULL, returns NULL; never waits. */
Resolve *resolve_cancel(Resolve *r);
