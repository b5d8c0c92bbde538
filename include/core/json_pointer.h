/* JSON pointers (RFC 6901). Pure. */
#pragma once
#include <jansson.h>
#include <stdbool.h>

/* "" or "/…" with only ~0 and ~1 after a tilde. */
bool json_pointer_is_valid(const char *text);

/* What it leads to, borrowed; NULL if nothing is there, or it is no pointer. */
json_t *json_pointer_get(const json_t *root, const char *pointer);
