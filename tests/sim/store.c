/* What lies in the store: buckets and objects, the tokens of signed URLs, and uploads while they come in. Routes and rules are
 * storage.c's. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "store.h"

struct Store {
    Table buckets, objects; /* by name; by bucket/key */
    unsigned char secret[32];
};

static void make_uuid(char ret[static 37]) {
    unsigned char b[16];

    if (RAND_bytes(b, sizeof b) != 1)
        memset(b, 0, sizeof b);
    snprintf(ret, 37, "%02x%02x%02x%02x-%02x%02x-4%01x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6] & 15, b[7], (b[8] & 63) | 128, b[9], b[10], b[11],
             b[12], b[13], b[14], b[15]);
}

static void bucket_free(void *value) {
    StoreBucket *b = value;

    if (b) {
        json_decref(b->types);
        free(b->name);
        free(b);
    }
}

static void object_free(void *value) {
    Object *o = value;

    if (o) {
        json_decref(o->metadata);
        free(o->bucket);
        free(o->key);
        free(o->type);
        free(o->cache);
        free(o->bytes);
        free(o);
    }
}

Upload *upload_free(Upload *u) {
    if (u) {
        digester_free(u->digester);
        buf_done(&u->bytes);
        free(u);
    }
    return NULL;
}

Upload *upload_new(int64_t keep_bytes) {
    Upload *u = calloc(1, sizeof *u);

    if (!u || !(u->digester = digester_new(false)))
        return upload_free(u);
    u->keep_bytes = (uint64_t) keep_bytes;
    return u;
}

bool upload_feed(Upload *u, const void *bytes, size_t size) {
    u->size += size;
    if (u->size <= u->keep_bytes)
        buf_add(&u->bytes, bytes, size);
    else
        buf_done(&u->bytes);
    return digester_add(u->digester, bytes, size) && !u->bytes.failed;
}

StoreBucket *store_bucket(const Store *s, const char *name) {
    return table_get(&s->buckets, name);
}

/* Units are decimal. */
int64_t store_read_limit(const json_t *value) {
    double n;
    char unit[3] = "";

    if (json_is_integer(value))
        return json_integer_value(value);
    if (!json_is_string(value) || sscanf(json_string_value(value), "%lf%2s", &n, unit) < 1)
        return 0;
    return (int64_t) (n * (*unit == 'G'                   ? 1e9
                           : *unit == 'M'                 ? 1e6
                           : *unit == 'K' || *unit == 'k' ? 1e3
                                                          : 1));
}

void bucket_change(StoreBucket *b, const json_t *options, int64_t now_usec) {
    json_t *types = json_object_get(options, "allowed_mime_types"),
           *limit = json_object_get(options, "file_size_limit"),
           *open = json_object_get(options, "public");

    if (limit)
        b->limit_bytes = store_read_limit(limit);
    if (types) {
        json_decref(b->types);
        b->types = json_is_array(types) ? json_incref(types) : NULL;
    }
    if (open)
        b->is_public = json_is_true(open);
    b->changed_usec = now_usec;
}

bool store_add_bucket(Store *s, const char *name, const json_t *options, int64_t now_usec) {
    StoreBucket *b = calloc(1, sizeof *b);

    if (b && (b->name = strdup(name))) {
        bucket_change(b, options, now_usec);
        b->created_usec = now_usec;
        if (table_set(&s->buckets, name, b))
            return true;
    }
    bucket_free(b);
    return false;
}

bool bucket_takes(const StoreBucket *b, const char *type) {
    json_t *allowed;
    size_t i;

    if (!b->types)
        return true;
    json_array_foreach (b->types, i, allowed) {
        const char *text = json_string_value(allowed);
        size_t n = text ? strlen(text) : 0;

        if (n && (strcmp(text, type) == 0 ||
                  (n > 1 && strcmp(text + n - 2, "/*") == 0 && strncmp(text, type, n - 1) == 0)))
            return true;
    }
    return false;
}

