/* Filling and clearing the plain structs of HTTP that stages and edges exchange: a stage makes a request and reads a
 * reply, an edge sends the one and fills the other, and neither knows the other's header. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/http_message.h"

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
