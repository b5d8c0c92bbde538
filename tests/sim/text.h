/* Text for the simulator: a growing buffer, encodings, times, and numbers that look like chance. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

/* Grows as needed; when memory runs out `failed` stays set and appending does nothing more. */
typedef struct Buf {
    char *text; /* always ends in a zero byte that `size` does not count; NULL while empty */
    size_t size, room;
    bool failed;
} Buf;

void buf_done(Buf *b);
void buf_add(Buf *b, const void *bytes, size_t size);
void buf_add_text(Buf *b, const char *text);
void buf_add_json(Buf *b, const char *text); /* as a JSON string, quotes included; NULL as null */
void buf_printf(Buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_escape_html(Buf *b); /* <, > and & as \u00xx, as Go writes JSON */
char *buf_take(Buf *b);       /* NULL if it failed; the caller frees it */

/* Percent-decodes once; NULL with *ret_bad set for a broken escape, a zero byte or a broken UTF-8. */
char *text_decode_url(const char *text, size_t size, bool *ret_bad);
void text_encode_url(Buf *b, const char *text); /* for a value in a query */
void text_encode_base64(Buf *b, const void *bytes, size_t size, bool url);
char *text_decode_base64(const char *text, size_t size, size_t *ret_size); /* both alphabets */

/* ISO 8601 in UTC with `digits` (0 to 9) of a second's fraction; below microseconds by `noise`. */
void text_add_time(Buf *b, int64_t time_usec, unsigned digits, unsigned noise);
void text_add_http_time(Buf *b, int64_t time_usec); /* as in Last-Modified */
bool text_parse_time(const char *text, int64_t *ret_usec);
bool text_parse_lifetime(const char *text, int64_t *ret_usec); /* 30, 30s, 5m, 2h, 1h30m45s */

uint64_t text_mix(uint64_t x);        /* splitmix64: the same number for the same number */
uint64_t text_seed(const char *text); /* a number for a text */
int64_t text_now_usec(void);          /* CLOCK_REALTIME */
