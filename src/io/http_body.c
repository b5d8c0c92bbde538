/* Where the bytes of an answer go: into a file, into a sieve, or into memory; and where those of a request
 * come from. A body that has had its time in this turn of the loop is paused; http.c lets it go on. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/http_op.h"
#include "io/turns.h"

/* So much of one turn; then a body waits for the next. */
#define SIEVE_USEC (2 * USEC_PER_MSEC)
#define SINK_USEC (5 * USEC_PER_MSEC)
#define HTTP_ERROR_PAGE_MAX 65536 /* bytes of an error page that are read, for the log */

long http_op_status(const HttpOp *op) {
    long code = 0;

    (void) curl_easy_getinfo(op->easy, CURLINFO_RESPONSE_CODE, &code);
    return code;
}

/* An error, of which the log says something; or for a file, any other status than those that bring one. */
bool http_op_is_page(const HttpOp *op) {
    long code = http_op_status(op);

    return op->request.sink_fd > 0 ? code != 200 && code != 206 : code / 100 != 2;
}

size_t http_op_end_as(HttpOp *op, HttpEnd end, int error) {
    op->reply.end = end;
    op->reply.local_errno = error;
    return 0;
}

/* How many bytes this answer says it brings; 0: it does not say, or it counts packed ones. */
static uint64_t announced_bytes(const HttpOp *op) {
    struct curl_header *packed;
    curl_off_t length = -1;

    (void) curl_easy_getinfo(op->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    return length > 0 && curl_easy_header(op->easy, "Content-Encoding", 0, CURLH_HEADER, -1,
                                          &packed) != CURLHE_OK
               ? (uint64_t) length
               : 0;
}

/* Where the first byte of an answer's body goes: a part behind what is there, a whole over it. */
static int sink_begin(HttpOp *op, bool part) {
    const HttpRequest *r = &op->request;
    uint64_t length = announced_bytes(op);

    op->written = part ? (off_t) r->sink_from : 0;
    if (!part && ftruncate(r->sink_fd, 0) < 0)
        return -errno;
    if (!part && r->sink_hash && hash_restart(r->sink_hash) < 0)
        return -ENOMEM;
    return r->sink_room
               ? r->sink_room(r->sink_userdata, length > 0 ? (uint64_t) op->written + length : 0)
               : 0;
}

/* However small the pieces in which it comes: for curl, each is a call of its own. What it has read of them
 * comes as one piece after the pause. */
static bool must_pause(HttpOp *op, uint64_t limit_usec) {
    Http *http = op->http;

    op->paused = clock_now_usec() > http->turn_usec + limit_usec && turn_take(http->resume) >= 0;
    return op->paused;
}

static size_t sink_in(HttpOp *op, const char *bytes, size_t size, bool part) {
    const HttpRequest *r = &op->request;
    int error;

    if (must_pause(op, SINK_USEC))
        return CURL_WRITEFUNC_PAUSE;
    if (op->reply.body_size == 0 && (error = sink_begin(op, part)) < 0)
        return http_op_end_as(op, HTTP_SINK, -error);
    if (r->body_max && (uint64_t) op->written + size > r->body_max)
        return http_op_end_as(op, HTTP_TOO_LARGE, 0);
    for (size_t done = 0; done < size;) {
        ssize_t k = pwrite(r->sink_fd, bytes + done, size - done, op->written);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return http_op_end_as(op, HTTP_SINK, k < 0 ? errno : EIO);
        done += (size_t) k;
        op->written += k;
    }
    if (r->sink_hash && hash_update(r->sink_hash, bytes, size) < 0)
        return http_op_end_as(op, HTTP_SINK, ENOMEM);
    op->reply.body_size += size;
    return size;
}

/* A body that is announced as too large is not begun. That says nothing of an error page, whose status
 * counts; so curl's own limit, which does not tell them apart, is not used. */
static bool is_announced_too_large(const HttpOp *op) {
    curl_off_t length = -1;

    (void) curl_easy_getinfo(op->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    return op->request.body_max && op->reply.body_size == 0 && length > 0 &&
           (uint64_t) length > op->request.body_max;
}

static size_t sieve_in(HttpOp *op, const char *bytes, size_t size) {
    int r;

    if (must_pause(op, SIEVE_USEC))
        return CURL_WRITEFUNC_PAUSE;
    r = op->request.sieve->feed(op->request.sieve, bytes, size);
    if (r < 0)
        return http_op_end_as(op, HTTP_SINK, -r);
    op->reply.body_size += size;
    return size;
}

size_t http_body_in(char *bytes, size_t size, size_t n, void *userdata) {
    HttpOp *op = userdata;

    if (op->dropped)
        return 0;
    size *= n;
    if (!http_op_is_page(op)) {
        if (is_announced_too_large(op))
            return http_op_end_as(op, HTTP_TOO_LARGE, 0);
        if (op->request.sink_fd > 0)
            return sink_in(op, bytes, size, http_op_status(op) == 206);
        if (op->request.body_max && op->reply.body_size + size > op->request.body_max)
            return http_op_end_as(op, HTTP_TOO_LARGE, 0);
    } else if (!op->request.sieve && op->reply.body_size > 0 &&
               op->reply.body_size + size > HTTP_ERROR_PAGE_MAX)
        return 0; /* the rest is of no use */
    if (op->request.sieve)
        return sieve_in(op, bytes, size);
    if (op->reply.body_size + size + 1 > op->body_room) {
        size_t room = op->body_room ? op->body_room : 1024;
        char *body;

        while (room < op->reply.body_size + size + 1)
            room *= 2;
        if (!(body = realloc(op->reply.body, room)))
            return http_op_end_as(op, HTTP_SINK, ENOMEM);
        op->reply.body = body;
        op->body_room = room;
    }
    memcpy(op->reply.body + op->reply.body_size, bytes, size);
    op->reply.body_size += size;
    op->reply.body[op->reply.body_size] = '\0';
    return size;
}

/* A file that is shorter than it was said to be ends the request: the server must not wait for the rest, nor take
 * what came for all. */
size_t http_body_out(char *room, size_t size, size_t n, void *userdata) {
    HttpOp *op = userdata;
    size_t left = op->request.body_size - op->sent;

    op->body_asked = true; /* from here on nobody can say that it was not sent */
    size *= n;
    if (size > left)
        size = left;
    if (op->request.body_fd > 0) {
        ssize_t k =
            pread(op->request.body_fd, room, size, (off_t) (op->request.body_from + op->sent));

        if (k < 0 || (k == 0 && size > 0))
            return CURL_READFUNC_ABORT;
        size = (size_t) k;
    } else if (size > 0)
        memcpy(room, op->request.body + op->sent, size);
    op->sent += size;
    return size;
}

/* curl sends a request again by itself when a reused connection dies before the answer's first
 * byte. It must rewind the body for that, so a body that can't be rewound goes out once. */
int http_body_rewind(void *userdata, curl_off_t offset, int origin) {
    HttpOp *op = userdata;

    if (op->request.once || origin != SEEK_SET || offset < 0)
        return CURL_SEEKFUNC_FAIL;
    op->sent = (size_t) offset;
    return CURL_SEEKFUNC_OK;
}
