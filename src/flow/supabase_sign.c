/* Signed URLs for images that lie in the bucket. The row's path comes from a user: only what lies under the user's own
 * id is signed, in letters that mean the same to everybody, and the URL is put together from our own configuration and
 * the answer's token, so that no answer can lead Replicate to another host. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "flow/supabase.h"

#define STORE_SIGN_SECONDS 86400 /* the prediction may wait long for a machine */

/* A path in the bucket that could mean something else once it stands in a URL. */
static bool is_plain_path(const char *path) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/!.*'() &$=@;:+,?-";
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

JobEvent supabase_sign_check(const Config *c, const Job *j, Fault *reterr) {
    const char *path = image_path(c, j);
    size_t n = strlen(j->user_id);

    if (!is_plain_path(path))
        fault_set(reterr, FAULT_IMAGE_FORBIDDEN, "not a path in the bucket");
    else if (n == 0 || strncmp(path, j->user_id, n) != 0 || path[n] != '/')
        fault_set(reterr, FAULT_IMAGE_FORBIDDEN, "the path is not the user's");
    else
        return EV_OK;
    return EV_FINAL;
}

/* In a list the key stands as it is. In the request's path it would be decoded by half, and a name with
 * one of "+&=$@;:,?" would get a URL that never works. */
int supabase_sign_ask(const Config *c, const Job *j, HttpRequest *ret) {
    _cleanup_(json_unrefp) json_t *root =
        json_pack("{s:i, s:[s]}", "expiresIn", STORE_SIGN_SECONDS, "paths", image_path(c, j));
    int r = supabase_request(c, "POST", "object/sign", NULL, ret);

    if (r < 0)
        return r;
    ret->body = root ? json_write(root) : NULL;
    ret->body_size = ret->body ? strlen(ret->body) : 0;
    if (!ret->body || http_request_add(ret, str_printf("Content-Type: application/json")) < 0) {
        http_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

/* The token at the end of "/object/sign/BUCKET/KEY?token=TOKEN", in which the key is not encoded; NULL:
 * it is not that. */
static const char *token_of(const char *signed_url) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    const char *at = NULL;

    if (!signed_url || strncmp(signed_url, "/object/sign/", 13) != 0)
        return NULL;
    for (const char *p = signed_url; (p = strstr(p, "?token=")); p++)
        at = p + strlen("?token=");
    return at && *at && at[strspn(at, letters)] == '\0' && strlen(at) <= 4096 ? at : NULL;
}

JobEvent supabase_sign_hear(const Config *c, const HttpReply *reply, Job *j, Fault *reterr) {
    _cleanup_(json_unrefp) json_t *root = json_parse(reply->body, reply->body_size);
    const json_t *entry = json_array_get(root, 0);
    const char *path = json_text(entry, "path"), *token = token_of(json_text(entry, "signedURL"));
    _cleanup_free_ char *url = NULL;

    if (reply->end != HTTP_ANSWERED || reply->code / 100 != 2) {
        JobEvent ev = supabase_refused(reply, root, FAULT_IMAGE_MISSING, reterr);

        if (reterr->code == FAULT_STORE_REFUSED) /* its name, in other words than ours */
            reterr->code = FAULT_IMAGE_FORBIDDEN;
        return reterr->code == FAULT_IMAGE_MISSING ? EV_MORE : ev;
    }
    /* The answer repeats the path: an answer to another question gives no URL of this image. */
    if (json_array_size(root) != 1 || !path || strcmp(path, image_path(c, j)) != 0) {
        fault_set(reterr, FAULT_STORE_UNREACHED,
                  "storage: HTTP %d, but no signed URL: not Storage's answer", reply->code);
        return EV_WAIT;
    }
    /* "Either the object does not exist or you do not have access to it": the words do not tell which. */
    if (json_is_null(json_object_get(entry, "signedURL")) && json_text(entry, "error")) {
        fault_set(reterr, FAULT_IMAGE_MISSING, "storage: %s", json_text(entry, "error"));
        return EV_MORE;
    }
    if (!token) {
        fault_set(reterr, FAULT_IMAGE_UNSIGNED, "storage: a signed URL that is none");
        return EV_RETRY;
    }
    /* Replicate reads the image from outside, where the store may have another address than for us. */
    url = supabase_url(c->public_url ? c->public_url : c->storage_url, "object/sign", c->bucket,
                       image_path(c, j));
    free(j->image_url);
    if (!(j->image_url = url ? str_printf("%s?token=%s", url, token) : NULL)) {
        fault_set(reterr, FAULT_INTERNAL, "out of memory");
        return EV_RETRY;
    }
    return EV_OK;
}

JobEvent supabase_sign_bucket_hear(const HttpReply *reply, Fault *reterr) {
    Fault other = { 0 };
    bool is_public;
    JobEvent ev = supabase_bucket_hear(reply, &is_public, &other);

    if (ev == EV_OK)
        return EV_FINAL; /* the bucket is there, the image is not: the fault that was heard stands */
    *reterr = other;
    return ev;
}
