/* Host names are looked up off the loop: libpq would block in it. */
#pragma once
#include <systemd/sd-event.h>

typedef struct Resolve Resolve;

/* `address`: numeric, or NULL with `error` saying why. Called once, from the loop; the operation is
 * gone then. */
typedef void (*ResolveDone)(void *userdata, const char *address, const char *error);

int resolve_start(sd_event *event, const char *name, ResolveDone done, void *userdata,
                  Resolve **ret);

/* Takes NULL, returns NULL. May wait for the C library where it can't be called back. */
Resolve *resolve_cancel(Resolve *r);
