/* Filling and clearing the plain structs that stages and edges exchange. A stage makes a
 * request and reads a reply; an edge sends the one and fills the other; neither knows the
 * other's header. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"

/* Headers hold keys: they are overwritten before the memory goes back, so that no core
 * dump shows them. */
static void wipe(char *text) {
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

/* `value` is taken over even when it is refused, so that a caller can pass what str_printf()
 * returned without looking. */
int http_request_add(HttpRequest *r, char *value) {
    if (!value)
        return -ENOMEM;
    if (r->n_headers == HTTP_HEADERS_MAX) {
        wipe(value);
        return -E2BIG;
    }
    r->headers[r->n_headers++] = value;
    return 0;
}

void http_request_done(HttpRequest *r) {
    for (size_t i = 0; i < r->n_headers; i++)
        wipe(r->headers[i]);
    wipe(r->access_key);
    wipe(r->secret_key);
    free(r->sigv4);
    free(r->url);
    free(r->body);
    if (r->sieve && r->sieve->free)
        r->sieve->free(r->sieve);
    *r = (HttpRequest){ 0 };
}

void http_reply_done(HttpReply *r) {
    for (size_t i = 0; i < HTTP_WANTS_MAX; i++)
        free(r->wanted[i]);
    free(r->body);
    free(r->redirect);
    *r = (HttpReply){ 0 };
}

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
