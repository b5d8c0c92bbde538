/* The JSON chunk of a GLB, read as a stream: what is needed to see that nothing in it leads out of
 * the file, and to count. Part of core/glb.c's work. Pure. */
#pragma once
#include "core/glb.h"

typedef struct GlbJson GlbJson;

GlbJson *glb_json_new(void); /* NULL: no memory */
GlbJson *glb_json_free(GlbJson *j);

/* 0, -EBADMSG, -ENOMEM. */
int glb_json_feed(GlbJson *j, const void *bytes, size_t size);
int glb_json_end(GlbJson *j);

/* Holds what was read against the BIN chunk. 0, -EBADMSG. */
int glb_json_check(GlbJson *j, bool has_bin, uint64_t bin_bytes);

const char *glb_json_error(const GlbJson *j);
const GlbInfo *glb_json_info(const GlbJson *j);
