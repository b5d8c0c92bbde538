/* Reads a GLB container as its bytes come: the header, the chunks, what may stand behind the end. The document in its
 * JSON chunk is glb_json.c's; pure, so that who has the file hands the bytes in. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/glb.h"
#include "core/glb_json.h"

#define MAGIC 0x46546c67 /* "glTF" */
#define TYPE_JSON 0x4e4f534a
#define TYPE_BIN 0x004e4942
#define CHUNKS_MAX 64
#define JSON_MAX (8 * 1024 * 1024)
#define TAIL_MAX 4096 /* bytes behind the end that the header says: a page is filled up */

typedef enum Phase {
    AT_HEADER,
    AT_CHUNK,
    IN_JSON,
    IN_TAIL,
    AT_END
} Phase;

struct Glb {
    uint64_t file_bytes;
    uint64_t size_bytes; /* as the header says, once it is read */
    uint64_t at;         /* offset of the next byte to feed */
    GlbLevel level;
    Phase phase;
    unsigned char head[12]; /* a header that is being fed */
    size_t have;            /* bytes of it */
    unsigned chunks;
    uint64_t json_left, bin_bytes;
    bool has_bin;
    GlbJson *json; /* GLB_STRICT */
    char error[160];
};

/* The size is known beforehand: the file lies in the spool, whole. */
int glb_new(Glb **ret, uint64_t size_bytes, GlbLevel level) {
    _cleanup_(glb_freep) Glb *g = calloc(1, sizeof *g);

    if (!g)
        return -ENOMEM;
    g->file_bytes = g->size_bytes = size_bytes;
    g->level = level;
    g->phase = level == GLB_OFF ? AT_END : AT_HEADER;
    if (level == GLB_STRICT && !(g->json = glb_json_new()))
        return -ENOMEM;
    *ret = TAKE(g);
    return 0;
}

Glb *glb_free(Glb *g) {
    if (g) {
        glb_json_free(g->json);
        free(g);
    }
    return NULL;
}

const char *glb_error(const Glb *g) {
    return g->error;
}

const GlbInfo *glb_info(const Glb *g) {
    static const GlbInfo none;

    return g->json ? glb_json_info(g->json) : &none;
}

