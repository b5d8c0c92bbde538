/* Validating: a mesh in slices of any size, and what is none. What a GLB may hold is tested in t_glb. */
#include "fixtures.h"
#include "flow/validate.h"
#include "torture.h"

/* Two triangles in one mesh. */
#define MESH                                                                                   \
    "{\"asset\":{\"version\":\"2.0\"},\"buffers\":[{\"byteLength\":100}],\"bufferViews\":[{\"" \
    "buffer\":0,\"byteLength\":36},{\"buffer\":0,\"byteOffset\":36,\"byteLength\":64}],\"acc"  \
    "essors\":[{\"bufferView\":0,\"componentType\":5126,\"count\":3,\"type\":\"VEC3\"},{\"bu"  \
    "fferView\":1,\"componentType\":5123,\"count\":6,\"type\":\"SCALAR\"}],\"meshes\":[{\"pr"  \
    "imitives\":[{\"attributes\":{\"POSITION\":0},\"indices\":1}]}]}"
#define EMPTY "{\"asset\":{\"version\":\"2.0\"}}"
#define BIN_SIZE 100

typedef struct File {
    unsigned char *bytes;
    size_t size;
} File;

static void put32(unsigned char *to, size_t n) {
    for (unsigned i = 0; i < 4; i++)
        to[i] = (unsigned char) (n >> 8 * i);
}

static File glb_of(const char *json) {
    size_t n = (strlen(json) + 3) / 4 * 4;
    File f = { calloc(1, 12 + 8 + n + 8 + BIN_SIZE), 12 + 8 + n + 8 + BIN_SIZE };
    unsigned char *json_chunk = f.bytes + 12, *bin_chunk = json_chunk + 8 + n;

    assert_non_null(f.bytes);
    memcpy(f.bytes, "glTF\2\0\0", 8);
    put32(f.bytes + 8, f.size);
    put32(json_chunk, n);
    memcpy(json_chunk + 4, "JSON", 4);
    memset(json_chunk + 8, ' ', n);
    memcpy(json_chunk + 8, json, strlen(json));
    put32(bin_chunk, BIN_SIZE);
    memcpy(bin_chunk + 4, "BIN", 3);
    return f;
}

/* Validates as the daemon does: what is wanted is read, at most `slice` of it, until it is enough. */
static JobEvent validate(const Config *c, const File *f, size_t slice, Job *j, Fault *fault) {
    _cleanup_(glb_freep) Glb *glb = NULL;
    JobEvent ev = EV_MORE;
    uint64_t offset;
    int calls = 0;
    size_t n;

    if (validate_begin(c, f->size, &glb) < 0)
        return EV_RETRY;
    while (ev == EV_MORE) {
        unsigned char *copy = NULL;

        assert_true(calls++ < 10000);
        if (!glb_wants(glb, &offset, &n))
            n = 0;
        else {
            assert_true(n > 0 && offset <= f->size && n <= f->size - offset);
            n = n < slice ? n : slice;
            copy = test_malloc(n); /* memory of its own, so that reading beyond it is seen */
            memcpy(copy, f->bytes + offset, n);
        }
        ev = validate_slice(glb, copy, n, j, fault);
        if (copy)
            test_free(copy);
    }
    return ev;
}

static void test_a_mesh(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    File f = glb_of(MESH);

    (void) state;
    assert_int_equal(c->validate, VALIDATE_STRICT);
    for (size_t slice = 1; slice <= f.size; slice++) {
        Job j = { .meshes = 77, .triangles = 77 };
        Fault fault = { 0 };

        assert_int_equal(validate(c, &f, slice, &j, &fault), EV_OK);
        assert_int_equal(j.meshes, 1);
        assert_int_equal(j.triangles, 2);
        assert_int_equal(fault.code, FAULT_NONE);
    }
    free(f.bytes);
}

