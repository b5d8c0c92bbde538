/* What the commands of meshifyctl share. */
#pragma once
#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>

#include "core/config.h"

#define CTL_REFUSED 1 /* not found, or refused */

typedef struct Ctl {
    Config *config;
    PGconn *conn;
    bool json, dry_run, free;
    const char *status, *user, *project, *prompt, *image, *limit;
    int argc; /* what is left of the command line */
    char **argv;
} Ctl;

/* Each command answers the exit status. They are connected already, but for migrate's --dry-run. */
int ctl_migrate(Ctl *c);
int ctl_enqueue(Ctl *c);
int ctl_jobs(Ctl *c);
int ctl_show(Ctl *c);
int ctl_status(Ctl *c);

/* Connects by [database] url; 0 or EX_UNAVAILABLE, having said why. */
int ctl_connect(Ctl *c);

/* Runs a query with text parameters. NULL when it was refused: then *ret_exit is the status, and
 * what the server said has been printed. */
PGresult *ctl_query(Ctl *c, const char *sql, const char *const *params, int n, int *ret_exit);

/* Prints text from outside on a terminal: control characters as '?'. */
void ctl_print(FILE *to, const char *text, int width);

/* "12s", "3min", "2h", "5d". */
const char *ctl_age(double seconds, char to[static 16]);
