/* GLB: what is a mesh, what is not, in slices of any size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "core/glb.h"
#include "core/glb_json.h"
#include "core/json_scan.h"
#include "torture.h"

/* --- files ----------------------------------------------------------------------------------- */

typedef struct File {
    unsigned char *bytes;
    size_t size;
} File;

static void put(File *f, const void *bytes, size_t size) {
    f->bytes = realloc(f->bytes, f->size + size + 1);
    assert_non_null(f->bytes);
    memcpy(f->bytes + f->size, bytes, size);
    f->size += size;
}

static void put32(File *f, uint32_t n) {
    unsigned char bytes[] = { n & 255, n >> 8 & 255, n >> 16 & 255, n >> 24 };

    put(f, bytes, 4);
}

static void set32(File *f, size_t at, uint32_t n) {
    File four = { 0 };

    put32(&four, n);
    memcpy(f->bytes + at, four.bytes, 4);
    free(four.bytes);
}

static void put_chunk(File *f, const char *type, const void *bytes, size_t size, char pad) {
    put32(f, (uint32_t) ((size + 3) / 4 * 4));
    put(f, type, 4);
    if (size > 0)
        put(f, bytes, size);
    while (f->size % 4 != 0)
        put(f, &pad, 1);
}

static void put_header(File *f) {
    put(f, "glTF", 4);
    put32(f, 2);
    put32(f, 0);
}

/* `bin` < 0: no BIN chunk. */
static File make(const char *json, long bin) {
    static const unsigned char zeros[4096];
    File f = { 0 };

    put_header(&f);
    put_chunk(&f, "JSON", json, strlen(json), ' ');
    if (bin >= 0)
        put_chunk(&f, "BIN\0", zeros, (size_t) bin, 0);
    set32(&f, 8, (uint32_t) f.size);
    return f;
}

/* Feeds at most `slice` bytes at a time. */
static int check(const File *f, GlbLevel level, size_t slice, GlbInfo *info, char error[200]) {
    Glb *g = NULL;
    uint64_t offset;
    size_t wanted;
    int r = glb_new(&g, f->size, level);

    while (r == 0 && glb_wants(g, &offset, &wanted)) {
        unsigned char *copy;

        assert_in_range(wanted, 1, GLB_SLICE_MAX);
        assert_true(offset + wanted <= f->size);
        if (wanted > slice)
            wanted = slice;
        /* Memory of its own, so that reading beyond it is seen. */
        copy = test_malloc(wanted);
        memcpy(copy, f->bytes + offset, wanted);
        r = glb_feed(g, copy, wanted);
        test_free(copy);
    }
    if (g) {
        assert_int_equal(r == -EBADMSG, glb_error(g)[0] != '\0');
        *info = *glb_info(g);
        snprintf(error, 200, "%s", glb_error(g));
    }
    glb_free(g);
    return r;
}

static int check_all(const File *f, GlbLevel level, GlbInfo *info, char error[200]) {
    char other[200] = "";
    GlbInfo again = { 0 };
    int r = check(f, level, SIZE_MAX, info, error);

    assert_int_equal(check(f, level, 1, &again, other), r);
    assert_string_equal(error, other);
    assert_memory_equal(info, &again, sizeof again);
    return r;
}

/* --- documents ------------------------------------------------------------------------------- */

/* clang-format off */
#define ASSET    "\"asset\":{\"version\":\"2.0\"}"
#define BUFFER   "\"buffers\":[{\"byteLength\":100}]"
#define VIEWS    "\"bufferViews\":[{\"buffer\":0,\"byteLength\":36},{\"buffer\":0,\"byteOffset\":36,\"byteLength\":64}]"
#define POINTS   "{\"bufferView\":0,\"componentType\":5126,\"count\":3,\"type\":\"VEC3\"}"
#define INDICES  "{\"bufferView\":1,\"componentType\":5123,\"count\":6,\"type\":\"SCALAR\"}"
#define ACCESSORS "\"accessors\":[" POINTS "," INDICES "]"
#define MESH(p)  "\"meshes\":[{\"primitives\":[" p "]}]"
#define PLAIN    "{\"attributes\":{\"POSITION\":0},\"indices\":1}"
#define TRIANGLE "{" ASSET "," BUFFER "," VIEWS "," ACCESSORS "," MESH(PLAIN) "}"

