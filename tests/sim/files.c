/* The file host, as replicate.delivery is: outputs of predictions under names of their own, with
 * ranges, ETag and sums, and the bad files that a script asks for. The bytes are made when they
 * are read, from the prediction's seed. */
#include <stdio.h>
#include <string.h>

#include "fault.h"

#define SLICE (256u << 10)
#define CHANGED (UINT64_C(1) << 63) /* in a seed: the file that takes another's place */

const char *const bad_file_names[_FILE_MAX] = { "good",    "truncated",    "html",      "empty",
                                                "not_glb", "wrong_length", "no_length", "bad_hash",
                                                "changed", "careless",     "no_ranges" };

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

void files_prepare(Sim *sim, Request *r) {
    const Prediction *p;

    r->endpoint = EP_FILE;
    if (request_split(r, "/xezq/", 2) == 2 && sim->faults && !r->match_text &&
        (p = prediction_find(sim, r->part[0])) && p->match_text)
        r->match_text = strdup(p->match_text);
}

/* As Google's storage answers for what was removed. */
static void gone(Reply *reply) {
    reply_text(reply, 404, "application/xml; charset=UTF-8",
               "<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchKey</Code>"
               "<Message>The specified key does not exist.</Message></Error>");
}

/* Over the first `size` bytes of what the reply holds. */
static bool digest_of(const Reply *reply, uint64_t size, Digest *ret) {
    Digester *d = digester_new(true);
    _cleanup_free_ unsigned char *slice = malloc(SLICE);
    bool good = d && slice;

    for (uint64_t at = 0; good && at < size;) {
        size_t n = size - at < SLICE ? (size_t) (size - at) : SLICE;

        if (reply->glb)
            glb_read(reply->glb, at, slice, n);
        else
            memcpy(slice, reply->body.text + at, n);
        good = digester_add(d, slice, n);
        at += n;
    }
    good = good && digester_end(d, ret);
    digester_free(d);
    return good;
}

/* Google's storage promises both sums; the daemon checks the CRC. */
static void add_headers(Reply *reply, const Digest *d, int64_t made_usec, bool ranges) {
    unsigned char crc[4] = { (unsigned char) (d->crc32c >> 24), d->crc32c >> 16 & 255,
                             d->crc32c >> 8 & 255, d->crc32c & 255 };
    _cleanup_(buf_done) Buf etag = { 0 }, crc_hash = { 0 }, md5_hash = { 0 }, time = { 0 };

    buf_printf(&etag, "\"%s\"", d->md5);
    buf_add_text(&crc_hash, "crc32c=");
    text_encode_base64(&crc_hash, crc, sizeof crc, false);
    buf_add_text(&md5_hash, "md5=");
    text_encode_base64(&md5_hash, d->md5_bytes, sizeof d->md5_bytes, false);
    text_add_http_time(&time, made_usec);
    if (ranges) {
        reply_header(reply, "ETag", etag.text);
        reply_header(reply, "Last-Modified", time.text);
        reply_header(reply, "Accept-Ranges", "bytes");
    }
    reply_header(reply, "x-goog-hash", crc_hash.text);
    reply_header(reply, "x-goog-hash", md5_hash.text);
    reply_header(reply, "Cache-Control", "public,max-age=3600");
    reply_header(reply, "Access-Control-Allow-Origin", "*");
}

/* The bytes that belong under this name. */
static const char *make_content(Reply *reply, const char *name, uint64_t seed, uint64_t bytes) {
    if (ends_with(name, ".glb")) {
        if (!(reply->glb = glb_new(seed, bytes)))
            reply->body.failed = true;
        return seed & 1 ? "model/gltf-binary" : "application/octet-stream";
    }
    if (ends_with(name, ".png") || ends_with(name, ".jpg") || ends_with(name, ".webp")) {
        png_make(seed, &reply->body);
        return ends_with(name, ".jpg")    ? "image/jpeg"
               : ends_with(name, ".webp") ? "image/webp"
                                          : "image/png";
    }
    buf_printf(&reply->body, "meshify-sim: %s, number %llu\n", name, (unsigned long long) seed);
    return ends_with(name, ".mp4") ? "video/mp4" : "application/octet-stream";
}