static json_t *time_json(int64_t usec) {
    Buf b = { 0 };
    json_t *value;

    text_add_time(&b, usec, 3, 0);
    value = json_string(b.text ? b.text : "");
    buf_done(&b);
    return value;
}

json_t *bucket_json(const StoreBucket *b) {
    return json_pack("{s:s, s:s, s:s, s:b, s:o, s:O?, s:o, s:o}", "id", b->name, "name", b->name,
                     "owner", "", "public", b->is_public, "file_size_limit",
                     b->limit_bytes ? json_integer(b->limit_bytes) : json_null(),
                     "allowed_mime_types", b->types, "created_at", time_json(b->created_usec),
                     "updated_at", time_json(b->changed_usec));
}

char *store_path(const char *bucket, const char *key) {
    Buf b = { 0 };

    buf_printf(&b, "%s/%s", bucket, key ? key : "");
    return buf_take(&b);
}

Object *store_find(const Store *s, const char *bucket, const char *key) {
    _cleanup_free_ char *path = key ? store_path(bucket, key) : NULL;

    return path ? table_get(&s->objects, path) : NULL;
}

static bool replace_text(char **at, const char *text) {
    free(*at);
    return (*at = strdup(text));
}

const Object *store_put(Store *s, const char *bucket, const char *key, Upload *u, const char *type,
                        const char *cache, const char *metadata, int64_t now_usec) {
    _cleanup_free_ char *path = store_path(bucket, key), *text = NULL;
    Object *o = path ? table_get(&s->objects, path) : NULL;
    Digest digest;
    size_t size;

    if (!path || !digester_end(u->digester, &digest))
        return NULL;
    if (!o) {
        if (!(o = calloc(1, sizeof *o)) || !(o->bucket = strdup(bucket)) ||
            !(o->key = strdup(key)) || !table_set(&s->objects, path, o)) {
            object_free(o);
            return NULL;
        }
        make_uuid(o->id);
        o->created_usec = now_usec;
    }
    make_uuid(o->version);
    o->changes += o->writes > 0 && strcmp(o->sha256, digest.sha256) != 0;
    memcpy(o->sha256, digest.sha256, sizeof o->sha256);
    snprintf(o->etag, sizeof o->etag, "\"%s\"", digest.md5);
    free(o->bytes);
    o->bytes = u->size <= u->keep_bytes ? buf_take(&u->bytes) : NULL;
    o->size = u->size;
    o->changed_usec = now_usec;
    o->writes++;
    json_decref(o->metadata);
    text = metadata ? text_decode_base64(metadata, strlen(metadata), &size) : NULL;
    o->metadata = text ? json_loadb(text, size, 0, NULL) : NULL;
    if (!o->metadata)
        o->metadata = json_object();
    return replace_text(&o->type, type) && replace_text(&o->cache, cache) ? o : NULL;
}

bool store_remove(Store *s, const char *bucket, const char *key) {
    _cleanup_free_ char *path = store_path(bucket, key);
    Object *o = path ? table_remove(&s->objects, path) : NULL;

    object_free(o);
    return o;
}

json_t *object_json(const Object *o) {
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:O?, s:o, s:o}", "id", o->id,
                     "name", o->key, "version", o->version, "bucket_id", o->bucket, "size",
                     (json_int_t) o->size, "content_type", o->type, "cache_control", o->cache,
                     "etag", o->etag, "metadata", o->metadata, "last_modified",
                     time_json(o->changed_usec), "created_at", time_json(o->created_usec));
}

json_t *object_row_json(const Object *o) {
    return json_pack(
        "{s:s, s:s, s:s, s:n, s:s, s:s, s:o, s:o, s:o, s:{s:s, s:I, s:s, s:s, s:o, s:I, s:i}, "
        "s:O?}",
        "name", o->key, "bucket_id", o->bucket, "owner", "", "owner_id", "version", o->version,
        "id", o->id, "updated_at", time_json(o->changed_usec), "created_at",
        time_json(o->created_usec), "last_accessed_at", time_json(o->created_usec), "metadata",
        "eTag", o->etag, "size", (json_int_t) o->size, "mimetype", o->type, "cacheControl",
        o->cache, "lastModified", time_json(o->changed_usec), "contentLength", (json_int_t) o->size,
        "httpStatusCode", 200, "user_metadata", o->metadata);
}

