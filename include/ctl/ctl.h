/* Shared by the commands of meshifyctl. */
#pragma once
#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>

#include "core/config.h"
#include "io/db_session.h"

#define CTL_REFUSED 1 /* not found, or refused */

typedef struct Ctl {
    Config *config;
    PGconn *conn;
    DbSession session;
    bool json, dry_run, print, free, stuck, surplus;
    const char *status, *user, *project, *prompt, *image, *limit, *since;
    int argc; /* what is left of the command line */
    char **argv;
} Ctl;

/* Each command answers the exit status. They are connected already, but for migrate's --dry-run. */
int ctl_migrate(Ctl *c);
int ctl_enqueue(Ctl *c);
int ctl_jobs(Ctl *c);
int ctl_show(Ctl *c);
int ctl_status(Ctl *c);
int ctl_top(Ctl *c);
int ctl_cancel(Ctl *c);
int ctl_retry(Ctl *c);
int ctl_purchases(Ctl *c);
int ctl_pause(Ctl *c);
int ctl_resume(Ctl *c);
int ctl_settings(Ctl *c);
int ctl_drain(Ctl *c);
int ctl_stats(Ctl *c);
int ctl_doctor(Ctl *c); /* connects by itself */

/* Connects by [database] url; 0 or EX_UNAVAILABLE, having said why. */
int ctl_connect(Ctl *c);

/* Runs a query with text parameters, in a transaction of its own. NULL when it was refused: then
 * *ret_exit is the status, and what the server said has been printed. */
PGresult *ctl_query(Ctl *c, const char *sql, const char *const *params, int n, int *ret_exit);

/* The one value that a function answers, which the caller frees. NULL when the query was refused, as
 * above, or the answer is null: CTL_REFUSED then, and nothing is printed. */
char *ctl_value(Ctl *c, const char *sql, const char *const *params, int n, int *ret_exit);

/* Says what is wrong with the command line; EX_USAGE. */
int ctl_usage(const char *what);

/* --limit, if it is there: 0, or EX_USAGE, having said why. */
int ctl_check_limit(const Ctl *c);

json_t *ctl_rows_as_json(const PGresult *res); /* a list of objects, numbers as numbers */

/* "12s", "3min", "2h", "5d". */
const char *ctl_age(double seconds, char to[static 16]);
