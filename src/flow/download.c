/* The download of a mesh: from which host, from which byte, and whether it is the right file in
 * the end. The URL comes from a model's output, so from outside: only hosts that are configured
 * are asked, and only public addresses. The transfer itself is io/http.c's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "core/verdict.h"
#include "flow/download.h"

/* The host and port of an http(s) URL, made of characters that have one meaning only. A host that
 * libcurl would decode, or map to other characters, is refused, and so is a login before '@': the
 * host that was checked must be the one that is asked. */
static bool host_of(const char *url, char host[static 256], unsigned *ret_port, bool *ret_secure) {
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    const char *at, *end, *colon;
    size_t n;

    *ret_secure = strncasecmp(url, "https://", 8) == 0;
    if (!*ret_secure && strncasecmp(url, "http://", 7) != 0)
        return false;
    at = url + (*ret_secure ? 8 : 7);
    end = at + strcspn(at, "/?#");
    colon = memchr(at, ':', (size_t) (end - at));
    n = (size_t) ((colon ? colon : end) - at);
    if (n == 0 || n >= 256 || strspn(at, letters) < n)
        return false;
    memcpy(host, at, n);
    host[n] = '\0';
    *ret_port = *ret_secure ? 443 : 80;
    if (colon) {
        n = strspn(colon + 1, "0123456789");
        *ret_port = n > 0 && n <= 5 ? (unsigned) strtoul(colon + 1, NULL, 10) : 0;
        return colon + 1 + n == end && *ret_port > 0 && *ret_port <= UINT16_MAX;
    }
    return true;
}

static JobEvent check_host(const Config *c, const char *url, Fault *reterr) {
    char host[256];
    unsigned port = 0;
    bool secure = false;

    if (!host_of(url, host, &port, &secure))
        fault_set(reterr, FAULT_OUTPUT_FORBIDDEN, "not a URL to fetch: %.100s", url);
    else if (!str_host_matches(c->download_hosts, host, port, secure ? 443 : 80))
        fault_set(reterr, FAULT_OUTPUT_FORBIDDEN,
                  "host '%.100s', port %u, is not in download_hosts", host, port);
    else if (!secure && !c->allow_insecure)
        fault_set(reterr, FAULT_OUTPUT_FORBIDDEN, "http is not allowed: %.100s", url);
    else
        return EV_OK;
    return EV_FINAL;
}

/* A blank or a control character would end the request line early, in the eyes of some server on
 * the way. */
JobEvent download_check(const Config *c, const char *url, Fault *reterr) {
    if (str_is_graphic(url))
        return check_host(c, url, reterr);
    fault_set(reterr, FAULT_OUTPUT_FORBIDDEN, "not a URL to fetch: %.100s", url);
    return EV_FINAL;
}

/* Each hop of a redirect is checked as the first URL was. What libcurl could make no URL of, a
 * later one encodes, leads nowhere: the host is asked again. */
static JobEvent check_redirect(const Config *c, const HttpReply *reply, Fault *reterr) {
    const char *to = reply->redirect;

    if (to[0] != '/' && check_host(c, to, reterr) != EV_OK)
        return EV_FINAL;
    if (to[0] != '/' && str_is_graphic(to))
        return EV_MORE;
    fault_set(reterr, FAULT_OUTPUT_UNREACHED, "HTTP %d to what is no URL: %.100s", reply->code, to);
    return EV_WAIT;
}

void download_done(Download *d) {
    free(d->redirect);
    *d = (Download){ 0 };
}

/* A part is asked for only together with If-Range: where the file has changed, the host sends it
 * all, and we begin anew. */
int download_ask(const Config *c, const char *url, const Download *d, int sink_fd, Hash *hash,
                 HttpRequest *ret) {
    *ret = (HttpRequest){
        .method = "GET",
        .url = strdup(d->redirect ? d->redirect : url),
        .sink_fd = sink_fd,
        .sink_from = d->size_bytes,
        .sink_hash = hash,
        .body_max = c->asset_max_bytes,
        .public_only = !c->allow_insecure,
    };
    if (ret->url && (d->size_bytes == 0 ||
                     (http_request_add(ret, str_printf("Range: bytes=%llu-",
                                                       (unsigned long long) d->size_bytes)) == 0 &&
                      http_request_add(ret, str_printf("If-Range: %s", d->validator)) == 0)))
        return 0;
    http_request_done(ret);
    return -ENOMEM;
}