#define TRIANGLE_SIZE ((sizeof TRIANGLE - 1 + 3) / 4 * 4)

#define WITH_BUFFER(b)    "{" ASSET ",\"buffers\":[" b "]," VIEWS "," ACCESSORS "," MESH(PLAIN) "}"
#define WITH_VIEW(v)      "{" ASSET "," BUFFER ",\"bufferViews\":[{\"buffer\":0,\"byteLength\":36}," v "]," ACCESSORS "," MESH(PLAIN) "}"
#define WITH_ACCESSOR(a)  "{" ASSET "," BUFFER "," VIEWS ",\"accessors\":[" POINTS "," a "]," MESH(PLAIN) "}"
#define WITH_PRIMITIVE(p) "{" ASSET "," BUFFER "," VIEWS "," ACCESSORS "," MESH(p) "}"
#define WITH_MORE(m)      "{" ASSET "," BUFFER "," VIEWS "," ACCESSORS "," MESH(PLAIN) "," m "}"

static const struct {
    const char *json;
    long bin;
    uint64_t meshes, triangles;
} meshes[] = {
    { TRIANGLE, 100, 1, 2 },
    { " \t\r\n" TRIANGLE "\n", 104, 1, 2 },
    { "{" MESH(PLAIN) "," ACCESSORS "," VIEWS "," BUFFER "," ASSET "}", 100, 1, 2 },
    { "{\"\\u0061sset\":{\"version\":\"2.1\",\"generator\":\"\xc3\xa4 \\ud83e\\ude91\"},\"\\/\":[[],{},\"\",-0.5e+3,true,false,null],"
      BUFFER "," VIEWS "," ACCESSORS "," MESH(PLAIN) "}", 100, 1, 2 },
    { WITH_PRIMITIVE("{\"attributes\":{\"POSITION\":0}}"), 100, 1, 1 },
    { WITH_PRIMITIVE("{\"attributes\":{\"POSITION\":0},\"mode\":4},{\"attributes\":{\"POSITION\":0,\"NORMAL\":0},\"indices\":1,\"mode\":5}"), 100, 1, 5 },
    { WITH_PRIMITIVE("{\"attributes\":{\"POSITION\":0},\"mode\":6.0}"), 100, 1, 1 },
    { WITH_PRIMITIVE("{\"attributes\":{\"POSITION\":0},\"mode\":0}"), 100, 1, 0 },
    { WITH_PRIMITIVE("{\"attributes\":{},\"extensions\":{\"X\":{\"mode\":\"a\"}}}"), 100, 1, 0 },
    { WITH_PRIMITIVE(PLAIN "]},{\"name\":\"m\",\"primitives\":[" PLAIN), 100, 2, 4 },
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":3e1,\"type\":\"SCALAR\"}"), 100, 1, 10 }, /* no data: zeros, or an extension's */
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":6,\"type\":\"SCALAR\",\"sparse\":{\"count\":2,"
                    "\"indices\":{\"bufferView\":1,\"componentType\":5121},\"values\":{\"bufferView\":1,\"byteOffset\":4}}}"), 100, 1, 2 },
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":6,\"type\":\"SCALAR\",\"sparse\":{\"count\":2,"
                    "\"indices\":{\"bufferView\":1,\"componentType\":5123},\"values\":{\"bufferView\":1,\"byteOffset\":4}}}"), 100, 1, 2 },
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":6,\"type\":\"SCALAR\",\"sparse\":{\"count\":2,"
                    "\"indices\":{\"bufferView\":1,\"componentType\":5125},\"values\":{\"bufferView\":1,\"byteOffset\":4}}}"), 100, 1, 2 },
    { WITH_ACCESSOR(INDICES ",{\"bufferView\":1,\"componentType\":5121,\"count\":5,\"type\":\"MAT3\"}"), 100, 1, 2 }, /* 12 bytes each, padded */
    { WITH_VIEW("{\"buffer\":0,\"byteOffset\":36,\"byteLength\":64,\"byteStride\":12}"), 100, 1, 2 },
    { WITH_BUFFER("{\"byteLength\":100,\"uri\":\"data:application/octet-stream;base64,AAAA\"}"), -1, 1, 2 },
    { WITH_BUFFER("{\"byteLength\":100},{\"byteLength\":9,\"extensions\":{\"EXT_meshopt_compression\":{\"fallback\":true}}}"), 100, 1, 2 },
    { WITH_MORE("\"images\":[{\"bufferView\":1},{\"uri\":\"x.png\"}]"), 100, 1, 2 },
};
/* clang-format on */

