/* A directory as object store: whole files appear under their names, or nothing does. */
#pragma once
#include <stdint.h>
#include <systemd/sd-event.h>

typedef struct DirOp DirOp;

/* `error`: 0 or a negative errno. Called once, from the loop; the operation is gone then. */
typedef void (*DirDone)(void *userdata, int error);

/* Copies `size_bytes` of `fd` to `root`/`name` by way of a temporary file, fsync and rename. `name`
 * is relative, without "." or ".." elements; its directories are made, links are not followed. The
 * copy goes in slices, so that the loop turns meanwhile (but for fsync). */
int dir_put(sd_event *event, const char *root, const char *name, int fd, uint64_t size_bytes,
            DirDone done, void *userdata, DirOp **ret);
DirOp *dir_op_cancel(DirOp *op);

/* Removes `root`/`name`. 0 or a negative errno. */
int dir_remove(const char *root, const char *name);
