/* `meshifyctl migrate`: brings a database to this program's schema, in one transaction, while others work on it.
 * The files of sql/, and which of them a database lacks, are ctl/schema.c's. */
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/say.h"
#include "base/str.h"
#include "ctl/ctl.h"
#include "ctl/schema.h"

#define LOCK_KEY "7308895150126625899" /* one migration at a time */

#define TRIES 20 /* to get all locks, each half a second long, with a second in between */

/* The version of the schema that is there; 0: none. -1: it can't be read, which has been said. */
static int version_there(Ctl *c, int *ret_exit) {
    int version;
    PGresult *res =
        ctl_query(c, "SELECT to_regclass('meshify.schema_version') IS NOT NULL", NULL, 0, ret_exit);
    bool there = res && PQgetvalue(res, 0, 0)[0] == 't';

    if (!res)
        return -1;
    PQclear(res);
    if (!there)
        return 0;
    res = ctl_query(c, "SELECT version FROM meshify.schema_version", NULL, 0, ret_exit);
    if (!res)
        return -1;
    version = PQntuples(res) > 0 ? (int) strtol(PQgetvalue(res, 0, 0), NULL, 10) : 0;
    PQclear(res);
    return version;
}

/* The first table of the existing system that is missing, or NULL. */
static const char *missing_table(Ctl *c, int *ret_exit) {
    static const char *const tables[] = { "public.jobs", "public.mesh_assets", "public.profiles",
                                          "public.projects" };

    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const char *params[] = { tables[i] };
        PGresult *res = ctl_query(c, "SELECT to_regclass($1) IS NULL", params, 1, ret_exit);
        bool missing = !res || PQgetvalue(res, 0, 0)[0] == 't';

        PQclear(res);
        if (missing)
            return tables[i];
    }
    return NULL;
}

/* What a migration does and this login may not, and who may; no row where there is nothing of that. */
/* clang-format off */
static const char rights[] =
    "WITH us AS (SELECT r.* FROM pg_roles r WHERE r.rolname = current_user AND to_regclass('public.jobs') IS NOT NULL),"
    " known (what, owner) AS ("
    "  SELECT 'public.jobs', k.relowner FROM pg_class k WHERE k.oid = to_regclass('public.jobs')"
    "  UNION ALL SELECT 'the schema meshify', n.nspowner FROM pg_namespace n WHERE n.nspname = 'meshify'),"
    " theirs AS (SELECT k.* FROM known k WHERE NOT pg_has_role(k.owner, 'usage'))" /* what the owner may is said to the owner */
    " SELECT format('migrate needs the owner of %s, which is %s; this login is %s', t.what, pg_get_userbyid(t.owner), us.rolname),"
    "        format('Give that role''s URL to this command alone: DATABASE_URL=postgresql://%s:... meshifyctl migrate',"
    "               pg_get_userbyid(t.owner))"
    " FROM theirs t, us"
    " UNION ALL SELECT format('migrate makes the role meshify_worker, which %s may not', us.rolname),"
    "                  'Let a role that may run: CREATE ROLE meshify_worker NOLOGIN;'"
    " FROM us WHERE NOT EXISTS (SELECT FROM theirs) AND NOT us.rolsuper AND NOT us.rolcreaterole"
    "   AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'meshify_worker')"
    " UNION ALL SELECT format('migrate makes the schema meshify, which %s may not', us.rolname),"
    "                  format('Let the owner of the database run: GRANT CREATE ON DATABASE %I TO %I;', current_database(), us.rolname)"
    " FROM us WHERE NOT EXISTS (SELECT FROM theirs) AND to_regnamespace('meshify') IS NULL AND NOT has_database_privilege(current_database(), 'CREATE')";
/* clang-format on */

/* Asked before anything is tried: an error in the middle would name a statement, not the role that may. */
static int check_rights(Ctl *c) {
    int status = 0;
    PGresult *res = ctl_query(c, rights, NULL, 0, &status);

    for (int i = 0; res && i < PQntuples(res); i++) {
        say(stderr, "meshifyctl: %s", PQgetvalue(res, i, 0));
        if (i + 1 == PQntuples(res) ||
            strcmp(PQgetvalue(res, i, 1), PQgetvalue(res, i + 1, 1)) != 0)
            say(stderr, "%s", PQgetvalue(res, i, 1));
        status = CTL_REFUSED;
    }
    PQclear(res);
    return status;
}

static void ignore_notices(void *userdata, const PGresult *res) {
    (void) userdata;
    (void) res; /* "already exists, skipping" */
}

/* Asks for the lock again and again rather than waits: a session that waits in a query would be waited
 * for by CREATE INDEX CONCURRENTLY. */
