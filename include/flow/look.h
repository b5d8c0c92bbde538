/* Was it bought? The listing matched with what was intended. Pure. */
#pragma once
#include "core/config.h"
#include "core/job.h"

/* How long to wait before the next look, `now` after the intent. */
uint64_t look_delay_usec(const Job *j, uint64_t now_usec, double chance);

/* The next page of the listing. `skew` is how far back of the intent it begins. `intent_epoch` is
 * when that was on the wall clock, in seconds since 1970. */
int look_ask(const Config *c, Job *j, uint64_t now_usec, int64_t intent_epoch, HttpRequest *ret);

/* EV_OK: found, j->prediction_id is set. EV_WAIT: look again (or on: another page when
 * j->look_cursor is set). EV_ELSE: surely not bought; j->give_up is set. EV_FINAL with a fault:
 * never found out. */
JobEvent look_hear(const Config *c, const HttpReply *reply, Job *j, uint64_t now_usec,
                   Fault *reterr);

/* The id that a look found stands in another row: not to be taken again. */
int look_refuse(Job *j);
