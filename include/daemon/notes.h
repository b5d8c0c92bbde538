/* Notes to the database, and requests to Replicate, whose answer nobody waits for: a purchase's end, a job's progress, a
 * cancel that the audit repeats if need be. */
#pragma once
#include "daemon/task.h"

/* It gets further: what its workers died of before is forgiven. */
void notes_forgive(Task *t);

/* What became of the live purchase. `output`, `metrics` and `error` may be NULL. */
void notes_settle(Task *t, const char *status, const json_t *output, const json_t *metrics,
                  const char *error, bool usable);

/* The live purchase was never sent, or was refused: nothing was bought. */
void notes_not_bought(Task *t, const char *status);

/* Cancels a prediction that no job waits for, and counts it. What fails here is the audit's, which names it. */
void notes_cancel_surplus(Worker *w, const char *prediction_id);

/* The same of one that is gone as far as we know: should it turn up again, nobody waits for it. */
void notes_cancel(Worker *w, const char *prediction_id);

/* The progress of all jobs that got further, every few seconds. */
void notes_progress(Worker *w);
