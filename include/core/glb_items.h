/* Contents of the JSON chunk of a GLB: buffers, views of them, accessors of those, primitives. glb_json.c
 * collects it, glb_items.c holds it against the file. No other file includes this. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct GlbBuffer {
    uint64_t size;
    bool own; /* the BIN chunk's, not a data: URI */
} GlbBuffer;

typedef struct GlbView {
    uint64_t offset, size, stride;
    uint64_t buffer;
} GlbView;

typedef struct GlbAccessor {
    int64_t view; /* -1: none, all zeros */
    uint64_t offset, count;
    uint16_t component;
    uint8_t type; /* index that glb_type_find() gave */
    bool sparse;
    uint64_t sparse_count, indices_offset, values_offset;
    uint32_t indices_view, values_view;
    uint16_t indices_component;
} GlbAccessor;

typedef struct GlbPrimitive {
    uint32_t mode;
    int64_t indices, position; /* -1: none */
} GlbPrimitive;

/* A growing array of one kind. */
typedef struct GlbArray {
    void *items;
    size_t n, room;
} GlbArray;

typedef struct GlbItems {
    GlbArray buffers, views, accessors, primitives;
    int64_t
        attribute_max; /* the largest index that a primitive's attributes have; -1: there are none */
    int64_t image_max; /* the same, of the views that images lie in */
    char error[128];   /* what is wrong, for the log */
} GlbItems;

/* Notes what is wrong. -EBADMSG. */
int glb_items_fail(GlbItems *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Copies an item of `size` bytes to the end of `to`. 0, -EBADMSG (there are too many), -ENOMEM. */
int glb_items_add(GlbItems *g, GlbArray *to, const void *item, size_t size);

void glb_items_done(GlbItems *g);

/* Index of "SCALAR", "VEC3", …; -1: there is no such type. */
int64_t glb_type_find(const char *name);

/* Bytes of one component by glTF's number for its type; 0: there is no such number. */
unsigned glb_component_size(int64_t component);

/* Does everything lie within what it refers to? Counts triangles on the way. 0, -EBADMSG. */
int glb_items_check(GlbItems *g, bool has_bin, uint64_t bin_bytes, uint64_t *ret_triangles);
