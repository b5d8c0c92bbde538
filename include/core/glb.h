/* Is this file a mesh? Reads a GLB (glTF 2.0, binary form) in slices and trusts nothing in it. Of the
 * file only the container and the JSON chunk are read, and memory does not grow with its size. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define GLB_SLICE_MAX ((size_t) 256 * 1024)

typedef enum GlbLevel {
    GLB_OFF,    /* wants nothing */
    GLB_BASIC,  /* the container: header, and chunks that lie inside the file */
    GLB_STRICT, /* also the JSON: version, at least one mesh, all references inside the file */
} GlbLevel;

typedef struct GlbInfo { /* counted at GLB_STRICT only */
    uint64_t meshes, triangles;
} GlbInfo;

typedef struct Glb Glb;

/* Begins the check of a file of `size_bytes`. 0, -ENOMEM. */
int glb_new(Glb **ret, uint64_t size_bytes, GlbLevel level);

/* Which bytes to feed next, GLB_SLICE_MAX at most; false: finished, or failed. */
bool glb_wants(const Glb *g, uint64_t *ret_offset, size_t *ret_size);

/* Feeds the next bytes, as many as are wanted or fewer. 0, -EBADMSG (glb_error() says why), -ENOMEM. */
int glb_feed(Glb *g, const void *bytes, size_t size);

/* Why it is no mesh; "" if nothing was found. One line for the log, without text from the file. */
const char *glb_error(const Glb *g);
const GlbInfo *glb_info(const Glb *g);

Glb *glb_free(Glb *g);
DEFINE_CLEANUP(Glb *, glb_free)
