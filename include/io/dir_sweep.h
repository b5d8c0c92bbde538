/* The names of temporary files in a directory store, and those that dir_put() left behind when its process was
 * killed. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* What dir_put() calls a file whose last element will be `leaf`; `chance` makes it another one each time. The caller's
 * to free; NULL: out of memory. */
char *dir_temporary(const char *leaf, uint64_t chance);

/* Is `name` a temporary file that dir_put() makes for an object whose last element is `element`, with a UUID for each
 * {placeholder}, also with a number before its extension? */
bool dir_is_temporary(const char *name, const char *element);

/* Removes such files that nobody has written to for `age_seconds`. Only directories that names made of `pattern` lie in
 * are read. Blocks: not for the loop. Answers how many; those that can't be read or removed are left. */
unsigned dir_sweep(const char *root, const char *pattern, uint64_t age_seconds);
