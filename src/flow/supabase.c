/* Supabase Storage: how a request to it looks, and what its refusals mean. The words are those of Storage 1.70 and of
 * the older servers that people host themselves; the gateway before it (Kong, Cloudflare) has words of its own, and
 * they never end a job. What is asked when, is store_supabase.c's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "core/verdict.h"
#include "flow/supabase.h"

#define STORE_REPLY_MAX (256 * 1024) /* answers are short JSON; more is an error page */
#define STORE_TIMEOUT_USEC (UINT64_C(30) * 1000000) /* of all but uploads */

/* Both kinds of keys: a JWT goes into both headers, an sb_secret_… key is no JWT and goes alone. */
static int add_key(const Config *c, HttpRequest *r) {
    const char *key = c->storage_key.text ? c->storage_key.text : "";

    if (http_request_add(r, str_printf("apikey: %s", key)) < 0)
        return -ENOMEM;
    return strncmp(key, "sb_", 3) == 0
               ? 0
               : http_request_add(r, str_printf("Authorization: Bearer %s", key));
}

char *supabase_url(const char *base, const char *kind, const char *bucket, const char *name) {
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    size_t n = strlen(base);
    StrBuf url = { 0 };
    int r;

    /* The dashboard shows the URL without a slash at its end; people add one. Two slashes are another path. */
    while (n > 0 && base[n - 1] == '/')
        n--;
    r = strbuf_printf(&url, "%.*s/storage/v1/%s/%s%s", (int) n, base, kind, bucket,
                      name ? "/" : "");
    for (const char *p = name; p && *p && r == 0; p++)
        r = strchr(plain, *p) ? strbuf_add(&url, p, 1)
                              : strbuf_printf(&url, "%%%02X", (unsigned) (unsigned char) *p);
    if (r == 0)
        return url.text;
    strbuf_done(&url);
    return NULL;
}

int supabase_request(const Config *c, const char *method, const char *kind, const char *name,
                     HttpRequest *ret) {
    *ret = (HttpRequest){
        .method = method,
        .body_max = STORE_REPLY_MAX,
        .timeout_usec = STORE_TIMEOUT_USEC,
        .url = supabase_url(c->storage_url, kind, c->bucket, name),
    };
    if (!ret->url || add_key(c, ret) < 0) {
        http_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

/* What Storage says of this object or bucket in words of its own: `code`, or where older servers have
 * none, `error`. */
static FaultCode own_words(const json_t *root, FaultCode missing) {
    static const struct {
        const char *code, *error;
        FaultCode fault;
    } all[] = {
        { "NoSuchKey", "not_found", FAULT_NONE /* `missing` */ },
        { "NoSuchBucket", "Bucket not found", FAULT_STORE_BUCKET },
        { "InvalidBucketName", "Invalid Input", FAULT_STORE_BUCKET },
        { "EntityTooLarge", "Payload too large", FAULT_STORE_TOO_LARGE },
        { "InvalidMimeType", "invalid_mime_type", FAULT_STORE_TYPE },
        { "InvalidKey", "InvalidKey", FAULT_STORE_REFUSED },
        { "AccessDenied", "Unauthorized", FAULT_STORE_AUTH },
    };
    const char *code = json_text(root, "code"), *error = json_text(root, "error");

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (code ? strcmp(code, all[i].code) == 0 : error && strcmp(error, all[i].error) == 0)
            return i == 0 ? missing : all[i].fault;
    return FAULT_NONE;
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
    /* Newer servers send `statusCode` as text, older ones as a number. */
    long status = text ? strtol(text, NULL, 10) : json_whole(root, "statusCode", reply->code);

    for (size_t i = 0; code && i < sizeof codes / sizeof *codes; i++)
        if (strcmp(code, codes[i].code) == 0)
            status = codes[i].status;
    /* So the gateway calls a request that broke off on its way. */
    if (status == 400 && !code && message && strcmp(message, "Client Error") == 0)
        status = 408;
    return reply->code >= 400 && status >= 400 && status < 1000 ? (int) status : reply->code;
}

JobEvent supabase_refused(const HttpReply *reply, const json_t *root, FaultCode missing,
                          Fault *reterr) {
    const char *code = json_text(root, "code"), *message = json_text(root, "message");
    FaultCode own = reply->code >= 400 ? own_words(root, missing) : FAULT_NONE;
    int status = true_status(reply, root);

    if (reply->end != HTTP_ANSWERED) {
        fault_set(reterr, FAULT_STORE_UNREACHED, "storage: no answer: %s", reply->error);
    } else {
        /* Other words than Storage's are those of what stands before it, which is the same for all. */
        if (own == FAULT_NONE)
            own = status == 401 || (status == 403 && json_is_object(root)) ? FAULT_STORE_AUTH
                  : status == 402 || status == 540                         ? FAULT_STORE_CLOSED
                  : status == 413                                          ? FAULT_STORE_TOO_LARGE
                                                                           : FAULT_STORE_UNREACHED;
        fault_set(reterr, own, "storage: status %d %s: %s", status, code ? code : "",
                  message ? message : "no explanation");
    }
    /* Also of refusals: a gateway that throttles says when to come again. */
    reterr->retry_after_usec = reply->retry_after_usec;
    return verdict_event(reterr);
}

int supabase_bucket_ask(const Config *c, HttpRequest *ret) {
    return supabase_request(c, "GET", "bucket", NULL, ret);
}

JobEvent supabase_bucket_hear(const HttpReply *reply, bool *ret_public, Fault *reterr) {
    _cleanup_(json_unrefp) json_t *root = json_parse(reply->body, reply->body_size);

    /* A login page answers 200 too: only a JSON object is a bucket. */
    *ret_public = json_is_true(json_object_get(root, "public"));
    if (reply->end == HTTP_ANSWERED && reply->code == 200 && json_is_object(root))
        return EV_OK;
    return supabase_refused(reply, root, FAULT_STORE_BUCKET, reterr);
}
