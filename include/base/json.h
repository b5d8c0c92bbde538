/* Small helpers around jansson, for answers that promise nothing. */
#pragma once
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

__attribute__((unused)) static inline json_t *json_unref(json_t *j) {
    json_decref(j);
    return NULL;
}
DEFINE_CLEANUP(json_t *, json_unref)

/* Parses text from outside: any JSON value; names may come twice. What jansson alone would refuse is
 * read as near as can be: integers beyond 64 bits make all numbers real, half a surrogate pair becomes
 * U+FFFD. NULL when it is not JSON, holds a number beyond a double's range, or there is no memory. */
json_t *json_parse(const char *bytes, size_t size);

/* The member's text, or NULL if it is missing or no string. Borrowed. */
const char *json_text(const json_t *object, const char *name);

/* The member as a number, or `otherwise`. */
double json_number(const json_t *object, const char *name, double otherwise);

/* The member as a whole number, cut towards zero; `otherwise` where it is none or beyond 2^53. */
int64_t json_whole(const json_t *object, const char *name, int64_t otherwise);

/* Compact text of a value, NULL when there is no memory. Free it. A NUL in a string becomes U+FFFD:
 * PostgreSQL's jsonb takes none. */
char *json_write(const json_t *value);
