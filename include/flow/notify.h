/* Stage 1: is it time to claim, and how many? Pure. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "core/config.h"

typedef enum NotifyKind {
    NOTIFY_OTHER,      /* not for us, or not readable */
    NOTIFY_WORK,       /* there is work */
    NOTIFY_CANCEL,     /* `id` is a job; its row says whether a cancel is asked for */
    NOTIFY_PREDICTION, /* `id` is a prediction: poll it now */
    NOTIFY_PING,       /* `id` is what a worker sent to prove its wake-up */
    NOTIFY_DRAIN,      /* `id` is a worker; its row says whether it is to stop */
} NotifyKind;

typedef struct Notify {
    NotifyKind kind;
    char id[65];
} Notify;

/* Reads what came on a channel; the payload is text from outside. */
Notify notify_read(const char *channel, const char *payload);

typedef struct NotifyPlan {
    bool woken;    /* a notification came, or a slot became free after a claim that was full */
    bool claiming; /* a claim is under way */
    uint64_t woken_usec;   /* when; with several workers the claim waits a little after it */
    uint64_t due_usec;     /* when the next job comes due; UINT64_MAX: none is known */
    uint64_t claimed_usec; /* the last claim's answer */
    bool claimed_none;     /* it brought no job: the next notification may be as wrong */
} NotifyPlan;

#define NOTIFY_HINT_USEC 100000 /* from one query that a hint caused to the next */

/* When to claim: `now` or earlier means at once; UINT64_MAX: not before something else happens. */
uint64_t notify_when(const NotifyPlan *plan, const Config *c, bool listening, unsigned workers,
                     unsigned free_slots, double chance);

/* From one heartbeat to the next. Where nobody is woken, heartbeats bring cancels and the order to stop,
 * so they come as often as polls. */
uint64_t notify_beat_usec(const Config *c, bool listening);
