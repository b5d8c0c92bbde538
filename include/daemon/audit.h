/* Once a minute: purchases that nobody could find are looked for again, and predictions that no job
 * waits for are cancelled; the same for objects (daemon/sweep.h). The database gives each to one worker at a time. */
#pragma once
#include "daemon/worker.h"

int audit_init(Worker *w);
void audit_done(Worker *w);
