/* What a stage asks over HTTP, and what it hears: plain structs, so that stages need no edge (io/http.h). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/hash.h"

#define HTTP_HEADERS_MAX 12
#define HTTP_WANTS_MAX 6      /* reply headers that a request may ask for */
#define HTTP_WANTED_SIZE 4096 /* of each; a URL that names an upload fits in */

typedef struct HttpReply HttpReply;
typedef struct HttpSieve HttpSieve;

/* Reads an answer's body as it comes, so that nobody holds it, nor works on all of it at once. What it
 * is in may have more fields behind it. */
struct HttpSieve {
    /* 0, or what ends the transfer, as HTTP_SINK with this error. */
    int (*feed)(HttpSieve *s, const char *bytes, size_t size);
    /* All came; may give the reply a body. NULL: nothing to do. 0, -ENOMEM. */
    int (*end)(HttpSieve *s, HttpReply *reply);
    void (*free)(HttpSieve *s); /* NULL: it is borrowed, and outlives the request */
};

typedef struct HttpRequest {
    const char *method; /* static: GET, HEAD, POST, PUT, PATCH, DELETE */
    char *url;
    char *headers[HTTP_HEADERS_MAX]; /* "Name: value"; may hold secrets, never logged */
    size_t n_headers;
    char *body; /* to send; NULL: none, or from body_fd */
    size_t body_size;
    int body_fd; /* > 0: send body_size bytes of this file, from body_from on; borrowed */
    uint64_t body_from;
    const char
        *wants[HTTP_WANTS_MAX]; /* names of reply headers that the answer is to bring; static */
    char *sigv4; /* "aws:amz:REGION:s3": libcurl signs with the two below. What it is to sign of the
                         body must stand in a header x-amz-content-sha256. NULL: not signed */
    char *access_key; /* no secret, but wiped like one */
    char *secret_key;
    int sink_fd; /* > 0: the body of a 200 or 206 goes here; borrowed */
    /* NULL, or asked before the body's first byte for room for a file of `size_bytes` in all (0: its length
     * is not told): 0, or a negative errno that ends the request as HTTP_SINK. */
    int (*sink_room)(void *userdata, uint64_t size_bytes);
    void *sink_userdata;
    uint64_t sink_from;    /* a 206 goes on from here; a 200 begins the file anew */
    Hash *sink_hash;       /* is fed with what goes into sink_fd, anew by a 200; borrowed */
    HttpSieve *sieve;      /* what is no file goes here; NULL: into the reply's body */
    uint64_t body_max;     /* a longer answer, or file, ends as HTTP_TOO_LARGE */
    uint64_t timeout_usec; /* over all; 0: no limit but that of a stalled transfer */
    uint64_t stall_usec;   /* without a byte for so long, it is dead; 0: a minute */
    uint64_t ack_usec;     /* a new connection ends when what was sent stays unacknowledged for so
                              long; 0: the kernel decides, since a peer may pause in an upload */
    bool once;        /* goes out once or not at all: no second try on a connection that died */
    bool public_only; /* never to a private, loopback or link-local address */
} HttpRequest;

typedef enum HttpEnd {
    HTTP_ANSWERED,  /* `code` and all of the body are there */
    HTTP_UNSENT,    /* no name, no connection, no TLS: nothing can have been sent */
    HTTP_NO_ANSWER, /* it may have been sent; the answer did not come, or not whole */
    HTTP_TOO_LARGE, /* the answer is longer than body_max */
    HTTP_PRIVATE,   /* the name leads to an address that public_only forbids */
    HTTP_SINK,      /* sink_fd, or the sieve, took no more (local_errno) */
} HttpEnd;

struct HttpReply {
    HttpEnd end;
    int code;         /* 0: no answer; of a sink's also when the body broke off */
    char *body;       /* terminated; NULL when it went elsewhere */
    size_t body_size; /* also of what went elsewhere, by this answer */
    uint64_t length;  /* Content-Length; 0: not told, or of packed bytes */
    char *redirect;   /* absolute, of a 3xx answer; else NULL */
    char *wanted
        [HTTP_WANTS_MAX]; /* the request's `wants`, as they came, where there was an answer; NULL:
                                     none of that name; "*": several, or too long */
    uint64_t retry_after_usec; /* of its header; 0: none */
    char crc32c[12];           /* base64, as x-goog-hash promises it; "": it does not */
    char etag[128], modified[40], range[72]; /* ETag, Last-Modified, Content-Range, as they came;
                                                "": none; "*": several, or too long */
    bool encoded;    /* it came packed, and was unpacked (Content-Encoding) */
    bool sent_whole; /* curl took all of the request's body: it may have arrived */
    int local_errno;
    time_t date;        /* of its Date header; -1: none */
    uint64_t took_usec; /* from its sending to its end */
    char error[160];    /* for the log: why there is no answer */
};

/* Takes over `value` ("Name: value", from str_printf); -ENOMEM when it is NULL. */
int http_request_add(HttpRequest *r, char *value);
void http_request_done(HttpRequest *r);
void http_reply_done(HttpReply *r);
