/* Supabase Storage: its routes and its answers, word for word where the daemon reads them. What
 * lies in the store is store.c's; signed URLs, uploads and keys have files of their own. */
#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "storage.h"

#define HEADERS_MAX (16u << 10) /* Node's */

/* Storage puts the status that it means into the body; the HTTP status is 400 for most of them. */
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

void storage_refuse(Reply *reply, const char *status, const char *error, const char *message,
                    const char *code) {
    storage_problem(reply, 400, status, error, message, code);
}

void storage_invalid(Reply *reply, const char *message) {
    storage_refuse(reply, "400", "Error", message, "InvalidRequest");
}

void storage_no_key(Reply *reply) {
    storage_refuse(reply, "404", "not_found", "Object not found", "NoSuchKey");
}

void storage_no_bucket(Reply *reply) {
    storage_refuse(reply, "404", "Bucket not found", "Bucket not found", "NoSuchBucket");
}

void storage_denied(Reply *reply, const char *message) {
    storage_refuse(reply, "403", "Unauthorized", message, "AccessDenied");
}

/* Below /object and /bucket/X the server's own handler answers, elsewhere that of its framework. */
static void unknown_route(const Request *r, Reply *reply) {
    _cleanup_(buf_done) Buf message = { 0 };
    const char *path = r->uri + strlen("/storage/v1");

    buf_printf(&message, "Route %s:%.*s not found", r->method, (int) strcspn(path, "?"), path);
    if (strncmp(path, "/object", 7) == 0 || strncmp(path, "/bucket/", 8) == 0) {
        storage_problem(reply, 404, "404", "Not Found", message.text, "InvalidRequest");
        return;
    }
    reply_text(reply, 404, "application/json; charset=utf-8", "{\"message\":");
    buf_add_json(&reply->body, message.text);
    buf_add_text(&reply->body, ",\"error\":\"Not Found\",\"statusCode\":404}");
}

bool storage_read_json(const Request *r, Reply *reply, json_t **ret) {
    const char *type = request_header(r, "Content-Type");

    *ret = NULL;
    if (!type || strncasecmp(type, "application/json", 16) != 0)
        return true;
    if ((*ret = json_loadb(r->body.text ? r->body.text : "", r->body.size, JSON_DECODE_ANY, NULL)))
        return true;
    storage_refuse(reply, "400", "FastifyError",
                   r->body.size ? "Body is not valid JSON but content-type is set to "
                                  "'application/json'"
                                : "Body cannot be empty when content-type is set to "
                                  "'application/json'",
                   "InvalidRequest");
    reply_header(reply, "Connection", "close");
    return false;
}

void storage_serve(Request *r, Reply *reply, const Object *o) {
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
        storage_problem(reply, 416, "416", "invalid_range", "invalid range provided",
                        "InvalidRange");
        return;
    }
    text_add_http_time(&time, o->changed_usec);
    reply_header(reply, "Content-Type", o->type);
    if (strncmp(r->part[1], "sign/", 5) != 0)
        reply_header(reply, "Cache-Control", o->cache);
    reply_header(reply, "ETag", o->etag);
    reply_header(reply, "Last-Modified", time.text);
    reply_header(reply, "Accept-Ranges", "bytes");
}

static void show_info(Reply *reply, const Object *o) {
    _cleanup_(buf_done) Buf time = { 0 };

    text_add_http_time(&time, o->changed_usec);
    reply_json(reply, 200, object_json(o));
    reply_header(reply, "ETag", o->etag);
    reply_header(reply, "Last-Modified", time.text);
    reply_header(reply, "Cache-Control", o->cache);
}

/* --- buckets ------------------------------------------------------------------------------- */

static bool check_limit(const json_t *options, Reply *reply) {
    if (store_read_limit(json_object_get(options, "file_size_limit")) <= STORE_LIMIT_BYTES)
        return true;
    storage_refuse(reply, "413", "Payload too large",
                   "The object exceeded the maximum allowed size", "EntityTooLarge");
    return false;
}

