/* Answers in the making, and what handlers ask of a request: headers, parameters, parts of the path. Sending and
 * receiving is http.c's. */
#include <stdio.h>
#include <string.h>

#include "http.h"

void reply_reset(Reply *reply) {
    buf_done(&reply->body);
    glb_free(reply->glb);
    for (unsigned i = 0; i < reply->n_headers; i++)
        free(reply->headers[i].value);
    *reply = (Reply){ .size = UINT64_MAX, .cut = UINT64_MAX, .stall_at = UINT64_MAX };
}

void reply_header(Reply *reply, const char *name, const char *value) {
    if (reply->n_headers == sizeof reply->headers / sizeof reply->headers[0] || !value)
        return;
    snprintf(reply->headers[reply->n_headers].name, sizeof reply->headers[0].name, "%s", name);
    if ((reply->headers[reply->n_headers].value = strdup(value)))
        reply->n_headers++;
}

void reply_text(Reply *reply, unsigned status, const char *type, const char *text) {
    reply_reset(reply);
    reply->status = status;
    if (type)
        reply_header(reply, "Content-Type", type);
    buf_add_text(&reply->body, text);
}

void reply_json(Reply *reply, unsigned status, json_t *value) {
    _cleanup_free_ char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

    json_decref(value);
    reply_text(reply, status, "application/json; charset=utf-8", text ? text : "null");
}

uint64_t reply_size(const Reply *reply) {
    return reply->size != UINT64_MAX ? reply->size
           : reply->glb              ? glb_size(reply->glb)
                                     : reply->body.size;
}

void reply_range(Reply *reply, const Request *r, uint64_t total, const char *etag) {
    const char *range = request_header(r, "Range"), *condition = request_header(r, "If-Range");
    unsigned long long first, last;
    char text[80];
    int n = 0;

    reply->status = 200;
    if (!range || strncmp(range, "bytes=", 6) != 0 ||
        (condition && etag && strcmp(condition, etag) != 0))
        return;
    range += 6;
    if (sscanf(range, "-%llu%n", &last, &n) == 1 && n && !range[n]) {
        first = last < total ? total - last : 0;
        if (last == 0)
            first = total; /* nothing can satisfy it */
        last = total - 1;
    } else if (sscanf(range, "%llu-%llu%n", &first, &last, &n) == 2 && n && !range[n]) {
        if (last < first)
            return;
    } else if (n = 0, sscanf(range, "%llu-%n", &first, &n) == 1 && n && !range[n]) {
        last = UINT64_MAX;
    } else {
        return; /* several ranges, or not one at all: the whole */
    }
    if (first >= total) {
        reply_reset(reply);
        reply->status = 416;
        snprintf(text, sizeof text, "bytes */%llu", (unsigned long long) total);
        reply_header(reply, "Content-Range", text);
        return;
    }
    if (last >= total)
        last = total - 1;
    reply->status = 206;
    reply->offset = first;
    reply->size = last - first + 1;
    snprintf(text, sizeof text, "bytes %llu-%llu/%llu", first, last, (unsigned long long) total);
    reply_header(reply, "Content-Range", text);
}

const char *request_header(const Request *r, const char *name) {
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

char *request_query(const Request *r, const char *name) {
    size_t size = strlen(name);
    const char *p = r->query;
    bool bad;

    while (p && *p) {
        size_t n = strcspn(p, "&");

        if (n > size && strncmp(p, name, size) == 0 && p[size] == '=')
            return text_decode_url(p + size + 1, n - size - 1, &bad);
        p += n;
        p += *p == '&';
    }
    return NULL;
}

unsigned request_split(Request *r, const char *prefix, unsigned max) {
    size_t size = strlen(prefix);
    unsigned n = 0;

    free(r->part_text);
    r->part_text = NULL;
    memset(r->part, 0, sizeof r->part);
    if (!r->path || strncmp(r->path, prefix, size) != 0 || !(r->part_text = strdup(r->path + size)))
        return 0;
    for (char *p = r->part_text; p && n < max; n++) {
        r->part[n] = p;
        if (n + 1 < max && (p = strchr(p, '/')))
            *p++ = '\0';
        else
            p = NULL;
    }
    return n;
}
