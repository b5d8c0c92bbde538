/* Uploads to Storage: most of what is refused is refused before the body was read. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "storage.h"

bool storage_key_is_good(const char *key) {
    if (!key || !*key)
        return false;
    for (; *key; key++)
        if (!(isalnum((unsigned char) *key) && (unsigned char) *key < 128) &&
            !strchr("_/!.*'() &$=@;:+,?-", *key))
            return false;
    return true;
}

static bool has_dot_segment(const char *key) {
    for (const char *p = key; p; p = strchr(p, '/')) {
        size_t n;

        p += *p == '/';
        n = strcspn(p, "/");
        if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return true;
    }
    return false;
}

bool storage_check_key(const char *key, Reply *reply) {
    _cleanup_(buf_done) Buf message = { 0 };

    if (storage_key_is_good(key) && !has_dot_segment(key))
        return true;
    buf_printf(&message, "Invalid key: %s", key ? key : "");
    storage_refuse(reply, "400", "InvalidKey", message.text, "InvalidKey");
    return false;
}

/* The file backend makes a directory of each element; its file system has limits. */
static bool has_long_element(const char *key) {
    for (const char *p = key; *p; p += strcspn(p, "/"), p += *p == '/')
        if (strcspn(p, "/") > 255)
            return true;
    return false;
}

/* Where an upload goes: the key is in the path behind the bucket. */
static const char *target_of(const Request *r, char *bucket, size_t room) {
    const char *key = strchr(r->part[1], '/');

    snprintf(bucket, room, "%.*s", (int) strcspn(r->part[1], "/"), r->part[1]);
    return key ? key + 1 : NULL;
}

static bool is_replacing(const Request *r) {
    const char *upsert = request_header(r, "x-upsert");

    return strcmp(r->method, "PUT") == 0 || (upsert && strcmp(upsert, "true") == 0);
}

static bool type_is_refused(const StoreBucket *bucket, const char *type, Reply *reply) {
    _cleanup_(buf_done) Buf message = { 0 };

    if (type && strncasecmp(type, "multipart/form-data", 19) == 0) {
        storage_invalid(reply, strstr(type, "boundary=") ? "No content provided"
                                                         : "Multipart: Boundary not found");
        return true;
    }
    if (type && !strchr(type, '/')) {
        storage_refuse(reply, "415", "invalid_mime_type", "Invalid Content-Type header",
                       "InvalidMimeType");
        return true;
    }
    if (!type)
        type = "application/octet-stream";
    if (bucket_takes(bucket, type))
        return false;
    buf_printf(&message, "mime type %s is not supported", type);
    storage_refuse(reply, "415", "invalid_mime_type", message.text, "InvalidMimeType");
    return true;
}

/* A chunked body says no length, and passes. */
static bool size_is_refused(const StoreBucket *bucket, const Request *r, const char *key,
                            Reply *reply) {
    static const char placeholder[] = ".emptyFolderPlaceholder";
    const char *text = request_header(r, "Content-Length"), *name = strrchr(key, '/');
    uint64_t size = text ? strtoull(text, NULL, 10) : 0;
    int64_t limit = bucket->limit_bytes ? bucket->limit_bytes : STORE_LIMIT_BYTES;

    if (strcmp(name ? name + 1 : key, placeholder) == 0)
        limit = 0;
    if (size <= (uint64_t) limit)
        return false;
    storage_refuse(reply, "413", "Payload too large",
                   "The object exceeded the maximum allowed size", "EntityTooLarge");
    return true;
}

bool storage_refuses_early(Sim *sim, Request *r) {
    Reply *reply = &r->reply;
    const StoreBucket *bucket;
    char name[128];
    const char *key;
    Role role;

    if (!r->path || r->endpoint != EP_UPLOAD)
        return false;
    if ((role = storage_role(sim, r, reply)) == ROLE_BAD)
        return true;
    key = target_of(r, name, sizeof name);
    if (!(bucket = store_bucket(sim->store, name))) {
        storage_no_bucket(reply);
        return true;
    }
    if (!storage_check_key(key, reply)) {
        r->unread = true;
        return true;
    }
    if (role == ROLE_OTHER) {
        storage_denied(reply, "new row violates row-level security policy");
        return true;
    }
    if (!is_replacing(r) && store_find(sim->store, name, key)) {
        storage_refuse(reply, "409", "Duplicate", "The resource already exists",
                       "KeyAlreadyExists");
        r->unread = true;
        return true;
    }
    if (has_long_element(key)) {
        storage_problem(reply, 500, "500", "Internal", "Internal Server Error", "InternalError");
        return true;
    }
    return type_is_refused(bucket, request_header(r, "Content-Type"), reply) ||
           size_is_refused(bucket, r, key, reply);
}

void storage_upload(Sim *sim, Request *r, Reply *reply) {
    const char *type = request_header(r, "Content-Type"),
               *cache = request_header(r, "Cache-Control"), *key;
    _cleanup_(buf_done) Buf path = { 0 };
    const Object *o;
    char name[128];

    sim->stats.upload_bytes += r->upload->size;
    key = target_of(r, name, sizeof name);
    if (!(o = store_put(sim->store, name, key, r->upload, type ? type : "application/octet-stream",
                        cache ? cache : "no-cache", request_header(r, "x-metadata"),
                        sim_now(sim)))) {
        reply->status = 0;
        return;
    }
    reply_text(reply, 200, "application/json; charset=utf-8", "{\"Key\":");
    buf_printf(&path, "%s/%s", name, key);
    buf_add_json(&reply->body, path.text);
    buf_printf(&reply->body, ",\"Id\":\"%s\"}", o->id);
}
