/* Tells libcurl what a request wants: method, body, headers, limits, signature. It is told all before the
 * request takes its way, so that a request either goes out as it was meant or not at all. Which way it
 * takes is http_route.c's; the bytes themselves are http_body.c's. */
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/clock.h"
#include "io/http_op.h"
#include "io/http_route.h"

#define CONNECT_USEC (10 * USEC_PER_SEC)
#define SLOWEST 128      /* bytes a second; a transfer that drips fewer has stalled */
#define STALL_SECONDS 60 /* no byte for so long: the transfer is dead */

/* The address that is really connected to is looked at, whatever a name said before: names may answer otherwise the
 * second time. Behind a proxy, the connection is the proxy's. */
static curl_socket_t open_socket(void *userdata, curlsocktype purpose,
                                 struct curl_sockaddr *address) {
    HttpOp *op = userdata;
    int fd;

    (void) purpose;
    if (op->request.public_only && http_route_is_direct(op->route) &&
        address_is_private(&address->addr)) {
        op->reply.end = HTTP_PRIVATE;
        return CURL_SOCKET_BAD;
    }
    fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                address->protocol);
    if (fd < 0)
        (void) snprintf(op->reply.error, sizeof op->reply.error, "socket: %s", strerror(errno));
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int tune_socket(void *userdata, curl_socket_t fd, curlsocktype purpose) {
    const HttpOp *op = userdata;
    unsigned msec = (unsigned) (op->request.ack_usec / USEC_PER_MSEC);

    (void) purpose;
    if (msec > 0)
        (void) setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &msec, sizeof msec);
    return CURL_SOCKOPT_OK;
}

/* Sets an option, unless an earlier one could not be set. */
#define SET(option, value) (bad = bad != CURLE_OK ? bad : curl_easy_setopt(e, option, value))

static CURLcode set_transfer(HttpOp *op) {
    const HttpRequest *r = &op->request;
    CURL *e = op->easy;
    CURLcode bad = CURLE_OK;

    SET(CURLOPT_URL, r->url);
    SET(CURLOPT_PRIVATE, op);
    SET(CURLOPT_USERAGENT, op->http->user_agent);
    SET(CURLOPT_PROTOCOLS_STR, "http,https"); /* URLs come from answers too: no file:, no gopher: */
    SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
    if (strncmp(r->url, "https:", 6) == 0)
        SET(CURLOPT_PIPEWAIT,
            1L); /* rather one more stream of a connection than one more connection */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_FOLLOWLOCATION, 0L); /* each host on the way is checked, by flow/download.c */
    /* "/../" is part of what a store signed. What libcurl signs itself has none, and 8.14 refuses the two together. */
    SET(CURLOPT_PATH_AS_IS, r->sigv4 ? 0L : 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long) (CONNECT_USEC / USEC_PER_MSEC));
    SET(CURLOPT_LOW_SPEED_LIMIT, (long) SLOWEST);
    SET(CURLOPT_LOW_SPEED_TIME,
        r->stall_usec ? (long) (r->stall_usec / USEC_PER_SEC) : (long) STALL_SECONDS);
    SET(CURLOPT_TIMEOUT_MS, (long) (r->timeout_usec / USEC_PER_MSEC));
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_BUFFERSIZE, 16384L); /* so much comes at once, between two looks at the clock */
    SET(CURLOPT_SOCKOPTFUNCTION, tune_socket);
    SET(CURLOPT_SOCKOPTDATA, op);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, op);
    SET(CURLOPT_WRITEFUNCTION, http_body_in);
    SET(CURLOPT_WRITEDATA, op);
    SET(CURLOPT_ACCEPT_ENCODING, "identity"); /* whoever packs all the same is unpacked */
    return bad;
}

/* A PATCH goes up as a PUT does, under its own name: as a POST it would get a Content-Type that nobody
 * asked for. The reading functions are set for an empty upload too, or curl would read standard input. */
static CURLcode set_method(HttpOp *op) {
    const HttpRequest *r = &op->request;
    bool has_body = r->body || r->body_fd > 0, put = strcmp(r->method, "PUT") == 0,
         patch = strcmp(r->method, "PATCH") == 0;
    CURL *e = op->easy;
    CURLcode bad = CURLE_OK;

    if (has_body || put || patch) {
        SET(CURLOPT_READFUNCTION, http_body_out);
        SET(CURLOPT_READDATA, op);
        SET(CURLOPT_SEEKFUNCTION, http_body_rewind);
        SET(CURLOPT_SEEKDATA, op);
    }
    if (strcmp(r->method, "POST") == 0) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) (has_body ? r->body_size : 0));
        if (!has_body)
            SET(CURLOPT_POSTFIELDS, "");
    } else if (put || patch) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t) (has_body ? r->body_size : 0));
        if (patch)
            SET(CURLOPT_CUSTOMREQUEST, r->method);
    } else if (strcmp(r->method, "HEAD") == 0)
        SET(CURLOPT_NOBODY, 1L); /* as a method of its own name, curl would wait for the body */
    else
        SET(CURLOPT_CUSTOMREQUEST, r->method);
    return bad;
}

/* Redirects are not followed, so the key signs for no other host. */
static CURLcode set_signature(HttpOp *op) {
    const HttpRequest *r = &op->request;
    CURL *e = op->easy;
    CURLcode bad = CURLE_OK;

    if (!r->sigv4)
        return bad;
    SET(CURLOPT_AWS_SIGV4, r->sigv4);
    SET(CURLOPT_USERNAME, r->access_key);
    SET(CURLOPT_PASSWORD, r->secret_key);
    return bad;
}

static int add_header(HttpOp *op, const char *line) {
    struct curl_slist *more = curl_slist_append(op->headers, line);

    if (!more)
        return -ENOMEM;
    op->headers = more;
    return 0;
}

/* "Expect:" spares a round trip that no server of ours uses. But libcurl 7.88 signs such a header though it
 * does not send it, so a signed request asks whether to go on. */
static CURLcode set_headers(HttpOp *op) {
    for (size_t i = 0; i < op->request.n_headers; i++)
        if (add_header(op, op->request.headers[i]) < 0)
            return CURLE_OUT_OF_MEMORY;
    if (!op->request.sigv4 && add_header(op, "Expect:") < 0)
        return CURLE_OUT_OF_MEMORY;
    return curl_easy_setopt(op->easy, CURLOPT_HTTPHEADER, op->headers);
}

int http_op_setup(HttpOp *op) {
    return set_transfer(op) == CURLE_OK && set_method(op) == CURLE_OK &&
                   set_signature(op) == CURLE_OK && set_headers(op) == CURLE_OK
               ? 0
               : -ENOMEM;
}
