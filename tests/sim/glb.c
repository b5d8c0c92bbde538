/* Makes small valid meshes, of any size in bytes: the same seed and size always give the same
 * file. Only the head of a file is kept in memory; what fills it up follows from its offset. */
#include <math.h>
#include <string.h>

#include "glb.h"

#define SMALL_BYTES 16384 /* below it only boxes fit for sure */

struct Glb {
    Buf head; /* header, JSON chunk, the BIN chunk's header and the mesh itself */
    uint64_t size, seed;
};

typedef enum Shape {
    SHAPE_BOX,
    SHAPE_SPHERE,
    SHAPE_TORUS,
    SHAPE_CONE,
    SHAPE_CYLINDER,
    _SHAPE_MAX
} Shape;

static const char *const shape_names[_SHAPE_MAX] = { "box", "sphere", "torus", "cone", "cylinder" };

typedef struct Mesh {
    Buf points, indices; /* float[3] and uint16_t */
    float min[3], max[3];
    unsigned n_points, n_indices;
} Mesh;

/* 0 up to 1, always the same for the same seed and n. */
static double chance(uint64_t seed, unsigned n) {
    return (double) (text_mix(seed + n) >> 11) * 0x1p-53;
}

static void add_u32(Buf *b, uint32_t v) {
    unsigned char bytes[4] = { v & 255, v >> 8 & 255, v >> 16 & 255, v >> 24 };

    buf_add(b, bytes, sizeof bytes);
}

static void add_point(Mesh *m, double x, double y, double z) {
    float p[3] = { (float) x, (float) y, (float) z };

    for (unsigned i = 0; i < 3; i++) {
        uint32_t bits;

        m->min[i] = m->n_points && m->min[i] < p[i] ? m->min[i] : p[i];
        m->max[i] = m->n_points && m->max[i] > p[i] ? m->max[i] : p[i];
        memcpy(&bits, &p[i], sizeof bits);
        add_u32(&m->points, bits);
    }
    m->n_points++;
}

static void add_index(Mesh *m, unsigned i) {
    unsigned char bytes[2] = { i & 255, i >> 8 & 255 };

    buf_add(&m->indices, bytes, sizeof bytes);
    m->n_indices++;
}

/* Two triangles of the four points a, b (one row) and c, d (the next). */
static void add_quad(Mesh *m, unsigned a, unsigned b, unsigned c, unsigned d) {
    unsigned corners[] = { a, c, b, b, c, d };

    for (unsigned i = 0; i < 6; i++)
        add_index(m, corners[i]);
}

static void make_box(Mesh *m, double w, double h, double d) {
    for (unsigned side = 0; side < 6; side++) {
        double s = side % 2 ? 0.5 : -0.5;
        unsigned first = m->n_points;

        for (unsigned k = 0; k < 4; k++) {
            double u = k & 1 ? 0.5 : -0.5, v = (k & 2 ? 0.5 : -0.5) * (side % 2 ? -1 : 1);
            double p[3];

            p[side / 2] = s;
            p[(side / 2 + 1) % 3] = u;
            p[(side / 2 + 2) % 3] = v;
            add_point(m, p[0] * w, p[1] * h, p[2] * d);
        }
        add_quad(m, first, first + 1, first + 2, first + 3);
    }
}

/* A surface over a grid: u goes round, v from end to end (or round, too). */
static void make_surface(Mesh *m, Shape shape, double a, double b, unsigned nu, unsigned nv) {
    for (unsigned v = 0; v <= nv; v++)
        for (unsigned u = 0; u <= nu; u++) {
            double round = 2 * M_PI * u / nu, t = (double) v / nv;
            double r, y;

            if (shape == SHAPE_SPHERE) {
                r = a * sin(M_PI * t);
                y = b * cos(M_PI * t);
            } else if (shape == SHAPE_TORUS) {
                r = a + b / 3 * cos(2 * M_PI * t);
                y = b / 3 * sin(2 * M_PI * t);
            } else {
                r = shape == SHAPE_CONE ? a * (1 - t) : a;
                y = b * t;
            }
            add_point(m, r * cos(round), y, r * sin(round));
        }
    for (unsigned v = 0; v < nv; v++)
        for (unsigned u = 0; u < nu; u++) {
            unsigned at = v * (nu + 1) + u;

            add_quad(m, at, at + 1, at + nu + 1, at + nu + 2);
        }
}

/* The JSON chunk. `fill` bytes that belong to no accessor make the file as large as is asked
 * for. */
