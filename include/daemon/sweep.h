/* Once a minute: objects that no row names and whose writers are long gone are removed from the store, by the names that
 * are written down for them. The database gives each to one worker at a time. In driver dir, once an hour, also
 * temporary files that an upload left there when its process was killed. */
#pragma once
#include "daemon/worker.h"

typedef struct Sweep Sweep;

/* 0, -ENOMEM or what libsystemd answers. */
int sweep_new(Sweep **ret, Worker *w);
Sweep *sweep_free(Sweep *s);
