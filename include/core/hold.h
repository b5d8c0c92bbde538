/* Holds back requests to a service that asked for it or does not answer, and lets one go first after that. Pure. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"

/* A 429 is about our account, and is obeyed as told. Any other answer may be one server's of many, or a
 * gateway's: what it asks for holds nobody for longer than this. */
#define HOLD_MAX_USEC (UINT64_C(120) * 1000000)
#define HOLD_THROTTLED_MAX_USEC (UINT64_C(3600) * 1000000)

/* A probe that has no answer after so long lets another one go. */
#define HOLD_PROBE_USEC (UINT64_C(30) * 1000000)

typedef struct Hold { /* zeroed: nothing is held */
    uint64_t until_usec;
    uint64_t probe_usec; /* the last probe went then; 0: none is under way */
    unsigned count;      /* in a row, with no good answer between them */
    FaultCode code;      /* of the last */
} Hold;

/* What the fault asks us to wait, within the bounds above; 0: it does not say. */
uint64_t hold_asked_usec(const Fault *fault);

/* Begins a hold, longer each time when the fault does not say how long. Answers to what was sent at the same
 * time, which come while it is on, count once. `chance` is 0 <= x < 1. */
void hold_begin(Hold *h, const Fault *fault, uint64_t now_usec, double chance);

/* Must all requests wait now? A hold that is over is not forgotten until hold_end(). */
bool hold_is_on(const Hold *h, uint64_t now_usec);

/* How long until one may go: 0: now. Where that one is a probe, it has to be said by hold_probe(). */
uint64_t hold_wait_usec(const Hold *h, uint64_t now_usec);

/* Is the next to go a probe? */
bool hold_wants_probe(const Hold *h);
void hold_probe(Hold *h, uint64_t now_usec);

/* The probe has ended, whatever its answer was: without hold_end() another one is next. */
void hold_probe_over(Hold *h);

/* An answer was good: all may go. */
void hold_end(Hold *h);
