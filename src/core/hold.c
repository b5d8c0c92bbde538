/*
 * Holding what many wait for.
 *
 * One answer must not stop everybody for long, and many must not run at once against what has just failed:
 * a hold is bounded, one goes first when it is over, and the others follow when that one was answered well.
 */
#include "core/hold.h"

#define SECOND UINT64_C(1000000)
#define FIRST_USEC (1 * SECOND)  /* doubles with each hold in a row, ... */
#define GROWN_USEC (60 * SECOND) /* ... up to this */
#define COUNT_MAX 16

uint64_t hold_asked_usec(const Fault *fault) {
    uint64_t most =
        fault->code == FAULT_SERVICE_THROTTLED ? HOLD_THROTTLED_MAX_USEC : HOLD_MAX_USEC;

    return fault->retry_after_usec < most ? fault->retry_after_usec : most;
}

static uint64_t grown_usec(unsigned count, double chance) {
    uint64_t usec = FIRST_USEC << (count - 1 < 6 ? count - 1 : 6);

    return (uint64_t) ((double) (usec < GROWN_USEC ? usec : GROWN_USEC) * (0.5 + chance / 2));
}

void hold_begin(Hold *h, const Fault *fault, uint64_t now_usec, double chance) {
    uint64_t wait = hold_asked_usec(fault);
    bool on = hold_is_on(h, now_usec);

    h->code = fault->code;
    h->probe_usec = 0;
    if (!on && h->count < COUNT_MAX)
        h->count++;
    if (!on && wait == 0)
        wait = grown_usec(h->count, chance);
    /* While one is on, only the account's own word makes it longer: else each late answer would. */
    if ((!on || fault->code == FAULT_SERVICE_THROTTLED) && now_usec + wait > h->until_usec)
        h->until_usec = now_usec + wait;
}

bool hold_is_on(const Hold *h, uint64_t now_usec) {
    return h->until_usec > now_usec;
}

uint64_t hold_wait_usec(const Hold *h, uint64_t now_usec) {
    if (hold_is_on(h, now_usec))
        return h->until_usec - now_usec;
    if (h->probe_usec > 0 && now_usec < h->probe_usec + HOLD_PROBE_USEC)
        return h->probe_usec + HOLD_PROBE_USEC - now_usec;
    return 0;
}

bool hold_wants_probe(const Hold *h) {
    return h->count > 0;
}

void hold_probe(Hold *h, uint64_t now_usec) {
    h->probe_usec = now_usec;
}

void hold_probe_over(Hold *h) {
    h->probe_usec = 0;
}

void hold_end(Hold *h) {
    *h = (Hold){ 0 };
}
