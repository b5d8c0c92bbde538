/* The connection of the operator's tool. It waits, as the daemon's does not: libpq tries each
 * host, for ten seconds. What libpq and the server write to stderr during a login is caught and
 * cleaned first. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/say.h"
#include "ctl/login.h"
#include "io/db_login.h"

/* Shows what libpq wrote to the file that stood in for stderr. */
static void say_notes(int notes) {
    char text[4096];
    ssize_t n = pread(notes, text, sizeof text - 1, 0);

    if (n > 0) {
        text[n] = '\0';
        say(stderr, "%s: while connecting: %s", program_invocation_short_name, text);
    }
}

/* Warnings of the server, such as triggers of the project raise; libpq's own receiver would write
 * them to the terminal as they come. */
static void on_notice(void *userdata, const PGresult *res) {
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);

    (void) userdata;
    if (severity && strcmp(severity, "WARNING") == 0)
        say(stderr, "%s: the database says: %s", program_invocation_short_name,
            PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY));
}

/* `options`: NULL for those of the environment. Warnings that come during the login are written
 * to stderr by libpq itself, since no receiver can be set before: so stderr leads to a file
 * meanwhile. */
static PGconn *login(const char *name, const char *url, const char *options) {
    const char *keys[] = {
        "fallback_application_name", "connect_timeout", "options", "dbname", "client_encoding", NULL
    };
    const char *values[] = { name,   "10", options, url ? url : "",
                             "UTF8", /* whatever the URL, the environment or the role says */
                             NULL };
    /* Where one of them can't be had, the login goes on, and libpq writes to the terminal
     * itself. */
    int kept = dup(STDERR_FILENO), notes = memfd_create("notes", MFD_CLOEXEC);
    PGconn *conn;

    /* Warnings of a server that come during the login are written to stderr as they are: no receiver can
     * be set before. */
    fflush(stderr);
    if (kept >= 0 && notes >= 0)
        (void) dup2(notes, STDERR_FILENO);
    conn = PQconnectdbParams(keys, values, 1);
    if (kept >= 0 && notes >= 0) {
        (void) dup2(kept, STDERR_FILENO);
        say_notes(notes);
    }
    if (kept >= 0)
        (void) close(kept);
    if (notes >= 0)
        (void) close(notes);
    (void) PQsetNoticeReceiver(conn, on_notice, NULL);
    return conn;
}

/* PostgreSQL shows a time-out with its unit, and one below a second in ms. */
bool ctl_has_short_timeout(PGconn *conn) {
    PGresult *res = PQstatus(conn) == CONNECTION_OK ? PQexec(conn, "SHOW statement_timeout") : NULL;
    const char *timeout = PQntuples(res) == 1 ? PQgetvalue(res, 0, 0) : "";
    bool is_short = strstr(timeout, "ms") != NULL;

    PQclear(res);
    return is_short;
}

/* A role with a statement_timeout of milliseconds could not even ask for another one, so the
 * session is opened without it. */
PGconn *ctl_login(const char *name, const char *url) {
    PGconn *conn = login(name, url, NULL), *other;
    char options[1000];

    if (!ctl_has_short_timeout(conn) || !db_login_untimed(options, sizeof options))
        return conn;
    other = login(name, url, options);
    if (PQstatus(other) != CONNECTION_OK) { /* a pooler refuses it */
        PQfinish(other);
        return conn;
    }
    PQfinish(conn);
    return other;
}
