/* Files made on the fly: a valid, different GLB or PNG for each seed. A GLB has a small real mesh in
 * front and is filled up to its size by bytes computed from their offset, so that 300 MiB take no
 * memory. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "text.h"

typedef struct Glb Glb;

/* Exactly size_bytes (rounded up to 4), or as small as the mesh allows. NULL: no memory. */
Glb *glb_new(uint64_t seed, uint64_t size_bytes);
uint64_t glb_size(const Glb *g);
void glb_read(const Glb *g, uint64_t offset, void *ret, size_t size); /* within the size */
Glb *glb_free(Glb *g);
DEFINE_CLEANUP(Glb *, glb_free)

void png_make(uint64_t seed, Buf *ret);
