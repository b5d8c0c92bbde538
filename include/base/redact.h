/* What must not be seen is taken out of texts from outside: secrets of ours, and what stands in URLs beside
 * their place. str_clean() asks here, so whatever is logged or shown has been through it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Remembers a secret, to be taken out of every text from now on; NULL or one of less than four bytes is
 * ignored. The newest REDACT_SECRETS_MAX are remembered. -ENOMEM. */
#define REDACT_SECRETS_MAX 32
int redact_add(const char *secret);

/* Forgets all of them. */
void redact_done(void);

/* Does `plain` stand in the text, in whatever form? */
bool redact_finds(const char *text, const char *plain);

/* Copies at most `room` - 1 bytes of `from` (NULL reads as ""), cut on a UTF-8 character's border, with "…"
 * in place of each secret, each JSON web token, the query of each URL, and the user and password in one;
 * also where these are percent-encoded, or escaped as in JSON. Returns `to`. */
const char *redact_text(char *to, size_t room, const char *from);
