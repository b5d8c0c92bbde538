/* One running instance: all parts of it, wired. */
#pragma once
#include "daemon/worker.h"

typedef struct Instance Instance;

/* -ENOTDIR: spool_dir can't be used, which has been said; else -ENOMEM or what libsystemd answers. */
int instance_new(Instance **ret, sd_event *event, const Config *config);
Instance *instance_free(Instance *i);

/* To be read: counts, and the connection. */
const Worker *instance_worker(const Instance *i);

/* Turns the loop until sd_event_exit(); its code, or a negative errno. */
int instance_run(Instance *i);

/* No more claims; jobs are requeued. */
void instance_drain(Instance *i);

/* The time for that is over: what still holds jobs is not waited for. */
void instance_let_go(Instance *i);

/* No job is left, and no call is under way that may bring one. */
bool instance_is_idle(const Instance *i);

/* A clean stop: our row goes. */
void instance_end(Instance *i);

/* One line, and one a job, to the log. */
void instance_dump(const Instance *i);
