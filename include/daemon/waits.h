/* What a job waits for longer than a minute is said once: in the log, and in `meshifyctl status`. */
#pragma once
#include "daemon/task.h"

typedef struct Waits Waits;

int waits_new(Waits **ret, Worker *w); /* 0, -ENOMEM */
Waits *waits_free(Waits *waits);

/* Once a second. */
void waits_tick(Waits *waits);

/* What it waits for at the moment, and where it is, into the log. */
void waits_dump(const Task *t, uint64_t now_usec);
