/* A connection of the operator's tool. */
#pragma once
#include <libpq-fe.h>
#include <stdbool.h>

/* Connects as `name` by a URL (NULL: libpq's defaults). The caller looks at its status, and calls PQfinish(). What
 * the server warns of is printed, clean, on stderr. */
PGconn *ctl_login(const char *name, const char *url);

/* Does the session give a statement less than a second? That may not be enough to set another time. */
bool ctl_has_short_timeout(PGconn *conn);
