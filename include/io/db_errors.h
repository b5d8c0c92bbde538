/* Classes of PostgreSQL's errors. Codes: PostgreSQL's manual, appendix A. Pure. */
#pragma once
#include <libpq-fe.h>
#include <stdbool.h>

/* The SQLSTATE of a refused call, "" if it has none. */
const char *db_sqlstate(const PGresult *res);

/* This connection can't be worked with, another one may: the server goes down, is a standby, or the
 * error has no code and so is libpq's own. Not so when a trigger raises the same code. */
bool db_error_means_reconnect(const PGresult *res);

/* Locks, serialisation, shortage, an operator's hand: the same again may do. NULL (no answer) too. */
bool db_error_is_passing(const PGresult *res);

/* Not this call's values, but the statement as such was refused, before it began: a missing GRANT, a
 * schema that was changed. Every other job would meet it too. */
bool db_error_is_of_statement(const PGresult *res);
