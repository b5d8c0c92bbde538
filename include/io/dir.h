/* A directory as object store: whole files appear under their names, or nothing does. */
#pragma once
#include <stdint.h>
#include <systemd/sd-event.h>

typedef struct Dir Dir;
typedef struct DirOp DirOp;

/* `error`: 0 or a negative errno. Called once, from the loop and never from within dir_put(); the operation is gone
 * then. */
typedef void (*DirDone)(void *userdata, int error);

/* Copies are made in threads, a few at once, so that no disk keeps the loop; more of them wait for their turn. */
int dir_new(Dir **ret, sd_event *event);

/* No operation may be held any more. Takes NULL, returns NULL; never waits. */
Dir *dir_free(Dir *dir);

/* Copies `size_bytes` of `fd` to `root`/`name` by way of a temporary file, fsync and rename. `name` is
 * relative, without "." or ".." elements; its directories are made, links are not followed. `fd` may be
 * closed meanwhile. 0 or a negative errno. */
int dir_put(Dir *dir, const char *root, const char *name, int fd, uint64_t size_bytes, DirDone done,
            void *userdata, DirOp **ret);

/* Nothing appears under the name after it, unless it had appeared already. Takes NULL, returns NULL. */
DirOp *dir_op_cancel(DirOp *op);

/* Removes `root`/`name`. 0 or a negative errno. */
int dir_remove(const char *root, const char *name);

/* Can files be made in `root`? 0 or a negative errno. */
int dir_look(const char *root);
