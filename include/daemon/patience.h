/* What a job's waiting counts as. Only what holds everybody stands outside job_timeout: the queue, a held
 * lane, the database, and the search for a lost purchase, which has an hour of its own. */
#pragma once
#include "daemon/worker.h"

typedef struct Patience {       /* of one job; zeroed: nothing kept it waiting where it is */
    Fault trouble;              /* what kept it waiting the last time */
    bool troubled;              /* a service had trouble with it in this state, ... */
    bool is_own;                /* ... and not with others */
    unsigned long long answers; /* of the lane's, when it had */
} Patience;

/* A service has answered this job with trouble. The lane is held, unless others were answered well since this job's
 * last trouble: then the trouble is its own, and it alone pays with its time. */
void patience_trouble(Patience *p, Lane *lane, const Fault *fault);

/* How much of a rest of `usec`, which begins now, holds everybody and not this job alone. */
uint64_t patience_idle_usec(const Patience *p, const Worker *w, const Job *j, uint64_t usec);

/* The job has made a move: keeps what it has to remember of its waiting. */
void patience_moved(Patience *p, const JobMove *m, const Job *j);

/* job_timeout is over for a job that was there: what it was that took so long. */
void patience_over(const Patience *p, JobPos from, Fault *reterr);
