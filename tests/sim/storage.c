/* Supabase Storage: routes and rules. What lies in it is store.c's. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "store.h"

void storage_problem(Reply *reply, unsigned http, const char *status, const char *error,
                     const char *message, const char *code) {
    reply_text(reply, http, "application/json; charset=utf-8", "{\"statusCode\":");
    buf_add_json(&reply->body, status);
    buf_add_text(&reply->body, ",\"error\":");
    buf_add_json(&reply->body, error);
    buf_add_text(&reply->body, ",\"message\":");
    buf_add_json(&reply->body, message);
    buf_add_text(&reply->body, ",\"code\":");
    buf_add_json(&reply->body, code);
    buf_add_text(&reply->body, "}");
}

/* What the server sends as HTTP 400, with the true status inside. */
static void refuse(Reply *reply, const char *status, const char *error, const char *message,
                   const char *code) {
    storage_problem(reply, 400, status, error, message, code);
}

static void no_key(Reply *reply) {
    refuse(reply, "404", "not_found", "Object not found", "NoSuchKey");
}

static void no_bucket(Reply *reply) {
    refuse(reply, "404", "Bucket not found", "Bucket not found", "NoSuchBucket");
}

static void denied(Reply *reply, const char *message) {
    refuse(reply, "403", "Unauthorized", message, "AccessDenied");
}

static void unknown_route(const Request *r, Reply *reply) {
    _cleanup_(buf_done) Buf message = { 0 };
    const char *path = r->uri + strlen("/storage/v1");

    buf_printf(&message, "Route %s:%.*s not found", r->method, (int) strcspn(path, "?"), path);
    reply_text(reply, 404, "application/json; charset=utf-8", "{\"message\":");
    buf_add_json(&reply->body, message.text);
    buf_add_text(&reply->body, ",\"error\":\"Not Found\",\"statusCode\":404}");
}

/* The role in a JWT's payload, when it can be read; a key for tests may be no JWT inside. */
static json_t *read_claims(const char *jwt) {
    const char *first = strchr(jwt, '.'), *second = first ? strchr(first + 1, '.') : NULL;
    _cleanup_free_ char *text = NULL;
    size_t size;

    if (!second)
        return NULL;
    text = text_decode_base64(first + 1, (size_t) (second - first - 1), &size);
    return text ? json_loadb(text, size, 0, NULL) : NULL;
}

static bool authorized(const Sim *sim, const Request *r, Reply *reply) {
    const char *authorization = request_header(r, "Authorization"),
               *apikey = request_header(r, "apikey");
    const char *bearer =
        authorization && strncasecmp(authorization, "Bearer ", 7) == 0 ? authorization + 7 : NULL;
    const char *good = sim->set.storage_key, *role;
    json_t *claims;
    bool secret = apikey && strncmp(apikey, "sb_secret_", 10) == 0, is_service, expired;

    /* The gateway: a key of the new kind counts only as apikey. */
    if (!authorization ||
        (bearer && strncmp(bearer, "sb_", 3) == 0 && apikey && strcmp(bearer, apikey) == 0)) {
        if (secret && (!good || strcmp(apikey, good) == 0))
            return true;
        if (apikey && strncmp(apikey, "sb_publishable_", 15) == 0)
            denied(reply, "new row violates row-level security policy");
        else if (secret)
            reply_text(reply, 401, "application/json",
                       "{\"message\":\"Unregistered API key\",\"hint\":\"Double check the provided "
                       "API key as it is not registered for this project.\"}");
        else
            refuse(reply, "400", "Error", "headers must have required property 'authorization'",
                   "InvalidRequest");
        return false;
    }
    if (!bearer || strncmp(bearer, "eyJ", 3) != 0) {
        denied(reply, "Invalid Compact JWS");
        return false;
    }
    if (good && strcmp(bearer, good) != 0) {
        denied(reply, "signature verification failed");
        return false;
    }
    claims = read_claims(bearer);
    role = json_string_value(json_object_get(claims, "role"));
    is_service = !role || strcmp(role, "service_role") == 0;
    expired = json_is_integer(json_object_get(claims, "exp")) &&
              json_integer_value(json_object_get(claims, "exp")) < sim_now(sim) / SEC_USEC;
    json_decref(claims);
    if (expired)
        denied(reply, "\"exp\" claim timestamp check failed");
    else if (!is_service)
        denied(reply, "new row violates row-level security policy");
    return !expired && is_service;
}