static void add_document(Buf *b, const Mesh *m, Shape shape, uint64_t seed, uint64_t fill) {
    size_t points = m->points.size, indices = m->indices.size, padded = (indices + 3) & ~(size_t) 3;

    buf_printf(
        b,
        "{\"asset\":{\"version\":\"2.0\",\"generator\":\"meshify-sim\"},\"scene\":0,"
        "\"scenes\":[{\"nodes\":[0]}],\"nodes\":[{\"mesh\":0,\"name\":\"%s\"}],"
        "\"materials\":[{\"pbrMetallicRoughness\":{\"baseColorFactor\":[%.3f,%.3f,%.3f,1]}}],"
        "\"meshes\":[{\"primitives\":[{\"attributes\":{\"POSITION\":0},\"indices\":1,"
        "\"material\":0,\"mode\":4}]}],"
        "\"accessors\":[{\"bufferView\":0,\"componentType\":5126,\"count\":%u,"
        "\"type\":\"VEC3\",\"min\":[%.9g,%.9g,%.9g],\"max\":[%.9g,%.9g,%.9g]},"
        "{\"bufferView\":1,\"componentType\":5123,\"count\":%u,\"type\":\"SCALAR\","
        "\"min\":[0],\"max\":[%u]}],"
        "\"bufferViews\":[{\"buffer\":0,\"byteOffset\":0,\"byteLength\":%zu,\"target\":34962},"
        "{\"buffer\":0,\"byteOffset\":%zu,\"byteLength\":%zu,\"target\":34963}",
        shape_names[shape], chance(seed, 20), chance(seed, 21), chance(seed, 22), m->n_points,
        (double) m->min[0], (double) m->min[1], (double) m->min[2], (double) m->max[0],
        (double) m->max[1], (double) m->max[2], m->n_indices, m->n_points - 1, points, points,
        indices);
    if (fill)
        buf_printf(b, ",{\"buffer\":0,\"byteOffset\":%zu,\"byteLength\":%llu}", points + padded,
                   (unsigned long long) fill);
    buf_printf(b, "],\"buffers\":[{\"byteLength\":%llu}]}",
               (unsigned long long) (points + padded + fill));
    while (b->size % 64 && !b->failed) /* so that a digit more or less does not move the rest */
        buf_add_text(b, " ");
}

Glb *glb_free(Glb *g) {
    if (g) {
        buf_done(&g->head);
        free(g);
    }
    return NULL;
}

/* The document's length depends on the numbers in it, so the filling is found in a few turns. */
Glb *glb_new(uint64_t seed, uint64_t size_bytes) {
    _cleanup_(glb_freep) Glb *g = calloc(1, sizeof *g);
    _cleanup_(buf_done) Buf document = { 0 };
    Mesh m = { 0 };
    Shape shape = size_bytes < SMALL_BYTES ? SHAPE_BOX : (Shape) (text_mix(seed) % _SHAPE_MAX);
    double a = 0.3 + chance(seed, 1), b = 0.3 + chance(seed, 2);
    uint64_t bin, fill = 0, wanted = (size_bytes + 3) & ~UINT64_C(3);

    if (!g)
        return NULL;
    g->seed = text_mix(seed ^ 0x6d657368);
    if (shape == SHAPE_BOX)
        make_box(&m, a, b, 0.3 + chance(seed, 3));
    else
        make_surface(&m, shape, a, b, 8 + (unsigned) (chance(seed, 4) * 16),
                     4 + (unsigned) (chance(seed, 5) * 12));

    bin = m.points.size + ((m.indices.size + 3) & ~(size_t) 3);
    for (unsigned turn = 0; turn < 4; turn++) {
        buf_done(&document);
        add_document(&document, &m, shape, seed, fill);
        g->size = 12 + 8 + document.size + 8 + bin + fill;
        if (g->size == wanted || (g->size > wanted && !fill))
            break;
        fill = wanted > g->size - fill ? wanted - (g->size - fill) : 0;
    }

    add_u32(&g->head, 0x46546c67); /* glTF */
    add_u32(&g->head, 2);
    add_u32(&g->head, (uint32_t) g->size);
    add_u32(&g->head, (uint32_t) document.size);
    add_u32(&g->head, 0x4e4f534a); /* JSON */
    buf_add(&g->head, document.text, document.size);
    add_u32(&g->head, (uint32_t) (bin + fill));
    add_u32(&g->head, 0x004e4942); /* BIN */
    buf_add(&g->head, m.points.text, m.points.size);
    buf_add(&g->head, m.indices.text, m.indices.size);
    buf_add(&g->head, "\0\0", (4 - m.indices.size % 4) % 4);
    if (document.failed || m.points.failed || m.indices.failed)
        g->head.failed = true;
    buf_done(&m.points);
    buf_done(&m.indices);
    return g->head.failed ? NULL : TAKE(g);
}

uint64_t glb_size(const Glb *g) {
    return g->size;
}

void glb_read(const Glb *g, uint64_t offset, void *ret, size_t size) {
    unsigned char *out = ret;
    uint64_t word = 0;

    if (offset < g->head.size) {
        size_t n = g->head.size - offset < size ? (size_t) (g->head.size - offset) : size;

        memcpy(out, g->head.text + offset, n);
        out += n;
        offset += n;
        size -= n;
    }
    for (; size && offset % 8; size--, offset++)
        *out++ = (unsigned char) (text_mix(g->seed + offset / 8) >> 8 * (offset % 8));
    for (; size >= 8; size -= 8, offset += 8, out += 8) {
        word = text_mix(g->seed + offset / 8);
        memcpy(out, &word, 8);
    }
    for (; size; size--, offset++)
        *out++ = (unsigned char) (text_mix(g->seed + offset / 8) >> 8 * (offset % 8));
}
