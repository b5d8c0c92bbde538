/* The clocks that the daemon goes by, and its source of chance. Everything that is timed goes
 * through here, so that the pure files get the time as an argument. It is one of the few files of
 * base/ that are not pure. */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/str.h"

/* Added to each reading, so that "now minus an age" stays positive for jobs that are older than
 * this machine's uptime. */
#define YEAR_USEC (UINT64_C(365) * 24 * 3600 * USEC_PER_SEC)

/* BOOTTIME counts a suspend as well: a lease runs out while a laptop sleeps. */
uint64_t clock_now_usec(void) {
    struct timespec ts;

    if (clock_gettime(CLOCK_BOOTTIME, &ts) < 0)
        abort(); /* only an unknown clock can fail */
    return YEAR_USEC + (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

/* Time that this thread worked, without what other programs took: tells a slow turn of the loop
 * from a busy machine. */
uint64_t clock_thread_usec(void) {
    struct timespec ts;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) < 0)
        abort();
    return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

/* Waits for nothing: early at boot the kernel may have no random numbers yet, and the caller
 * tries again later. */
int clock_key(char ret[static STR_UUID_SIZE]) {
    struct timespec ts;
    uint8_t random[10];

    if (getrandom(random, sizeof random, GRND_NONBLOCK) != sizeof random)
        return -EAGAIN;
    if (clock_gettime(CLOCK_REALTIME, &ts) < 0)
        abort();
    str_uuid7((uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000, random, ret);
    return 0;
}

/* Spreads retries over time; nothing secret depends on it. The seed has the address of a variable
 * in it, so that instances that were started together do not retry together. */
double clock_chance(void) {
    static unsigned short seed[3];

    if (!seed[0] && !seed[1] && !seed[2]) {
        uint64_t now = clock_now_usec() ^ ((uint64_t) (uintptr_t) &seed << 20);

        seed[0] = (unsigned short) now;
        seed[1] = (unsigned short) (now >> 16);
        seed[2] = (unsigned short) ((now >> 32) | 1);
    }
    return erand48(seed);
}
