/* The spool: files between a download and its upload. Room is counted against [worker] spool_max
 * and asked of the file system by fallocate(2), so that a download that is begun can end. Files
 * have no name (O_TMPFILE): a daemon that dies leaves none behind. Who waits for room is the
 * daemon's to know. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "io/spool.h"

struct Spool {
    char *dir;
    uint64_t max_bytes, used_bytes;
    unsigned n_files, max_files; /* 0: no limit */
    void (*freed)(void *userdata);
    void *userdata;
    TAILQ_HEAD(, SpoolFile) files;
};

struct SpoolFile {
    Spool *spool;
    int fd;
    uint64_t bytes; /* set aside for it */
    TAILQ_ENTRY(SpoolFile) link;
};

/* The directory is tried at once by making a file in it, so that a wrong one shows at start. */
int spool_new(Spool **ret, const char *dir, uint64_t max_bytes, void (*freed)(void *userdata),
              void *userdata) {
    _cleanup_free_ char *path = strdup(dir);
    Spool *s = calloc(1, sizeof *s);
    int fd, r;

    if (!s || !path) {
        free(s);
        return -ENOMEM;
    }
    *s = (Spool){ .dir = TAKE(path), .max_bytes = max_bytes, .freed = freed, .userdata = userdata };
    TAILQ_INIT(&s->files);
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

void spool_limit(Spool *s, unsigned files) {
    s->max_files = files;
}

/* --- room ---------------------------------------------------------------------------------- */

/* Bytes that are reserved for a file and not yet allocated in the file system: nothing where fallocate(2) took
 * it at once. */
static uint64_t owed_bytes(const SpoolFile *f) {
    struct stat st;
    uint64_t has;

    if (fstat(f->fd, &st) < 0)
        return 0;
    has = (uint64_t) st.st_blocks * 512;
    return f->bytes > has ? f->bytes - has : 0;
}

/* Free bytes of the file system that `f` may use beside the other files, with those it holds already.
 * Several downloads would otherwise count on the same free bytes. */
static uint64_t free_bytes(const Spool *s, const SpoolFile *f) {
    const SpoolFile *other;
    uint64_t left = UINT64_MAX;
    struct statfs fs;

    if (statfs(s->dir, &fs) < 0)
        return left; /* writing will tell */
    left = (uint64_t) fs.f_bavail * (uint64_t) fs.f_bsize;
    TAILQ_FOREACH(other, &s->files, link) {
        uint64_t owed = other == f ? 0 : owed_bytes(other);

        left -= owed < left ? owed : left;
    }
    return f ? left + (f->bytes - owed_bytes(f)) : left;
}

static bool is_alone(const Spool *s, const SpoolFile *f) {
    return s->used_bytes == (f ? f->bytes : 0);
}

/* A file that is alone is let in whatever its size: it could never come otherwise. */
bool spool_has_room(const Spool *s, const SpoolFile *f, uint64_t size_bytes) {
    uint64_t others = s->used_bytes - (f ? f->bytes : 0);

    if (!f && s->max_files > 0 && s->n_files >= s->max_files)
        return false;
    if (is_alone(s, f) || (f && size_bytes > 0 && f->bytes >= size_bytes))
        return true;
    /* Its size is not known before the answer's headers come: it may begin while there is any
     * room, and spool_file_reserve() counts it then. */
    if (size_bytes == 0)
        return others < s->max_bytes;
    return others < s->max_bytes && size_bytes <= s->max_bytes - others &&
           size_bytes <= free_bytes(s, f);
}

/* A file that is larger than the whole file system will not fit tomorrow either. */
bool spool_is_too_small(const Spool *s, uint64_t size_bytes) {
    struct statfs fs;

    return statfs(s->dir, &fs) == 0 && (uint64_t) fs.f_blocks * (uint64_t) fs.f_bsize < size_bytes;
}

/* posix_fallocate() is not used: it writes zeros where the file system can't allocate, which
 * takes as long as the download. On a tmpfs fallocate(2) itself writes zeros, within the call, so it
 * is not asked there. */
static int allocate(const SpoolFile *f, uint64_t size_bytes) {
    struct statfs fs;

    if (fstatfs(f->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC)
        return 0;
    if (fallocate(f->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t) size_bytes) == 0)
        return 0;
    return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? -errno : 0;
}

/* `guessed`: the size is a bound, not yet known, so it is only counted. */
int spool_file_reserve(SpoolFile *f, uint64_t size_bytes, bool guessed) {
    Spool *s = f->spool;
    int r = 0;

    if (f->bytes >= size_bytes)
        return 0;
    if (!spool_has_room(s, f, size_bytes))
        return -EAGAIN;
    if (!guessed) /* the only one is let in whatever its size, so that it may still not fit */
        r = size_bytes > free_bytes(s, f) ? -ENOSPC : allocate(f, size_bytes);
    if (r < 0)
        return r == -EFBIG || is_alone(s, f) ? r : -EAGAIN;
    s->used_bytes += size_bytes - f->bytes;
    f->bytes = size_bytes;
    return 0;
}

uint64_t spool_used_bytes(const Spool *s) {
    return s->used_bytes;
}

/* --- files --------------------------------------------------------------------------------- */

/* EAGAIN has a meaning of our own here, "wait for room". */
int spool_open(Spool *s, SpoolFile **ret) {
    SpoolFile *f = calloc(1, sizeof *f);

    if (!f)
        return -ENOMEM;
    f->fd = open(s->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (f->fd < 0) {
        int r = -errno;

        free(f);
        return r == -EAGAIN ? -EIO : r;
    }
    f->spool = s;
    TAILQ_INSERT_TAIL(&s->files, f, link);
    s->n_files++;
    *ret = f;
    return 0;
}

int spool_file_fd(const SpoolFile *f) {
    return f->fd;
}

uint64_t spool_file_bytes(const SpoolFile *f) {
    return f->bytes;
}

/* The download is over: what was set aside beyond its size is given back. */
void spool_file_settle(SpoolFile *f, uint64_t size_bytes) {
    Spool *s = f->spool;

    if (f->bytes > size_bytes) /* blocks behind the end, if fallocate(2) took some, go too */
        (void) !ftruncate(f->fd, (off_t) size_bytes);
    s->used_bytes += size_bytes - f->bytes;
    f->bytes = size_bytes;
    s->freed(s->userdata);
}

SpoolFile *spool_file_free(SpoolFile *f) {
    Spool *s;

    if (!f)
        return NULL;
    s = f->spool;
    s->used_bytes -= f->bytes;
    TAILQ_REMOVE(&s->files, f, link);
    s->n_files--;
    close(f->fd);
    free(f);
    s->freed(s->userdata);
    return NULL;
}