static void good(void **state) {
    char error[200];
    GlbInfo info;

    (void) state;
    for (size_t i = 0; i < sizeof meshes / sizeof *meshes; i++) {
        File f = make(meshes[i].json, meshes[i].bin);

        if (check_all(&f, GLB_STRICT, &info, error) != 0)
            fail_msg("%s: %s", meshes[i].json, error);
        assert_int_equal(info.meshes, meshes[i].meshes);
        assert_int_equal(info.triangles, meshes[i].triangles);
        free(f.bytes);
    }
}

/* clang-format off */
static const struct {
    const char *json;
    long bin;
    const char *says;
} broken[] = {
    { "", 100, "the JSON chunk is empty" },
    { "{", 100, "the JSON chunk is not JSON" },
    { "    ", 100, "the JSON chunk is not JSON" },
    { TRIANGLE "}", 100, "the JSON chunk is not JSON" },
    { TRIANGLE TRIANGLE, 100, "the JSON chunk is not JSON" },
    { "{\"a\":1,}", 100, "the JSON chunk is not JSON" },
    { "{'a':1}", 100, "the JSON chunk is not JSON" },
    { "[]", 100, "an element is of the wrong type" },
    { "{}", 100, "asset.version is not 2" },
    { "{\"asset\":{\"version\":2}}", 100, "version is of the wrong type" },
    { "{\"asset\":{\"version\":\"1.0\"}}", 100, "asset.version is not 2" },
    { "{\"asset\":{\"version\":\"2\"}}", 100, "asset.version is not 2" },
    { "{" ASSET "}", -1, "there is no mesh in it" },
    { "{" ASSET ",\"meshes\":[]}", -1, "there is no mesh in it" },
    { "{" ASSET ",\"meshes\":[{\"primitives\":[]}]}", -1, "there is no mesh in it" },
    { "{" ASSET ",\"meshes\":{}}", -1, "meshes is of the wrong type" },
    { "{" ASSET ",\"meshes\":[1]}", -1, "an element is of the wrong type" },
    { "{" ASSET ",\"buffers\":[],\"buffers\":[]}", -1, "a member of the root is there twice" },
    { TRIANGLE, -1, "buffer 0 reaches beyond the BIN chunk" },
    { TRIANGLE, 96, "buffer 0 reaches beyond the BIN chunk" },
    { WITH_BUFFER("{}"), 100, "buffer 0 has no length" },
    { WITH_BUFFER("{\"byteLength\":0}"), 100, "buffer 0 has no length" },
    { WITH_BUFFER("{\"byteLength\":-1}"), 100, "a count, an offset or an index is no whole number" },
    { WITH_BUFFER("{\"byteLength\":1.5}"), 100, "a count, an offset or an index is no whole number" },
    { WITH_BUFFER("{\"byteLength\":1e300}"), 100, "a count, an offset or an index is no whole number" },
    { WITH_BUFFER("{\"byteLength\":1e999}"), 100, "a count, an offset or an index is no whole number" },
    { WITH_BUFFER("{\"byteLength\":\"100\"}"), 100, "byteLength is of the wrong type" },
    { WITH_BUFFER("{\"byteLength\":100,\"uri\":\"a.bin\"}"), 100, "buffer 0 lies in another file" },
    { WITH_BUFFER("{\"byteLength\":100,\"uri\":\"file:///etc/passwd\"}"), 100, "buffer 0 lies in another file" },
    { WITH_BUFFER("{\"byteLength\":100},{\"byteLength\":1}"), 100, "buffer 1 has no data" },
    { WITH_VIEW("{\"byteLength\":1}"), 100, "buffer view 1 has no buffer or no length" },
    { WITH_VIEW("{\"buffer\":0}"), 100, "buffer view 1 has no buffer or no length" },
    { WITH_VIEW("{\"buffer\":1,\"byteLength\":1}"), 100, "buffer view 1 reaches beyond its buffer" },
    { WITH_VIEW("{\"buffer\":0,\"byteOffset\":37,\"byteLength\":64}"), 100, "buffer view 1 reaches beyond its buffer" },
    { WITH_VIEW("{\"buffer\":0,\"byteOffset\":9007199254740992,\"byteLength\":9007199254740992}"), 100, "buffer view 1 reaches beyond its buffer" },
    { WITH_VIEW("{\"buffer\":0,\"byteLength\":64,\"byteStride\":256}"), 100, "buffer view 1 has a stride above 252" },
    { WITH_VIEW("{\"buffer\":0,\"byteLength\":64,\"byteStride\":1}"), 100, "accessor 1 reaches beyond its buffer view" },
    { WITH_VIEW("{\"buffer\":0,\"byteLength\":61,\"byteStride\":12}"), 100, "accessor 1 reaches beyond its buffer view" },
    { "{" ASSET ",\"accessors\":[" POINTS "]," MESH("{}") "}", -1, "accessor 0 reaches beyond its buffer view" },
    { WITH_ACCESSOR("{\"bufferView\":2,\"componentType\":5123,\"count\":6,\"type\":\"SCALAR\"}"), 100, "accessor 1 reaches beyond its buffer view" },
    { WITH_ACCESSOR("{\"bufferView\":1,\"componentType\":5123,\"count\":33,\"type\":\"SCALAR\"}"), 100, "accessor 1 reaches beyond its buffer view" },
    { WITH_ACCESSOR("{\"bufferView\":1,\"byteOffset\":53,\"componentType\":5123,\"count\":6,\"type\":\"SCALAR\"}"), 100, "accessor 1 reaches beyond its buffer view" },
    { WITH_ACCESSOR("{\"bufferView\":1,\"byteOffset\":9007199254740992,\"componentType\":5123,\"count\":1,\"type\":\"SCALAR\"}"), 100, "accessor 1 reaches beyond its buffer view" },
    { WITH_ACCESSOR("{\"bufferView\":1,\"componentType\":5121,\"count\":6,\"type\":\"MAT3\"}"), 100, "accessor 1 reaches beyond its buffer view" },
    { WITH_ACCESSOR("{\"componentType\":5123,\"count\":0,\"type\":\"SCALAR\"}"), 100, "accessor 1 has no count, or one that can't be" },
    { WITH_ACCESSOR("{\"componentType\":5123,\"count\":4294967296,\"type\":\"SCALAR\"}"), 100, "accessor 1 has no count, or one that can't be" },
    { WITH_ACCESSOR("{\"componentType\":5124,\"count\":1,\"type\":\"SCALAR\"}"), 100, "accessor 1 has no type, or an unknown one" },
    { WITH_ACCESSOR("{\"componentType\":70656,\"count\":1,\"type\":\"SCALAR\"}"), 100, "accessor 1 has no type, or an unknown one" },
    { WITH_ACCESSOR("{\"componentType\":5123,\"count\":1,\"type\":\"VEC5\"}"), 100, "accessor 1 has no type, or an unknown one" },
    { WITH_ACCESSOR("{\"componentType\":5123,\"count\":1}"), 100, "accessor 1 has no type, or an unknown one" },
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":1,\"type\":\"SCALAR\",\"sparse\":{\"count\":2}}"), 100, "accessor 1 is sparse and does not say how" },
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":6,\"type\":\"SCALAR\",\"sparse\":{\"count\":2,"
                    "\"indices\":{\"bufferView\":1,\"componentType\":5121,\"byteOffset\":63},\"values\":{\"bufferView\":1}}}"), 100, "accessor 1 has values that reach beyond their buffer view" },
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":6,\"type\":\"SCALAR\",\"sparse\":{\"count\":2,"
                    "\"indices\":{\"bufferView\":1,\"componentType\":5121},\"values\":{\"bufferView\":4294967297}}}"), 100, "accessor 1 is sparse and does not say how" },
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":6,\"type\":\"SCALAR\",\"sparse\":{\"count\":7,"
                    "\"indices\":{\"bufferView\":1,\"componentType\":5121},\"values\":{\"bufferView\":1}}}"), 100, "accessor 1 is sparse and does not say how" },
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":6,\"type\":\"SCALAR\",\"sparse\":{\"count\":0,"
                    "\"indices\":{\"bufferView\":1,\"componentType\":5121},\"values\":{\"bufferView\":1}}}"), 100, "accessor 1 is sparse and does not say how" },
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":6,\"type\":\"SCALAR\",\"sparse\":{\"count\":2,"
                    "\"indices\":{\"componentType\":5121},\"values\":{\"bufferView\":1}}}"), 100, "accessor 1 is sparse and does not say how" },
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":6,\"type\":\"SCALAR\",\"sparse\":{\"count\":2,"
                    "\"indices\":{\"bufferView\":4294967296,\"componentType\":5121},\"values\":{\"bufferView\":1}}}"), 100, "accessor 1 is sparse and does not say how" },
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":6,\"type\":\"SCALAR\",\"sparse\":{\"count\":2,"
                    "\"indices\":{\"bufferView\":1,\"componentType\":5121},\"values\":{\"byteOffset\":0}}}"), 100, "accessor 1 is sparse and does not say how" },
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":6,\"type\":\"SCALAR\",\"sparse\":{\"count\":2,"
                    "\"indices\":{\"bufferView\":1,\"componentType\":5122},\"values\":{\"bufferView\":1}}}"), 100, "accessor 1 is sparse and does not say how" },
    { WITH_ACCESSOR("{\"componentType\":5125,\"count\":6,\"type\":\"SCALAR\",\"sparse\":{\"count\":2,"
                    "\"indices\":{\"bufferView\":1},\"values\":{\"bufferView\":1}}}"), 100, "accessor 1 is sparse and does not say how" },
    { WITH_PRIMITIVE("{\"attributes\":{\"POSITION\":2}}"), 100, "primitive 0 has indices or positions that are not there" },
    { WITH_PRIMITIVE("{\"attributes\":{\"POSITION\":0},\"indices\":2}"), 100, "primitive 0 has indices or positions that are not there" },
    { WITH_PRIMITIVE("{\"attributes\":{\"POSITION\":0},\"indices\":0}"), 100, "primitive 0 has indices that are no indices" },
    { WITH_PRIMITIVE("{\"attributes\":{\"POSITION\":0,\"COLOR_0\":2}}"), 100, "a primitive has an attribute that is not there" },
    { WITH_PRIMITIVE("{\"attributes\":{\"POSITION\":0},\"targets\":[{\"POSITION\":7}]}"), 100, "a primitive has an attribute that is not there" },
    { WITH_PRIMITIVE("{\"attributes\":{\"POSITION\":0},\"mode\":7}"), 100, "primitive 0 has an unknown mode" },
    { WITH_PRIMITIVE("{\"attributes\":[0]}"), 100, "attributes is of the wrong type" },
    { WITH_MORE("\"images\":[{\"bufferView\":2}]"), 100, "an image has a buffer view that is not there" },
};
/* clang-format on */

