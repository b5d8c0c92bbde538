/* A directory as a store: a file is copied in slices and appears under its name whole, or not at all. What temporary
 * files a dead worker has left is dir_sweep.c's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "io/dir.h"
#include "io/dir_sweep.h"

#define DIR_SLICE (1024 * 1024)

struct DirOp {
    sd_event_source *turn;
    DirDone done;
    void *userdata;
    int dir_fd, to_fd, from_fd;
    char *leaf, *temporary;
    off_t offset;
    uint64_t size_bytes;
};

DirOp *dir_op_cancel(DirOp *op) {
    if (!op)
        return NULL;
    sd_event_source_disable_unref(op->turn);
    if (op->to_fd >= 0) {
        (void) unlinkat(op->dir_fd, op->temporary, 0);
        close(op->to_fd);
    }
    if (op->dir_fd >= 0)
        close(op->dir_fd);
    free(op->leaf);
    free(op->temporary);
    free(op);
    return NULL;
}
DEFINE_CLEANUP(DirOp *, dir_op_cancel)

/* Opens the directory that `name` lies in, making what is missing; `*ret_leaf` is the last element. */
static int open_parent(const char *root, const char *name, int *ret_fd, const char **ret_leaf) {
    int fd = open(root, O_DIRECTORY | O_PATH | O_CLOEXEC);

    *ret_fd = -1;
    *ret_leaf = name;
    if (fd < 0)
        return -errno;
    for (;;) {
        size_t n = strcspn(name, "/");
        char element[256];
        int next;

        if (n == 0 || n >= sizeof element || strncmp(name, ".", n) == 0 ||
            strncmp(name, "..", n) == 0) {
            close(fd);
            return -EINVAL;
        }
        if (name[n] == '\0') {
            *ret_fd = fd;
            *ret_leaf = name;
            return 0;
        }
        memcpy(element, name, n);
        element[n] = '\0';
        (void) mkdirat(fd, element, 0750);
        next = openat(fd, element, O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC);
        if (next < 0) {
            int r = -errno;

            close(fd);
            return r;
        }
        close(fd);
        fd = next;
        name += n + 1;
    }
}

/* The bytes are in the temporary file: make them last, then give them the name. */
static int publish(DirOp *op) {
    int dir, r = 0;

    if (fsync(op->to_fd) < 0 || renameat(op->dir_fd, op->temporary, op->dir_fd, op->leaf) < 0)
        return -errno;
    close(op->to_fd);
    op->to_fd = -1;
    dir = openat(op->dir_fd, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    if (dir < 0 || fsync(dir) < 0)
        r = -errno;
    if (dir >= 0)
        close(dir);
    return r;
}

static int on_turn(sd_event_source *source, void *userdata) {
    DirOp *op = userdata;
    DirDone done = op->done;
    void *user = op->userdata;
    uint64_t left = op->size_bytes - (uint64_t) op->offset;
    ssize_t n = 0;
    int r = 0;

    (void) source;
    if (left > 0) {
        /* Not copy_file_range(), which refuses to leave a file system. */
        n = sendfile(op->to_fd, op->from_fd, &op->offset,
                     left < DIR_SLICE ? (size_t) left : DIR_SLICE);
        if (n > 0 && (uint64_t) op->offset < op->size_bytes)
            return 0;
        r = n < 0 ? -errno : n == 0 ? -EIO : 0;
    }
    if (r == 0)
        r = publish(op);
    dir_op_cancel(op);
    done(user, r);
    return 0;
}

int dir_put(sd_event *event, const char *root, const char *name, int fd, uint64_t size_bytes,
            DirDone done, void *userdata, DirOp **ret) {
    _cleanup_(dir_op_cancelp) DirOp *op = calloc(1, sizeof *op);
    uint64_t chance = 0;
    const char *leaf;
    int r;

    if (!op)
        return -ENOMEM;
    *op = (DirOp){ .done = done,
                   .userdata = userdata,
                   .dir_fd = -1,
                   .to_fd = -1,
                   .from_fd = fd,
                   .size_bytes = size_bytes };
    if ((r = open_parent(root, name, &op->dir_fd, &leaf)) < 0)
        return r;
    if (getrandom(&chance, sizeof chance, GRND_NONBLOCK) < 0)
        chance = 0; /* O_EXCL tells if the name is taken */
    op->leaf = strdup(leaf);
    op->temporary = dir_temporary(leaf, chance);
    if (!op->leaf || !op->temporary)
        return -ENOMEM;
    op->to_fd = openat(op->dir_fd, op->temporary,
                       O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (op->to_fd < 0)
        return -errno;
    if ((r = sd_event_add_defer(event, &op->turn, on_turn, op)) < 0 ||
        (r = sd_event_source_set_enabled(op->turn, SD_EVENT_ON)) < 0)
        return r;
    *ret = TAKE(op);
    return 0;
}

int dir_remove(const char *root, const char *name) {
    const char *leaf;
    int dir, r = open_parent(root, name, &dir, &leaf);

    if (r < 0)
        return r;
    r = unlinkat(dir, leaf, 0) < 0 ? -errno : 0;
    close(dir);
    return r;
}
