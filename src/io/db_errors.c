/* Sorts PostgreSQL's SQLSTATEs by what can be done about them: connect anew, try again, or give
 * the call up. Errors of the connection itself have no such code and are base/db_failure.c's. */
#include <string.h>

#include "io/db_errors.h"

const char *db_sqlstate(const PGresult *res) {
    const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;

    return state ? state : "";
}

static bool is_of_class(const char *state, const char *const *classes) {
    for (; *classes; classes++)
        if (strncmp(state, *classes, strlen(*classes)) == 0)
            return true;
    return false;
}

/* A trigger of the project may raise any code within a call of ours: then only the call fails. The server itself
 * ends a session with FATAL, or says at once that it takes no call. That it must not be written to shows only in
 * the middle of one, but then it names the check of its own that failed. */
static bool is_of_the_server(const PGresult *res) {
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *source = PQresultErrorField(res, PG_DIAG_SOURCE_FUNCTION);

    return (severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0)) ||
           !PQresultErrorField(res, PG_DIAG_CONTEXT) ||
           (source && strcmp(source, "PreventCommandIfReadOnly") == 0);
}

/* 08 connection, 57P01 to 57P05 the server goes down, 25006 it is read-only. No code at all:
 * libpq's own. */
bool db_error_means_reconnect(const PGresult *res) {
    static const char *const classes[] = {
        "08", "57P01", "57P02", "57P03", "57P05", "25006", NULL
    };
    const char *state = db_sqlstate(res);

    return !*state || (is_of_class(state, classes) && is_of_the_server(res));
}

/* 40 serialisation and deadlocks, 53 resources, 55 locks, 57 an operator's hand, 58 the system. */
bool db_error_is_passing(const PGresult *res) {
    static const char *const classes[] = { "40", "53", "55", "57", "58", NULL };

    return !res || is_of_class(db_sqlstate(res), classes);
}

/* 42 names and privileges, 3F schemas, 0A features: the statement as such was refused. */
bool db_error_is_of_statement(const PGresult *res) {
    static const char *const classes[] = { "42", "3F", "0A", NULL };

    /* An error raised within one of our functions has a context. */
    return res && is_of_class(db_sqlstate(res), classes) &&
           !PQresultErrorField(res, PG_DIAG_CONTEXT);
}
