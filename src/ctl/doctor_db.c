/* The doctor's questions to the database. */
#include <ctype.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/db_failure.h"
#include "base/str.h"
#include "core/config_value.h"
#include "ctl/doctor.h"
#include "ctl/login.h"
#include "daemon/database_trust.h"
#include "io/db_session.h"

#define NOTIFY_WAIT_MSEC 5000
#define CLOCK_APART 5.0 /* seconds */

/* What to do depends on why. */
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

static bool is_good(const PGresult *res) {
    return PQresultStatus(res) == PGRES_TUPLES_OK || PQresultStatus(res) == PGRES_COMMAND_OK;
}

static DbSession session = { .statement_timeout = "20s", .lock_timeout = "3s" };

/* In a transaction as each of the daemon's: with a session of its own the doctor would see what it does not.
 * The caller clears the answer, or the error. */
static PGresult *run(PGconn *conn, const char *sql) {
    PGresult *res = db_session_begin(conn, &session), *end;

    if (!res)
        res = PQexec(conn, sql);
    end = PQexec(conn, is_good(res) ? "COMMIT" : "ROLLBACK");
    if (is_good(res) && !is_good(end)) {
        PQclear(res);
        return end;
    }
    PQclear(end);
    return res;
}

/* Rows of texts; NULL, having said so, when it was refused. */
static PGresult *ask(Doctor *d, PGconn *conn, const char *check, const char *sql) {
    PGresult *res = run(conn, sql);
    const char *message = res ? PQresultErrorMessage(res) : "out of memory";
    DbFailure failure = db_failure_read(message);

    if (PQresultStatus(res) == PGRES_TUPLES_OK)
        return res;
    doctor_say(d, GRADE_FAIL, check,
               (failure == DB_FAILURE_TIMEOUT && ctl_is_hurried(conn)) ||
                       failure == DB_FAILURE_LANGUAGE
                   ? db_failure_advice(failure)
                   : "See the message of the database.",
               "%s", message);
    PQclear(res);
    return NULL;
}

static const char *text(const PGresult *res, int row, int column) {
    return row < PQntuples(res) && column < PQnfields(res) ? PQgetvalue(res, row, column) : "";
}

static bool is_true(const PGresult *res, int row, int column) {
    return text(res, row, column)[0] == 't';
}

static void check_server(Doctor *d, PGconn *conn) {
    double before = wall_seconds(), after, theirs;
    PGresult *res =
        ask(d, conn, "database",
            "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',"
            " extract(epoch FROM clock_timestamp()), current_setting('server_version'),"
            " current_setting('server_encoding')");

    if (!res)
        return;
    after = wall_seconds();
    theirs = strtod(text(res, 0, 2), NULL);
    if (PQserverVersion(conn) < 130000)
        doctor_say(d, GRADE_FAIL, "database", "Upgrade it: 13 or later is needed.",
                   "PostgreSQL %s is too old", text(res, 0, 3));
    else if (is_true(res, 0, 0))
        doctor_say(d, GRADE_FAIL, "database",
                   "Let [database] url lead to the primary (target_session_attrs=read-write).",
                   "the server is a standby");
    else if (is_true(res, 0, 1))
        doctor_say(
            d, GRADE_FAIL, "database",
            "Make room or end the fail-over, then turn default_transaction_read_only off in the "
            "server's configuration.",
            "the database is read-only");
    else if (strcmp(text(res, 0, 4), "UTF8") != 0)
        doctor_say(d, GRADE_WARN, "database", "Move it to a database with ENCODING 'UTF8'.",
                   "its encoding is %s: a text that it has no characters for fails its job",
                   text(res, 0, 4));
    else
        doctor_say(d, GRADE_OK, "database", NULL, "PostgreSQL %s, database %s as %s",
                   text(res, 0, 3), PQdb(conn), PQuser(conn));
    if (theirs < before - CLOCK_APART || theirs > after + CLOCK_APART)
        doctor_say(d, GRADE_WARN, "clock", "Let both synchronise their clocks (timedatectl).",
                   "PostgreSQL's clock is %.0f s off ours", theirs - (before + after) / 2);
    else
        doctor_say(d, GRADE_OK, "clock", NULL, "PostgreSQL's clock agrees with ours");
    PQclear(res);
}

