/* What a job's waiting counts as. Only what holds everybody stands outside job_timeout: the queue, a held
 * lane, the database, and the search for a lost purchase, which has an hour of its own. */
#pragma once
#include "daemon/worker.h"

/* A service has answered this job with trouble (its fault). The lane is held, unless others were answered well
 * since this job's last trouble: then the trouble is its own, and it alone pays with its time. */
void patience_trouble(Task *t, LaneName name);

/* How much of a rest of `usec`, which begins now, holds everybody and not this job alone. */
uint64_t patience_idle_usec(const Task *t, uint64_t usec);

/* The job goes from `from` to `to`: keeps what it has to remember of its waiting. Its time in `from` is not
 * over yet for the lanes. */
void patience_moved(Task *t, JobPos from, JobPos to, JobEvent ev);

/* job_timeout is over for a job that was there: its fault says what it was that took so long. */
void patience_over(Task *t, JobPos from);
