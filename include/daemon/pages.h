/* /metrics, /healthz and /readyz, for who watches over us. */
#pragma once
#include "daemon/sample.h"
#include "daemon/worker.h"

/* Nothing listens where [metrics] listen is empty: *ret is NULL then. 0, -ENOMEM or what libsystemd
 * answers; that the port is taken is no reason not to run. */
typedef struct Pages Pages;

int pages_new(Pages **ret, Worker *w, const Sample *sample);
Pages *pages_free(Pages *p);