json_t *store_list(const Store *s) {
    json_t *list = json_array();

    for (TableSlot *slot = table_next(&s->objects, NULL); slot;
         slot = table_next(&s->objects, slot)) {
        const Object *o = slot->value;

        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:O?, s:i, s:i, s:b}",
                                        "path", slot->key, "bucket", o->bucket, "key", o->key,
                                        "size", (json_int_t) o->size, "sha256", o->sha256,
                                        "content_type", o->type, "cache_control", o->cache,
                                        "metadata", o->metadata, "writes", (int) o->writes,
                                        "changes", (int) o->changes, "kept", o->bytes != NULL));
    }
    return list;
}

static void add_signature(const Store *s, Buf *b, const char *text, size_t size) {
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (!HMAC(EVP_sha256(), s->secret, sizeof s->secret, (const unsigned char *) text, size, mac,
              &n))
        b->failed = true;
    text_encode_base64(b, mac, n, true);
}

void store_sign(const Store *s, Buf *ret_token, const char *target, int64_t now, int64_t seconds) {
    static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    Buf claims = { 0 };
    size_t size;

    buf_add_text(&claims, "{\"url\":");
    buf_add_json(&claims, target);
    buf_printf(&claims, ",\"scope\":\"download\",\"iat\":%lld,\"exp\":%lld}", (long long) now,
               (long long) (now + seconds));
    text_encode_base64(ret_token, header, sizeof header - 1, true);
    buf_add_text(ret_token, ".");
    if (!claims.failed)
        text_encode_base64(ret_token, claims.text, claims.size, true);
    buf_done(&claims);
    size = ret_token->size;
    buf_add_text(ret_token, ".");
    if (!ret_token->failed)
        add_signature(s, ret_token, ret_token->text, size);
}

TokenCheck store_check(const Store *s, const char *token, const char *target, int64_t now,
                       int64_t *ret_end) {
    const char *first = token ? strchr(token, '.') : NULL,
               *second = first ? strchr(first + 1, '.') : NULL;
    _cleanup_(buf_done) Buf signature = { 0 };
    _cleanup_free_ char *text = NULL;
    TokenCheck result = TOKEN_GOOD;
    const char *url;
    json_t *claims;
    size_t size;

    if (!second)
        return TOKEN_NONE;
    add_signature(s, &signature, token, (size_t) (second - token));
    if (!signature.text || strcmp(signature.text, second + 1) != 0 ||
        !(text = text_decode_base64(first + 1, (size_t) (second - first - 1), &size)))
        return TOKEN_BAD;
    claims = json_loadb(text, size, 0, NULL);
    url = json_string_value(json_object_get(claims, "url"));
    *ret_end = json_integer_value(json_object_get(claims, "exp"));
    if (*ret_end <= now)
        result = TOKEN_EXPIRED;
    else if (!url || !target || strcmp(url, target) != 0)
        result = TOKEN_OTHER;
    json_decref(claims);
    return result;
}

bool store_reset(Store *s) {
    json_t *options = json_object();
    bool good;

    table_done(&s->objects, object_free);
    table_done(&s->buckets, bucket_free);
    good = options && store_add_bucket(s, "user_assets", options, text_now_usec());
    json_decref(options);
    return good;
}

Store *store_free(Store *s) {
    if (s) {
        table_done(&s->objects, object_free);
        table_done(&s->buckets, bucket_free);
        free(s);
    }
    return NULL;
}

Store *store_new(void) {
    Store *s = calloc(1, sizeof *s);

    if (!s || RAND_bytes(s->secret, sizeof s->secret) != 1 || !store_reset(s))
        return store_free(s);
    return s;
}
