/* The files of sql/, as they were when the program was built, in the order in which they are applied:
 * begin.sql, migrations, functions, and what is made anew for the project's tables. */
#pragma once
#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct SchemaFile {
    const char *name; /* "functions/queue"; NULL ends the list */
    const char *text;
    size_t size;
} SchemaFile;

/* Made by the Makefile: ctl/schema_sql.S. */
extern const SchemaFile schema_files[];

/* The query for what a database has of them, as rows of name and hash: the second is for a database that has no
 * table meshify.schema_files yet. */
extern const char schema_recorded[], schema_recorded_before[];

/* Is this a migration that the database lacks, or a file of functions that it has otherwise? Of the other files,
 * which go along whenever anything is applied: false. -ENOMEM. */
int schema_is_missing(const SchemaFile *file, const PGresult *recorded);
bool schema_goes_along(const SchemaFile *file);

/* The statement that records the file as applied; NULL: no memory. */
char *schema_record(const SchemaFile *file);

/* The statement that records the version. */
extern const char schema_record_version[];

/* All files as one text on stdout, which brings any database to this version: for an SQL editor, for the Supabase
 * CLI, for psql. The exit status. */
int schema_print(void);