static void make_bucket(Sim *sim, Reply *reply, const json_t *options) {
    const char *name = json_string_value(json_object_get(options, "name")),
               *id = json_string_value(json_object_get(options, "id"));

    if (!name) {
        storage_invalid(reply, "body must have required property 'name'");
        return;
    }
    if (!id)
        id = name;
    if (!*id || strchr(id, '/') || strlen(id) > 100 || !storage_key_is_good(id))
        storage_refuse(reply, "400", "Invalid Input", "Bucket name invalid", "InvalidBucketName");
    else if (store_bucket(sim->store, id))
        storage_refuse(reply, "409", "Duplicate", "The resource already exists",
                       "BucketAlreadyExists");
    else if (!check_limit(options, reply))
        ;
    else if (!store_add_bucket(sim->store, id, options, sim_now(sim)))
        reply->status = 0;
    else
        reply_json(reply, 200, json_pack("{s:s}", "name", id));
}

static void change_bucket(Sim *sim, Reply *reply, const char *name, const json_t *options) {
    StoreBucket *bucket = store_bucket(sim->store, name);

    if (!bucket) {
        storage_no_bucket(reply);
    } else if (check_limit(options, reply)) {
        bucket_change(bucket, options, sim_now(sim));
        reply_json(reply, 200, json_pack("{s:s}", "message", "Successfully updated"));
    }
}

static void show_bucket(Sim *sim, Reply *reply, const char *name, Role role) {
    const StoreBucket *b = role == ROLE_SERVICE ? store_bucket(sim->store, name) : NULL;

    if (b)
        reply_json(reply, 200, bucket_json(b));
    else
        storage_no_bucket(reply);
}

static void route_bucket(Sim *sim, Request *r, Reply *reply, Role role) {
    bool post = strcmp(r->method, "POST") == 0, put = strcmp(r->method, "PUT") == 0;
    bool read = strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;
    const char *name = r->part[1];
    json_t *options = NULL;

    if ((name && (!*name || strchr(name, '/'))) || !(name ? read || put : post)) {
        unknown_route(r, reply);
    } else if (read) {
        show_bucket(sim, reply, name, role);
    } else if (storage_read_json(r, reply, &options)) {
        if (role != ROLE_SERVICE)
            storage_denied(reply, "new row violates row-level security policy");
        else if (put)
            change_bucket(sim, reply, name, options);
        else
            make_bucket(sim, reply, options);
        json_decref(options);
    }
}

/* --- objects ------------------------------------------------------------------------------- */

/* What is not there is left out of the answer, and is no error. */
static void delete_many(Sim *sim, Reply *reply, Role role, const char *bucket, const json_t *body) {
    json_t *keys = json_object_get(body, "prefixes"), *gone = json_array(), *key;
    size_t i;

    if (!json_is_array(keys)) {
        json_decref(gone);
        storage_invalid(reply, "body must have required property 'prefixes'");
        return;
    }
    json_array_foreach (keys, i, key) {
        const char *name = json_string_value(key);
        const Object *o =
            role == ROLE_SERVICE && name ? store_find(sim->store, bucket, name) : NULL;

        if (o) {
            json_array_append_new(gone, object_row_json(o));
            store_remove(sim->store, bucket, name);
        }
    }
    reply_json(reply, 200, gone);
}

static void delete_some(Sim *sim, Request *r, Reply *reply, Role role, const char *bucket,
                        const char *key) {
    json_t *body;

    if (!storage_read_json(r, reply, &body))
        return;
    if (!key)
        delete_many(sim, reply, role, bucket, body);
    else if (role == ROLE_SERVICE && store_remove(sim->store, bucket, key))
        reply_json(reply, 200, json_pack("{s:s}", "message", "Successfully deleted"));
    else
        storage_no_key(reply);
    json_decref(body);
}

static bool part_is(const Request *r, unsigned i, const char *text) {
    return r->part[i] && strcmp(r->part[i], text) == 0;
}

/* Told from the first line: an upload's body is not kept in memory as others are. */
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
        r->endpoint = read ? EP_OBJECT : strcmp(r->method, "POST") == 0 ? EP_SIGN : EP_OTHER;
    else if (strcmp(r->part[1], "sign") == 0)
        r->endpoint = EP_OTHER;
    else if (strncmp(r->part[1], "info/", 5) == 0 && read)
        r->endpoint = EP_INFO;
    else if (storage_is_upload(r))
        r->endpoint = EP_UPLOAD;
    else if (read || strcmp(r->method, "DELETE") == 0)
        r->endpoint = EP_OBJECT;
    if (r->endpoint == EP_SIGN && r->body.text && !r->match_text)
        r->match_text = strdup(r->body.text); /* the paths are in it */
}

