/* When to try again: back-off with chance in it, and a bucket of tokens that keeps to a rate.
 * Whether to try at all is the verdict's (verdict.c), and a wait that a service asked for is
 * hold.c's. */
#include "core/retry.h"

#define USEC 1e6

/* Full jitter: any time up to the top, so that jobs that failed together do not come back
 * together. */
uint64_t retry_delay_usec(uint64_t base_usec, uint64_t max_usec, unsigned n, double chance) {
    uint64_t top = base_usec;

    while (n-- > 1 && top > 0 && top < max_usec)
        top = top > max_usec / 2 ? max_usec : top * 2;
    if (top > max_usec)
        top = max_usec;
    return (uint64_t) ((double) top * chance);
}

/* Five seconds' worth may go out at once; a share of the rate below one in five seconds still
 * lets one out. A rate that changes keeps the tokens that were saved up. */
void bucket_set(Bucket *b, unsigned per_minute, double share, uint64_t now_usec) {
    double rate = per_minute / 60.0 * share;
    bool fresh = b->burst <= 0;

    b->rate = rate;
    b->burst = rate * 5 > 1 ? rate * 5 : 1;
    if (fresh) {
        b->tokens = b->burst;
        b->filled_usec = now_usec;
    } else if (b->tokens > b->burst)
        b->tokens = b->burst;
}

/* One token, or how long to wait for it. A clock that seems to run backwards fills nothing. */
bool bucket_take(Bucket *b, uint64_t now_usec, uint64_t *ret_wait_usec) {
    if (b->rate <= 0)
        return true;
    if (now_usec > b->filled_usec) {
        b->tokens += (double) (now_usec - b->filled_usec) / USEC * b->rate;
        if (b->tokens > b->burst)
            b->tokens = b->burst;
        b->filled_usec = now_usec;
    }
    if (b->tokens >= 1) {
        b->tokens -= 1;
        return true;
    }
    *ret_wait_usec = (uint64_t) ((1 - b->tokens) / b->rate * USEC) + 1;
    return false;
}
