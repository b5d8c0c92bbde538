/* Signed URLs of Storage: how they are made, and what they give. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "storage.h"

#define NOT_FOUND "Either the object does not exist or you do not have access to it"

/* Percent-decodes as JavaScript's decodeURI: what separates parts of a URL stays escaped. */
static char *decode_uri(const char *text, size_t size) {
    _cleanup_(buf_done) Buf b = { 0 };

    for (size_t i = 0; i < size; i++) {
        char digits[3] = { 0 };
        char byte;

        if (text[i] != '%' || i + 2 >= size) {
            buf_add(&b, text + i, 1);
            continue;
        }
        memcpy(digits, text + i + 1, 2);
        byte = (char) strtoul(digits, NULL, 16);
        if (strchr(";/?:@&=+$,#", byte))
            buf_add(&b, text + i, 3);
        else
            buf_add(&b, &byte, 1);
        i += 2;
    }
    return buf_take(&b);
}

/* The token names "bucket/key": {"url":…,"scope":"download","iat":…,"exp":…}, HS256. The same text
 * stands in the URL, as it is. */
static void add_signed_url(Sim *sim, Buf *b, const char *target, int64_t seconds) {
    _cleanup_(buf_done) Buf token = { 0 };

    store_sign(sim->store, &token, target, sim_now(sim) / SEC_USEC, seconds);
    buf_printf(b, "/object/sign/%s?token=%s", target, token.text ? token.text : "");
}

/* As the server's schema reads it, which takes a number in a text; false: refused. */
static bool read_seconds(const json_t *body, Reply *reply, int64_t *ret) {
    const json_t *value = json_object_get(body, "expiresIn");
    const char *text = json_string_value(value);
    char *end = NULL;
    double n = json_number_value(value);

    if (!json_is_object(body)) {
        storage_invalid(reply, "body must be object");
        return false;
    }
    if (!value) {
        storage_invalid(reply, "body must have required property 'expiresIn'");
        return false;
    }
    if (text)
        n = strtod(text, &end);
    if ((!text && !json_is_number(value)) || (text && (!*text || *end)) ||
        n != (double) (int64_t) n) {
        storage_invalid(reply, "body/expiresIn must be integer");
        return false;
    }
    *ret = (int64_t) n;
    if (*ret < 1)
        storage_invalid(reply, "body/expiresIn must be >= 1");
    return *ret >= 1;
}

static void sign_one(Sim *sim, Request *r, Reply *reply, bool visible, const char *bucket,
                     const char *key, int64_t seconds) {
    const char *raw = r->uri + strlen("/storage/v1/object/sign/");
    _cleanup_free_ char *target = decode_uri(raw, strcspn(raw, "?"));
    _cleanup_(buf_done) Buf url = { 0 };

    if (!storage_check_key(key, reply))
        return;
    if (!visible || !store_find(sim->store, bucket, key)) {
        storage_no_key(reply);
        return;
    }
    add_signed_url(sim, &url, target ? target : "", seconds);
    reply_json(reply, 200, json_pack("{s:s}", "signedURL", url.text));
}

static void sign_many(Sim *sim, Reply *reply, bool visible, const char *bucket, const json_t *paths,
                      int64_t seconds) {
    json_t *list = json_array(), *path;
    size_t i;

    json_array_foreach ((json_t *) paths, i, path) {
        const char *name = json_string_value(path);
        _cleanup_free_ char *target = store_path(bucket, name);
        _cleanup_(buf_done) Buf url = { 0 };

        if (visible && name && target && store_find(sim->store, bucket, name))
            add_signed_url(sim, &url, target, seconds);
        json_array_append_new(list,
                              json_pack("{s:s?, s:s?, s:s?}", "error", url.text ? NULL : NOT_FOUND,
                                        "path", name, "signedURL", url.text));
    }
    reply_json(reply, 200, list);
}

void storage_sign(Sim *sim, Request *r, Reply *reply, Role role, const char *bucket,
                  const char *key) {
    json_t *body = NULL, *paths;
    int64_t seconds;

    if (!storage_read_json(r, reply, &body))
        return;
    if (!body && r->body.size == 0)
        body = json_object();
    paths = json_object_get(body, "paths");
    if (!read_seconds(body, reply, &seconds))
        ;
    else if (key)
        sign_one(sim, r, reply, role == ROLE_SERVICE, bucket, key, seconds);
    else if (!json_is_array(paths))
        storage_invalid(reply, "body must have required property 'paths'");
    else if (json_array_size(paths) == 0)
        storage_invalid(reply, "body/paths must NOT have fewer than 1 items");
    else
        sign_many(sim, reply, role == ROLE_SERVICE, bucket, paths, seconds);
    json_decref(body);
}

void storage_serve_signed(Sim *sim, Request *r, Reply *reply, const char *bucket, const char *key) {
    _cleanup_free_ char *token = request_query(r, "token"), *target = store_path(bucket, key),
                        *name = request_query(r, "download");
    _cleanup_(buf_done) Buf text = { 0 };
    const Object *o = store_find(sim->store, bucket, key);
    int64_t ends = 0;

    if (!token) {
        storage_invalid(reply, "querystring must have required property 'token'");
        return;
    }
    switch (store_check(sim->store, token, target, sim_now(sim) / SEC_USEC, &ends)) {
    case TOKEN_NONE:
        storage_refuse(reply, "400", "InvalidJWT", "Invalid Compact JWS", "InvalidJWT");
        return;
    case TOKEN_BAD:
        storage_refuse(reply, "400", "InvalidJWT", "signature verification failed", "InvalidJWT");
        return;
    case TOKEN_EXPIRED:
        storage_refuse(reply, "400", "InvalidJWT", "\"exp\" claim timestamp check failed",
                       "InvalidJWT");
        return;
    case TOKEN_OTHER:
        storage_refuse(reply, "400", "InvalidSignature", "Invalid signature", "InvalidSignature");
        return;
    default:
        break;
    }
    if (!o) {
        storage_no_key(reply);
        return;
    }
    storage_serve(r, reply, o);
    if (reply->status >= 400)
        return;
    text_add_http_time(&text, ends * SEC_USEC);
    reply_header(reply, "Expires", text.text);
    reply_header(reply, "X-Robots-Tag", "none");
    if (name) {
        buf_done(&text);
        buf_add_text(&text, "attachment;");
        if (*name)
            buf_printf(&text, " filename=%s; filename*=UTF-8''%s;", name, name);
        reply_header(reply, "Content-Disposition", text.text);
    }
}
