/* The doctor's look at the database itself: can it be reached and trusted, is its schema ours, does a NOTIFY
 * arrive? Tables and triggers are doctor_schema.c's, privileges doctor_users.c's. */
#include <ctype.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/db_failure.h"
#include "ctl/doctor.h"
#include "ctl/doctor_query.h"
#include "ctl/login.h"
#include "daemon/database_trust.h"

/* Longer than any pooler needs to hand a notification on; a doctor that waits for ever is of no
 * use. */
#define NOTIFY_WAIT_MSEC 5000
#define CLOCK_APART 5.0 /* seconds */

/* The advice depends on the reason, which is read from libpq's words. */
static void say_away(Doctor *d, const char *check, const PGconn *conn) {
    const char *message = conn ? PQerrorMessage(conn) : NULL;
    char text[500];

    doctor_say(d, GRADE_FAIL, check, db_failure_advice(db_failure_read(message)), "%s",
               db_failure_text(message, conn ? PQhost(conn) : NULL, conn ? PQport(conn) : NULL,
                               text, sizeof text));
}

static double wall_seconds(void) {
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

/* The server's clock is compared with ours, before and after the question: tokens and signed URLs
 * expire by clocks. */
static void check_server(Doctor *d, PGconn *conn) {
    double before = wall_seconds(), after, theirs;
    PGresult *res =
        doctor_ask(d, conn, "database",
                   "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',"
                   " extract(epoch FROM clock_timestamp()), current_setting('server_version'),"
                   " current_setting('server_encoding')");

    if (!res)
        return;
    after = wall_seconds();
    theirs = strtod(doctor_text(res, 0, 2), NULL);
    if (PQserverVersion(conn) < 130000)
        doctor_say(d, GRADE_FAIL, "database", "Upgrade it: 13 or later is needed.",
                   "PostgreSQL %s is too old", doctor_text(res, 0, 3));
    else if (doctor_is_true(res, 0, 0))
        doctor_say(d, GRADE_FAIL, "database",
                   "Let [database] url lead to the primary (target_session_attrs=read-write).",
                   "the server is a standby");
    else if (doctor_is_true(res, 0, 1))
        doctor_say(
            d, GRADE_FAIL, "database",
            "Make room or end the fail-over, then turn default_transaction_read_only off in the "
            "server's configuration.",
            "the database is read-only");
    else if (strcmp(doctor_text(res, 0, 4), "UTF8") != 0)
        doctor_say(d, GRADE_WARN, "database", "Move it to a database with ENCODING 'UTF8'.",
                   "its encoding is %s: a text that it has no characters for fails its job",
                   doctor_text(res, 0, 4));
    else
        doctor_say(d, GRADE_OK, "database", NULL, "PostgreSQL %s, database %s as %s",
                   doctor_text(res, 0, 3), PQdb(conn), PQuser(conn));
    /* Between the two readings of our clock any time of theirs is right: the network's delay is
     * no difference. */
    if (theirs < before - CLOCK_APART || theirs > after + CLOCK_APART)
        doctor_say(d, GRADE_WARN, "clock", "Let both synchronise their clocks (timedatectl).",
                   "PostgreSQL's clock is %.0f s off ours", theirs - (before + after) / 2);
    else
        doctor_say(d, GRADE_OK, "clock", NULL, "PostgreSQL's clock agrees with ours");
    PQclear(res);
}

/* Is the schema there, of a version that fits, and may the role use it? Only then can the rest be
 * asked. */
static bool check_schema(Doctor *d, PGconn *conn) {
    char advice[300];
    PGresult *res = doctor_ask(
        d, conn, "schema",
        "SELECT to_regnamespace('meshify') IS NOT NULL,"
        " coalesce((SELECT pg_has_role(oid, 'usage') FROM pg_roles WHERE rolname = "
        "'meshify_worker'), false),"
        " quote_ident(current_user), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),"
        " has_language_privilege('plpgsql', 'usage')");
    bool there = res && doctor_is_true(res, 0, 0), may = res && doctor_is_true(res, 0, 1);
    int version, from;

    if (!res)
        return false;
    /* Each connection of the daemon runs a DO block in plpgsql before anything else. */
    if (!doctor_is_true(res, 0, 4)) {
        (void) snprintf(advice, sizeof advice,
                        "As a superuser: GRANT USAGE ON LANGUAGE plpgsql TO %s;",
                        doctor_text(res, 0, 2));
        doctor_say(
            d, GRADE_FAIL, "role", advice,
            "%s may not use the language plpgsql, in which each connection asks for its time zone",
            doctor_text(res, 0, 2));
    }
    /* The role's name as SQL needs it: it is copied from the screen into an editor. */
    (void) snprintf(advice, sizeof advice, "GRANT meshify_worker TO %s;", doctor_text(res, 0, 2));
    if (!there)
        doctor_say(d, GRADE_FAIL, "schema", "Run meshifyctl migrate, as the owner of public.jobs.",
                   "the database has no meshify schema");
    else if (!may)
        doctor_say(d, GRADE_FAIL, "role", advice, "%s may not do what a worker must",
                   doctor_text(res, 0, 2));
    else if (doctor_is_true(res, 0, 3))
        doctor_say(d, GRADE_WARN, "role", "Give the daemon a login of its own with meshify_worker.",
                   "%s is a superuser, which is more than a worker needs", doctor_text(res, 0, 2));
    else
        doctor_say(d, GRADE_OK, "role", NULL, "%s may do what a worker must",
                   doctor_text(res, 0, 2));
    PQclear(res);
    if (!there || !may ||
        !(res = doctor_ask(d, conn, "schema",
                           "SELECT version, compatible_from FROM meshify.schema_version")))
        return false;
    version = PQntuples(res) > 0 ? (int) strtol(doctor_text(res, 0, 0), NULL, 10) : 0;
    from = PQntuples(res) > 0 ? (int) strtol(doctor_text(res, 0, 1), NULL, 10) : 0;
    PQclear(res);
    /* An older schema lacks functions that this program calls; a newer one may still serve it, and
     * says so. */
    if (version < SCHEMA_VERSION)
        doctor_say(d, GRADE_FAIL, "schema", "Run meshifyctl migrate, as the owner of public.jobs.",
                   "the schema is version %d, this program needs %d", version, SCHEMA_VERSION);
    else if (from > SCHEMA_VERSION)
        doctor_say(d, GRADE_FAIL, "schema", "Upgrade meshifyd.",
                   "the schema is for programs from version %d on, this one knows %d", from,
                   SCHEMA_VERSION);
    else
        doctor_say(d, GRADE_OK, "schema", NULL, "version %d", version);
    return version >= SCHEMA_VERSION && from <= SCHEMA_VERSION;
}

/* Does `conn` hear, within the time, what was sent on the other connection? */
static bool hears(PGconn *conn) {
    struct pollfd p = { .fd = PQsocket(conn), .events = POLLIN };

    /* Polled in short steps: libpq reads notifications only when it is asked to. */
    for (int left = NOTIFY_WAIT_MSEC; left > 0; left -= 50) {
        PGnotify *n;

        if (PQconsumeInput(conn) == 0)
            return false;
        if ((n = PQnotifies(conn))) {
            PQfreemem(n);
            return true;
        }
        (void) poll(&p, 1, 50);
    }
    return false;
}

/* A pooler in transaction mode takes LISTEN without an error, and never delivers anything: only a
 * NOTIFY that arrives proves it. */
static void check_listen(Doctor *d, PGconn *conn) {
    const Config *c = d->config;
    char listen[64], notify[64];
    PGconn *other;
    PGresult *res;

    if (c->listen == CONFIG_LISTEN_OFF) {
        doctor_say(d, GRADE_OK, "listen", NULL, "off: the queue is polled every second");
        return;
    }
    other =
        ctl_login("meshify doctor", c->listen_url.text ? c->listen_url.text : c->database_url.text);
    /* A channel of this process alone: two doctors must not hear each other. */
    (void) snprintf(listen, sizeof listen, "LISTEN meshify_doctor_%d", (int) getpid());
    (void) snprintf(notify, sizeof notify, "NOTIFY meshify_doctor_%d", (int) getpid());
    if (PQstatus(other) != CONNECTION_OK) {
        say_away(d, "listen", other);
        PQfinish(other);
        return;
    }
    res = doctor_run_sql(other, listen);
    if (PQresultStatus(res) != PGRES_COMMAND_OK)
        doctor_say(d, GRADE_FAIL, "listen", "Check [database] listen_url.", "%s",
                   PQresultErrorMessage(res));
    else {
        PQclear(res);
        res = doctor_run_sql(conn, notify);
        if (PQresultStatus(res) == PGRES_COMMAND_OK && hears(other))
            doctor_say(d, GRADE_OK, "listen", NULL, "a NOTIFY on url is heard on %s",
                       c->listen_url_at ? "listen_url" : "the same kind of connection");
        else
            doctor_say(d, GRADE_FAIL, "listen",
                       "Behind a transaction pooler set [database] listen_url to a direct "
                       "connection, or listen = off.",
                       "a NOTIFY was not heard within %d s", NOTIFY_WAIT_MSEC / 1000);
    }
    PQclear(res);
    PQfinish(other);
}

/* With row_security off, a query on a table that has policies is an error for any role that they
 * apply to. */
static void check_row_security(Doctor *d, PGconn *conn) {
    static const char sql[] =
        "SELECT CASE WHEN s.setrole = 0 THEN 'DATABASE ' || quote_ident(current_database())"
        "  ELSE 'ROLE ' || quote_ident(current_user)"
        "  || CASE WHEN s.setdatabase = 0 THEN '' ELSE ' IN DATABASE ' || "
        "quote_ident(current_database()) END END"
        " FROM pg_db_role_setting s, unnest(s.setconfig) c"
        " WHERE s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = current_user))"
        "   AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = "
        "current_database()))"
        "   AND lower(c) ~ '^row_security=(off|false|no|0|f|n)$'";
    PGresult *res = doctor_ask(d, conn, "role", sql);
    char advice[300];

    for (int i = 0; i < PQntuples(res); i++) {
        (void) snprintf(advice, sizeof advice, "ALTER %s RESET row_security;",
                        doctor_text(res, i, 0));
        doctor_say(d, GRADE_WARN, "role", advice,
                   "row_security is off for %s: queries on tables with policies fail",
                   doctor_text(res, i, 0));
    }
    PQclear(res);
}

static void check_trust(Doctor *d, const char *key, const char *url) {
    char why[500], advice[300];
    DatabaseTrust trust = database_trust(url, why, sizeof why);

    (void) snprintf(advice, sizeof advice, "In [database] %s %s.", key,
                    database_trust_advice(trust));
    if (trust != DATABASE_EXPOSED) /* a sentence of its own */
        (void) snprintf(advice, sizeof advice, "%s.", database_trust_advice(trust));
    *advice = (char) toupper((unsigned char) *advice);
    if (*why)
        doctor_say(d, GRADE_WARN, "tls", advice, "[database] %s: %s", key, why);
    else if (trust == DATABASE_VERIFIED)
        doctor_say(d, GRADE_OK, "tls", NULL, "[database] %s: the server has to prove who it is",
                   key);
}

/* Without a listen_url of its own the second connection goes to the same server. */
static void check_trusts(Doctor *d) {
    const char *url = d->config->database_url.text, *listen_url = d->config->listen_url.text;

    check_trust(d, "url", url);
    if (d->config->listen != CONFIG_LISTEN_OFF && listen_url &&
        (!url || strcmp(url, listen_url) != 0))
        check_trust(d, "listen_url", listen_url);
}

/* Checks that need no schema are made in any case. */
void doctor_database(Doctor *d) {
    PGconn *conn;

    /* First, and without a connection: what a URL trusts is known before it is used. */
    check_trusts(d);
    conn = ctl_login("meshify doctor", d->config->database_url.text);
    if (PQstatus(conn) != CONNECTION_OK)
        say_away(d, "database", conn);
    else {
        doctor_learn_session(conn);
        check_server(d, conn);
        if (check_schema(d, conn))
            doctor_schema(d, conn);
        check_row_security(d, conn);
        check_listen(d, conn);
        doctor_users(d, conn);
    }
    PQfinish(conn);
}
