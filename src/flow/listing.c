#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "core/pipeline.h"
#include "flow/listing.h"
#include "flow/service.h"

#define SKEW_SECONDS 300

int listing_ask(const Config *c, int64_t from_epoch, const char *cursor, HttpRequest *ret) {
    time_t from = (time_t) (from_epoch - SKEW_SECONDS);
    char when[32], path[80];
    char *url;
    struct tm tm;
    int r;

    gmtime_r(&from, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    (void) snprintf(path, sizeof path, "predictions?created_after=%s", when);
    if ((r = service_request(c, "GET", path, ret)) < 0 || !cursor)
        return r;
    if (!(url = strdup(cursor))) {
        http_request_done(ret);
        return -ENOMEM;
    }
    free(ret->url);
    ret->url = url;
    return 0;
}

int listing_next(const Config *c, const json_t *page, char **cursor) {
    _cleanup_free_ char *before = TAKE(*cursor);
    const char *next = json_text(page, "next");
    size_t n = strlen(c->replicate_url);

    if (!next)
        return 0;
    if (before && strcmp(next, before) == 0)
        return -ELOOP;
    if (strncmp(next, c->replicate_url, n) != 0 ||
        (next[n] != '/' && c->replicate_url[n - 1] != '/') || strlen(next) > 4096)
        return -EBADMSG;
    return (*cursor = strdup(next)) ? 0 : -ENOMEM;
}

int listing_matches(const json_t *item, const char *hash, const json_t *keys) {
    const json_t *input = json_object_get(item, "input");
    const char *source = json_text(item, "source");
    char its[HASH_HEX_SIZE];

    if (!hash || !service_is_id(json_text(item, "id")) || !json_is_object(input))
        return 0;
    if (source && strcmp(source, "web") == 0) /* somebody at Replicate's own page: not ours */
        return 0;
    if (pipeline_hash(input, keys, its) < 0)
        return -ENOMEM;
    return strcmp(its, hash) == 0;
}
