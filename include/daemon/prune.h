/* Deletes events older than [database] event_retention, once an hour, a batch at a time. */
#pragma once
#include "daemon/worker.h"

int prune_init(Worker *w);
void prune_done(Worker *w);
