/* The settings that each of our transactions begins with, and the questions to a new connection
 * that they depend on. Any role, database, URL or pooler may have set something else, which a
 * transaction overrides and a session keeps: behind a transaction pooler a session is not ours to
 * change. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "io/db_session.h"

#define ISOLATION "SET transaction_isolation = 'read committed'"
#define READ_WRITE "SET transaction_read_only = off"

#define SET(name, value) "pg_catalog.set_config('" name "', " value ", true), "
#define IS " OPERATOR(pg_catalog.=) "
#define NOW(name) "pg_catalog.current_setting('" name "', true)"

/* `client_encoding` stands in the login already, which not every pooler passes on. `synchronous_commit`: an
 * intent must be on disk before its purchase is made. `client_connection_check_interval` (of version 14): no
 * backend works on for a client that has given up. The last column gives way to a server that is configured to
 * be read-only; the view is asked only where it may be. */
/* clang-format off */
static const char settings[] = "SELECT "
    SET("client_encoding", "'UTF8'")
    SET("search_path", "'pg_catalog, pg_temp'")
    SET("statement_timeout", "$2")
    SET("lock_timeout", "$3")
    "CASE WHEN $4" IS "'' THEN '' ELSE pg_catalog.set_config('meshify.sent_as', $4, true) END, "
    SET("idle_in_transaction_session_timeout", "'25s'")
    SET("row_security", "'on'")
    SET("DateStyle", "'ISO, YMD'")
    SET("IntervalStyle", "'postgres'")
    SET("standard_conforming_strings", "'on'")
    SET("bytea_output", "'hex'")
    SET("extra_float_digits", "'1'")
    "CASE WHEN $1" IS "'' THEN '' ELSE pg_catalog.set_config('TimeZone', $1, true) END, "
    "CASE WHEN " NOW("client_connection_check_interval") " IS NOT NULL"
    " THEN pg_catalog.set_config('client_connection_check_interval', '2s', true) END, "
    "CASE WHEN " NOW("transaction_timeout") " IS NOT NULL"
    " THEN pg_catalog.set_config('transaction_timeout', $5, true) END, "
    "CASE WHEN " NOW("synchronous_commit") IS "'off'"
    " THEN pg_catalog.set_config('synchronous_commit', 'on', true) END, "
    "CASE WHEN " NOW("default_transaction_read_only") IS "'on'"
    " THEN (SELECT pg_catalog.set_config('transaction_read_only', 'on', true) FROM pg_catalog.pg_settings s"
    "       WHERE s.name" IS "'default_transaction_read_only' AND s.source IN ('configuration file', 'command line')) END";

/* Others write their timestamps without a zone in the database's, or in that of the role by which PostgREST
 * logs in, or else in the server's. What is stored need not be known to the server any more: after an upgrade
 * of its tzdata, say. Only an attempt shows that. */
#define ZONE "DO $do$ DECLARE candidate text; refused text;" \
    "BEGIN" \
    "  FOREACH candidate IN ARRAY ARRAY[" \
    "    (SELECT regexp_replace(c, '^[^=]*=', '') FROM pg_db_role_setting r, unnest(r.setconfig) c" \
    "     WHERE r.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))" \
    "       AND (r.setrole = 0 OR r.setrole = (SELECT a.oid FROM pg_roles a WHERE a.rolname = 'authenticator'))" \
    "       AND c ILIKE 'timezone=%'" \
    "     ORDER BY r.setrole = 0, r.setdatabase = 0 LIMIT 1)," \
    "    (SELECT z.setting FROM pg_settings z WHERE z.name = 'TimeZone'" \
    "     AND z.source IN ('default', 'configuration file', 'command line', 'environment variable'))," \
    "    'UTC'] LOOP" \
    "    CONTINUE WHEN candidate IS NULL;" \
    "    BEGIN" \
    "      PERFORM set_config('TimeZone', candidate, true);" \
    "      EXIT;" \
    "    EXCEPTION WHEN OTHERS THEN" \
    "      refused := coalesce(refused, candidate);" \
    "    END;" \
    "  END LOOP;" \
    "  IF refused IS NOT NULL THEN" \
    "    RAISE WARNING 'the time zone \"%\" of the database or of the role authenticator is not known to the server:" \
                      " times without a zone are taken in %; set a known one with ALTER DATABASE or ALTER ROLE'," \
    "      left(refused, 100), current_setting('TimeZone');" \
    "  END IF;" \
    "END $do$"

