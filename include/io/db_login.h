/* How we log in: what libpq is told beside the URL. */
#pragma once
#include <libpq-fe.h>
#include <stdbool.h>

/* Starts to connect, without waiting: to one of these servers (lists, as hosts.h gives them), or, when
 * they are NULL, as `url` says. `choose`: to one that says of itself that it can be written to. What
 * the URL sets wins. NULL when memory is short. */
PGconn *db_login(const char *url, const char *application, const char *host, const char *hostaddr,
                 const char *port, bool choose);
