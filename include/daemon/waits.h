/* What a job waits for longer than a minute is said once: in the log, and in `meshifyctl status`. */
#pragma once
#include "daemon/worker.h"

/* The job went from one place to another; where it rests, it is still where it goes on. */
void waits_moved(Task *t);

/* It gets further where it is. */
void waits_restart(Task *t);

/* Once a second. */
void waits_tick(Worker *w);

/* What it waits for at the moment. Returns `to`. */
const char *waits_for(const Task *t, char *to, size_t room);

/* The same, and where it is, into the log. */
void waits_dump(const Task *t, uint64_t now_usec);