/* Makes the content bad; false: as it is, the right one. */
static bool make_bad(Reply *reply, BadFile bad, Digest *d) {
    static const char page[] = "<!DOCTYPE html><html><body>Service unavailable</body></html>\n";

    switch (bad) {
    case FILE_TRUNCATED:
        reply->size = (reply->glb ? glb_size(reply->glb) : reply->body.size) / 2;
        return digest_of(reply, reply->size, d);
    case FILE_HTML:
        reply_text(reply, 200, "text/html; charset=UTF-8", page);
        return digest_of(reply, reply->body.size, d);
    case FILE_EMPTY:
        reply->size = 0;
        return digest_of(reply, 0, d);
    case FILE_NOT_GLB:
        glb_free(TAKE(reply->glb));
        buf_done(&reply->body);
        for (unsigned i = 0; i < 100; i++)
            buf_printf(&reply->body, "v %u.0 0.5 -%u.25\n", i, i % 7); /* as an .obj would be */
        return digest_of(reply, reply->body.size, d);
    case FILE_WRONG_LENGTH:
        reply->promised = 4096;
        return false;
    case FILE_NO_LENGTH:
        reply->chunked = true;
        return false;
    case FILE_BAD_HASH:
        d->crc32c ^= 1;
        d->md5_bytes[0] ^= 1;
        d->md5[1] = d->md5[1] == '0' ? '1' : '0';
        return false;
    case FILE_CARELESS:
        reply->flipped = true;
        return false;
    default:
        return false;
    }
}

/* The lock is held for a look at the prediction only: making and summing a large file takes
 * seconds, and other requests go on. */
void files_route(Sim *sim, Request *r, Reply *reply) {
    const char *name = r->part[1], *type;
    bool there = false, mesh = name && ends_with(name, ".glb");
    bool picture =
        name && (ends_with(name, ".png") || ends_with(name, ".jpg") || ends_with(name, ".webp"));
    Prediction *p;
    Digest digest = { 0 };
    uint64_t seed = 0, bytes = 0, total;
    int64_t ended_usec = 0;
    BadFile bad = FILE_GOOD;
    _cleanup_(buf_done) Buf etag = { 0 };

    pthread_mutex_lock(&sim->lock);
    sim->stats.file_authorizations += request_header(r, "Authorization") != NULL;
    if (name && *name && (p = prediction_find(sim, r->part[0]))) {
        int64_t now = sim_now(sim);

        there =
            prediction_status(p, now) == STATUS_SUCCEEDED && !prediction_data_removed(sim, p, now);
        seed = p->seed;
        bytes = p->glb_bytes;
        ended_usec = p->ended_usec;
        bad = r->fault && r->fault->file ? r->fault->file : p->bad_file;
        if (bad == FILE_CHANGED)
            seed ^= CHANGED;
        else if (mesh || picture)
            digest = p->digest[picture];
    }
    pthread_mutex_unlock(&sim->lock);
    if (!there) {
        gone(reply);
        return;
    }
    if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0) {
        reply_text(reply, 405, "text/plain", "");
        return;
    }

    type = make_content(reply, name, seed, bytes);
    if (reply->body.failed)
        return; /* closes the connection */
    total = reply->glb ? glb_size(reply->glb) : reply->body.size;
    if (!digest.size_bytes && !digest_of(reply, total, &digest)) {
        reply->body.failed = true;
        return;
    }
    pthread_mutex_lock(&sim->lock);
    if ((p = prediction_find(sim, r->part[0]))) {
        if (mesh || picture) {
            if (bad != FILE_CHANGED)
                p->digest[picture] = digest;
            memcpy(p->sha256, digest.sha256, sizeof p->sha256);
        }
        p->served++;
    }
    pthread_mutex_unlock(&sim->lock);

    reply->status = 200;
    if (make_bad(reply, bad, &digest))
        total = digest.size_bytes;
    if (bad != FILE_HTML)
        reply_header(reply, "Content-Type", type);
    buf_printf(&etag, "\"%s\"", digest.md5);
    if (bad == FILE_GOOD || bad == FILE_BAD_HASH || bad == FILE_CHANGED || bad == FILE_CARELESS)
        reply_range(reply, r, total, bad == FILE_CARELESS ? NULL : etag.text);
    if (reply->status != 416)
        add_headers(reply, &digest, ended_usec, bad != FILE_NO_RANGES);
}
