/* When to try again: back-off with full jitter, and token buckets for other people's limits. Pure. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Delay before attempt `n` + 1 (`n` counts from 1): uniform over 0 to min(max, base * 2^(n-1)).
 * `chance` is 0 <= x < 1. */
uint64_t retry_delay_usec(uint64_t base_usec, uint64_t max_usec, unsigned n, double chance);

typedef struct Bucket {
    double rate; /* tokens a second; 0: no limit */
    double burst, tokens;
    uint64_t filled_usec;
} Bucket;

/* `per_minute` shared by `share` (0 to 1]; a burst of at most five seconds of the rate, at least 1. */
void bucket_set(Bucket *b, unsigned per_minute, double share, uint64_t now_usec);

/* Takes a token; or returns false and how long until there is one. */
bool bucket_take(Bucket *b, uint64_t now_usec, uint64_t *ret_wait_usec);