static void bad(void **state) {
    char error[200];
    GlbInfo info;

    (void) state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        File f = make(broken[i].json, broken[i].bin);
        int r = check_all(&f, GLB_STRICT, &info, error);

        if (r != -EBADMSG || strcmp(error, broken[i].says) != 0)
            fail_msg("%s: %d %s", broken[i].json, r, error);
        free(f.bytes);
    }
}

/* --- the container --------------------------------------------------------------------------- */

static void expect(File *f, const char *says) {
    char error[200];
    GlbInfo info;

    for (GlbLevel level = GLB_BASIC; level <= GLB_STRICT; level++) {
        assert_int_equal(check_all(f, level, &info, error), says ? -EBADMSG : 0);
        assert_string_equal(error, says ? says : "");
    }
    free(f->bytes);
    *f = (File){ 0 };
}

static void container(void **state) {
    File f = make(TRIANGLE, 100);
    char says[200];

    (void) state;
    expect(&f, NULL);

    f = make(TRIANGLE, 100);
    f.bytes[0] = 'G';
    expect(&f, "does not begin as a GLB file does");
    f = make(TRIANGLE, 100);
    set32(&f, 4, 1);
    expect(&f, "version 1 of the container, not 2");
    f = make(TRIANGLE, 100);
    f.size -= 4;
    snprintf(says, sizeof says, "says it has %zu bytes and has %zu", f.size + 4, f.size);
    expect(&f, says);
    f = make(TRIANGLE, 100);
    put32(&f, 0);
    set32(&f, 8, (uint32_t) f.size);
    expect(&f, "4 bytes stand behind the last chunk");
    f = make(TRIANGLE, 100);
    set32(&f, 12, 0xfffffffc);
    expect(&f, "chunk 0 reaches beyond the end of the file");
    f = make(TRIANGLE, 100);
    set32(&f, 20 + TRIANGLE_SIZE, 104);
    expect(&f, "chunk 1 reaches beyond the end of the file");
    f = make(TRIANGLE, 100);
    set32(&f, 12, 2);
    expect(&f, "chunk 0 has a length of 2, which is no multiple of 4");
    f = make(TRIANGLE, 100);
    set32(&f, 16, 0x004e4942);
    expect(&f, "the first chunk is not JSON");
    f = make(TRIANGLE, 100);
    set32(&f, 24 + TRIANGLE_SIZE, 0x4e4f534a);
    expect(&f, "there are two JSON chunks");

    /* Chunks of other types are for others; but BIN must be the second. */
    f = make(TRIANGLE, 100);
    put_chunk(&f, "EXTR", "abc", 3, 0);
    set32(&f, 8, (uint32_t) f.size);
    expect(&f, NULL);
    f = make(TRIANGLE, 100);
    put_chunk(&f, "BIN\0", "abc", 3, 0);
    set32(&f, 8, (uint32_t) f.size);
    expect(&f, "the BIN chunk is not the second");
    f = make(TRIANGLE, 100);
    for (int i = 0; i < 63; i++)
        put_chunk(&f, "EXTR", NULL, 0, 0);
    set32(&f, 8, (uint32_t) f.size);
    expect(&f, "more than 64 chunks");

    /* A line's end, or a page filled up, behind the end that the header says; nothing else. */
    for (size_t n = 1; n <= 4097; n = n < 512 ? n * 2 : n < 4096 ? 4096 : n + 1) {
        f = make(TRIANGLE, 100);
        snprintf(says, sizeof says, "says it has %zu bytes and has %zu", f.size, f.size + n);
        for (size_t i = 0; i < n; i++)
            put(&f, "", 1);
        expect(&f, n <= 4096 ? NULL : says);
    }
    f = make(TRIANGLE, 100);
    put(&f, "\r\n", 2);
    expect(&f, NULL);
    f = make(TRIANGLE, 100);
    snprintf(says, sizeof says, "says it has %zu bytes, and others stand behind them", f.size);
    put(&f, "\r\n<", 3);
    expect(&f, says);
    f = make(TRIANGLE, 100);
    set32(&f, 8, 16);
    snprintf(says, sizeof says, "says it has 16 bytes and has %zu", f.size);
    expect(&f, says);

    for (size_t size = 1; size < 20; size++) {
        f = make(TRIANGLE, 100);
        f.size = size;
        if (size >= 12)
            set32(&f, 8, (uint32_t) size);
        expect(&f, size < 4 ? "does not begin as a GLB file does" : "ends within its header");
    }
}

