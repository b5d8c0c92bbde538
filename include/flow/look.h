/* Was it bought? What the listing shows held against what was intended. Pure. */
#pragma once
#include "core/job.h"

/* Purchases of one step that were lost and not found. An outage of an hour costs a job fewer; past it the
 * listing may be one that never shows what is bought, and each more may cost money. */
#define LOOK_LOST_MAX 20
#define LOOK_FOUND_MAX 100 /* equal ones that one look brings; the next brings more */

/* How long to wait before the next look, `now` after the intent; 0 also when one that was found is left. */
uint64_t look_delay_usec(const Job *j, uint64_t now_usec, double chance);

/* The listing shows a prediction with the live purchase's input: it may be ours unless we know better.
 * True when it is to be tried. No memory: as if it was not shown, and look_end() is told so. */
bool look_found(Job *j, const char *id);

/* What was found does not count: its page was none. */
void look_forget(Job *j);

/* The next of those found becomes j->prediction_id. False: none is left. */
bool look_take(Job *j, uint64_t now_usec);

/* A look that began (sent its first request) at `asked_usec` found nothing. `complete`: it saw all that was
 * made since the intent; else `reterr` says what was in the way. EV_WAIT: look again. EV_NOT_BOUGHT: surely not
 * bought; j->give_up is set. EV_FINAL with a fault: never found out. */
JobEvent look_end(Job *j, bool complete, uint64_t asked_usec, uint64_t now_usec, Fault *reterr);

/* The id that a look found stands in another row: not to be taken again. */
int look_refuse(Job *j);
