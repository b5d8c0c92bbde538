/* How we log in: what libpq is told beside the URL. */
#pragma once
#include <libpq-fe.h>

/* Starts to connect, without waiting: to one of these servers (lists, as hosts.h gives them), or, when
 * they are NULL, as `url` says. What the URL sets wins. `attempt` counts from 0. NULL when memory is
 * short. */
PGconn *db_login(const char *url, const char *application, const char *host, const char *hostaddr,
                 const char *port, unsigned attempt);
