/* Opens a connection with our parameters beside those of the URL: time-outs, keepalives,
 * encoding. What the URL says overrides ours, but for the encoding. Waiting for the connection is
 * left to db_connect.c, or to libpq where a program may wait. */
#include <stdio.h>
#include <stdlib.h>

#include "io/db_login.h"

#define KEYS_MAX 16

/* PGOPTIONS comes first: where an option is given twice, the last one counts. */
bool db_login_untimed(char *to, size_t room) {
    const char *given = getenv("PGOPTIONS");
    int n = snprintf(to, room, "%s -c statement_timeout=0", given ? given : "");

    return n > 0 && (size_t) n < room;
}

PGconn *db_login(const char *url, const char *application, const char *host, const char *hostaddr,
                 const char *port, unsigned attempt, bool untimed) {
    const char *keys[KEYS_MAX], *values[KEYS_MAX];
    char options[1000] = "";
    PGconn *conn;
    int n = 0;

#define SET(k, v) (keys[n] = (k), values[n++] = (v))
    SET("fallback_application_name", application);
    SET("connect_timeout", "10");
    SET("keepalives_idle", "30");
    SET("keepalives_interval", "10");
    SET("keepalives_count", "3");
    SET("tcp_user_timeout", "20000");
    /* Servers that only libpq knows, from a service file, are its to choose among. But it goes by what a
     * server says of itself at the login, and a pooler by what it heard at some other: so not always. And
     * "read-write" would shut out a role or database that is read-only by default, which we are not. */
    if ((!host || !*host) && (!hostaddr || !*hostaddr) && attempt % 2 == 0)
        SET("target_session_attrs", "primary");
    if (untimed && db_login_untimed(options, sizeof options))
        SET("options", options);
    SET("dbname", url); /* expanded here, so that what the URL sets comes later and wins */
    SET("host", host);
    SET("hostaddr", hostaddr);
    SET("port", port);
    SET("client_encoding", "UTF8"); /* whatever the URL, the environment or the role says */
    SET(NULL, NULL);
#undef SET
    conn = PQconnectStartParams(keys, values, 1);
    if (conn) /* a server that speaks another language has the same codes */
        (void) PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
    return conn;
}