static int lock_migrations(Ctl *c) {
    int status = 0;

    for (bool said = false;;) {
        PGresult *res = ctl_query(c, "SELECT pg_try_advisory_lock(" LOCK_KEY ")", NULL, 0, &status);
        bool got = res && PQgetvalue(res, 0, 0)[0] == 't';

        PQclear(res);
        if (!res || got)
            return status;
        if (!said)
            puts("another migration is under way: waiting for it");
        said = true;
        fflush(stdout);
        (void) usleep(200000);
    }
}

/* Runs what may be several statements. The error, or NULL. */
static PGresult *run(Ctl *c, const char *sql) {
    PGresult *res = PQexec(c->conn, sql);

    if (PQresultStatus(res) == PGRES_COMMAND_OK || PQresultStatus(res) == PGRES_TUPLES_OK) {
        PQclear(res);
        return NULL;
    }
    return res;
}

/* The file, and its record where it has one. The file's text is read by the settings that the statements before
 * it have made. */
static PGresult *apply_file(Ctl *c, const SchemaFile *file) {
    _cleanup_free_ char *text = str_printf("%.*s", (int) file->size, file->text);
    _cleanup_free_ char *record = schema_goes_along(file) ? NULL : schema_record(file);
    PGresult *res;

    if (!text || (!record && !schema_goes_along(file)))
        return PQmakeEmptyPGresult(c->conn, PGRES_FATAL_ERROR);
    res = run(c, text);
    return res || !record ? res : run(c, record);
}

/* All in one transaction, so that nobody meets functions of two versions. */
static PGresult *apply_once(Ctl *c, const bool due[], const char **ret_name) {
    PGresult *res = db_session_begin(c->conn, &c->session);

    for (size_t i = 0; !res && schema_files[i].name; i++)
        if (due[i]) {
            *ret_name = schema_files[i].name;
            res = apply_file(c, &schema_files[i]);
        }
    if (!res)
        res = run(c, schema_record_version);
    if (!res)
        res = run(c, "COMMIT");
    if (res)
        PQclear(PQexec(c->conn, "ROLLBACK"));
    return res;
}

/* The server's own words, and the hint that a file of sql/ gives with an error of its own. */
static void say_failed(const char *name, const PGresult *res, bool busy) {
    const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    say(stderr, "meshifyctl: sql/%s.sql failed, nothing of it was kept: %s", name,
        primary ? primary : PQresultErrorMessage(res));
    /* A hint of ours is a statement a line, to be run as they stand. */
    say_lines(stderr, "", PQresultErrorField(res, PG_DIAG_MESSAGE_HINT));
    if (busy)
        fputs("A table is in use by a long transaction: look for it with SELECT pid, "
              "xact_start, query FROM pg_stat_activity ORDER BY xact_start; then migrate "
              "again\n",
              stderr);
}

/* Applies the files that are due. A busy table is tried again: to wait longer for its lock would hold up
 * everybody who comes after us. */
static int apply(Ctl *c, const bool due[]) {
    for (int try = 1;; try++) {
        const char *name = "begin";
        PGresult *res = apply_once(c, due, &name);
        const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
        bool busy = state && (!strcmp(state, "55P03") || !strcmp(state, "40P01"));
        bool over = !busy || try == TRIES;

        if (!res)
            return 0;
        if (over)
            say_failed(name, res, busy);
        else
            say(stdout, "a table is busy: sql/%s.sql again in a second", name);
        PQclear(res);
        if (over)
            return CTL_REFUSED;
        fflush(stdout);
        (void) sleep(1);
    }
}

/* Indexes of large tables, which nobody has to wait for, so they may take their time. They are built outside
 * a transaction: for once the session has to be told. */
static int build_indexes(Ctl *c) {
    static const char ours[] =
        "SET default_transaction_read_only = off; SET default_transaction_isolation = 'read "
        "committed'; SET statement_timeout = 0; SET lock_timeout = 0; "
        "SET idle_in_transaction_session_timeout = 0; SET search_path = pg_catalog, pg_temp";
    static const char theirs[] =
        "RESET default_transaction_read_only; RESET default_transaction_isolation; "
        "RESET statement_timeout; RESET lock_timeout; "
        "RESET idle_in_transaction_session_timeout; RESET search_path";
    int status = 0;
    PGresult *todo = ctl_query(c, "SELECT meshify.missing_indexes()", NULL, 0, &status);

    if (todo && PQntuples(todo) > 0)
        PQclear(PQexec(c->conn, ours));

    for (int i = 0; todo && status == 0 && i < PQntuples(todo); i++) {
        PGresult *res;

        say(stdout, "running %s", PQgetvalue(todo, i, 0));
        fflush(stdout);
        res = PQexec(c->conn, PQgetvalue(todo, i, 0));
        if (PQresultStatus(res) != PGRES_COMMAND_OK) {
            say(stderr, "meshifyctl: that failed, migrate again: %s", PQresultErrorMessage(res));
            status = CTL_REFUSED;
        }
        PQclear(res);
    }
    if (todo && PQntuples(todo) > 0)
        PQclear(PQexec(c->conn, theirs));
    PQclear(todo);
    return status;
}

