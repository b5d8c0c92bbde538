/* What the states' functions share: queueing for a lane, asking an edge, hearing its answer. Each
 * calls worker_tell() last: the task may be gone after it. */
#pragma once
#include "base/db_message.h"
#include "base/http_message.h"
#include "daemon/worker.h"

Lane *stage_lane(Task *t, LaneName name);

/* Queues for a lane; `go` runs at once or later. */
void stage_queue(Task *t, LaneName name, void (*go)(void *userdata));

/* The same before all others, see lane_enter_first(). */
void stage_queue_first(Task *t, LaneName name, void (*go)(void *userdata));

/* Leaves the lane; what was waited there does not count as work. */
void stage_unqueue(Task *t);

/* `then` is called after `usec`; it takes the place of an earlier pause. */
int stage_pause_for(Task *t, uint64_t usec, sd_event_time_handler_t then);

/* How long before the same thing again, which costs nothing: grows with the job's tries. */
uint64_t stage_short_delay(const Task *t);

/* Hand the request to an edge; it is done with in any case. */
int stage_send_http(Task *t, HttpRequest *request, HttpDone heard);
int stage_send_db(Task *t, DbRequest *request, DbDone heard);
int stage_send_db_as(Task *t, unsigned flags, DbRequest *request,
                     DbDone heard); /* of DbFlags; with DB_WAIT the task is in the lock line */

/* The answer of a database call is here. True when it is a refusal, with what that means for the job. */
bool stage_db_refused(Task *t, DbEnd end, const PGresult *res, JobEvent *ret_ev, Fault *reterr);

/* Replicate's other answers: what holds a lane, holds it; of the task's fault, or another. */
void stage_service_trouble(Task *t, LaneName name);
void stage_hold_for(Worker *w, LaneName name, const Fault *fault);

/* It gets further: what its workers died of before is forgiven. */
void stage_forgive(Task *t);

/* Sets the job's fault and returns -ENOMEM. */
int stage_out_of_memory(Task *t);

/* A stage could not even ask. */
void stage_give_up(Task *t, int r);

/* Writes down what became of the live purchase; nobody waits for it. */
void stage_settle(Task *t, const char *status, const json_t *output, const json_t *metrics,
                  const char *error, bool usable);

/* The live purchase was never sent, or was refused: nothing was bought. */
void stage_not_bought(Task *t, const char *status);

/* Cancels a prediction that no job waits for. What fails here is the audit's, which names it. */
void stage_cancel(Worker *w, const char *prediction_id);

/* What is begun in each state; 0 or a negative errno. buying.c: */
int enter_signing(Task *t);
int enter_intending(Task *t);
int enter_predicting(Task *t);
int enter_looking(Task *t);
int enter_recording(Task *t);
int enter_polling(Task *t);
/* filing.c: */
int enter_downloading(Task *t);
bool stage_room_guard(void *worker,
                      void *task); /* of LANE_FILE: has the spool room for its file? */
int enter_validating(Task *t);
int enter_scanning(Task *t);
int enter_storing(Task *t);
/* closing.c: */
int enter_closing(Task *t);
int enter_resting(Task *t);
int enter_stopping(Task *t);