/* --- parts --------------------------------------------------------------------------------- */

/* The validator that tells this file from another one under the same name (RFC 9110, 13.1.5): a strong ETag,
 * and where there is none at all, the date. "" where nothing can be trusted: a weak ETag says
 * "much the same", not "the same bytes". */
static const char *validator_of(const HttpReply *reply) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ,:";
    size_t n = strlen(reply->etag), k = strlen(reply->modified);

    if (reply->encoded)
        return "";
    if (n == 0)
        return k == 29 && strspn(reply->modified, letters) == k &&
                       strcmp(reply->modified + 25, " GMT") == 0
                   ? reply->modified
                   : "";
    for (size_t i = 1; i + 1 < n; i++)
        if (reply->etag[i] <= ' ' || reply->etag[i] == '"' || reply->etag[i] > '~')
            return "";
    return n >= 2 && reply->etag[0] == '"' && reply->etag[n - 1] == '"' ? reply->etag : "";
}

/* Digits and nothing else up to `end`, which is moved behind: strtoull() would take a sign and
 * blanks. */
static bool take_number(const char **at, char end, uint64_t *ret) {
    uint64_t n = 0;
    const char *p = *at;

    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
            return false;
    if (p == *at || *p != end)
        return false;
    *at = p + (end != '\0');
    *ret = n;
    return true;
}

/* The date need not come with a 206; an ETag has to. */
static bool is_same_file(const Download *d, const HttpReply *reply) {
    if (reply->encoded ||
        (reply->crc32c[0] && d->crc32c[0] && strcmp(reply->crc32c, d->crc32c) != 0))
        return false;
    if (d->validator[0] == '"')
        return strcmp(reply->etag, d->validator) == 0;
    return !reply->modified[0] ||
           strcmp(reply->modified, d->validator) == 0; /* need not come again */
}

/* Is this part the rest, or the beginning of the rest, of what is there? Content-Range is checked
 * in all its numbers: a part in the wrong place gives a file of the right size. */
static bool goes_on(const Download *d, const HttpReply *reply, uint64_t *ret_total) {
    const char *at = reply->range + 6;
    uint64_t first, last, n = reply->body_size;

    return d->size_bytes > 0 && strncasecmp(reply->range, "bytes ", 6) == 0 &&
           take_number(&at, '-', &first) && take_number(&at, '/', &last) &&
           take_number(&at, '\0', ret_total) && first == d->size_bytes && last >= first &&
           last < *ret_total && (d->total_bytes == 0 || *ret_total == d->total_bytes) &&
           (reply->end == HTTP_ANSWERED ? n == last - first + 1 : n <= last - first + 1) &&
           is_same_file(d, reply);
}

/* The bytes of a 200 or 206 have come, or some of them. A transfer that breaks off goes on from
 * where it was; one that gets further each time is not counted as an attempt. */
static JobEvent hear_bytes(const HttpReply *reply, Download *d, Fault *reterr) {
    uint64_t total = reply->length;

    /* The whole file comes, whatever was asked for: what was there is of another one, or was not
     * wanted. */
    if (reply->code == 200) {
        d->size_bytes = 0;
        d->parts = 0;
        d->crc32c[0] = '\0';
        (void) snprintf(d->validator, sizeof d->validator, "%s", validator_of(reply));
    } else if (!goes_on(d, reply, &total)) {
        d->size_bytes = 0;
        fault_set(reterr, FAULT_OUTPUT_UNREACHED, "a part that does not fit what is there: %s",
                  reply->range[0] ? reply->range : "no Content-Range");
        return EV_WAIT;
    }
    d->size_bytes += reply->body_size;
    d->total_bytes = total;
    d->decoded = reply->encoded;
    d->parts++;
    if (reply->crc32c[0])
        (void) snprintf(d->crc32c, sizeof d->crc32c, "%s", reply->crc32c);
    if (total > 0 ? d->size_bytes == total : reply->end == HTTP_ANSWERED) {
        if (d->size_bytes > 0)
            return EV_OK;
        fault_set(reterr, FAULT_ASSET_INVALID, "an empty file");
        return EV_FINAL;
    }
    fault_set(reterr, FAULT_OUTPUT_UNREACHED, "broken off after %llu bytes: %s",
              (unsigned long long) d->size_bytes, reply->error);
    if (d->size_bytes > d->reached_bytes) {
        d->reached_bytes = d->size_bytes;
        d->farther = d->resumes++ < DOWNLOAD_RESUMES_MAX;
    }
    /* Nothing tells whether the rest would be of the same file: it has to come whole. */
    if (!d->validator[0])
        d->size_bytes = 0;
    return EV_WAIT;
}

