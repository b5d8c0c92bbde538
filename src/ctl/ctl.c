/* Shared by the commands of meshifyctl: their connection, their queries, and how errors of the
 * database are told. It waits for the database, as the daemon never does; commands are in files
 * of their own. */
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <wchar.h>

#include "base/db_failure.h"
#include "base/say.h"
#include "ctl/ctl.h"
#include "ctl/login.h"

/* The sentence first, then what to do about it, on a line of its own. */
static void say_away(const char *what, const PGconn *conn) {
    const char *message = conn ? PQerrorMessage(conn) : NULL;
    char text[500];

    say(stderr, "meshifyctl: %s: %s", what,
        db_failure_text(message, conn ? PQhost(conn) : NULL, conn ? PQport(conn) : NULL, text,
                        sizeof text));
    say(stderr, "%s", db_failure_advice(db_failure_read(message)));
}

/* Time-outs are an operator's: longer than the daemon's, since a migration may have to wait for
 * its locks. */
int ctl_connect(Ctl *c) {
    int status = 0;

    c->session = (DbSession){ .statement_timeout = "5min", .lock_timeout = "10s" };
    c->conn = ctl_login("meshifyctl", c->config->database_url.text);
    /* The session is asked what the daemon asks, so that times without a zone mean the same to
     * both. */
    if (PQstatus(c->conn) == CONNECTION_OK) {
        PGresult *res = ctl_query(c, db_session_questions, NULL, 0, &status);

        if (res)
            db_session_hear(&c->session, res);
        PQclear(res);
        return status;
    }
    say_away("the database can't be reached", c->conn);
    return EX_UNAVAILABLE;
}

static bool is_good(const PGresult *res) {
    return PQresultStatus(res) == PGRES_TUPLES_OK || PQresultStatus(res) == PGRES_COMMAND_OK;
}

/* Runs one statement in a transaction that sets what we need. Answers its result, or the error of
 * what failed first. */
static PGresult *run(Ctl *c, const char *sql, const char *const *params, int n) {
    PGresult *res = db_session_begin(c->conn, &c->session), *end;

    /* Without parameters the text may hold several statements, as the session's questions do. */
    if (!res && n == 0)
        res = PQexec(c->conn, sql);
    else if (!res)
        res = PQexecParams(c->conn, sql, n, NULL, params, NULL, NULL, 0);
    end = PQexec(c->conn, is_good(res) ? "COMMIT" : "ROLLBACK");
    if (is_good(res) && !is_good(end)) { /* nothing of it holds */
        PQclear(res);
        return end;
    }
    PQclear(end);
    return res;
}

/* The role's name is asked for: behind a pooler the user in the URL is another. */
static void say_grant(Ctl *c) {
    PGresult *res = PQexec(c->conn, "SELECT pg_catalog.quote_ident(current_user)");

    say(stderr, "What the login needs: GRANT meshify_worker TO %s;",
        PQntuples(res) == 1 ? PQgetvalue(res, 0, 0) : "it");
    PQclear(res);
}

/* Errors with a known remedy are told with it. Hints are shown only where they are ours: a
 * trigger of the project may say anything. */
PGresult *ctl_query(Ctl *c, const char *sql, const char *const *params, int n, int *ret_exit) {
    PGresult *res = run(c, sql, params, n);
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    if (is_good(res))
        return res;
    *ret_exit = CTL_REFUSED;
    if (PQstatus(c->conn) != CONNECTION_OK) {
        say_away("the connection was lost", c->conn);
        *ret_exit = EX_UNAVAILABLE;
    } else if (state &&
               (!strcmp(state, "3F000") || !strcmp(state, "42883") || !strcmp(state, "42P01")))
        fputs("meshifyctl: the database has no meshify schema, or an older one: run meshifyctl "
              "migrate\n",
              stderr);
    else {
        const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
        const char *hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT);

        say(stderr, "meshifyctl: %.1500s", message ? message : PQresultErrorMessage(res));
        if (hint && state &&
            !strncmp(state, "MF", 2)) /* ours: a trigger of the project says anything */
            say(stderr, "%s", hint);
        if (state && !strcmp(state, "57014") && ctl_has_short_timeout(c->conn))
            say(stderr, "%s", db_failure_advice(DB_FAILURE_TIMEOUT));
        else if (state && !strcmp(state, "42501"))
            say_grant(c);
    }
    PQclear(res);
    return NULL;
}

char *ctl_value(Ctl *c, const char *sql, const char *const *params, int n, int *ret_exit) {
    PGresult *res = ctl_query(c, sql, params, n, ret_exit);
    char *text = NULL;

    if (!res)
        return NULL;
    *ret_exit = CTL_REFUSED;
    /* Null is an answer of our functions, too: "there is no such thing". */
    if (PQntuples(res) == 1 && !PQgetisnull(res, 0, 0))
        text = strdup(PQgetvalue(res, 0, 0));
    PQclear(res);
    return text;
}

/* One unit, and two digits at least: it is read in a table. */
const char *ctl_age(double seconds, char to[static 16]) {
    if (seconds < 0)
        seconds = 0;
    if (seconds < 120)
        (void) snprintf(to, 16, "%.0fs", seconds);
    else if (seconds < 7200)
        (void) snprintf(to, 16, "%.0fmin", seconds / 60);
    else if (seconds < 172800)
        (void) snprintf(to, 16, "%.0fh", seconds / 3600);
    else
        (void) snprintf(to, 16, "%.0fd", seconds / 86400);
    return to;
}

int ctl_usage(const char *what) {
    say(stderr, "meshifyctl: %s. Try 'meshifyctl --help'.", what);
    return EX_USAGE;
}

int ctl_check_limit(const Ctl *c) {
    if (c->limit && (strspn(c->limit, "0123456789") != strlen(c->limit) || strlen(c->limit) > 5 ||
                     strtol(c->limit, NULL, 10) < 1 || strtol(c->limit, NULL, 10) > 10000))
        return ctl_usage("--limit is a number from 1 to 10000");
    return 0;
}
