/* The doctor's questions to the database. */
#pragma once
#include "ctl/doctor_report.h"
#include "io/db_session.h"

/* Runs one statement in a transaction of the daemon's kind. The caller clears the answer, or the error. */
PGresult *doctor_run_sql(PGconn *conn, const char *sql);

/* The same for a query; NULL, having reported it under `check`, when it was refused. */
PGresult *doctor_ask(Doctor *d, PGconn *conn, const char *check, const char *sql);

/* Finds out what the daemon finds out on a new connection: the time zone of the columns that have none. */
void doctor_learn_session(PGconn *conn);
const char *doctor_zone(void); /* "": not known */

/* A cell as text, "" where there is none; and as a truth. */
const char *doctor_text(const PGresult *res, int row, int column);
bool doctor_is_true(const PGresult *res, int row, int column);

/* doctor_schema.c: what jobs need of the project's tables, triggers and charges. */
void doctor_schema(Doctor *d, PGconn *conn);

/* doctor_users.c: what the project's users may write. */
void doctor_users(Doctor *d, PGconn *conn);
