#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "io/spool.h"

struct Spool {
    char *dir;
    uint64_t max_bytes, file_max_bytes, used_bytes;
};

struct SpoolFile {
    Spool *spool;
    int fd;
    uint64_t bytes; /* set aside for it */
};

int spool_new(Spool **ret, const char *dir, uint64_t max_bytes, uint64_t file_max_bytes) {
    _cleanup_free_ char *path = strdup(dir);
    Spool *s = calloc(1, sizeof *s);
    int fd, r;

    if (!s || !path) {
        free(s);
        return -ENOMEM;
    }
    *s = (Spool){ .dir = TAKE(path), .max_bytes = max_bytes, .file_max_bytes = file_max_bytes };
    (void) mkdir(dir, 0700); /* the next line says whether it can be used */
    fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        r = -errno;
        spool_free(s);
        return r;
    }
    close(fd);
    *ret = s;
    return 0;
}

Spool *spool_free(Spool *s) {
    if (s) {
        free(s->dir);
        free(s);
    }
    return NULL;
}

int spool_open(Spool *s, SpoolFile **ret) {
    SpoolFile *f;

    /* A file larger than the whole spool is let in alone. */
    if (s->used_bytes > 0 && s->used_bytes + s->file_max_bytes > s->max_bytes)
        return -EAGAIN;
    if (!(f = calloc(1, sizeof *f)))
        return -ENOMEM;
    f->fd = open(s->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (f->fd < 0) {
        int r = -errno;

        free(f);
        return r == -EAGAIN ? -EIO : r;
    }
    f->spool = s;
    f->bytes = s->file_max_bytes;
    s->used_bytes += f->bytes;
    *ret = f;
    return 0;
}

int spool_file_fd(const SpoolFile *f) {
    return f->fd;
}

void spool_file_settle(SpoolFile *f, uint64_t size_bytes) {
    f->spool->used_bytes -= f->bytes;
    f->bytes = size_bytes;
    f->spool->used_bytes += f->bytes;
}

SpoolFile *spool_file_free(SpoolFile *f) {
    if (f) {
        f->spool->used_bytes -= f->bytes;
        close(f->fd);
        free(f);
    }
    return NULL;
}

uint64_t spool_used_bytes(const Spool *s) {
    return s->used_bytes;
}
