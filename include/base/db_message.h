/* What a stage asks of the database: a plain struct, so that stages need no edge (io/db.h). Answers come as libpq's
 * PGresult. */
#pragma once
#include <stdint.h>

#define DB_REQUEST_PARAMS 12

typedef struct DbRequest {
    const char *sql;                 /* static */
    char *params[DB_REQUEST_PARAMS]; /* text; NULL is SQL's NULL */
    int n_params;
} DbRequest;

/* Adds the next parameter: NULL, a copy of `text`, a formatted one. -ENOMEM; -E2BIG past DB_REQUEST_PARAMS. */
int db_request_add(DbRequest *r, const char *text);
int db_request_addf(DbRequest *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An interval. In seconds, since PostgreSQL before 15 reads no more than 2^31 microseconds (35 minutes). */
int db_request_add_usec(DbRequest *r, uint64_t usec);
void db_request_done(DbRequest *r);
