/* Once a minute: purchases that nobody could find are looked for again, and predictions that no job waits for are
 * canceled. The database gives each to one worker at a time. */
#pragma once
#include "daemon/worker.h"

typedef struct Audit Audit;

/* 0, -ENOMEM or what libsystemd answers. Must be freed before w->looking. */
int audit_new(Audit **ret, Worker *w);
Audit *audit_free(Audit *a);
