/* Checks the numbers in a GLB's JSON against the file: no view may reach beyond its buffer, no accessor beyond its
 * view, no index beyond its list. A viewer that trusts such numbers reads memory that is not the mesh. The JSON
 * itself is read by glb_json.c. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/glb_items.h"

#define ITEMS_MAX 65536 /* of one kind: bounds memory at some megabytes */

static const struct {
    const char *name;
    unsigned rows, columns;
} types[] = {
    { "SCALAR", 1, 1 }, { "VEC2", 2, 1 }, { "VEC3", 3, 1 }, { "VEC4", 4, 1 },
    { "MAT2", 2, 2 },   { "MAT3", 3, 3 }, { "MAT4", 4, 4 },
};

/* No text of the file is in an error: it would have to be cleaned, and says nothing to an
 * operator. */
int glb_items_fail(GlbItems *g, const char *format, ...) {
    va_list ap;

    va_start(ap, format);
    vsnprintf(g->error, sizeof g->error, format, ap);
    va_end(ap);
    return -EBADMSG;
}

int glb_items_add(GlbItems *g, GlbArray *to, const void *item, size_t size) {
    if (to->n == to->room) {
        size_t room = to->room ? 2 * to->room : 16;
        void *items;

        if (to->n == ITEMS_MAX)
            return glb_items_fail(g, "more than %d accessors, views, buffers or primitives",
                                  ITEMS_MAX);
        if (!(items = reallocarray(to->items, room, size)))
            return -ENOMEM;
        to->items = items;
        to->room = room;
    }
    memcpy((char *) to->items + to->n++ * size, item, size);
    return 0;
}

void glb_items_done(GlbItems *g) {
    free(g->buffers.items);
    free(g->views.items);
    free(g->accessors.items);
    free(g->primitives.items);
}

int64_t glb_type_find(const char *name) {
    size_t i = 0;

    while (i < sizeof types / sizeof *types && strcmp(types[i].name, name) != 0)
        i++;
    return i < sizeof types / sizeof *types ? (int64_t) i : -1;
}

/* The numbers are those that OpenGL has for its types; glTF took them over. */
unsigned glb_component_size(int64_t component) {
    switch (component) {
    case 5120: /* byte */
    case 5121:
        return 1;
    case 5122: /* short */
    case 5123:
        return 2;
    case 5125: /* unsigned int */
    case 5126: /* float */
        return 4;
    default:
        return 0;
    }
}

/* Do `count` elements of `size` bytes, `stride` apart, lie within `room` from `offset` on? The
 * last element need not fill its stride. */
static bool fits(uint64_t offset, uint64_t count, uint64_t stride, uint64_t size, uint64_t room) {
    uint64_t end; /* count < 2^32, stride < 2^8: no overflow but with the offset */

    return !__builtin_add_overflow(offset, (count - 1) * stride + size, &end) && end <= room;
}

static uint64_t element_size(const GlbAccessor *a) {
    uint64_t column = types[a->type].rows * (uint64_t) glb_component_size(a->component);

    /* The columns of a matrix begin at multiples of 4. */
    return types[a->type].columns > 1 ? types[a->type].columns * ((column + 3) / 4 * 4) : column;
}

/* A stride counts for vertex attributes only; indices and sparse values lie side by side. */
static bool in_view(const GlbItems *g, uint64_t view, uint64_t offset, uint64_t count,
                    uint64_t size, bool strided) {
    const GlbView *v;

    if (view >= g->views.n)
        return false;
    v = (const GlbView *) g->views.items + view;
    if (strided && v->stride > 0 && v->stride < size)
        return false;
    return fits(offset, count, strided && v->stride > 0 ? v->stride : size, size, v->size);
}

/* Triangle lists have three corners each; strips and fans share two with the one before. */
static uint64_t triangles(const GlbPrimitive *p, uint64_t count) {
    if (p->mode == 4)
        return count / 3;
    return (p->mode == 5 || p->mode == 6) && count > 2 ? count - 2 : 0;
}

/* A primitive without positions has nothing to draw, and counts no triangles. */
static int check_primitives(GlbItems *g, uint64_t *ret_triangles) {
    const GlbPrimitive *primitives = g->primitives.items;
    const GlbAccessor *accessors = g->accessors.items;

    if (g->primitives.n == 0)
        return glb_items_fail(g, "there is no mesh in it");
    if (g->attribute_max >= (int64_t) g->accessors.n)
        return glb_items_fail(g, "a primitive has an attribute that is not there");
    for (size_t i = 0; i < g->primitives.n; i++) {
        const GlbPrimitive *p = &primitives[i];
        int64_t counted = p->indices >= 0 ? p->indices : p->position;

        if (p->indices >= (int64_t) g->accessors.n || p->position >= (int64_t) g->accessors.n)
            return glb_items_fail(g, "primitive %zu has indices or positions that are not there",
                                  i);
        if (p->indices >= 0 &&
            (accessors[p->indices].type != 0 || accessors[p->indices].component == 5126))
            return glb_items_fail(g, "primitive %zu has indices that are no indices", i);
        if (counted >= 0)
            *ret_triangles += triangles(p, accessors[counted].count);
    }
    return 0;
}

/* From the outside in: each level was checked against the one around it when the next one is
 * looked at. */
int glb_items_check(GlbItems *g, bool has_bin, uint64_t bin_bytes, uint64_t *ret_triangles) {
    const GlbBuffer *buffers = g->buffers.items;
    const GlbView *views = g->views.items;
    const GlbAccessor *accessors = g->accessors.items;

    /* Buffers within the BIN chunk, views within buffers, accessors within views. */
    for (size_t i = 0; i < g->buffers.n; i++)
        if (buffers[i].own && (!has_bin || buffers[i].size > bin_bytes))
            return glb_items_fail(g, "buffer %zu reaches beyond the BIN chunk", i);
    for (size_t i = 0; i < g->views.n; i++)
        if (views[i].buffer >= g->buffers.n ||
            !fits(views[i].offset, 1, 0, views[i].size, buffers[views[i].buffer].size))
            return glb_items_fail(g, "buffer view %zu reaches beyond its buffer", i);
    for (size_t i = 0; i < g->accessors.n; i++) {
        const GlbAccessor *a = &accessors[i];
        uint64_t size = element_size(a);

        if (a->view >= 0 && !in_view(g, (uint64_t) a->view, a->offset, a->count, size, true))
            return glb_items_fail(g, "accessor %zu reaches beyond its buffer view", i);
        if (a->sparse &&
            (!in_view(g, a->indices_view, a->indices_offset, a->sparse_count,
                      glb_component_size(a->indices_component), false) ||
             !in_view(g, a->values_view, a->values_offset, a->sparse_count, size, false)))
            return glb_items_fail(g, "accessor %zu has values that reach beyond their buffer view",
                                  i);
    }
    if (g->image_max >= (int64_t) g->views.n)
        return glb_items_fail(g, "an image has a buffer view that is not there");
    return check_primitives(g, ret_triangles);
}