static int fail(Glb *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int fail(Glb *g, const char *format, ...) {
    va_list ap;

    va_start(ap, format);
    vsnprintf(g->error, sizeof g->error, format, ap);
    va_end(ap);
    return -EBADMSG;
}

/* Large chunks that are not looked into are skipped, not read: a BIN chunk may have hundreds of
 * megabytes. */
bool glb_wants(const Glb *g, uint64_t *ret_offset, size_t *ret_size) {
    uint64_t left = (g->phase == IN_TAIL ? g->file_bytes : g->size_bytes) - g->at;
    uint64_t size = g->phase == AT_HEADER          ? 12 - g->have
                    : g->phase == AT_CHUNK         ? 8 - g->have
                    : g->phase == IN_TAIL          ? left
                    : g->json_left < GLB_SLICE_MAX ? g->json_left
                                                   : GLB_SLICE_MAX;

    if (g->phase == AT_END || g->error[0] || left == 0)
        return false;
    *ret_offset = g->at;
    *ret_size = (size_t) (size < left ? size : left);
    return true;
}

/* glTF is little-endian, whatever this machine is. */
static uint32_t le32(const unsigned char *p) {
    return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

/* The length in the header may be less than the file's: some writers end the file with a line
 * feed, or fill up a page, and readers of GLB do not look there. More than a page of it is
 * something else. */
static int take_header(Glb *g) {
    uint32_t size;

    if (g->have < 4 || le32(g->head) != MAGIC)
        return fail(g, "does not begin as a GLB file does");
    if (g->have < 12 || g->size_bytes < 20)
        return fail(g, "ends within its header");
    if (le32(g->head + 4) != 2)
        return fail(g, "version %u of the container, not 2", le32(g->head + 4));
    size = le32(g->head + 8);
    if (size < 20 || size > g->file_bytes || g->file_bytes - size > TAIL_MAX)
        return fail(g, "says it has %u bytes and has %llu", size,
                    (unsigned long long) g->file_bytes);
    g->size_bytes = size;
    g->phase = AT_CHUNK;
    return 0;
}

static int finish(Glb *g) {
    int r;

    g->phase = g->file_bytes > g->size_bytes ? IN_TAIL : AT_END;
    if (g->level != GLB_STRICT)
        return 0;
    r = glb_json_check(g->json, g->has_bin, g->bin_bytes);
    return r == -EBADMSG ? fail(g, "%s", glb_json_error(g->json)) : r;
}

/* Behind a chunk: another one, or the file's end. */
static int next_chunk(Glb *g) {
    uint64_t left = g->size_bytes - g->at;

    if (left == 0)
        return finish(g);
    if (left < 8)
        return fail(g, "%u bytes stand behind the last chunk", (unsigned) left);
    if (g->chunks == CHUNKS_MAX)
        return fail(g, "more than %d chunks", CHUNKS_MAX);
    g->phase = AT_CHUNK;
    return 0;
}

/* A chunk's header was read. JSON comes first and once, BIN second, and chunks of unknown types
 * are allowed behind them. */
static int take_chunk(Glb *g) {
    uint32_t size = le32(g->head), type = le32(g->head + 4);
    unsigned number = g->chunks++;

    if (size > g->size_bytes - g->at)
        return fail(g, "chunk %u reaches beyond the end of the file", number);
    if (size % 4 != 0)
        return fail(g, "chunk %u has a length of %u, which is no multiple of 4", number, size);
    if ((number == 0) != (type == TYPE_JSON))
        return fail(g, number == 0 ? "the first chunk is not JSON" : "there are two JSON chunks");
    if (type == TYPE_BIN) {
        if (number != 1)
            return fail(g, "the BIN chunk is not the second");
        g->has_bin = true;
        g->bin_bytes = size;
    }
    if (type == TYPE_JSON && size == 0)
        return fail(g, "the JSON chunk is empty");
    if (type == TYPE_JSON && g->level == GLB_STRICT) {
        if (size > JSON_MAX)
            return fail(g, "the JSON chunk has more than %d bytes", JSON_MAX);
        g->json_left = size;
        g->phase = IN_JSON;
        return 0;
    }
    g->at += size;
    return next_chunk(g);
}

static int take_json(Glb *g, const void *bytes, size_t size) {
    int r = glb_json_feed(g->json, bytes, size);

    g->json_left -= size;
    if (r == 0 && g->json_left == 0)
        r = glb_json_end(g->json);
    if (r == -EBADMSG)
        return fail(g, "%s", glb_json_error(g->json));
    return r < 0 || g->json_left > 0 ? r : next_chunk(g);
}

/* Nothing but filling may stand behind the end: a second file appended there would be stored and
 * served with the mesh. */
static int take_tail(Glb *g, const char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != '\0' && bytes[i] != '\n' && bytes[i] != '\r')
            return fail(g, "says it has %llu bytes, and others stand behind them",
                        (unsigned long long) g->size_bytes);
    if (g->at == g->file_bytes)
        g->phase = AT_END;
    return 0;
}

/* Takes what glb_wants() asked for, or the first part of it, so that a caller may read in
 * pieces. */
int glb_feed(Glb *g, const void *bytes, size_t size) {
    uint64_t offset;
    size_t wanted;
    Phase phase = g->phase;

    if (g->error[0])
        return -EBADMSG;
    if (!glb_wants(g, &offset, &wanted) || size > wanted)
        return -EINVAL;
    g->at += size;
    if (phase == IN_JSON)
        return take_json(g, bytes, size);
    if (phase == IN_TAIL)
        return take_tail(g, bytes, size);
    memcpy(g->head + g->have, bytes, size);
    g->have += size;
    if (size < wanted)
        return 0;
    if (phase == AT_HEADER && take_header(g) < 0)
        return -EBADMSG;
    /* The header of 12 or 8 bytes is complete; the next one begins in the same place. */
    g->have = 0;
    return phase == AT_CHUNK ? take_chunk(g) : 0;
}
