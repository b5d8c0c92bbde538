/* Deletes events older than [database] event_retention, once an hour, a batch at a time. */
#pragma once
#include "daemon/worker.h"

typedef struct Prune Prune;

/* 0, -ENOMEM or what libsystemd answers. */
int prune_new(Prune **ret, Worker *w);
Prune *prune_free(Prune *p);