static void levels(void **state) {
    File f = { 0 };
    char error[200];
    GlbInfo info;
    Glb *g;
    uint64_t offset;
    size_t wanted;

    (void) state;
    put(&f, "no mesh at all", 14);
    assert_int_equal(check(&f, GLB_OFF, SIZE_MAX, &info, error), 0);
    free(f.bytes);

    f = make("{ not JSON", 0);
    assert_int_equal(check_all(&f, GLB_BASIC, &info, error), 0);
    assert_int_equal(info.meshes, 0);
    assert_int_equal(check_all(&f, GLB_STRICT, &info, error), -EBADMSG);

    /* More than was wanted is a mistake of ours; after an error nothing is wanted. */
    assert_int_equal(glb_new(&g, f.size, GLB_STRICT), 0);
    assert_int_equal(glb_feed(g, f.bytes, 13), -EINVAL);
    assert_int_equal(glb_feed(g, "oops12345678", 12), -EBADMSG);
    assert_int_equal(glb_feed(g, "x", 1), -EBADMSG);
    assert_false(glb_wants(g, &offset, &wanted));
    glb_free(g);
    free(f.bytes);
}

/* The BIN chunk is not looked at, and a JSON chunk of any kind takes bounded memory. */
static void large(void **state) {
    char error[200];
    GlbInfo info;
    File f = { 0 };
    Glb *g;
    uint64_t offset;
    uint32_t whole = 0xfffffffc;
    size_t wanted, size = 8 * 1024 * 1024;
    char *json = malloc(size + 1);

    (void) state;
    assert_non_null(json);
    f = make(TRIANGLE, 100);
    assert_int_equal(glb_new(&g, whole, GLB_STRICT), 0);
    set32(&f, 8, whole);
    set32(&f, 20 + TRIANGLE_SIZE, whole - 28 - TRIANGLE_SIZE);
    while (glb_wants(g, &offset, &wanted)) {
        assert_in_range(offset + wanted, 1, f.size);
        assert_int_equal(glb_feed(g, f.bytes + offset, wanted), 0);
    }
    assert_int_equal(glb_info(g)->triangles, 2);
    glb_free(g);
    free(f.bytes);

    memset(json, ' ', size);
    json[size] = '\0';
    memcpy(json, "{\"accessors\":[", 14);
    for (size_t i = 14; i + 60 < size; i += 47)
        memcpy(json + i, "{\"componentType\":5121,\"count\":1,\"type\":\"VEC2\"},", 47);
    f = make(json, -1);
    assert_int_equal(check(&f, GLB_STRICT, SIZE_MAX, &info, error), -EBADMSG);
    assert_string_equal(error, "more than 65536 accessors, views, buffers or primitives");
    free(f.bytes);

    memset(json, '[', size);
    f = make(json, -1);
    assert_int_equal(check(&f, GLB_STRICT, SIZE_MAX, &info, error), -EBADMSG);
    free(f.bytes);

    f = (File){ 0 };
    put_header(&f);
    memset(json, ' ', size);
    put_chunk(&f, "JSON", json, size, ' ');
    set32(&f, 12, (uint32_t) size + 4);
    put(&f, "    ", 4);
    set32(&f, 8, (uint32_t) f.size);
    assert_int_equal(check(&f, GLB_STRICT, SIZE_MAX, &info, error), -EBADMSG);
    assert_string_equal(error, "the JSON chunk has more than 8388608 bytes");
    free(f.bytes);
    free(json);
}