/* 403 and 404 mean that the output was removed, an hour after the prediction: only buying again
 * helps. Everything else may pass. */
JobEvent download_hear(const Config *c, const HttpReply *reply, Download *d, Fault *reterr) {
    d->farther = false;
    switch (reply->end) {
    case HTTP_TOO_LARGE:
        fault_set(reterr, FAULT_ASSET_TOO_LARGE, "more than %llu bytes",
                  (unsigned long long) c->asset_max_bytes);
        return EV_FINAL;
    case HTTP_PRIVATE:
        fault_set(reterr, FAULT_OUTPUT_FORBIDDEN, "no address of the host is public");
        return EV_FINAL;
    case HTTP_SINK:
        d->size_bytes = 0;
        fault_set(reterr, reply->local_errno == ENOMEM ? FAULT_INTERNAL : FAULT_SPOOL_FULL,
                  "spool: %s", strerror(reply->local_errno));
        return verdict_event(reterr);
    case HTTP_ANSWERED:
    case HTTP_NO_ANSWER:
        if (reply->code == 200 || reply->code == 206)
            return hear_bytes(reply, d, reterr);
        break;
    default:
        break;
    }
    if (reply->end != HTTP_ANSWERED) {
        fault_set(reterr, FAULT_OUTPUT_UNREACHED, "no answer: %s", reply->error);
        return EV_WAIT;
    }
    if (reply->code / 100 == 3 && reply->redirect) {
        if (d->redirects >= DOWNLOAD_REDIRECTS_MAX) {
            fault_set(reterr, FAULT_OUTPUT_FORBIDDEN, "more than %d redirects",
                      DOWNLOAD_REDIRECTS_MAX);
            return EV_FINAL;
        }
        return check_redirect(c, reply, reterr);
    }
    if (reply->code == 403 || reply->code == 404 || reply->code == 410) {
        fault_set(reterr, FAULT_OUTPUT_GONE, "HTTP %d from the file host", reply->code);
        return EV_RETRY;
    }
    if (reply->code == 416) /* it has no such part: what is there is of another file */
        d->size_bytes = 0;
    fault_set(reterr, FAULT_OUTPUT_UNREACHED, "HTTP %d from the file host", reply->code);
    reterr->retry_after_usec = reply->retry_after_usec;
    return EV_WAIT;
}

/* Base64 of four bytes, the highest first, as x-goog-hash has them. */
static void write_base64(uint32_t n, char to[static 9]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (int i = 0; i < 5; i++)
        to[i] = digits[n >> (26 - 6 * i) & 63];
    to[5] = digits[(n & 3) << 4];
    memcpy(to + 6, "==", 3);
}

/* Google's storage promises a CRC-32C; other hosts promise nothing, and TLS has to do. */
JobEvent download_verify(const Download *d, uint32_t crc32c, Fault *reterr) {
    char ours[9];

    write_base64(crc32c, ours);
    if (!d->crc32c[0] || strcmp(d->crc32c, ours) == 0)
        return EV_OK;
    fault_set(reterr, FAULT_OUTPUT_DAMAGED, "crc32c is %s, the file host promised %s", ours,
              d->crc32c);
    return EV_RETRY;
}
