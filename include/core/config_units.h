/* Numbers with units: durations, sizes, rates. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define USEC_PER_MILLISECOND UINT64_C(1000)
#define USEC_PER_SECOND UINT64_C(1000000)
#define USEC_PER_MINUTE (60 * USEC_PER_SECOND)
#define USEC_PER_HOUR (60 * USEC_PER_MINUTE)
#define USEC_PER_DAY (24 * USEC_PER_HOUR)

/* "90s" to microseconds, "8MiB" to bytes, "600/min" to a number per minute. False: it is none. */
bool config_read_duration(const char *text, uint64_t *ret_usec);
bool config_read_size(const char *text, uint64_t *ret_bytes);
bool config_read_rate(const char *text, uint64_t *ret_per_minute);

/* Digits alone, so that no sign, no space and no other base comes in; `*end` is behind them. False: there are none, or
 * they make more than 64 bits. */
bool config_read_number(const char *text, uint64_t *ret, const char **end);

/* Written in the largest unit in which it is whole: "1h", "8MiB". Returns `to`. */
const char *config_write_duration(uint64_t usec, char *to, size_t room);
const char *config_write_size(uint64_t bytes, char *to, size_t room);
