#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "ctl/ctl.h"
#include "ctl/migrations.h"

#define LOCK_KEY "7308895150126625899" /* one migration at a time */

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
                                          "public.projects", "public.notifications" };

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

static void ignore_notices(void *userdata, const PGresult *res) {
    (void) userdata;
    (void) res; /* "already exists, skipping" */
}

/* One file, in one transaction. */
static int apply(Ctl *c, const Migration *m) {
    _cleanup_free_ char *text =
        str_printf("BEGIN; SET LOCAL lock_timeout = '2s';\n%.*s\nCOMMIT;", (int) m->size, m->text);
    PGresult *res;

    if (!text)
        return EX_OSERR;
    res = PQexec(c->conn, text);
    if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK) {
        fprintf(stderr, "meshifyctl: sql/%s.sql failed, nothing of it was kept: %s", m->name,
                PQresultErrorMessage(res));
        PQclear(res);
        PQclear(PQexec(c->conn, "ROLLBACK"));
        return CTL_REFUSED;
    }
    PQclear(res);
    return 0;
}

int ctl_migrate(Ctl *c) {
    int there, last = 0, applied = 0, status = 0;
    const char *missing;
    PGresult *res;

    printf("host %s, database %s, as %s\n", PQhost(c->conn), PQdb(c->conn), PQuser(c->conn));
    PQsetNoticeReceiver(c->conn, ignore_notices, NULL);
    res = ctl_query(c, "SELECT pg_advisory_lock(" LOCK_KEY ")", NULL, 0, &status);
    if (!res)
        return status;
    PQclear(res);
    if ((there = version_there(c, &status)) < 0)
        return status;
    for (const Migration *m = migrations_files; m->name; m++)
        last = number_of(m);
    if (there > last) {
        fprintf(
            stderr,
            "meshifyctl: the schema is version %d, this program knows %d: upgrade the program\n",
            there, last);
        return CTL_REFUSED;
    }
    if ((missing = missing_table(c, &status))) {
        fprintf(stderr,
                "meshifyctl: table %s is missing: is this the database of a Meshify project?\n",
                missing);
        return status ? status : CTL_REFUSED;
    }
    for (const Migration *m = migrations_files; m->name; m++) {
        if (number_of(m) <= there)
            continue;
        printf("%s sql/%s.sql\n", c->dry_run ? "would apply" : "applying", m->name);
        fflush(stdout);
        if (!c->dry_run && (status = apply(c, m)) != 0)
            return status;
        applied++;
    }
    if (applied == 0)
        printf("the schema is version %d already: nothing to do\n", there);
    else if (!c->dry_run)
        printf("the schema is version %d now\n", last);
    return 0;
}
