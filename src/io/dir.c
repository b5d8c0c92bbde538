/* Objects as files of a directory. The bytes go into a temporary file beside their place, in a thread, since a disk may
 * take its time for them and for fsync(); the rename that shows them is made on the loop, so that an operation that
 * was canceled shows nothing. Left to others: the names of temporary files, and their finding after a kill
 * (dir_sweep.c). */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "io/aside.h"
#include "io/dir.h"
#include "io/dir_sweep.h"

#define THREADS_MAX 4
#define SLICE (4 * 1024 * 1024) /* between two a thread looks whether it is still wanted */

struct Dir {
    Aside *aside;
};

/* What a thread works on: its own, so that the operation can go while it works. */
typedef struct Copy {
    DirOp *op; /* NULL: it was canceled; only the loop looks at this */
    atomic_bool unwanted;
    int from_fd, to_fd;
    uint64_t size_bytes;
    int error;
} Copy;

struct DirOp {
    Dir *dir;
    DirDone done;
    void *userdata;
    int dir_fd;
    char *leaf, *temporary; /* the latter NULL: it is not there, or is renamed */
    Copy *copy;             /* under way */
};

static Copy *copy_free(Copy *c) {
    if (c->from_fd >= 0)
        close(c->from_fd);
    if (c->to_fd >= 0)
        close(c->to_fd);
    free(c);
    return NULL;
}
DEFINE_CLEANUP(Copy *, copy_free)

/* A thread can't be called back: it is told that its copy is unwanted, and what it did is dropped when it ends. The
 * temporary file goes at once, though the thread may still write to it. */
DirOp *dir_op_cancel(DirOp *op) {
    if (!op)
        return NULL;
    if (op->copy) {
        op->copy->op = NULL;
        op->copy->unwanted = true;
        aside_drop(op->dir->aside, op->copy); /* where all threads hang, it would keep its files */
    }
    if (op->temporary)
        (void) unlinkat(op->dir_fd, op->temporary, 0);
    if (op->dir_fd >= 0)
        close(op->dir_fd);
    free(op->leaf);
    free(op->temporary);
    free(op);
    return NULL;
}
DEFINE_CLEANUP(DirOp *, dir_op_cancel)

/* Opens the directory that `name` lies in, making what is missing; `*ret_leaf` is the last element. Element by element,
 * since a link in the middle could lead out of the store, and others may write there too. */
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
        (void) mkdirat(fd, element, 0750); /* it may be there: opening it tells */
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

/* --- in a thread --------------------------------------------------------------------------- */

/* sendfile(), not copy_file_range(), which refuses to leave a file system. */
static int copy_bytes(Copy *c) {
    off_t offset = 0;

    while ((uint64_t) offset < c->size_bytes && !c->unwanted) {
        uint64_t left = c->size_bytes - (uint64_t) offset;
        ssize_t n = sendfile(c->to_fd, c->from_fd, &offset, left < SLICE ? (size_t) left : SLICE);

        if (n <= 0) /* 0: the file is shorter than it was said to be */
            return n < 0 ? -errno : -EIO;
    }
    return c->unwanted ? -ECANCELED : 0;
}

/* Synced before it is renamed: after a power cut a name must not stand for an empty file. */
static void write_file(void *arg) {
    Copy *c = arg;

    c->error = copy_bytes(c);
    if (c->error == 0 && fsync(c->to_fd) < 0)
        c->error = -errno;
}

/* A rename lasts only when its directory does. */
static void write_directory(void *arg) {
    Copy *c = arg;

    c->error = fsync(c->to_fd) < 0 ? -errno : 0;
}

/* --- on the loop --------------------------------------------------------------------------- */

static void end(DirOp *op, int error) {
    DirDone done = op->done;
    void *userdata = op->userdata;

    dir_op_cancel(op);
    done(userdata, error);
}