/* True when the schema is there, fits and may be used. */
static bool check_schema(Doctor *d, PGconn *conn) {
    char advice[300];
    PGresult *res = ask(
        d, conn, "schema",
        "SELECT to_regnamespace('meshify') IS NOT NULL,"
        " coalesce((SELECT pg_has_role(oid, 'usage') FROM pg_roles WHERE rolname = "
        "'meshify_worker'), false),"
        " quote_ident(current_user), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),"
        " has_language_privilege('plpgsql', 'usage')");
    bool there = res && is_true(res, 0, 0), may = res && is_true(res, 0, 1);
    int version, from;

    if (!res)
        return false;
    if (!is_true(res, 0, 4)) {
        (void) snprintf(advice, sizeof advice,
                        "As a superuser: GRANT USAGE ON LANGUAGE plpgsql TO %s;", text(res, 0, 2));
        doctor_say(
            d, GRADE_FAIL, "role", advice,
            "%s may not use the language plpgsql, in which each connection asks for its time zone",
            text(res, 0, 2));
    }
    (void) snprintf(advice, sizeof advice, "GRANT meshify_worker TO %s;", text(res, 0, 2));
    if (!there)
        doctor_say(d, GRADE_FAIL, "schema", "Run meshifyctl migrate, as the owner of public.jobs.",
                   "the database has no meshify schema");
    else if (!may)
        doctor_say(d, GRADE_FAIL, "role", advice, "%s may not do what a worker must",
                   text(res, 0, 2));
    else if (is_true(res, 0, 3))
        doctor_say(d, GRADE_WARN, "role", "Give the daemon a login of its own with meshify_worker.",
                   "%s is a superuser, which is more than a worker needs", text(res, 0, 2));
    else
        doctor_say(d, GRADE_OK, "role", NULL, "%s may do what a worker must", text(res, 0, 2));
    PQclear(res);
    if (!there || !may ||
        !(res = ask(d, conn, "schema",
                    "SELECT version, compatible_from FROM meshify.schema_version")))
        return false;
    version = PQntuples(res) > 0 ? (int) strtol(text(res, 0, 0), NULL, 10) : 0;
    from = PQntuples(res) > 0 ? (int) strtol(text(res, 0, 1), NULL, 10) : 0;
    PQclear(res);
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

/* Does `conn` hear, within the time, what was sent on the other one? */
static bool hears(PGconn *conn) {
    struct pollfd p = { .fd = PQsocket(conn), .events = POLLIN };

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
    (void) snprintf(listen, sizeof listen, "LISTEN meshify_doctor_%d", (int) getpid());
    (void) snprintf(notify, sizeof notify, "NOTIFY meshify_doctor_%d", (int) getpid());
    if (PQstatus(other) != CONNECTION_OK) {
        say_away(d, "listen", other);
        PQfinish(other);
        return;
    }
    res = run(other, listen);
    if (PQresultStatus(res) != PGRES_COMMAND_OK)
        doctor_say(d, GRADE_FAIL, "listen", "Check [database] listen_url.", "%s",
                   PQresultErrorMessage(res));
    else {
        PQclear(res);
        res = run(conn, notify);
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

/* What users may write decides what they pay: privileges, as far as row security lets them through. */
static void check_users(Doctor *d, PGconn *conn) {
    static const char sql[] =
        "WITH c (tab, col, new_too) AS (VALUES" /* new_too: what whoever inserts has to write */
        "  ('mesh_assets', 'credits_cost', true), ('jobs', 'status', true),"
        "  ('jobs', 'priority', true), ('jobs', 'worker_id', true), ('jobs', 'run_after', true),"
        "  ('mesh_assets', 'status', false), ('mesh_assets', 'output_path', false),"
        "  ('mesh_assets', 'owner_id', false), ('jobs', 'input_data', false),"
        "  ('jobs', 'asset_id', false), ('jobs', 'attempts', false), ('jobs', 'crashes', false),"
        "  ('jobs', 'worked', false), ('profiles', 'credits_remaining', true),"
        "  ('profiles', 'credits_used', true), ('projects', 'owner_id', false)),"
        " open AS (SELECT r.rolname, k.oid, c.tab, c.col, w.word, coalesce(g.grantee, r.oid) AS id,"
        "  CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(coalesce(o.rolname, r.rolname)) END"
        "  AS grantee"
        " FROM pg_roles r CROSS JOIN c"
        " JOIN (VALUES ('UPDATE', 'w'), ('INSERT', 'a')) w (word, cmd) ON cmd = 'w' OR new_too"
        " JOIN pg_class k ON k.oid = to_regclass('public.' || c.tab)"
        " JOIN pg_attribute a ON a.attrelid = k.oid AND a.attname = c.col AND NOT a.attisdropped"
        " LEFT JOIN LATERAL (" /* as whom: itself, a role it is in, PUBLIC */
        "   SELECT x.grantee"
        "   FROM (SELECT (aclexplode(k.relacl)).* UNION ALL SELECT (aclexplode(a.attacl)).*) x"
        "   WHERE x.privilege_type = w.word"
        "     AND (x.grantee = 0 OR pg_has_role(r.oid, x.grantee, 'usage')) LIMIT 1) g ON true"
        " LEFT JOIN pg_roles o ON o.oid = g.grantee"
        " WHERE r.rolname IN ('anon', 'authenticated')"
        "   AND has_column_privilege(r.oid, k.oid, a.attnum, w.word)"
        "   AND (NOT k.relrowsecurity OR r.rolbypassrls OR EXISTS ("
        "        SELECT FROM pg_policy p WHERE p.polrelid = k.oid AND p.polpermissive"
        "          AND p.polcmd IN ('*', w.cmd::\"char\")"
        /* whose a project is may be written where the policy lets nothing else be written */
        "          AND (c.tab <> 'projects' OR pg_get_expr(coalesce(p.polwithcheck, p.polqual),"
        "               p.polrelid) !~ '\\mowner_id\\M')"
        "          AND (p.polroles = '{0}' OR EXISTS (SELECT FROM unnest(p.polroles) o"
        "               WHERE o <> 0 AND pg_has_role(r.oid, o, 'usage'))))))"
        " SELECT string_agg(DISTINCT o.rolname, ' and '), string_agg(DISTINCT o.tab || '.' || "
        "o.col,"
        "  ', '), o.word, format('REVOKE %s ON public.%I FROM %s;', o.word, o.tab, o.grantee)"
        /* users go on editing what is theirs: a column can't be taken out of a table's grant */
        "  || coalesce((SELECT format(' GRANT %s (%s) ON public.%I TO %s;', o.word,"
        "   string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), o.tab, o.grantee)"
        "   FROM pg_attribute a WHERE o.tab IN ('profiles', 'projects') AND a.attrelid = o.oid"
        "   AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
        "   AND NOT EXISTS (SELECT FROM c WHERE c.tab = o.tab AND c.col = a.attname)"
        "   AND CASE o.id WHEN 0 THEN has_column_privilege('public', o.oid, a.attnum, o.word)"
        "       ELSE has_column_privilege(o.id, o.oid, a.attnum, o.word) END"
        "   HAVING count(*) > 0), '')"
        " FROM open o GROUP BY o.oid, o.tab, o.word, o.id, o.grantee ORDER BY 2, 3, 1";
    PGresult *res = ask(d, conn, "users", sql);

    if (!res)
        return;
    for (int i = 0; i < PQntuples(res); i++)
        doctor_say(d, GRADE_FAIL, "users", text(res, i, 3), "%s can write %s (%s)", text(res, i, 0),
                   text(res, i, 1), text(res, i, 2));
    if (PQntuples(res) == 0)
        doctor_say(d, GRADE_OK, "users", NULL,
                   "anon and authenticated can't write what jobs cost or how they run");
    PQclear(res);
}

/* Rows that users insert were paid by nobody: a mesh is made for them all the same. */
static void check_inserts(Doctor *d, PGconn *conn) {
    static const char sql[] =
        "SELECT CASE WHEN p.polname IS NULL THEN 'row security, which is off,'"
        "  ELSE 'policy ' || quote_ident(p.polname) END, k.relname, string_agg(r.rolname, ', '"
        "  ORDER BY r.rolname)"
        " FROM pg_roles r"
        " JOIN pg_class k ON k.oid IN (to_regclass('public.mesh_assets'), "
        "to_regclass('public.jobs'))"
        " LEFT JOIN pg_policy p ON p.polrelid = k.oid AND k.relrowsecurity AND p.polpermissive"
        "   AND p.polcmd IN ('*', 'a')"
        "   AND (p.polroles = '{0}' OR EXISTS (SELECT FROM unnest(p.polroles) o"
        "        WHERE o <> 0 AND pg_has_role(r.oid, o, 'usage')))"
        " WHERE r.rolname IN ('anon', 'authenticated')"
        "   AND has_any_column_privilege(r.oid, k.oid, 'INSERT')"
        "   AND (p.oid IS NOT NULL OR NOT k.relrowsecurity)"
        " GROUP BY 1, 2 ORDER BY 2, 1";
    PGresult *res = ask(d, conn, "users", sql);
    char advice[200];

    for (int i = 0; res && i < PQntuples(res); i++) {
        (void) snprintf(advice, sizeof advice,
                        "If only the edge function should: REVOKE INSERT ON public.%s FROM %s;",
                        text(res, i, 1), text(res, i, 2));
        doctor_say(d, GRADE_WARN, "users", advice,
                   "%s lets %s insert rows of public.%s: they cost nothing, and nothing is given "
                   "back for them",
                   text(res, i, 0), text(res, i, 2), text(res, i, 1));
    }
    PQclear(res);
}

/* What was charged, and could not be given back as it was taken. */
static void check_charges(Doctor *d, PGconn *conn) {
    PGresult *res =
        ask(d, conn, "price",
            "SELECT price, other, other_cost, by_users, jobless FROM meshify.odd_charges()");
    char advice[200];

    if (res && PQntuples(res) == 1 && strcmp(text(res, 0, 1), "0") != 0) {
        (void) snprintf(advice, sizeof advice,
                        "If that is what the edge function takes: meshifyctl settings price %s",
                        text(res, 0, 2));
        doctor_say(d, GRADE_WARN, "price", advice,
                   "%s assets of the last week cost something else than the price, %s, most often "
                   "%s: of what they cost, at most the price is given back",
                   text(res, 0, 1), text(res, 0, 0), text(res, 0, 2));
    }
    if (res && PQntuples(res) == 1 && strcmp(text(res, 0, 3), "0") != 0)
        doctor_say(d, GRADE_WARN, "price",
                   "If they were paid for, let the edge function insert them with the service role "
                   "key.",
                   "%s assets of the last week were inserted by users themselves (the role "
                   "authenticated or anon): nothing is given back for them",
                   text(res, 0, 3));
    if (res && PQntuples(res) == 1 && strcmp(text(res, 0, 4), "0") != 0)
        doctor_say(d, GRADE_WARN, "price",
                   "SELECT * FROM public.mesh_assets a WHERE status IN ('pending', 'running') AND "
                   "NOT EXISTS (SELECT FROM public.jobs j WHERE j.asset_id = a.id); insert their "
                   "jobs, or give the credits back. meshify.enqueue() does all in one.",
                   "%s assets of the last week were paid for and have no job: the edge function "
                   "was broken off before it inserted one",
                   text(res, 0, 4));
    PQclear(res);
}

/* Works, but by a guess. */
static void check_columns(Doctor *d, PGconn *conn) {
    PGresult *res = ask(d, conn, "columns", "SELECT col, mend FROM meshify.zoneless()");

    for (int i = 0; res && i < PQntuples(res); i++)
        doctor_say(d, GRADE_WARN, "columns", text(res, i, 1),
                   "%s has no time zone: its times are taken as those of %s", text(res, i, 0),
                   session.zone);
    if (res && PQntuples(res) == 0)
        doctor_say(d, GRADE_OK, "columns", NULL, "times have a time zone");
    PQclear(res);
}

/* Does not work, and would be found out when the mesh is there and paid for. */
static void check_room(Doctor *d, PGconn *conn) {
    char sql[300];
    PGresult *res;

    (void) snprintf(sql, sizeof sql,
                    "SELECT true, m.* FROM meshify.misfit_columns() m"
                    " UNION ALL SELECT true, o.* FROM meshify.lost_owner() o"
                    " UNION ALL SELECT grave, col, why, mend FROM meshify.unfit_columns(%zu)",
                    config_object_size(d->config->storage_path));
    res = ask(d, conn, "columns", sql);
    for (int i = 0; res && i < PQntuples(res); i++)
        doctor_say(d, is_true(res, i, 0) ? GRADE_FAIL : GRADE_WARN, "columns", text(res, i, 3),
                   "%s %s", text(res, i, 1), text(res, i, 2));
    if (res && PQntuples(res) == 0)
        doctor_say(d, GRADE_OK, "columns", NULL, "what a job ends with can be written");
    PQclear(res);
}

static void check_triggers(Doctor *d, PGconn *conn) {
    PGresult *res = ask(d, conn, "triggers", "SELECT what, mend FROM meshify.idle_triggers()");

    for (int i = 0; res && i < PQntuples(res); i++)
        doctor_say(d, GRADE_FAIL, "triggers", text(res, i, 1), "%s", text(res, i, 0));
    if (res && PQntuples(res) == 0)
        doctor_say(d, GRADE_OK, "triggers", NULL, "all of ours are at work");
    PQclear(res);
}

static void check_others(Doctor *d, PGconn *conn) {
    PGresult *res = ask(d, conn, "others", "SELECT stuck, busy FROM meshify.others()");
    int left, recent;

    if (!res)
        return;
    left = PQntuples(res) > 0 ? (int) strtol(text(res, 0, 0), NULL, 10) : 0;
    recent = PQntuples(res) > 0 ? (int) strtol(text(res, 0, 1), NULL, 10) : 0;
    PQclear(res);
    if (recent > 0)
        doctor_say(d, GRADE_FAIL, "others", "Stop the old worker before meshifyd is started.",
                   "%d running jobs of another worker changed within ten minutes", recent);
    else if (left > 0)
        doctor_say(
            d, GRADE_WARN, "others",
            "meshifyctl retry --stuck puts them back into the queue, cancel --stuck ends them.",
            "%d jobs were left running by an older program", left);
    else
        doctor_say(d, GRADE_OK, "others", NULL, "no other worker is at work on the queue");
}

/* Where row security is off, a query on a table with policies is an error for whoever they hold for. */
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
    PGresult *res = ask(d, conn, "role", sql);
    char advice[300];

    for (int i = 0; i < PQntuples(res); i++) {
        (void) snprintf(advice, sizeof advice, "ALTER %s RESET row_security;", text(res, i, 0));
        doctor_say(d, GRADE_WARN, "role", advice,
                   "row_security is off for %s: queries on tables with policies fail",
                   text(res, i, 0));
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

static void check_trusts(Doctor *d) {
    const char *url = d->config->database_url.text, *listen_url = d->config->listen_url.text;

    check_trust(d, "url", url);
    if (d->config->listen != CONFIG_LISTEN_OFF && listen_url &&
        (!url || strcmp(url, listen_url) != 0))
        check_trust(d, "listen_url", listen_url);
}

void doctor_database(Doctor *d) {
    PGconn *conn;

    check_trusts(d);
    conn = ctl_login("meshify doctor", d->config->database_url.text);
    if (PQstatus(conn) != CONNECTION_OK)
        say_away(d, "database", conn);
    else {
        PGresult *res = run(conn, db_session_questions);

        if (PQresultStatus(res) == PGRES_TUPLES_OK)
            db_session_hear(&session, res);
        PQclear(res);
        check_server(d, conn);
        if (check_schema(d, conn)) {
            check_triggers(d, conn);
            check_others(d, conn);
            check_columns(d, conn);
            check_charges(d, conn);
            check_room(d, conn);
        }
        check_row_security(d, conn);
        check_listen(d, conn);
        check_users(d, conn);
        check_inserts(d, conn);
    }
    PQfinish(conn);
}
