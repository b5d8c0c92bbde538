/* Numbers with units, as configuration files and the command line write them: 90s, 8MiB, 600/min. What range a
 * key allows is not known here. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/config_units.h"

/* From the largest to the smallest. */
typedef struct Unit {
    const char *word;
    uint64_t factor;
} Unit;

/* From the largest to the smallest: the first one that divides a number is the one it is written
 * in. */
static const Unit durations[] = {
    { "d", USEC_PER_DAY },    { "h", USEC_PER_HOUR },         { "min", USEC_PER_MINUTE },
    { "s", USEC_PER_SECOND }, { "ms", USEC_PER_MILLISECOND }, { NULL, 0 },
};

static const Unit sizes[] = {
    { "TiB", UINT64_C(1) << 40 },
    { "GiB", UINT64_C(1) << 30 },
    { "MiB", UINT64_C(1) << 20 },
    { "KiB", UINT64_C(1) << 10 },
    { "B", 1 },
    { NULL, 0 },
};

static const Unit rates[] = {
    { "/min", 1 },
    { "/s", 60 },
    { NULL, 0 },
};

bool config_read_number(const char *text, uint64_t *ret, const char **end) {
    uint64_t n = 0;

    if (!isdigit((unsigned char) *text))
        return false;
    for (; isdigit((unsigned char) *text); text++)
        if (__builtin_mul_overflow(n, (uint64_t) 10, &n) ||
            __builtin_add_overflow(n, (uint64_t) (*text - '0'), &n))
            return false;
    *ret = n;
    *end = text;
    return true;
}

/* Zero needs no unit; everything else does: 30 of what? */
static bool read_units(const char *text, const Unit *units, uint64_t *ret) {
    const char *unit;
    uint64_t n;

    if (!config_read_number(text, &n, &unit))
        return false;
    unit += strspn(unit, " \t");
    if (n == 0 && *unit == '\0') {
        *ret = 0;
        return true;
    }
    /* By its whole word: "m" is neither a minute nor a month here. */
    for (; units->word; units++)
        if (strcmp(unit, units->word) == 0)
            return !__builtin_mul_overflow(n, units->factor, ret);
    return false;
}

bool config_read_duration(const char *text, uint64_t *ret_usec) {
    return read_units(text, durations, ret_usec);
}

bool config_read_size(const char *text, uint64_t *ret_bytes) {
    return read_units(text, sizes, ret_bytes);
}

bool config_read_rate(const char *text, uint64_t *ret_per_minute) {
    return read_units(text, rates, ret_per_minute);
}

/* The largest unit in which it is a whole number. */
static const char *write_units(uint64_t n, const Unit *units, char *to, size_t room) {
    while (units[1].word && (n % units->factor != 0 || n == 0))
        units++;
    snprintf(to, room, "%llu%s", (unsigned long long) (n / units->factor),
             n == 0 ? "" : units->word);
    return to;
}

const char *config_write_duration(uint64_t usec, char *to, size_t room) {
    return write_units(usec, durations, to, room);
}

const char *config_write_size(uint64_t bytes, char *to, size_t room) {
    return write_units(bytes, sizes, to, room);
}
