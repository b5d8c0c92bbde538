/* Finds temporary files of ours in a directory that others may use too: a file must have a name that dir_put() gives,
 * in a place where it puts it, and be old. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/dir_sweep.h"

#define UUID_SIZE 36
#define HEX_MAX 16
#define SUFFIX ".tmp"

/* The bytes of `text` that a UUID at its beginning has: 0 or 36. */
static size_t uuid_size(const char *text, size_t size) {
    if (size < UUID_SIZE)
        return 0;
    for (size_t i = 0; i < UUID_SIZE; i++)
        if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-'
                                                    : !isxdigit((unsigned char) text[i]))
            return 0;
    return UUID_SIZE;
}

/* Is all of `text` as `pattern` says? */
static bool fits(const char *text, size_t size, const char *pattern, size_t pattern_size) {
    const char *end = pattern + pattern_size;

    while (pattern < end) {
        size_t n = *pattern == '{' ? uuid_size(text, size) : size > 0 && *text == *pattern;

        if (n == 0)
            return false;
        pattern += *pattern == '{' ? strcspn(pattern, "}") + 1 : 1;
        text += n;
        size -= n;
    }
    return size == 0;
}

/* The same for the last element, which may have a number before its extension: "_2.glb". */
static bool fits_numbered(const char *text, size_t size, const char *element) {
    const char *dot = strrchr(element, '.');
    size_t whole = strlen(element), head = dot ? (size_t) (dot - element) : whole,
           tail = whole - head, digits = 0, at;

    if (fits(text, size, element, whole))
        return true;
    if (size <= tail || (tail > 0 && memcmp(text + size - tail, element + head, tail) != 0))
        return false;
    at = size - tail;
    while (at > 0 && isdigit((unsigned char) text[at - 1])) {
        at--;
        digits++;
    }
    return digits > 0 && at > 0 && text[at - 1] == '_' && fits(text, at - 1, element, head);
}

bool dir_is_temporary(const char *name, const char *element) {
    size_t size = strlen(name), tail = strlen(SUFFIX), hex = 0;

    if (*name != '.' || size <= tail + 2 || strcmp(name + size - tail, SUFFIX) != 0)
        return false;
    size -= tail;
    while (hex < HEX_MAX && size > 1 && isxdigit((unsigned char) name[size - 1])) {
        size--;
        hex++;
    }
    return hex > 0 && size > 2 && name[size - 1] == '.' &&
           fits_numbered(name + 1, size - 2, element);
}

static bool is_old(int dir, const char *name, time_t before) {
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           st.st_mtime < before;
}

/* `fd` is used up. */
static unsigned sweep_in(int fd, const char *pattern, time_t before) {
    size_t n = strcspn(pattern, "/");
    bool last = pattern[n] == '\0';
    DIR *dir = fdopendir(fd);
    unsigned removed = 0;

    if (!dir) {
        (void) close(fd);
        return 0;
    }
    for (struct dirent *e; (e = readdir(dir));) {
        if (last)
            removed += dir_is_temporary(e->d_name, pattern) && is_old(fd, e->d_name, before) &&
                       unlinkat(fd, e->d_name, 0) == 0;
        else if (fits(e->d_name, strlen(e->d_name), pattern, n)) {
            int sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

            if (sub >= 0)
                removed += sweep_in(sub, pattern + n + 1, before);
        }
    }
    (void) closedir(dir);
    return removed;
}

unsigned dir_sweep(const char *root, const char *pattern, uint64_t age_seconds) {
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? 0 : sweep_in(fd, pattern, time(NULL) - (time_t) age_seconds);
}
