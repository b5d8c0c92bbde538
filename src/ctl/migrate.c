/* `meshifyctl migrate`: applies the files of sql/, which are inside the program. */
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/say.h"
#include "base/str.h"
#include "ctl/ctl.h"
#include "ctl/migrations.h"

#define LOCK_KEY "7308895150126625899" /* one migration at a time */

#define TRIES \
    20 /* to get the locks of one file, each half a second long, with a second in between */

static int number_of(const Migration *m) {
    return (int) strtol(m->name, NULL, 10);
}

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

/* In one transaction: the file's text is read by the settings that the statements before it have made. */
static PGresult *apply_once(Ctl *c, const char *text) {
    PGresult *res = db_session_begin(c->conn, &c->session);

    for (const char *const *sql = (const char *[]){ text, "COMMIT", NULL }; *sql && !res; sql++) {
        res = PQexec(c->conn, *sql);
        if (PQresultStatus(res) == PGRES_COMMAND_OK || PQresultStatus(res) == PGRES_TUPLES_OK) {
            PQclear(res);
            res = NULL;
        }
    }
    if (res)
        PQclear(PQexec(c->conn, "ROLLBACK"));
    return res;
}

/* One file. A busy table is tried again: to wait longer for its lock would hold up everybody who comes
 * after us. */
static int apply(Ctl *c, const Migration *m) {
    _cleanup_free_ char *text = str_printf("%.*s", (int) m->size, m->text);

    if (!text)
        return EX_OSERR;
    for (int try = 1;; try++) {
        PGresult *res = apply_once(c, text);
        const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
        bool busy = state && (!strcmp(state, "55P03") || !strcmp(state, "40P01"));

        if (!res)
            return 0;
        if (!busy || try == TRIES) {
            const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

            say(stderr, "meshifyctl: sql/%s.sql failed, nothing of it was kept: %s", m->name,
                primary ? primary : PQresultErrorMessage(res));
            /* A hint of ours is a statement a line, to be run as they stand. */
            say_lines(stderr, "", PQresultErrorField(res, PG_DIAG_MESSAGE_HINT));
            if (busy)
                fputs("A table is in use by a long transaction: look for it with SELECT pid, "
                      "xact_start, query FROM pg_stat_activity ORDER BY xact_start; then migrate "
                      "again\n",
                      stderr);
        }
        PQclear(res);
        if (!busy || try == TRIES)
            return CTL_REFUSED;
        say(stdout, "a table is busy: sql/%s.sql again in a second", m->name);
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

int ctl_migrate(Ctl *c) {
    int there, last = 0, applied = 0, status = 0;
    bool due;
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
    for (const Migration *m = migrations_files; m->name; m++)
        last = number_of(m);
    if (there > last) {
        say(stderr,
            "meshifyctl: the schema is version %d, this program knows %d: upgrade the program",
            there, last);
        return CTL_REFUSED;
    }
    if ((missing = missing_table(c, &status))) {
        say(stderr, "meshifyctl: table %s is missing: is this the database of a Meshify project?",
            missing);
        return status ? status : CTL_REFUSED;
    }
    /* All of them, whatever is there already: a function is written where it belongs, in whichever file,
     * and the newest file's number says that something has changed. */
    due = there < last || is_broken(c, &status);
    if (status != 0)
        return status;
    for (const Migration *m = due ? migrations_files : NULL; m && m->name; m++) {
        say(stdout, "%s sql/%s.sql", c->dry_run ? "would apply" : "applying", m->name);
        fflush(stdout);
        if (!c->dry_run && (status = apply(c, m)) != 0)
            return status;
        applied++;
    }
    if (!c->dry_run && (status = build_indexes(c)) != 0)
        return status;
    if (applied == 0)
        say(stdout, "the schema is version %d already: nothing to do", there);
    else if (!c->dry_run)
        say(stdout, "the schema is version %d now", last);
    return c->dry_run ? 0 : advise(c);
}
