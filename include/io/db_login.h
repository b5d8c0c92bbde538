/* How we log in: what libpq is told beside the URL. */
#pragma once
#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

/* Starts to connect, without waiting: to one of these servers (lists, as hosts.h gives them), or, when
 * they are NULL, as `url` says. What the URL sets wins. `attempt` counts from 0. NULL when memory is
 * short. `untimed`: the session is to have no statement_timeout, whatever role and database have. */
PGconn *db_login(const char *url, const char *application, const char *host, const char *hostaddr,
                 const char *port, unsigned attempt, bool untimed);

/* The parameter `options` that asks for this; false: it has no room. */
bool db_login_untimed(char *to, size_t room);