/* What needs no key; false: no such route. */
static bool route_open(const Request *r, Reply *reply) {
    bool get = strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;

    if (get && part_is(r, 0, "status"))
        reply_text(reply, 200, NULL, "");
    else if (get && part_is(r, 0, "version"))
        reply_text(reply, 200, "text/plain; charset=utf-8", "1.70.6");
    else if (get && part_is(r, 0, "health"))
        reply_text(reply, 200, "application/json; charset=utf-8", "{\"healthy\":true}");
    else
        return false;
    return true;
}

/* HEAD is answered as GET is, without the body. */
static void route_object(Sim *sim, Request *r, Reply *reply, Role role) {
    bool read = strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;
    char *at = r->part[1], *bucket, *key;
    const Object *o;

    if (r->endpoint == EP_SIGN || r->endpoint == EP_INFO)
        at += 5;
    if (read && strncmp(at, "authenticated/", 14) == 0)
        at += 14;
    else if (read && strncmp(at, "public/", 7) == 0) {
        storage_no_bucket(reply); /* all buckets are private here */
        return;
    }
    bucket = at;
    if ((key = strchr(bucket, '/')))
        *key++ = '\0';
    o = key && role == ROLE_SERVICE ? store_find(sim->store, bucket, key) : NULL;

    if (r->endpoint == EP_SIGN)
        storage_sign(sim, r, reply, role, bucket, key);
    else if (strcmp(r->method, "DELETE") == 0)
        delete_some(sim, r, reply, role, bucket, key);
    else if (!key)
        unknown_route(r, reply);
    else if (!store_bucket(sim->store, bucket))
        storage_no_bucket(reply);
    else if (!o)
        storage_no_key(reply); /* HEAD has no body, but this status too */
    else if (r->endpoint == EP_INFO)
        show_info(reply, o);
    else
        storage_serve(r, reply, o);
}

static enum MHD_Result add_size(void *cls, enum MHD_ValueKind kind, const char *name,
                                const char *value) {
    (void) kind;
    *(size_t *) cls += strlen(name) + (value ? strlen(value) : 0) + 4;
    return MHD_YES;
}

/* What the server refuses before its own routes see the request comes first. */
static void route(Sim *sim, Request *r, Reply *reply) {
    size_t header_size = strlen(r->uri);
    Role role;

    (void) MHD_get_connection_values(r->connection, MHD_HEADER_KIND, add_size, &header_size);
    if (header_size > HEADERS_MAX) {
        reply_text(reply, 431, NULL, "");
        reply_header(reply, "Connection", "close");
        return;
    }
    if (!r->path) {
        reply_text(reply, 400, "application/json; charset=utf-8",
                   "{\"error\":\"Bad Request\",\"code\":\"FST_ERR_BAD_URL\",\"message\":\"bad "
                   "url\",\"statusCode\":400}");
        return;
    }
    if (r->endpoint == EP_OTHER) {
        if (!route_open(r, reply))
            unknown_route(r, reply);
        return;
    }
    if (r->endpoint == EP_OBJECT && strncmp(r->part[1], "sign/", 5) == 0) {
        char *bucket = r->part[1] + 5, *key = strchr(bucket, '/');
        _cleanup_free_ char *name = key ? strndup(bucket, (size_t) (key - bucket)) : NULL;

        if (name)
            storage_serve_signed(sim, r, reply, name, key + 1);
        else
            unknown_route(r, reply);
        return;
    }
    if (r->endpoint == EP_UPLOAD) {
        storage_upload(sim, r, reply);
        return;
    }
    if ((role = storage_role(sim, r, reply)) == ROLE_BAD) {
        if (r->endpoint == EP_INFO)
            storage_no_bucket(reply); /* this route looks for a public bucket first */
        return;
    }
    if (r->endpoint == EP_BUCKET)
        route_bucket(sim, r, reply, role);
    else
        route_object(sim, r, reply, role);
}

void storage_route(Sim *sim, Request *r, Reply *reply) {
    route(sim, r, reply);
    if (reply->status)
        reply_header(reply, "Keep-Alive", "timeout=61");
}
