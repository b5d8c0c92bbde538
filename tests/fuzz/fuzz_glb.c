/* Any bytes as a GLB: the verdict is the same in whole slices and byte by byte, and what is wanted lies
 * inside the file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/glb.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static int check(const uint8_t *bytes, size_t size, GlbLevel level, size_t slice, GlbInfo *info,
                 char error[static 200]) {
    Glb *g = NULL;
    uint64_t offset;
    size_t wanted;
    int r = glb_new(&g, size, level);

    while (r == 0 && glb_wants(g, &offset, &wanted)) {
        if (wanted == 0 || wanted > GLB_SLICE_MAX || offset > size || wanted > size - offset)
            abort();
        r = glb_feed(g, bytes + offset, wanted < slice ? wanted : slice);
    }
    if (!g || (r != 0 && r != -EBADMSG) || (r == -EBADMSG) != (glb_error(g)[0] != '\0') ||
        strlen(glb_error(g)) >= 200)
        abort();
    strcpy(error, glb_error(g));
    *info = *glb_info(g);
    glb_free(g);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    uint8_t *whole = malloc(size + 1);

    if (!whole)
        return 0;
    memcpy(whole, bytes, size);
    /* The length is right in most runs, so that they get beyond it. */
    if (size >= 12 && bytes[8] != 0xff)
        for (unsigned i = 0; i < 4; i++)
            whole[8 + i] = (uint8_t) (size >> 8 * i);
    for (GlbLevel level = GLB_OFF; level <= GLB_STRICT; level++) {
        char one[200], two[200];
        GlbInfo first, second;
        int r = check(whole, size, level, SIZE_MAX, &first, one);

        if (check(whole, size, level, 1, &second, two) != r || strcmp(one, two) != 0 ||
            memcmp(&first, &second, sizeof first) != 0)
            abort();
    }
    free(whole);
    return 0;
}