static void without_memory(void **state) {
    File f = make(TRIANGLE, 100);
    char error[200];
    GlbInfo info;
    long hits = 0;

    (void) state;
    torture(n) {
        int r = check(&f, GLB_STRICT, 7, &info, error);

        assert_int_equal(r, torture_failed() ? -ENOMEM : 0);
        hits = n;
    }
    assert_true(hits >= 4);
    free(f.bytes);
}

/* --- scan ------------------------------------------------------------------------------------ */

static int tally(void *userdata, JsonScanToken token, const char *text) {
    (void) text;
    if (token != JSON_SCAN_END)
        ++*(unsigned *) userdata;
    return 0;
}

static void scans(void **state) {
    static const char *const yes[] = {
        "0",
        " -0 ",
        "1.5e-7",
        "\"\"",
        "true",
        "[ ]",
        "{ }",
        "[1 , 2]",
        "{\"a\":[{}],\"b\":null}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u12aF\"",
        "\"\xf4\x8f\xbf\xbf\xed\x9f\xbf\xe0\xa0\x80\"",
        "[[[[]]]]",
    };
    static const char *const no[] = {
        "",
        " ",
        "01",
        "1.",
        ".5",
        "-",
        "+1",
        "1e",
        "0x1",
        "tru",
        "nulll",
        "True",
        "[1 2]",
        "[,]",
        "[1,]",
        "{,}",
        "{1:2}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "[}",
        "{]",
        "]",
        "\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"a\nb\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xe0\x80\x80\"",
        "\"\xc3\"",
        "\x80",
        "1 2",
        "[] []",
        "'a'",
        "/**/1",
        "NaN",
        "\xef\xbb\xbf[]",
        "0.00000000000000000000000000000000000000000000000000000000000001",
    };
    unsigned n = 0;
    JsonScan s;

    (void) state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        json_scan_init(&s, tally, &n);
        if (json_scan_feed(&s, yes[i], strlen(yes[i])) < 0 || json_scan_end(&s) < 0)
            fail_msg("%s is JSON", yes[i]);
    }
    assert_int_equal(n, 22);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        json_scan_init(&s, tally, &n);
        if (json_scan_feed(&s, no[i], strlen(no[i])) == 0 && json_scan_end(&s) == 0)
            fail_msg("%s is not JSON", no[i]);
    }
    json_scan_init(&s, tally, &n);
    assert_int_equal(json_scan_feed(&s, "\"\0\"", 3), -EBADMSG);
    json_scan_init(&s, tally, &n);
    for (int i = 0; i < JSON_SCAN_DEPTH_MAX; i++)
        assert_int_equal(json_scan_feed(&s, i % 2 ? "[" : "{\"a\":", i % 2 ? 1 : 5), 0);
    assert_int_equal(json_scan_feed(&s, "[", 1), -EBADMSG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),   cmocka_unit_test(bad),   cmocka_unit_test(container),
        cmocka_unit_test(levels), cmocka_unit_test(large), cmocka_unit_test(without_memory),
        cmocka_unit_test(scans),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("glb", tests, NULL, NULL);
}
