/* Fails the n-th allocation of a run, for n = 1, 2, … until a run gets by without. What the linker
 * wraps (-Wl,--wrap=malloc,--wrap=calloc, …) fails in our code; torture_json() adds jansson. */
#pragma once
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static volatile long torture_left = -1; /* allocations until the one that fails; < 0: none does */

static int torture_hit(void) {
    if (torture_left < 0 || torture_left-- > 0)
        return 0;
    errno = ENOMEM;
    return 1;
}

/* Weak: where a name is not wrapped, its real one has no other name, and ours is never called. */
#define TORTURE(name, given, passed)                        \
    __attribute__((weak)) void *__real_##name given;        \
    void *__wrap_##name given;                              \
    void *__wrap_##name given {                             \
        return torture_hit() ? NULL : __real_##name passed; \
    }

TORTURE(malloc, (size_t n), (n))
TORTURE(calloc, (size_t n, size_t size), (n, size))
TORTURE(realloc, (void *p, size_t size), (p, size))
TORTURE(reallocarray, (void *p, size_t n, size_t size), (p, n, size))
TORTURE(strdup, (const char *s), (s))
TORTURE(strndup, (const char *s, size_t n), (s, n))

/* The C library allocates here on its own; under _FORTIFY_SOURCE the call has the other name. */
#define TORTURE_PRINT(name, given, passed)                \
    __attribute__((weak)) int __real_##name given;        \
    int __wrap_##name given;                              \
    int __wrap_##name given {                             \
        return torture_hit() ? -1 : __real_##name passed; \
    }

TORTURE_PRINT(vasprintf, (char **to, const char *format, va_list ap), (to, format, ap))
TORTURE_PRINT(__vasprintf_chk, (char **to, int flag, const char *format, va_list ap),
              (to, flag, format, ap))

__attribute__((unused)) static void *torture_malloc(size_t n) {
    return torture_hit() ? NULL : malloc(n);
}

__attribute__((unused)) static void torture_json(void) {
    json_object_seed(1); /* else its first object reads a file */
    json_set_alloc_funcs(torture_malloc, free);
}

/* Before each run: which allocation fails in it? After one in which none did: enough. */
static int torture_more(long n) {
    if (n > 0 && torture_left >= 0) {
        torture_left = -1;
        return 0;
    }
    torture_left = n;
    return 1;
}

#define torture(n) for (long n = 0; torture_more(n); n++)

/* Did an allocation fail in this run? */
static int torture_failed(void) {
    return torture_left < 0;
}
