/* Filling and clearing a call of the database: its statement is ours, its parameters are texts that it owns. Sending it
 * is io/db.c's. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/db_message.h"

/* All parameters are text; PostgreSQL knows the type from the function that is called. */
int db_request_add(DbRequest *r, const char *text) {
    char *copy = NULL;

    if (r->n_params == DB_REQUEST_PARAMS)
        return -E2BIG;
    if (text && !(copy = strdup(text)))
        return -ENOMEM;
    r->params[r->n_params++] = copy;
    return 0;
}

int db_request_addf(DbRequest *r, const char *format, ...) {
    char *text = NULL;
    va_list ap;
    int n;

    if (r->n_params == DB_REQUEST_PARAMS)
        return -E2BIG;
    va_start(ap, format);
    n = vasprintf(&text, format, ap);
    va_end(ap);
    if (n < 0)
        return -ENOMEM;
    r->params[r->n_params++] = text;
    return 0;
}

int db_request_add_usec(DbRequest *r, uint64_t usec) {
    return db_request_addf(r, "%llu.%06u seconds", (unsigned long long) (usec / 1000000),
                           (unsigned) (usec % 1000000));
}

void db_request_done(DbRequest *r) {
    for (int i = 0; i < r->n_params; i++)
        free(r->params[i]);
    *r = (DbRequest){ 0 };
}