/* `idle_session_timeout` is the one limit that only a session can lift: of a connection that a pooler lends us
 * no more than it takes. */
#define QUESTION "SELECT current_setting('transaction_read_only') = 'on', current_setting('TimeZone')," \
    " CASE WHEN coalesce(current_setting('idle_session_timeout', true), '0') <> '0'" \
    "      THEN set_config('idle_session_timeout', '0', false) END"

const char db_session_zone[] = ZONE;
const char db_session_question[] = QUESTION;
const char db_session_questions[] = ZONE "; " QUESTION;
/* clang-format on */

/* In the order of $1 to $5 above. "" leaves a setting as it is. */
static const char *const *parameters(const DbSession *session, const char *to[static 5]) {
    to[0] = session->zone;
    to[1] = session->statement_timeout;
    to[2] = session->lock_timeout;
    to[3] = session->sent_as ? session->sent_as : "";
    to[4] = session->transaction_timeout ? session->transaction_timeout : "0";
    return to;
}

/* Without BEGIN: see the header. Three statements, whose results the reader counts off. */
int db_session_open(PGconn *conn, const DbSession *session) {
    const char *values[5];

    if (PQsendQueryParams(conn, ISOLATION, 0, NULL, NULL, NULL, NULL, 0) != 1 ||
        PQsendQueryParams(conn, READ_WRITE, 0, NULL, NULL, NULL, NULL, 0) != 1 ||
        PQsendQueryParams(conn, settings, 5, NULL, parameters(session, values), NULL, NULL, 0) != 1)
        return -EIO;
    return 0;
}

void db_session_hear(DbSession *session, const PGresult *res) {
    if (PQntuples(res) == 1 && PQnfields(res) > 1)
        (void) snprintf(session->zone, sizeof session->zone, "%s", PQgetvalue(res, 0, 1));
}

static bool is_good(const PGresult *res) {
    return PQresultStatus(res) == PGRES_COMMAND_OK || PQresultStatus(res) == PGRES_TUPLES_OK;
}

/* In one round trip, since between two of them the transaction would be idle. Answers the first
 * error, or NULL. */
static PGresult *begin(PGconn *conn, const DbSession *session, const char *sql) {
    const char *values[5];
    PGresult *error = NULL, *res = NULL;
    int ends = 0;

    if (PQenterPipelineMode(conn) != 1 ||
        PQsendQueryParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0) != 1 ||
        PQsendQueryParams(conn, settings, 5, NULL, parameters(session, values), NULL, NULL, 0) !=
            1 ||
        PQpipelineSync(conn) != 1)
        return PQmakeEmptyPGresult(conn, PGRES_FATAL_ERROR);
    while (PQresultStatus(res) != PGRES_PIPELINE_SYNC && ends < 2) {
        if (!error && res && !is_good(res))
            error = res;
        else
            PQclear(res);
        res = PQgetResult(conn);
        ends = res ? 0 : ends + 1; /* two in a row: the connection is gone */
    }
    PQclear(res);
    if (PQexitPipelineMode(conn) != 1 && !error)
        error = PQmakeEmptyPGresult(conn, PGRES_FATAL_ERROR);
    return error;
}

/* 0A000 is what a standby answers to READ WRITE. */
PGresult *db_session_begin(PGconn *conn, const DbSession *session) {
    PGresult *error = begin(conn, session, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE");
    const char *state = PQresultErrorField(error, PG_DIAG_SQLSTATE);

    if (!state || strcmp(state, "0A000") != 0)
        return error;
    PQclear(error); /* a standby, which may be looked at */
    return begin(conn, session, "BEGIN ISOLATION LEVEL READ COMMITTED");
}