static bool key_is_good(const char *key) {
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

static bool check_key(const char *key, Reply *reply) {
    _cleanup_(buf_done) Buf message = { 0 };

    if (key_is_good(key) && !has_dot_segment(key))
        return true;
    buf_printf(&message, "Invalid key: %s", key ? key : "");
    refuse(reply, "400", "InvalidKey", message.text, "InvalidKey");
    return false;
}

static void upload(Sim *sim, Request *r, Reply *reply, const char *bucket_name, const char *key) {
    const char *type = request_header(r, "Content-Type"), *upsert = request_header(r, "x-upsert");
    const char *cache = request_header(r, "Cache-Control");
    StoreBucket *bucket = store_bucket(sim->store, bucket_name);
    bool replace = strcmp(r->method, "PUT") == 0 || (upsert && strcmp(upsert, "true") == 0);
    const Object *o = store_find(sim->store, bucket_name, key);
    _cleanup_(buf_done) Buf message = { 0 };

    sim->stats.upload_bytes += r->upload->size;
    if (!check_key(key, reply))
        return;
    if (!bucket) {
        no_bucket(reply);
        return;
    }
    if (type && strncasecmp(type, "multipart/form-data", 19) == 0) {
        refuse(reply, "400", "Error", "No content provided", "InvalidRequest");
        return;
    }
    if (type && !strchr(type, '/')) {
        refuse(reply, "415", "invalid_mime_type", "Invalid Content-Type header", "InvalidMimeType");
        return;
    }
    if (!bucket_takes(bucket, type ? type : "application/octet-stream")) {
        buf_printf(&message, "mime type %s is not supported", type);
        refuse(reply, "415", "invalid_mime_type", message.text, "InvalidMimeType");
        return;
    }
    if (bucket->limit_bytes && r->upload->size > (uint64_t) bucket->limit_bytes) {
        refuse(reply, "413", "Payload too large", "The object exceeded the maximum allowed size",
               "EntityTooLarge");
        return;
    }
    if (o && !replace) {
        refuse(reply, "409", "Duplicate", "The resource already exists", "KeyAlreadyExists");
        return;
    }
    if (!(o = store_put(sim->store, bucket_name, key, r->upload,
                        type ? type : "application/octet-stream", cache ? cache : "no-cache",
                        request_header(r, "x-metadata"), sim_now(sim)))) {
        reply->status = 0;
        return;
    }
    reply_text(reply, 200, "application/json; charset=utf-8", "{\"Key\":");
    buf_printf(&message, "%s/%s", bucket_name, key);
    buf_add_json(&reply->body, message.text);
    buf_printf(&reply->body, ",\"Id\":\"%s\"}", o->id);
}

static void serve(Request *r, Reply *reply, const Object *o) {
    _cleanup_(buf_done) Buf time = { 0 };

    if (!o->bytes && o->size) {
        storage_problem(reply, 500, "500", "Internal",
                        "meshify-sim keeps the bytes of small uploads only (see keep_bytes)",
                        "InternalError");
        return;
    }
    buf_add(&reply->body, o->bytes ? o->bytes : "", (size_t) o->size);
    reply_range(reply, r, o->size, o->etag);
    if (reply->status == 416) {
        refuse(reply, "416", "InvalidRange", "The requested range is not satisfiable",
               "InvalidRange");
        return;
    }
    text_add_http_time(&time, o->changed_usec);
    reply_header(reply, "Content-Type", o->type);
    reply_header(reply, "Cache-Control", o->cache);
    reply_header(reply, "ETag", o->etag);
    reply_header(reply, "Last-Modified", time.text);
    reply_header(reply, "Accept-Ranges", "bytes");
}

/* Signs "bucket/key" for some seconds: {"url":…,"scope":"download","iat":…,"exp":…}, HS256. */
static void add_signed_url(Sim *sim, Buf *b, const char *bucket, const char *key, int64_t seconds) {
    _cleanup_(buf_done) Buf token = { 0 };
    _cleanup_free_ char *target = store_path(bucket, key);

    store_sign(sim->store, &token, target ? target : "", sim_now(sim) / SEC_USEC, seconds);
    buf_add_text(b, "/object/sign/");
    for (const char *p = target; p && *p; p++)
        if (strchr("?&=+ ", *p))
            buf_printf(b, "%%%02X", (unsigned char) *p);
        else
            buf_add(b, p, 1);
    buf_printf(b, "?token=%s", token.text ? token.text : "");
}

static void sign(Sim *sim, Request *r, Reply *reply, const char *bucket, const char *key) {
    json_t *request = json_loadb(r->body.text ? r->body.text : "", r->body.size, 0, NULL);
    json_t *paths = json_object_get(request, "paths"), *path;
    int64_t seconds = json_integer_value(json_object_get(request, "expiresIn"));
    _cleanup_(buf_done) Buf url = { 0 };
    size_t i;

    if (!json_is_integer(json_object_get(request, "expiresIn")) || seconds < 1) {
        refuse(reply, "400", "Error", "body/expiresIn must be >= 1", "InvalidRequest");
    } else if (key && !store_find(sim->store, bucket, key)) {
        no_key(reply);
    } else if (key) {
        add_signed_url(sim, &url, bucket, key, seconds);
        reply_json(reply, 200, json_pack("{s:s}", "signedURL", url.text));
    } else if (!json_is_array(paths)) {
        refuse(reply, "400", "Error", "body must have required property 'paths'", "InvalidRequest");
    } else {
        json_t *list = json_array();

        json_array_foreach (paths, i, path) {
            const char *name = json_string_value(path);

            buf_done(&url);
            if (name && store_find(sim->store, bucket, name))
                add_signed_url(sim, &url, bucket, name, seconds);
            json_array_append_new(
                list,
                json_pack("{s:s?, s:s?, s:s?}", "error",
                          url.text
                              ? NULL
                              : "Either the object does not exist or you do not have access to it",
                          "path", name, "signedURL", url.text));
        }
        reply_json(reply, 200, list);
    }
    json_decref(request);
}

static void serve_signed(Sim *sim, Request *r, Reply *reply, const char *bucket, const char *key) {
    _cleanup_free_ char *token = request_query(r, "token"), *target = store_path(bucket, key);
    const Object *o = store_find(sim->store, bucket, key);

    switch (store_check(sim->store, token, target, sim_now(sim) / SEC_USEC)) {
    case TOKEN_BAD:
        refuse(reply, "400", "InvalidJWT", "signature verification failed", "InvalidJWT");
        break;
    case TOKEN_EXPIRED:
        refuse(reply, "400", "InvalidJWT", "\"exp\" claim timestamp check failed", "InvalidJWT");
        break;
    case TOKEN_OTHER:
        refuse(reply, "400", "InvalidSignature", "Invalid signature", "InvalidSignature");
        break;
    default:
        if (o)
            serve(r, reply, o);
        else
            no_key(reply);
    }
}

static void make_bucket(Sim *sim, Request *r, Reply *reply) {
    json_t *request = json_loadb(r->body.text ? r->body.text : "", r->body.size, 0, NULL);
    const char *name = json_string_value(json_object_get(request, "id"));

    if (!name)
        name = json_string_value(json_object_get(request, "name"));
    if (!name || !*name || strchr(name, '/') || strlen(name) > 100 || !key_is_good(name))
        refuse(reply, "400", "Error", "Bucket name invalid", "InvalidBucketName");
    else if (store_bucket(sim->store, name))
        refuse(reply, "409", "Duplicate", "The resource already exists", "BucketAlreadyExists");
    else if (!store_add_bucket(sim->store, name, request, sim_now(sim)))
        reply->status = 0;
    else
        reply_json(reply, 200, json_pack("{s:s}", "name", name));
    json_decref(request);
}

static void show_bucket(Sim *sim, Reply *reply, const char *name) {
    const StoreBucket *b = store_bucket(sim->store, name);

    if (b)
        reply_json(reply, 200, bucket_json(b));
    else
        no_bucket(reply);
}

static void delete_many(Sim *sim, Request *r, Reply *reply, const char *bucket) {
    json_t *request = json_loadb(r->body.text ? r->body.text : "", r->body.size, 0, NULL);
    json_t *gone = json_array(), *key;
    size_t i;

    json_array_foreach (json_object_get(request, "prefixes"), i, key) {
        const char *name = json_string_value(key);

        if (name && store_remove(sim->store, bucket, name))
            json_array_append_new(gone, json_pack("{s:s, s:s}", "name", name, "bucket_id", bucket));
    }
    json_decref(request);
    reply_json(reply, 200, gone);
}

static bool part_is(const Request *r, unsigned i, const char *text) {
    return r->part[i] && strcmp(r->part[i], text) == 0;
}

bool storage_is_upload(const Request *r) {
    const char *rest;

    if (!r->path || strncmp(r->path, "/storage/v1/object/", 19) != 0)
        return false;
    rest = r->path + 19;
    return strcmp(r->method, "PUT") == 0 ||
           (strcmp(r->method, "POST") == 0 && strncmp(rest, "sign/", 5) != 0 &&
            strncmp(rest, "list/", 5) != 0 && strchr(rest, '/'));
}

void storage_prepare(Request *r) {
    bool read = r->method && (strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0);

    request_split(r, "/storage/v1/", 2);
    r->endpoint = EP_OTHER;
    if (part_is(r, 0, "bucket"))
        r->endpoint = EP_BUCKET;
    else if (!part_is(r, 0, "object") || !r->part[1])
        return;
    else if (strncmp(r->part[1], "sign/", 5) == 0)
        r->endpoint = read ? EP_OBJECT : EP_SIGN;
    else if (strncmp(r->part[1], "info/", 5) == 0 && read)
        r->endpoint = EP_INFO;
    else if (storage_is_upload(r))
        r->endpoint = EP_UPLOAD;
    else if (read || strcmp(r->method, "DELETE") == 0)
        r->endpoint = EP_OBJECT;
}

void storage_route(Sim *sim, Request *r, Reply *reply) {
    bool get = strcmp(r->method, "GET") == 0, head = strcmp(r->method, "HEAD") == 0;
    bool post = strcmp(r->method, "POST") == 0, delete = strcmp(r->method, "DELETE") == 0;
    char *at = r->part[1], *bucket, *key;
    const Object *o;
    bool is_signed;

    if (!r->path) {
        reply_text(reply, 400, "application/json; charset=utf-8",
                   "{\"error\":\"Bad Request\",\"code\":\"FST_ERR_BAD_URL\",\"message\":\"bad "
                   "url\",\"statusCode\":400}");
        return;
    }
    if (r->endpoint == EP_OTHER) {
        unknown_route(r, reply);
        return;
    }
    is_signed = r->endpoint == EP_OBJECT && strncmp(at, "sign/", 5) == 0;
    if (!is_signed && !authorized(sim, r, reply))
        return;
    if (r->endpoint == EP_BUCKET) {
        if (post && (!at || !*at))
            make_bucket(sim, r, reply);
        else if (get && at && *at)
            show_bucket(sim, reply, at);
        else
            unknown_route(r, reply);
        return;
    }

    if (r->endpoint == EP_SIGN || r->endpoint == EP_INFO || is_signed)
        at += 5;
    else if ((get || head) && strncmp(at, "authenticated/", 14) == 0)
        at += 14;
    else if ((get || head) && strncmp(at, "public/", 7) == 0) {
        no_bucket(reply); /* all buckets are private here */
        return;
    }
    bucket = at;
    if ((key = strchr(bucket, '/')))
        *key++ = '\0';
    o = key ? store_find(sim->store, bucket, key) : NULL;

    if (r->endpoint == EP_UPLOAD) {
        upload(sim, r, reply, bucket, key);
    } else if (r->endpoint == EP_SIGN && post) {
        sign(sim, r, reply, bucket, key);
    } else if (is_signed && key) {
        serve_signed(sim, r, reply, bucket, key);
    } else if (delete &&!key) {
        delete_many(sim, r, reply, bucket);
    } else if (!store_bucket(sim->store, bucket)) {
        no_bucket(reply);
    } else if (!o) {
        no_key(reply); /* HEAD has no body, but this status too */
    } else if (r->endpoint == EP_INFO) {
        reply_json(reply, 200, object_json(o));
    } else if (delete) {
        store_remove(sim->store, bucket, key);
        reply_json(reply, 200, json_pack("{s:s}", "message", "Successfully deleted"));
    } else {
        serve(r, reply, o);
    }
}
