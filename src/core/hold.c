/* Holding back what many jobs wait for. One answer (out of credit, rate limited, unreachable)
 * must not stop everybody for long, and a service that has just failed must not be met by all at
 * once: a hold is bounded, one request goes first when it is over, and the others follow when
 * that one was answered well. Timers and queues are daemon/lane.c's. */
#include "core/hold.h"

#define SECOND UINT64_C(1000000)
#define FIRST_USEC (1 * SECOND)  /* doubles with each hold in a row, ... */
#define GROWN_USEC (60 * SECOND) /* ... up to this */
#define COUNT_MAX 16

/* The wait that a service asks for is granted up to a bound: a broken gateway could ask for a
 * year. A rate limit is the account's own, and is believed longer. */
uint64_t hold_asked_usec(const Fault *fault) {
    uint64_t most =
        fault->code == FAULT_SERVICE_THROTTLED ? HOLD_THROTTLED_MAX_USEC : HOLD_MAX_USEC;

    return fault->retry_after_usec < most ? fault->retry_after_usec : most;
}

/* Half of it is chance, so that instances that were refused together do not come back together. */
static uint64_t grown_usec(unsigned count, double chance) {
    uint64_t usec = FIRST_USEC << (count - 1 < 6 ? count - 1 : 6);

    return (uint64_t) ((double) (usec < GROWN_USEC ? usec : GROWN_USEC) * (0.5 + chance / 2));
}

/* A fault of the whole service begins a hold, or makes one longer. */
void hold_begin(Hold *h, const Fault *fault, uint64_t now_usec, double chance) {
    uint64_t wait = hold_asked_usec(fault);
    bool on = hold_is_on(h, now_usec);

    h->code = fault->code;
    h->probe_usec = 0;
    /* Answers to requests that were out already count once, not each. */
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

/* While the first request is out, the others wait for its answer; but not for ever, since it may
 * be lost with its job. */
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
