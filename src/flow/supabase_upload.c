/* The upload of a mesh into Supabase Storage, the proof that it is there, and its removal. A job is done when its object
 * is there, so nothing counts as stored but Storage's own receipt, or what Storage knows of the object afterwards.
 * Which of these requests follows which is store_supabase.c's. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "flow/supabase.h"

#define SEC_USEC UINT64_C(1000000)
/* An upload: what the slowest line worth waiting for takes, and what a server may take to put the bytes
 * where they belong before it answers; both grow with the size. */
#define UPLOAD_TIMEOUT_SECONDS 300
#define UPLOAD_BYTES_A_SECOND (64 * 1024)
#define UPLOAD_STALL_SECONDS 120
#define UPLOAD_STALL_BYTES (1024 * 1024) /* a second more for each */

/* By what the object can be recognised as ours: base64 of JSON, which /object/info shows again. */
static char *metadata_header(const Job *j) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const Purchase *p = job_purchase(j);
    _cleanup_(json_unrefp) json_t *root =
        json_pack("{s:s, s:s, s:s*}", "sha256", j->sha256, "job", j->id, "prediction",
                  p ? p->prediction_id : NULL);
    _cleanup_free_ char *text = root ? json_write(root) : NULL;
    StrBuf b = { 0 };
    size_t n = text ? strlen(text) : 0;

    if (!text || strbuf_add(&b, "x-metadata: ", 12) < 0) {
        strbuf_done(&b);
        return NULL;
    }
    for (size_t i = 0; i < n; i += 3) {
        const unsigned char *at = (const unsigned char *) text + i;
        unsigned left = n - i < 3 ? (unsigned) (n - i) : 3;
        uint32_t bits = (uint32_t) at[0] << 16 | (left > 1 ? (uint32_t) at[1] << 8 : 0) |
                        (left > 2 ? at[2] : 0);
        char four[4] = { digits[bits >> 18], digits[bits >> 12 & 63],
                         left > 1 ? digits[bits >> 6 & 63] : '=',
                         left > 2 ? digits[bits & 63] : '=' };

        if (strbuf_add(&b, four, 4) < 0) {
            strbuf_done(&b);
            return NULL;
        }
    }
    return b.text;
}

int supabase_upload_ask(const Config *c, const Job *j, int fd, HttpRequest *ret) {
    int r = supabase_request(c, "POST", "object", j->object, ret);

    if (r < 0)
        return r;
    ret->timeout_usec = (UPLOAD_TIMEOUT_SECONDS + j->size_bytes / UPLOAD_BYTES_A_SECOND) * SEC_USEC;
    ret->stall_usec = (UPLOAD_STALL_SECONDS + j->size_bytes / UPLOAD_STALL_BYTES) * SEC_USEC;
    /* Whether it arrived is asked before it goes out again: it may have hundreds of megabytes. */
    ret->once = true;
    ret->body_fd = fd;
    ret->body_size = j->size_bytes;
    if (http_request_add(ret, str_printf("Content-Type: model/gltf-binary")) < 0 ||
        http_request_add(ret, str_printf("Cache-Control: max-age=3600")) < 0 ||
        /* The name is ours, but an earlier try may have been stored under it. */
        http_request_add(ret, str_printf("x-upsert: true")) < 0 ||
        http_request_add(ret, metadata_header(j)) < 0) {
        http_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

/* Storage's own words for an object that was written: the key that we sent, and an id, which servers of
 * before 2023 leave out. */
static bool is_receipt(const Config *c, const Job *j, const json_t *root) {
    const char *key = json_text(root, "Key"), *id = json_text(root, "Id");
    size_t n = strlen(c->bucket);

    return key && strncmp(key, c->bucket, n) == 0 && key[n] == '/' &&
           strcmp(key + n + 1, j->object) == 0 && (json_object_get(root, "Id") ? id && *id : true);
}

JobEvent supabase_upload_hear(const Config *c, const HttpReply *reply, Job *j, Fault *reterr) {
    _cleanup_(json_unrefp) json_t *root = json_parse(reply->body, reply->body_size);
    JobEvent ev;

    if (reply->end == HTTP_ANSWERED && reply->code / 100 == 2) {
        if (is_receipt(c, j, root))
            return EV_OK;
        /* A proxy or a login page can answer 200 to everything, and may have passed the upload on. */
        j->unproven = true;
        fault_set(reterr, FAULT_STORE_UNREACHED,
                  "storage: HTTP %d to an upload, but no word of the object: not Storage's answer",
                  reply->code);
        return EV_UNSURE;
    }
    ev = supabase_refused(reply, root, FAULT_STORE_UNREACHED, reterr);
    /* What broke off on its way leaves no object; what went out whole may have left one. */
    j->unproven = j->unproven || (ev == EV_WAIT && reply->sent_whole);
    return ev;
}

int supabase_info_ask(const Config *c, const Job *j, HttpRequest *ret) {
    return supabase_request(c, "GET", "object/info", j->object, ret);
}

JobEvent supabase_info_hear(const HttpReply *reply, Job *j, bool sent, Fault *reterr) {
    _cleanup_(json_unrefp) json_t *root = json_parse(reply->body, reply->body_size);
    const char *name = json_text(root, "name"),
               *sha256 = json_text(json_object_get(root, "metadata"), "sha256");
    int64_t size = json_whole(root, "size", -1);
    JobEvent ev;

    if (reply->end == HTTP_ANSWERED && reply->code == 200 && name && size >= 0 &&
        strcmp(name, j->object) == 0) {
        /* Older servers keep no metadata: of our own upload the size is proof enough, of an object that
         * somebody left under the name it is none. */
        bool same =
            (uint64_t) size == j->size_bytes && (sha256 ? strcmp(sha256, j->sha256) == 0 : sent);

        if (same)
            return EV_OK;
        fault_set(reterr, FAULT_STORE_UNREACHED, "storage: the object there is another");
        return EV_MORE;
    }
    if (reply->end == HTTP_ANSWERED && reply->code / 100 == 2) {
        fault_set(reterr, FAULT_STORE_UNREACHED,
                  "storage: HTTP %d, but no word of the object: not Storage's answer", reply->code);
        return EV_WAIT;
    }
    ev = supabase_refused(reply, root, FAULT_IMAGE_MISSING, reterr);
    /* A key that is refused sees no bucket here. The upload tells that from one that is not there. */
    if (reterr->code != FAULT_IMAGE_MISSING && (sent || reterr->code != FAULT_STORE_BUCKET))
        return ev;
    fault_set(reterr, FAULT_STORE_UNREACHED, "storage: the object is not there");
    return EV_MORE;
}

int supabase_remove_ask(const Config *c, const char *object, HttpRequest *ret) {
    return supabase_request(c, "DELETE", "object", object, ret);
}

JobEvent supabase_remove_hear(const HttpReply *reply, Fault *reterr) {
    _cleanup_(json_unrefp) json_t *root = json_parse(reply->body, reply->body_size);

    if (reply->end == HTTP_ANSWERED && reply->code / 100 == 2 && json_text(root, "message"))
        return EV_OK;
    /* A bucket that is gone does not show that the object is: somebody may bring it back. */
    (void) supabase_refused(reply, root, FAULT_IMAGE_MISSING, reterr);
    return reterr->code == FAULT_IMAGE_MISSING ? EV_OK : EV_WAIT;
}
