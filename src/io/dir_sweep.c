/* Names the temporary files of a directory store, and finds those that a killed worker left there. Others may use the
 * directory too: a file is removed only when it has a name that dir_put() gives, lies in a place where dir_put() puts
 * it, and is old. The names stand beside their finding, so that the two can't differ. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "io/dir_sweep.h"

#define UUID_SIZE 36
#define HEX_MAX 16
#define SUFFIX ".tmp"
#define LEAF_MAX \
    200 /* so much of the name: the rest and what is added must fit into NAME_MAX, 255 */

char *dir_temporary(const char *leaf, uint64_t chance) {
    return str_printf(".%.*s.%llx" SUFFIX, LEAF_MAX, leaf, (unsigned long long) chance);
}

/* The bytes of `text` that a UUID at its beginning has: 0 or 36, or where the text is cut, all of it. */
static size_t uuid_size(const char *text, size_t size, bool cut) {
    size_t n = size < UUID_SIZE ? size : UUID_SIZE;

    if (n < UUID_SIZE && !cut)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-'
                                                    : !isxdigit((unsigned char) text[i]))
            return 0;
    return n;
}

/* The bytes that `pattern` stands for. */
static size_t filled_size(const char *pattern, size_t size) {
    size_t n = 0;

    for (const char *end = pattern + size; pattern < end;) {
        n += *pattern == '{' ? UUID_SIZE : 1;
        pattern += *pattern == '{' ? strcspn(pattern, "}") + 1 : 1;
    }
    return n;
}

/* Is all of `text` as `pattern` says? Of a text that is `cut` the end may be missing. */
static bool fits(const char *text, size_t size, const char *pattern, size_t pattern_size,
                 bool cut) {
    const char *end = pattern + pattern_size;

    while (pattern < end && !(cut && size == 0)) {
        size_t n = *pattern == '{' ? uuid_size(text, size, cut) : size > 0 && *text == *pattern;

        if (n == 0)
            return false;
        pattern += *pattern == '{' ? strcspn(pattern, "}") + 1 : 1;
        text += n;
        size -= n;
    }
    return size == 0;
}

/* "_2" at its beginning: the database numbers names that are taken. */
static size_t number_size(const char *text, size_t size, bool cut) {
    size_t n = 1;

    if (size == 0 || *text != '_')
        return 0;
    while (n < size && isdigit((unsigned char) text[n]))
        n++;
    return n > 1 || (cut && size == 1) ? n : 0;
}

/* The same for the last element of a name, which may have a number before its extension: "_2.glb". */
static bool fits_element(const char *text, size_t size, const char *element, bool cut) {
    const char *dot = strrchr(element, '.');
    size_t all = strlen(element), head = dot ? (size_t) (dot - element) : all,
           n = filled_size(element, head);

    if (size <= n)
        return fits(text, size, element, head, cut) && (cut || head == all);
    if (!fits(text, n, element, head, false))
        return false;
    n += number_size(text + n, size - n, cut);
    return fits(text + n, size - n, element + head, all - head, cut);
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
           (fits_element(name + 1, size - 2, element, false) ||
            (size - 2 == LEAF_MAX && fits_element(name + 1, size - 2, element, true)));
}

/* By its last writing: a copy that goes on is younger than any. */
static bool is_old(int dir, const char *name, time_t before) {
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           st.st_mtime < before;
}

/* Goes down one element of the pattern for each directory, so that what lies deeper or elsewhere is not even read. `fd`
 * is used up. */
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
        else if (fits(e->d_name, strlen(e->d_name), pattern, n, false)) {
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
