/* The files of sql/ inside the program: which of them a database lacks, by what its table meshify.schema_files
 * says, and all of them as one text. Running them, and whether it may be done, is ctl/migrate.c's. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/str.h"
#include "ctl/schema.h"

#define TEXT_(n) #n
#define TEXT(n) TEXT_(n)
#define VERSION_THERE "(SELECT v.version FROM meshify.schema_version v)"

/* An operator who wants all functions made anew sets version 0: then no function counts as recorded. */
const char schema_recorded[] =
    "SELECT f.name, f.hash FROM meshify.schema_files f"
    " WHERE f.name LIKE 'migrations/%' OR " VERSION_THERE " >= " TEXT(COMPATIBLE_FROM);
const char schema_recorded_before[] =
    "SELECT 'migrations/001_baseline', '' WHERE to_regclass('meshify.orphans') IS NOT NULL";
const char schema_record_version[] = "UPDATE meshify.schema_version SET version = " TEXT(
    SCHEMA_VERSION) ", compatible_from = " TEXT(COMPATIBLE_FROM) ", applied_at = now()";

/* clang-format off */
static const char print_head[] =
    "-- The schema of meshifyd, version " TEXT(SCHEMA_VERSION) ", as `meshifyctl migrate` of version " VERSION " makes it. To be run as the owner\n"
    "-- of public.jobs: in an SQL editor, by the Supabase CLI as a migration, or by psql. It brings an empty project,\n"
    "-- or one of an earlier version, to this one; all of it or nothing. It may be run again. Do not change it.\n"
    "BEGIN;\n"
    "DO $$\n"
    "BEGIN\n"
    "    IF to_regclass('meshify.schema_version') IS NULL THEN\n"
    "        RETURN;\n"
    "    ELSIF " VERSION_THERE " > " TEXT(SCHEMA_VERSION) " THEN\n"
    "        RAISE EXCEPTION 'the schema is newer than version " TEXT(SCHEMA_VERSION) ", which this file makes';\n"
    "    END IF;\n"
    "END $$;\n";
/* clang-format on */

/* Statements that can't be part of a transaction are left to whoever runs it. */
static const char print_end[] = "COMMIT;\n"
                                "SELECT meshify.missing_indexes() AS to_be_run_one_by_one;\n";

static bool is_of(const SchemaFile *file, const char *folder) {
    return strncmp(file->name, folder, strlen(folder)) == 0;
}

bool schema_goes_along(const SchemaFile *file) {
    return !is_of(file, "migrations/") && !is_of(file, "functions/");
}

int schema_is_missing(const SchemaFile *file, const PGresult *recorded) {
    char hash[HASH_HEX_SIZE];

    if (schema_goes_along(file))
        return false;
    if (hash_sha256_hex(file->text, file->size, hash) < 0)
        return -ENOMEM;
    for (int i = 0; i < PQntuples(recorded); i++)
        if (strcmp(PQgetvalue(recorded, i, 0), file->name) == 0)
            return is_of(file, "functions/") && strcmp(PQgetvalue(recorded, i, 1), hash) != 0;
    return true;
}

char *schema_record(const SchemaFile *file) {
    char hash[HASH_HEX_SIZE];

    if (hash_sha256_hex(file->text, file->size, hash) < 0)
        return NULL;
    return str_printf("INSERT INTO meshify.schema_files AS f (name, hash) VALUES ('%s', '%s') "
                      "ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, applied_at = now() "
                      "WHERE f.hash <> excluded.hash",
                      file->name, hash);
}

/* A migration is not made to be applied twice. */
static int add_once(StrBuf *to, const SchemaFile *file) {
    return strbuf_printf(
        to,
        "DO $once$\nBEGIN\n"
        "    IF EXISTS (SELECT FROM meshify.schema_files f WHERE f.name = '%s') THEN\n"
        "        RETURN;\n    END IF;\n    EXECUTE $migration$\n%.*s$migration$;\nEND $once$;\n",
        file->name, (int) file->size, file->text);
}

static int add_file(StrBuf *to, const SchemaFile *file) {
    _cleanup_free_ char *record = NULL;
    int r = strbuf_printf(to, "\n-- ===== sql/%s.sql\n\n", file->name);

    if (r >= 0)
        r = is_of(file, "migrations/") ? add_once(to, file)
                                       : strbuf_add(to, file->text, file->size);
    if (r < 0 || schema_goes_along(file))
        return r;
    if (!(record = schema_record(file)))
        return -ENOMEM;
    return strbuf_printf(to, "\n%s;\n", record);
}

int schema_print(void) {
    StrBuf text = { 0 };
    int r = strbuf_printf(&text, "%s", print_head);

    for (const SchemaFile *f = schema_files; f->name && r >= 0; f++)
        r = add_file(&text, f);
    if (r >= 0)
        r = strbuf_printf(&text, "\n%s;\n%s", schema_record_version, print_end);
    if (r >= 0) {
        const char *ours = text.text;

        if (fputs(ours, stdout) < 0 || fflush(stdout) != 0)
            r = -EIO;
    }
    strbuf_done(&text);
    if (r == -ENOMEM)
        return EX_OSERR;
    return r < 0 ? EX_IOERR : 0;
}
