#include "core/retry.h"

#define USEC 1e6

uint64_t retry_delay_usec(uint64_t base_usec, uint64_t max_usec, unsigned n, double chance) {
    uint64_t top = base_usec;

    while (n-- > 1 && top > 0 && top < max_usec)
        top = top > max_usec / 2 ? max_usec : top * 2;
    if (top > max_usec)
        top = max_usec;
    return (uint64_t) ((double) top * chance);
}

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
