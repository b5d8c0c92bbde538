/* A database URL, read as libpq will read it, before it is ever used. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* True when libpq takes `url` (URI or conninfo) and reads from it what was meant. Else `reterr` says what to
 * write instead. That is in words of ours and holds no value of the URL: libpq's own messages repeat pieces
 * of the password, and so do name look-ups where a piece of it is taken for the host. */
bool database_url_check(const char *url, char *reterr, size_t room);
