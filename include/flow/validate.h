/* Stage 6: is this a mesh to keep? Pure. */
#pragma once
#include "core/config.h"
#include "core/glb.h"
#include "core/job.h"

/* Begins the check of a file of `size` bytes. */
int validate_begin(const Config *c, uint64_t size_bytes, Glb **ret);

/* One slice: EV_MORE: more to come. EV_OK: a mesh, its counts are in the job. EV_FINAL, EV_RETRY. */
JobEvent validate_slice(Glb *glb, const void *bytes, size_t size, Job *j, Fault *reterr);