/* `copy` is given to a thread, and freed when nobody waits for it any more. */
static int set_aside(DirOp *op, Copy *copy, AsideCall work, AsideCall done) {
    int r;

    copy->op = op;
    copy->error = -EAGAIN; /* what it stays when no thread could be had for it after all */
    if ((r = aside_start(op->dir->aside, work, done, copy)) < 0)
        copy_free(copy);
    else
        op->copy = copy;
    return r;
}

static void directory_written(void *arg) {
    _cleanup_(copy_freep) Copy *c = arg;

    if (!c->op)
        return;
    c->op->copy = NULL;
    end(c->op, c->error);
}

/* The file gets its name. Its directory is opened anew, since O_PATH can't be synced. */
static int publish(DirOp *op) {
    Copy *c = malloc(sizeof *c);

    if (!c)
        return -ENOMEM;
    *c = (Copy){ .from_fd = -1,
                 .to_fd = openat(op->dir_fd, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC) };
    if (c->to_fd < 0 || renameat(op->dir_fd, op->temporary, op->dir_fd, op->leaf) < 0) {
        int r = -errno;

        copy_free(c);
        return r;
    }
    free(TAKE(op->temporary));
    return set_aside(op, c, write_directory, directory_written);
}

/* The bytes last now. The loop decides whether they are still wanted: nothing can be canceled between that and the
 * rename. */
static void file_written(void *arg) {
    _cleanup_(copy_freep) Copy *c = arg;
    int r = c->error;

    if (!c->op)
        return;
    c->op->copy = NULL;
    if (r == 0)
        r = publish(c->op);
    if (r < 0)
        end(c->op, r);
}

/* Makes the temporary file, and has a thread fill it, with descriptors of its own. */
static int begin_copy(DirOp *op, const char *leaf, int fd, uint64_t size_bytes) {
    _cleanup_(copy_freep) Copy *c = malloc(sizeof *c);
    _cleanup_free_ char *temporary = NULL;
    uint64_t chance = 0;

    if (getrandom(&chance, sizeof chance, GRND_NONBLOCK) < 0)
        chance = 0; /* O_EXCL tells if the name is taken */
    if (!c)
        return -ENOMEM;
    *c = (Copy){ .from_fd = -1, .to_fd = -1, .size_bytes = size_bytes };
    op->leaf = strdup(leaf);
    if (!op->leaf || !(temporary = dir_temporary(leaf, chance)))
        return -ENOMEM;
    c->from_fd =
        fcntl(fd, F_DUPFD_CLOEXEC, 3); /* its owner may close `fd`, and the number be used anew */
    if (c->from_fd < 0)
        return -errno;
    c->to_fd =
        openat(op->dir_fd, temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (c->to_fd < 0)
        return -errno;
    op->temporary = TAKE(temporary);
    return set_aside(op, TAKE(c), write_file, file_written);
}

int dir_put(Dir *dir, const char *root, const char *name, int fd, uint64_t size_bytes, DirDone done,
            void *userdata, DirOp **ret) {
    _cleanup_(dir_op_cancelp) DirOp *op = calloc(1, sizeof *op);
    const char *leaf;
    int r;

    if (!op)
        return -ENOMEM;
    *op = (DirOp){ .dir = dir, .done = done, .userdata = userdata, .dir_fd = -1 };
    if ((r = open_parent(root, name, &op->dir_fd, &leaf)) < 0 ||
        (r = begin_copy(op, leaf, fd, size_bytes)) < 0)
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

int dir_look(const char *root) {
    return access(root, W_OK | X_OK) < 0 ? -errno : 0;
}

int dir_new(Dir **ret, sd_event *event) {
    Dir *dir = calloc(1, sizeof *dir);
    int r = dir ? aside_new(&dir->aside, event, THREADS_MAX) : -ENOMEM;

    if (r < 0)
        free(dir);
    else
        *ret = dir;
    return r;
}

Dir *dir_free(Dir *dir) {
    if (dir)
        aside_free(dir->aside);
    free(dir);
    return NULL;
}
