#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "flow/service.h"
#include "flow/store.h"

#define STORE_REPLY_MAX (256 * 1024)
#define STORE_TIMEOUT_USEC (UINT64_C(30) * 1000000)
#define STORE_SIGN_SECONDS 86400 /* the prediction may wait long for a machine */

/* --- names --------------------------------------------------------------------------------- */

/* How many purchases of the last step had succeeded before the live one. Also those whose output is gone
 * by now: a worker that lost the job may be storing it still. */
static unsigned successes_before(const Job *j) {
    const Purchase *live = job_purchase(j);
    unsigned n = 0;

    for (size_t i = 0; i < j->n_purchases; i++) {
        const Purchase *p = &j->purchases[i];

        n += strcmp(p->step, live->step) == 0 && p->number < live->number && p->succeeded;
    }
    return n;
}

static const char *variable(const Job *j, const char *name, size_t n) {
    const struct {
        const char *name, *value;
    } all[] = {
        { "{user_id}", j->user_id },
        { "{project_id}", j->project_id },
        { "{asset_id}", j->asset_id },
        { "{job_id}", j->id },
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strlen(all[i].name) == n && strncmp(name, all[i].name, n) == 0)
            return all[i].value;
    return NULL;
}

int store_name(const Config *c, Job *j) {
    StrBuf name = { 0 };
    unsigned again = successes_before(j);
    char *dot, *slash;
    int r = 0;

    for (const char *p = c->storage_path; *p && r == 0;) {
        size_t n = *p == '{' ? strcspn(p, "}") + 1 : strcspn(p, "{");
        const char *value = *p == '{' ? variable(j, p, n) : NULL;

        r = value ? strbuf_add(&name, value, strlen(value)) : strbuf_add(&name, p, n);
        p += n;
    }
    if (r == 0 && again > 0 && name.text) {
        char *suffix = str_printf("_%u", again + 1), *whole = NULL;

        dot = strrchr(name.text, '.');
        slash = strrchr(name.text, '/');
        if (!dot || (slash && dot < slash))
            dot = name.text + name.size;
        whole =
            suffix ? str_printf("%.*s%s%s", (int) (dot - name.text), name.text, suffix, dot) : NULL;
        free(suffix);
        free(name.text);
        name.text = whole;
        r = whole ? 0 : -ENOMEM;
    }
    if (r < 0) {
        strbuf_done(&name);
        return r;
    }
    free(j->object);
    j->object = name.text;
    return 0;
}

/* --- Supabase ------------------------------------------------------------------------------ */

/* Both kinds of keys: a JWT goes into both headers, an sb_secret_… key is no JWT and goes alone. */
static int add_key(const Config *c, HttpRequest *r) {
    const char *key = c->storage_key.text ? c->storage_key.text : "";

    if (http_request_add(r, str_printf("apikey: %s", key)) < 0)
        return -ENOMEM;
    return strncmp(key, "sb_", 3) == 0
               ? 0
               : http_request_add(r, str_printf("Authorization: Bearer %s", key));
}

