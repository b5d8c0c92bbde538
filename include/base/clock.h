/* Time, in microseconds. */
#pragma once
#include <stdint.h>

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)

/* CLOCK_BOOTTIME and a year: it goes on while the machine sleeps, as leases and predictions do, and
 * what others did before this machine was booted has its place on it. */
uint64_t clock_now_usec(void);

/* CPU time that the calling thread has used. */
uint64_t clock_thread_usec(void);

/* A purchase's key: a UUID of this moment that no other worker makes. 0, or a negative errno when the system has no
 * random bytes yet. */
int clock_key(char ret[static 37]);

/* A random number for jitter, 0 <= x < 1. Not for secrets. */
double clock_chance(void);
