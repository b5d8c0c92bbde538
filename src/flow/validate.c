/* Is the file a mesh to keep? Feeds the file in slices to core/glb.c, as strictly as the
 * configuration says. Reading the spool, and giving the loop its turn between two slices, is the
 * daemon's. */
#include <errno.h>

#include "flow/validate.h"

int validate_begin(const Config *c, uint64_t size_bytes, Glb **ret) {
    GlbLevel level = c->validate == VALIDATE_STRICT  ? GLB_STRICT
                     : c->validate == VALIDATE_BASIC ? GLB_BASIC
                                                     : GLB_OFF;

    return glb_new(ret, size_bytes, level);
}

/* A file that is no mesh is final: the model would make the same again, for the same money. */
JobEvent validate_slice(Glb *glb, const void *bytes, size_t size, Job *j, Fault *reterr) {
    uint64_t offset;
    size_t wanted;
    int r = size > 0 ? glb_feed(glb, bytes, size) : 0;

    if (r == -EBADMSG) {
        fault_set(reterr, FAULT_ASSET_INVALID, "%s", glb_error(glb));
        return EV_FINAL;
    }
    if (r < 0) {
        fault_set(reterr, FAULT_INTERNAL, "out of memory while the mesh was checked");
        return EV_RETRY;
    }
    if (glb_wants(glb, &offset, &wanted))
        return EV_MORE;
    j->meshes = glb_info(glb)->meshes;
    j->triangles = glb_info(glb)->triangles;
    return EV_OK;
}
