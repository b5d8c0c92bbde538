#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "flow/download.h"
#include "flow/service.h"

/* The host and port of an http(s) URL, without what may stand before '@' (which is refused). */
static bool host_of(const char *url, char host[static 256], unsigned *ret_port, bool *ret_secure) {
    const char *at, *end, *colon;
    size_t n;

    *ret_secure = strncasecmp(url, "https://", 8) == 0;
    if (!*ret_secure && strncasecmp(url, "http://", 7) != 0)
        return false;
    at = url + (*ret_secure ? 8 : 7);
    end = at + strcspn(at, "/?#");
    if (memchr(at, '@', (size_t) (end - at)) || memchr(at, '[', (size_t) (end - at)) ||
        memchr(at, '\\', (size_t) (end - at)))
        return false;
    colon = memchr(at, ':', (size_t) (end - at));
    n = (size_t) ((colon ? colon : end) - at);
    if (n == 0 || n >= 256)
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

JobEvent download_check(const Config *c, const char *url, Fault *reterr) {
    char host[256];
    unsigned port = 0;
    bool secure = false;

    if (strpbrk(url, " \t\r\n") || !host_of(url, host, &port, &secure))
        fault_set(reterr, FAULT_OUTPUT_FORBIDDEN, "not a URL to fetch: %.100s", url);
    else if (!str_host_matches(c->download_hosts, host, port))
        fault_set(reterr, FAULT_OUTPUT_FORBIDDEN, "host '%.100s' is not in download_hosts", host);
    else if (!secure && !c->allow_insecure)
        fault_set(reterr, FAULT_OUTPUT_FORBIDDEN, "http is not allowed: %.100s", url);
    else
        return EV_OK;
    return EV_FINAL;
}

int download_ask(const Config *c, const char *url, int sink_fd, Hash *hash, HttpRequest *ret) {
    *ret = (HttpRequest){
        .method = "GET",
        .url = strdup(url),
        .sink_fd = sink_fd,
        .sink_hash = hash,
        .body_max = c->asset_max_bytes,
        .public_only = !c->allow_insecure,
    };
    return ret->url ? 0 : -ENOMEM;
}

JobEvent download_hear(const Config *c, const HttpReply *reply, unsigned redirects, Fault *reterr) {
    switch (reply->end) {
    case HTTP_TOO_LARGE:
        fault_set(reterr, FAULT_ASSET_TOO_LARGE, "more than %llu bytes",
                  (unsigned long long) c->asset_max_bytes);
        return EV_FINAL;
    case HTTP_PRIVATE:
        fault_set(reterr, FAULT_OUTPUT_FORBIDDEN, "the host's address is private");
        return EV_FINAL;
    case HTTP_SINK:
        fault_set(reterr, reply->local_errno == ENOMEM ? FAULT_INTERNAL : FAULT_SPOOL_FULL,
                  "spool: %s", strerror(reply->local_errno));
        return service_event(reterr);
    case HTTP_ANSWERED:
        break;
    default:
        fault_set(reterr, FAULT_OUTPUT_UNREACHED, "no answer: %s", reply->error);
        return EV_WAIT;
    }
    if (reply->code == 200 && reply->body_size > 0)
        return EV_OK;
    if (reply->code / 100 == 3 && reply->redirect) {
        if (redirects >= DOWNLOAD_REDIRECTS_MAX) {
            fault_set(reterr, FAULT_OUTPUT_FORBIDDEN, "more than %d redirects",
                      DOWNLOAD_REDIRECTS_MAX);
            return EV_FINAL;
        }
        return download_check(c, reply->redirect, reterr) == EV_OK ? EV_ELSE : EV_FINAL;
    }
    if (reply->code == 200) {
        fault_set(reterr, FAULT_ASSET_INVALID, "an empty file");
        return EV_FINAL;
    }
    if (reply->code == 403 || reply->code == 404 || reply->code == 410) {
        fault_set(reterr, FAULT_OUTPUT_GONE, "HTTP %d from the file host", reply->code);
        return EV_RETRY;
    }
    fault_set(reterr, FAULT_OUTPUT_UNREACHED, "HTTP %d from the file host", reply->code);
    reterr->retry_after_usec = reply->retry_after_usec;
    return EV_WAIT;
}

/* Of four bytes, the highest first. */
static void write_base64(uint32_t n, char to[static 9]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (int i = 0; i < 5; i++)
        to[i] = digits[n >> (26 - 6 * i) & 63];
    to[5] = digits[(n & 3) << 4];
    memcpy(to + 6, "==", 3);
}

JobEvent download_verify(const HttpReply *reply, uint32_t crc32c, Fault *reterr) {
    char ours[9];

    write_base64(crc32c, ours);
    if (!reply->crc32c[0] || strcmp(reply->crc32c, ours) == 0)
        return EV_OK;
    fault_set(reterr, FAULT_OUTPUT_DAMAGED, "crc32c is %s, the file host promised %s", ours,
              reply->crc32c);
    return EV_RETRY;
}