/* What is found by which level; `byte` of a good file is changed, or its JSON is another. */
static void test_no_mesh(void **state) {
    static const struct {
        size_t at;
        unsigned char byte;
        const char *json;
        int found;
    } cases[] = {
        { 0, 'G', MESH, VALIDATE_BASIC },   /* not the magic */
        { 3, 'f', MESH, VALIDATE_BASIC },   /* nor that */
        { 4, 1, MESH, VALIDATE_BASIC },     /* another version of the container */
        { 8, 0xff, MESH, VALIDATE_BASIC },  /* another length than it has */
        { 11, 1, MESH, VALIDATE_BASIC },    /* and a very large one */
        { 15, 0x7f, MESH, VALIDATE_BASIC }, /* a chunk that reaches beyond the file */
        { 16, 'j', MESH, VALIDATE_BASIC },  /* the first chunk is not JSON */
        { 0, 'g', "{", VALIDATE_STRICT },   /* not JSON */
        { 0, 'g', "[]", VALIDATE_STRICT },  /* no document */
        { 0, 'g', "<html>", VALIDATE_STRICT },
        { 0, 'g', EMPTY, VALIDATE_STRICT }, /* a document without a mesh */
        { 41, '1', MESH, VALIDATE_STRICT }, /* glTF 1.0 */
        { 74, '9', MESH, VALIDATE_STRICT }, /* 109 bytes in a buffer of 100 */
    };
    static const char *const levels[] = { "off", "basic", "strict" };

    (void) state;
    for (int level = VALIDATE_OFF; level <= VALIDATE_STRICT; level++) {
        char *text = str_printf(GOOD "[asset]\nvalidate = %s\n", levels[level]);
        _cleanup_(config_freep) Config *c = good(&nothing, text);

        assert_int_equal(c->validate, level);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            bool found = level >= cases[i].found;
            File f = glb_of(cases[i].json);

            f.bytes[cases[i].at] = cases[i].byte;
            for (size_t slice = 1; slice < 1000; slice *= 3) {
                Job j = { .meshes = 77, .triangles = 77 };
                Fault fault = { 0 };

                print_message("# %s: case %zu\n", levels[level], i);
                assert_int_equal(validate(c, &f, slice, &j, &fault), found ? EV_FINAL : EV_OK);
                assert_int_equal(fault.code, found ? FAULT_ASSET_INVALID : FAULT_NONE);
                assert_int_equal(fault.detail[0] != '\0', found);
                assert_int_equal(j.meshes, found ? 77 : 0); /* counted by strict alone */
                assert_int_equal(j.triangles, found ? 77 : 0);
            }
            free(f.bytes);
        }
        free(text);
    }
}

/* Files that break off, whether their header knows of it or not, and files that go on. */
static void test_sizes(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    File f = glb_of(MESH);
    size_t whole = f.size;

    (void) state;
    f.bytes = realloc(f.bytes, whole + 16);
    assert_non_null(f.bytes);
    memset(f.bytes + whole, 0, 16);
    for (f.size = 1; f.size <= whole + 16; f.size++)
        for (int knows = 0; knows < 2; knows++) {
            Job j = { 0 };
            Fault fault = { 0 };

            /* A chunk of no bytes and of a type nobody knows may follow, and two of them; or zeros that
             * the header does not count, but nothing else. */
            bool good =
                f.size == whole || (f.size > whole && (!knows || (f.size - whole) % 8 == 0));

            put32(f.bytes + 8, knows ? f.size : whole);
            assert_int_equal(validate(c, &f, 100, &j, &fault), good ? EV_OK : EV_FINAL);
            assert_int_equal(fault.code, good ? FAULT_NONE : FAULT_ASSET_INVALID);
            if (f.size > whole && !knows) {
                f.bytes[f.size - 1] = 'x';
                assert_int_equal(validate(c, &f, 100, &j, &fault), EV_FINAL);
                f.bytes[f.size - 1] = 0;
            }
        }
    free(f.bytes);
}

/* The header has 32 bits for a length: a file that needs more is none. */
static void test_a_very_large_file(void **state) {
    static const uint64_t sizes[] = { UINT64_C(1) << 32, (UINT64_C(1) << 32) + 876, UINT64_MAX };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        _cleanup_(glb_freep) Glb *glb = NULL;
        unsigned char head[12] = "glTF\2\0\0";
        uint64_t offset;
        Job j = { 0 };
        Fault fault = { 0 };
        size_t n;

        put32(head + 8, (size_t) (sizes[i] & UINT32_MAX));
        assert_int_equal(validate_begin(c, sizes[i], &glb), 0);
        assert_true(glb_wants(glb, &offset, &n));
        assert_int_equal(n, 12);
        assert_int_equal(validate_slice(glb, head, 12, &j, &fault), EV_FINAL);
        assert_int_equal(fault.code, FAULT_ASSET_INVALID);
    }
}

/* A shortage of ours is not the mesh's fault. */
static void test_no_memory(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    File f = glb_of(MESH);

    (void) state;
    torture(n) {
        Job j = { 0 };
        Fault fault = { 0 };
        JobEvent ev = validate(c, &f, SIZE_MAX, &j, &fault);

        assert_int_equal(ev, torture_failed() ? EV_RETRY : EV_OK);
        assert_true(fault.code == FAULT_NONE || fault.code == FAULT_INTERNAL);
    }
    free(f.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_mesh),    cmocka_unit_test(test_no_mesh),
        cmocka_unit_test(test_sizes),     cmocka_unit_test(test_a_very_large_file),
        cmocka_unit_test(test_no_memory),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
