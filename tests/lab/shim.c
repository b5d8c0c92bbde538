/* Loaded before the C library into a program under test: its wall clock can be set, and its memory can fail.
 * $SHIM is a file that both sides map: what it holds counts at once. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile struct Shim {
    int64_t clock_seconds; /* added to CLOCK_REALTIME */
    uint32_t fail_one_in;  /* allocations; 0: none */
    uint32_t failed;       /* so many have */
    uint64_t seed;         /* of a thread's chance, read when it first matters */
    int64_t slept_seconds; /* added to CLOCK_BOOTTIME, which no timer goes by */
} nothing, *shim = &nothing;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIM");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map = fd >= 0 ? mmap(NULL, sizeof *shim, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (map != MAP_FAILED)
        shim = map;
    if (fd >= 0)
        close(fd);
}

static int fails(void) {
    static __thread uint64_t state;
    uint32_t one_in = shim->fail_one_in;

    if (!one_in)
        return 0;
    if (!state)
        state = 88172645463325252u + shim->seed; /* xorshift64, which only 0 stops */
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    if (state % one_in)
        return 0;
    shim->failed++;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) {
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size) {
    return fails() ? NULL : __libc_realloc(p, size);
}

int clock_gettime(clockid_t clock, struct timespec *ts) {
    static int (*real)(clockid_t, struct timespec *);
    int r;

    if (!real)
        real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    r = real(clock, ts);
    if (r == 0 && clock == CLOCK_REALTIME)
        ts->tv_sec += shim->clock_seconds;
    if (r == 0 && clock == CLOCK_BOOTTIME)
        ts->tv_sec += shim->slept_seconds;
    return r;
}

time_t time(time_t *ret) {
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    if (ret)
        *ret = ts.tv_sec;
    return ts.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    struct timespec ts;

    (void) zone;
    clock_gettime(CLOCK_REALTIME, &ts);
    *tv = (struct timeval){ ts.tv_sec, ts.tv_nsec / 1000 };
    return 0;
}