static int request(const Config *c, const char *method, const char *kind, const char *name,
                   HttpRequest *ret) {
    size_t n = strlen(c->storage_url);

    while (n > 0 && c->storage_url[n - 1] == '/')
        n--;
    *ret = (HttpRequest){
        .method = method,
        .body_max = STORE_REPLY_MAX,
        .timeout_usec = STORE_TIMEOUT_USEC,
        .url =
            str_printf("%.*s/storage/v1/%s/%s/%s", (int) n, c->storage_url, kind, c->bucket, name),
    };
    if (!ret->url || add_key(c, ret) < 0) {
        http_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

int store_ask(const Config *c, const Job *j, int fd, HttpRequest *ret) {
    int r = request(c, "POST", "object", j->object, ret);

    if (r < 0)
        return r;
    ret->timeout_usec = 0; /* as long as bytes flow */
    ret->body_fd = fd;
    ret->body_size = j->size_bytes;
    if (http_request_add(ret, str_printf("Content-Type: model/gltf-binary")) < 0 ||
        http_request_add(ret, str_printf("x-upsert: true")) < 0) {
        http_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

int store_remove_ask(const Config *c, const Job *j, HttpRequest *ret) {
    return request(c, "DELETE", "object", j->object, ret);
}

/* Storage sends its refusals as HTTP 400; the true status follows from the JSON's `code`, or stands in
 * its `statusCode`, as text. */
static int true_status(const HttpReply *reply, const json_t *root) {
    static const struct {
        const char *code;
        int status;
    } codes[] = {
        { "DatabaseReadOnly", 503 }, { "LockTimeout", 503 },   { "DatabaseTimeout", 544 },
        { "SlowDown", 429 },         { "InternalError", 500 }, { "DatabaseError", 500 },
        { "EntityTooLarge", 413 },   { "AccessDenied", 403 },  { "NoSuchBucket", 404 },
        { "NoSuchKey", 404 },
    };
    const char *code = json_text(root, "code"), *text = json_text(root, "statusCode"),
               *message = json_text(root, "message");
    long status = text ? strtol(text, NULL, 10) : json_whole(root, "statusCode", reply->code);

    for (size_t i = 0; code && i < sizeof codes / sizeof *codes; i++)
        if (strcmp(code, codes[i].code) == 0)
            status = codes[i].status;
    /* So the gateway calls a request that broke off on its way. */
    if (status == 400 && !code && message && strcmp(message, "Client Error") == 0)
        status = 408;
    return reply->code >= 400 && status >= 400 && status < 1000 ? (int) status : reply->code;
}

/* The fault of a reply that is no success. `missing`: what a 404 stands for. */
static JobEvent refused(const HttpReply *reply, const json_t *root, FaultCode missing,
                        Fault *reterr) {
    const char *code = json_text(root, "code"), *message = json_text(root, "message");
    int status = true_status(reply, root);
    FaultCode fault = FAULT_STORE_REFUSED;

    if (reply->end != HTTP_ANSWERED || !json_is_object(root))
        fault = FAULT_STORE_UNREACHED;
    if (reply->end == HTTP_ANSWERED && (status == 401 || status == 403))
        fault = FAULT_STORE_AUTH;
    else if (reply->end == HTTP_ANSWERED && status == 413)
        fault = FAULT_STORE_TOO_LARGE;
    else if (reply->end == HTTP_ANSWERED && (status == 402 || status == 540))
        fault = FAULT_STORE_CLOSED;
    else if (status == 408 || status == 409 || status == 423 || status == 425 || status == 429 ||
             status >= 500)
        fault = FAULT_STORE_UNREACHED;
    else if (status == 404 && json_is_object(root))
        fault = code && strcmp(code, "NoSuchBucket") == 0 ? FAULT_STORE_BUCKET : missing;
    if (reply->end == HTTP_ANSWERED)
        fault_set(reterr, fault, "storage: status %d %s: %s", status, code ? code : "",
                  message ? message : "no explanation");
    else
        fault_set(reterr, fault, "storage: no answer: %s", reply->error);
    reterr->retry_after_usec = reply->retry_after_usec;
    return service_event(reterr);
}

int store_bucket_ask(const Config *c, HttpRequest *ret) {
    size_t n = strlen(c->storage_url);
    int r = request(c, "GET", "bucket", "", ret);

    if (r < 0)
        return r;
    while (n > 0 && c->storage_url[n - 1] == '/')
        n--;
    free(ret->url);
    if (!(ret->url = str_printf("%.*s/storage/v1/bucket/%s", (int) n, c->storage_url, c->bucket))) {
        http_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

JobEvent store_bucket_hear(const HttpReply *reply, bool *ret_public, Fault *reterr) {
    _cleanup_(json_unrefp) json_t *root = json_parse(reply->body, reply->body_size);

    *ret_public = json_is_true(json_object_get(root, "public"));
    if (reply->end == HTTP_ANSWERED && reply->code == 200 && json_is_object(root))
        return EV_OK;
    return refused(reply, root, FAULT_STORE_REFUSED, reterr);
}

JobEvent store_hear(const HttpReply *reply, Fault *reterr) {
    _cleanup_(json_unrefp) json_t *root = json_parse(reply->body, reply->body_size);

    if (reply->end == HTTP_ANSWERED && reply->code / 100 == 2)
        return EV_OK;
    return refused(reply, root, FAULT_STORE_REFUSED, reterr);
}

/* A path in the bucket that could mean something else once it stands in a URL. */
static bool is_plain_path(const char *path) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/!.*'() &$=@;:+,-";
    size_t n = strlen(path);

    if (n == 0 || n > 900 || strspn(path, allowed) != n)
        return false;
    for (const char *p = path; *p;) {
        size_t k = strcspn(p, "/");

        if (k == 0 || (k == 1 && p[0] == '.') || (k == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p += k;
        if (*p == '/' && *++p == '\0')
            return false;
    }
    return true;
}

/* The image's path within the bucket. Frontends also store it with a slash before it, and with the bucket's
 * name, as Storage's fullPath has it. */
static const char *image_path(const Config *c, const Job *j) {
    size_t user = strlen(j->user_id), bucket = strlen(c->bucket);
    const char *path = j->image + (*j->image == '/');

    if (strncmp(path, j->user_id, user) == 0 && path[user] == '/') /* a bucket may have any name */
        return path;
    return strncmp(path, c->bucket, bucket) == 0 && path[bucket] == '/' ? path + bucket + 1 : path;
}

JobEvent store_sign_check(const Config *c, const Job *j, Fault *reterr) {
    const char *path = image_path(c, j);
    size_t n = strlen(j->user_id);

    if (c->storage_driver != STORAGE_SUPABASE)
        fault_set(reterr, FAULT_IMAGE_FORBIDDEN, "a path can't be signed by this storage driver");
    else if (!is_plain_path(path))
        fault_set(reterr, FAULT_IMAGE_FORBIDDEN, "not a path in the bucket");
    else if (n == 0 || strncmp(path, j->user_id, n) != 0 || path[n] != '/')
        fault_set(reterr, FAULT_IMAGE_FORBIDDEN, "the path is not the user's");
    else
        return EV_OK;
    return EV_FINAL;
}

int store_sign_ask(const Config *c, const Job *j, HttpRequest *ret) {
    StrBuf name = { 0 };
    int r = 0;

    for (const char *p = image_path(c, j); *p && r == 0; p++)
        r = strchr(" '()!*&$=@;:+,", *p)
                ? strbuf_printf(&name, "%%%02X", (unsigned) (unsigned char) *p)
                : strbuf_add(&name, p, 1);
    if (r == 0)
        r = request(c, "POST", "object/sign", name.text, ret);
    strbuf_done(&name);
    if (r < 0)
        return r;
    ret->body = str_printf("{\"expiresIn\":%d}", STORE_SIGN_SECONDS);
    ret->body_size = ret->body ? strlen(ret->body) : 0;
    if (!ret->body || http_request_add(ret, str_printf("Content-Type: application/json")) < 0) {
        http_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

JobEvent store_sign_hear(const Config *c, const HttpReply *reply, Job *j, Fault *reterr) {
    _cleanup_(json_unrefp) json_t *root = json_parse(reply->body, reply->body_size);
    const char *path = json_text(root, "signedURL"),
               *base = c->public_url ? c->public_url : c->storage_url;
    size_t n = strlen(base);

    if (reply->end != HTTP_ANSWERED || reply->code / 100 != 2)
        return refused(reply, root, FAULT_IMAGE_MISSING, reterr);
    if (!path || path[0] != '/' || !str_is_graphic(path) || strlen(path) > 8192) {
        fault_set(reterr, FAULT_STORE_UNREACHED, "storage: an answer without signedURL");
        return EV_WAIT;
    }
    while (n > 0 && base[n - 1] == '/')
        n--;
    free(j->image_url);
    j->image_url = str_printf("%.*s/storage/v1%s", (int) n, base, path);
    if (!j->image_url) {
        fault_set(reterr, FAULT_INTERNAL, "out of memory");
        return EV_RETRY;
    }
    return EV_OK;
}