/* What the operator should know of this database, each line with the statement that mends it. */
static int advise(Ctl *c) {
    int status = 0;
    PGresult *res = ctl_query(c, "SELECT meshify.advice()", NULL, 0, &status);

    for (int i = 0; res && i < PQntuples(res); i++)
        say(stdout, "note: %s", PQgetvalue(res, i, 0));
    PQclear(res);
    return status;
}

/* Was a trigger of ours dropped since, or a column renamed that a function was made for? */
static bool is_broken(Ctl *c, int *ret_status) {
    PGresult *res = ctl_query(c,
                              "SELECT FROM meshify.idle_triggers() WHERE missing"
                              " UNION ALL SELECT FROM meshify.lost_owner()",
                              NULL, 0, ret_status);
    bool broken = res && PQntuples(res) > 0;

    PQclear(res);
    return broken;
}

/* Which files the database lacks. 0, or the exit status. */
static int find_missing(Ctl *c, bool ret_due[], bool *ret_any) {
    int status = 0;
    PGresult *res =
        ctl_query(c, "SELECT to_regclass('meshify.schema_files') IS NOT NULL", NULL, 0, &status);
    bool recorded = res && PQgetvalue(res, 0, 0)[0] == 't';

    PQclear(res);
    if (status != 0)
        return status;
    res = ctl_query(c, recorded ? schema_recorded : schema_recorded_before, NULL, 0, &status);
    *ret_any = false;
    for (size_t i = 0; res && status == 0 && schema_files[i].name; i++) {
        int missing = schema_is_missing(&schema_files[i], res);

        ret_due[i] = missing > 0;
        *ret_any = *ret_any || missing > 0;
        if (missing < 0)
            status = EX_OSERR;
    }
    PQclear(res);
    return status;
}

/* Applies what is due, or says it; `due` has a place for each file. Answers the exit status. */
static int bring_up(Ctl *c, int there, bool due[]) {
    bool any;
    int status = find_missing(c, due, &any);

    if (status == 0)
        any = there < SCHEMA_VERSION || is_broken(c, &status) || any;
    if (status != 0)
        return status;
    for (size_t i = 0; any && schema_files[i].name; i++) {
        due[i] = due[i] || schema_goes_along(&schema_files[i]);
        if (due[i])
            say(stdout, "%s sql/%s.sql", c->dry_run ? "would apply" : "applying",
                schema_files[i].name);
    }
    fflush(stdout);
    if (c->dry_run && any)
        return 0;
    if (!c->dry_run && ((any && (status = apply(c, due)) != 0) || (status = build_indexes(c)) != 0))
        return status;
    say(stdout,
        any ? "the schema is version %d now" : "the schema is version %d already: nothing to do",
        SCHEMA_VERSION);
    return 0;
}

int ctl_migrate(Ctl *c) {
    _cleanup_free_ bool *due = NULL;
    size_t files = 0;
    int there, status;
    const char *missing;

    say(stdout, "host %s, database %s, as %s", str_host(PQhost(c->conn)), PQdb(c->conn),
        PQuser(c->conn));
    PQsetNoticeReceiver(c->conn, ignore_notices, NULL);
    c->session.statement_timeout = "0"; /* a large table takes what it takes */
    c->session.lock_timeout = "500ms";
    if ((status = check_rights(c)) != 0 || (status = lock_migrations(c)) != 0)
        return status;
    if ((there = version_there(c, &status)) < 0)
        return status;
    if (there > SCHEMA_VERSION) {
        say(stderr,
            "meshifyctl: the schema is version %d, this program knows %d: upgrade the program",
            there, SCHEMA_VERSION);
        return CTL_REFUSED;
    }
    if ((missing = missing_table(c, &status))) {
        say(stderr, "meshifyctl: table %s is missing: is this the database of a Meshify project?",
            missing);
        return status ? status : CTL_REFUSED;
    }
    while (schema_files[files].name)
        files++;
    if (!(due = calloc(files + 1, sizeof *due)))
        return EX_OSERR;
    status = bring_up(c, there, due);
    return status != 0 || c->dry_run ? status : advise(c);
}
