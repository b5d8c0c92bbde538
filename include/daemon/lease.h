/* The worker's row: heartbeat, a lost lease, dead workers, the connection's ups and downs. */
#pragma once
#include "daemon/worker.h"

/* To be called when the working connection comes up. */
void lease_connected(Worker *w);
void lease_disconnected(Worker *w, const char *why, uint64_t retry_usec);

/* When the next heartbeat goes out; it depends on whether notifications arrive. */
void lease_plan(Worker *w);

/* The database counts `held` jobs of ours: where we count others, it is asked which. */
void lease_compare(Worker *w, unsigned held);

/* May something be begun that costs money or writes an object? */
bool lease_is_trusted(Worker *w);

/* The time of day, by the database's clock: ours may be wrong, and may step. */
int64_t lease_epoch(const Worker *w);

/* A clean stop: our row goes. */
void lease_end(Worker *w);

int lease_init(Worker *w);
void lease_done(Worker *w);
