/* A directory as a store, which a web server may serve: one step for each piece of work. What goes wrong (a full disk, a
 * directory that is not mounted) concerns all meshes and is for an operator to mend, so it is waited for. How a file
 * comes to its name whole is io/dir.c's. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "flow/store.h"

static char *place(const Config *c) {
    return str_printf("dir %s", c->storage_url);
}

/* With one step for each piece of work, the phase is the step. */
static JobEvent start(StoreWork *w, unsigned step) {
    w->phase = step;
    return EV_MORE;
}

static JobEvent begin(StoreWork *w) {
    return start(w, STORE_PUT);
}

static JobEvent begin_remove(StoreWork *w) {
    return start(w, STORE_UNLINK);
}

static JobEvent begin_check(StoreWork *w) {
    return start(w, STORE_LOOK);
}

/* The object of a job is named by the job; that of a removal may be nobody's any more. */
static int next(StoreWork *w, StoreStep *ret) {
    *ret = (StoreStep){
        .what = w->phase,
        .root = w->config->storage_url,
        .name = w->phase == STORE_PUT ? w->job->object : w->object,
    };
    return 0;
}

static void find(StoreWork *w, int error) {
    const char *root = w->config->storage_url;
    StoreFinding *f = &w->finding;

    *f = (StoreFinding){ .grade = STORE_GOOD };
    if (error == 0) {
        (void) snprintf(f->found, sizeof f->found, "%s can be written", root);
        return;
    }
    f->grade = STORE_BAD;
    f->advice = "Make [storage] url a directory that we may write.";
    (void) snprintf(f->found, sizeof f->found, "%s: %s", root, strerror(-error));
}

static JobEvent hear(StoreWork *w, const StoreAnswer *answer) {
    int error = answer->error;

    if (w->phase == STORE_LOOK)
        find(w, error);
    if (error == 0 || (w->phase == STORE_UNLINK && error == -ENOENT))
        return EV_OK;
    fault_set(&w->fault, FAULT_STORE_UNREACHED, "storage: %s", strerror(-error));
    return EV_WAIT;
}

const StoreDriver store_dir = {
    .name = "dir",
    .descriptors =
        3, /* the directory, the temporary file, and the mesh once more, for the thread that copies it */
    .leaves_files = true,
    .place = place,
    .begin = begin,
    .remove = begin_remove,
    .check = begin_check,
    .next = next,
    .hear = hear,
};
