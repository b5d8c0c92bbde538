/* What the end of a transfer means: whether there is an answer, whether the request may have been sent, and
 * what of the answer's headers its asker gets. The body went where http_body.c put it; what the answer
 * means for a job is for the stages of flow/ to say. */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "io/http_op.h"
#include "io/http_route.h"

#define RETRY_MAX_SECONDS 3600 /* a longer Retry-After is cut to this */

/* What matters most is to tell a request that was surely not sent from one that may have been: a purchase of the
 * first kind may be made again. */
static HttpEnd end_of(const HttpOp *op) {
    /* An error page that broke off is an answer all the same: its status has come. */
    if (op->code != CURLE_OK && op->reply.body_size > 0 && http_op_is_page(op))
        return HTTP_ANSWERED;
    switch (op->code) {
    case CURLE_OK:
        return HTTP_ANSWERED;
    case CURLE_WRITE_ERROR:
        return op->reply.end == HTTP_TOO_LARGE ? HTTP_TOO_LARGE
               : op->reply.end == HTTP_SINK    ? HTTP_SINK
                                               : HTTP_NO_ANSWER;
    case CURLE_COULDNT_CONNECT:
        if (op->reply.end == HTTP_PRIVATE)
            return HTTP_PRIVATE;
        break;
    default:
        if (op->reply.end == HTTP_TOO_LARGE)
            return HTTP_TOO_LARGE;
        break;
    }
    /* Of a request without a body nobody can say how far it came. */
    return op->request.body_size > 0 && !op->body_asked ? HTTP_UNSENT
           : op->code == CURLE_COULDNT_RESOLVE_HOST || op->code == CURLE_COULDNT_CONNECT ||
                   op->code == CURLE_PEER_FAILED_VERIFICATION || op->code == CURLE_SSL_CONNECT_ERROR
               ? HTTP_UNSENT
               : HTTP_NO_ANSWER;
}

/* One header of that name, as it came. */
static void take_header(HttpOp *op, const char *name, char *to, size_t room) {
    struct curl_header *header;

    to[0] = '\0';
    if (curl_easy_header(op->easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
        (void) snprintf(to, room, "%s",
                        header->amount == 1 && strlen(header->value) < room ? header->value : "*");
}

/* What the file host says of a file, for who wants to go on with it. */
static void take_file_headers(HttpOp *op) {
    HttpReply *r = &op->reply;
    struct curl_header *header;
    curl_off_t length = -1;
    char encoding[16];

    (void) curl_easy_getinfo(op->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    r->length = length > 0 ? (uint64_t) length : 0;
    take_header(op, "ETag", r->etag, sizeof r->etag);
    take_header(op, "Last-Modified", r->modified, sizeof r->modified);
    take_header(op, "Content-Range", r->range, sizeof r->range);
    take_header(op, "Content-Encoding", encoding, sizeof encoding);
    r->encoded = encoding[0] && strcasecmp(encoding, "identity") != 0;
    if (r->encoded)
        r->length = 0; /* counts the bytes before they were decoded */
    /* Google's file host decodes by itself what it has packed; its checksum is of the packed bytes
     * (cloud.google.com/storage/docs/transcoding). */
    take_header(op, "x-goog-stored-content-encoding", encoding, sizeof encoding);
    if (r->encoded || (encoding[0] && strcasecmp(encoding, "identity") != 0))
        return;
    /* This one comes several times, or with several values: "crc32c=…,md5=…". */
    for (size_t i = 0;
         curl_easy_header(op->easy, "x-goog-hash", i, CURLH_HEADER, -1, &header) == CURLHE_OK;
         i++) {
        const char *at = strstr(header->value, "crc32c=");

        if (at)
            (void) snprintf(r->crc32c, sizeof r->crc32c, "%.*s", (int) strcspn(at + 7, ", "),
                            at + 7);
    }
}

static void take_date(HttpOp *op) {
    char date[40];

    take_header(op, "Date", date, sizeof date);
    op->reply.date = date[0] ? curl_getdate(date, NULL) : -1;
}

/* The headers that the request asked for by name. -ENOMEM. */
static int take_wanted(HttpOp *op) {
    char value[HTTP_WANTED_SIZE];

    for (size_t i = 0; i < HTTP_WANTS_MAX && op->request.wants[i]; i++) {
        struct curl_header *header;

        if (curl_easy_header(op->easy, op->request.wants[i], 0, CURLH_HEADER, -1, &header) !=
            CURLHE_OK)
            continue;
        take_header(op, op->request.wants[i], value, sizeof value);
        value[strcspn(value, "\r\n")] = '\0'; /* which libcurl 7.88 leaves in an empty value */
        if (!(op->reply.wanted[i] = strdup(value)))
            return -ENOMEM;
    }
    return 0;
}

/* An answer that could not be kept whole is no answer. */
static int take_answer(HttpOp *op) {
    HttpSieve *sieve = op->request.sieve;

    if (take_wanted(op) < 0)
        return -ENOMEM;
    return sieve && sieve->end ? sieve->end(sieve, &op->reply) : 0;
}

void http_op_conclude(HttpOp *op) {
    HttpReply *r = &op->reply;
    curl_off_t wait = 0, took = 0;
    char *redirect = NULL;

    r->end = http_route_refused(op->route, op->easy, r) ? HTTP_UNSENT : end_of(op);
    r->code = r->end == HTTP_ANSWERED || r->end == HTTP_TOO_LARGE ||
                      (r->end == HTTP_NO_ANSWER && op->request.sink_fd > 0)
                  ? (int) http_op_status(op)
                  : 0;
    (void) curl_easy_getinfo(op->easy, CURLINFO_RETRY_AFTER, &wait);
    if (wait > RETRY_MAX_SECONDS)
        wait = RETRY_MAX_SECONDS;
    r->retry_after_usec = wait > 0 ? (uint64_t) wait * USEC_PER_SEC : 0;
    (void) curl_easy_getinfo(op->easy, CURLINFO_TOTAL_TIME_T, &took);
    r->took_usec = took > 0 ? (uint64_t) took : 0;
    r->sent_whole = op->request.body_size > 0 && op->sent == op->request.body_size;
    take_date(op);
    if (op->request.sink_fd > 0)
        take_file_headers(op);
    (void) curl_easy_getinfo(op->easy, CURLINFO_REDIRECT_URL, &redirect);
    if (redirect)
        r->redirect = strdup(redirect);
    if (r->end == HTTP_ANSWERED && take_answer(op) < 0)
        (void) http_op_end_as(op, HTTP_SINK, ENOMEM);
    if (op->code != CURLE_OK && !r->error[0])
        http_route_explain(op->route, op->easy, curl_easy_strerror(op->code), r);
}
