/* A directory as object store: whole files under their names or nothing, and a loop that never waits for a disk. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/dir.h"

#define SIZE (64 * 1024 * 1024 + 12345)
#define NAME "u/p/mesh.glb"

typedef struct Store {
    sd_event *event;
    Dir *dir;
    char root[40];
    int fd; /* SIZE bytes to put */
    int ended, error;
} Store;

static void ended(void *userdata, int error) {
    Store *s = userdata;

    s->ended++;
    s->error = error;
}

static int set_up(void **state) {
    Store *s = calloc(1, sizeof *s);
    char block[4096];

    *state = s;
    (void) strcpy(s->root, "/tmp/t_dir-XXXXXX");
    if (!mkdtemp(s->root) || sd_event_new(&s->event) < 0 || dir_new(&s->dir, s->event) < 0 ||
        (s->fd = memfd_create("mesh", MFD_CLOEXEC)) < 0)
        return -1;
    for (int i = 0; i * (int) sizeof block < SIZE; i++) {
        memset(block, i, sizeof block);
        if (write(s->fd, block, sizeof block) != sizeof block)
            return -1;
    }
    return ftruncate(s->fd, SIZE);
}

static int tear_down(void **state) {
    Store *s = *state;
    char command[60];

    dir_free(s->dir);
    sd_event_unref(s->event);
    close(s->fd);
    (void) snprintf(command, sizeof command, "rm -r %s", s->root);
    free(s);
    return system(command);
}

static DirOp *put(Store *s, const char *name, uint64_t size) {
    DirOp *op = NULL;

    s->ended = 0;
    assert_int_equal(dir_put(s->dir, s->root, name, s->fd, size, ended, s, &op), 0);
    assert_int_equal(s->ended, 0); /* never from within */
    return op;
}

static int wait_for(Store *s) {
    while (s->ended == 0)
        assert_true(sd_event_run(s->event, 60000000) > 0);
    assert_int_equal(s->ended, 1);
    return s->error;
}

/* What lies in the store below `path`, in one word: files, besides directories. */
static int files_in(const Store *s, const char *path) {
    char command[200], text[20] = "";
    FILE *f;

    (void) snprintf(command, sizeof command, "find %s/%s -type f -o -type l | wc -l", s->root,
                    path);
    assert_non_null(f = popen(command, "r"));
    assert_non_null(fgets(text, sizeof text, f));
    (void) pclose(f);
    return atoi(text);
}

static bool is_same(const Store *s, const char *name, uint64_t size) {
    char path[400];
    struct stat st;
    int fd;
    unsigned char *a, *b;
    bool same;

    (void) snprintf(path, sizeof path, "%s/%s", s->root, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t) st.st_size != size)
        return false;
    a = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    b = mmap(NULL, size, PROT_READ, MAP_PRIVATE, s->fd, 0);
    assert_true(a != MAP_FAILED && b != MAP_FAILED);
    same = memcmp(a, b, size) == 0 && (st.st_mode & 0777) == 0640;
    munmap(a, size);
    munmap(b, size);
    close(fd);
    return same;
}

static int64_t cpu_usec(void) {
    struct timespec t;

    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The loop's own time, which does not grow when others load the machine. Copying takes ten times as much. */
static void test_put(void **state) {
    Store *s = *state;
    int64_t began = cpu_usec();

    (void) put(s, NAME, SIZE);
    assert_int_equal(wait_for(s), 0);
    print_message("# the loop took %lld us\n", (long long) (cpu_usec() - began));
    assert_true(cpu_usec() - began < 3000);
    assert_true(is_same(s, NAME, SIZE));
    assert_int_equal(files_in(s, "."), 1);
    (void) put(s, NAME, 100); /* over what is there */
    assert_int_equal(wait_for(s), 0);
    assert_true(is_same(s, NAME, 100));
    assert_int_equal(files_in(s, "."), 1);
    assert_int_equal(dir_remove(s->root, NAME), 0);
    assert_int_equal(dir_remove(s->root, NAME), -ENOENT);
    assert_int_equal(files_in(s, "."), 0);
}

/* More at once than there are threads, and the file may go while they are copied. */
static void test_many(void **state) {
    Store *s = *state;
    DirOp *op;
    char name[20];
    int copy = dup(s->fd);

    s->ended = 0;
    for (int i = 0; i < 12; i++) {
        (void) snprintf(name, sizeof name, "many/%d", i);
        assert_int_equal(dir_put(s->dir, s->root, name, copy, 1000000, ended, s, &op), 0);
    }
    close(copy);
    while (s->ended < 12)
        assert_true(sd_event_run(s->event, 60000000) > 0);
    for (int i = 0; i < 12; i++) {
        (void) snprintf(name, sizeof name, "many/%d", i);
        assert_true(is_same(s, name, 1000000));
        assert_int_equal(dir_remove(s->root, name), 0);
    }
    assert_int_equal(files_in(s, "."), 0);
}

/* Wherever a copy is when it is cancelled, nothing is left, but what had its name already. */
static void test_cancel(void **state) {
    Store *s = *state;

    for (int turns = 0; turns < 3; turns++) {
        DirOp *op = put(s, NAME, SIZE);
        bool shown;

        for (int i = 0; i < turns && s->ended == 0; i++)
            assert_true(sd_event_run(s->event, 60000000) > 0);
        if (s->ended == 0)
            dir_op_cancel(op);
        shown = is_same(s, NAME, SIZE);
        assert_int_equal(files_in(s, "."), shown);
        assert_true(turns > 0 || !shown);
        if (shown)
            assert_int_equal(dir_remove(s->root, NAME), 0);
        (void) put(s, "another", 10); /* goes behind it, where threads are short */
        assert_int_equal(wait_for(s), 0);
        assert_int_equal(dir_remove(s->root, "another"), 0);
        assert_int_equal(files_in(s, "."), 0);
    }
}

static void test_refused(void **state) {
    static const char *const names[] = {
        "", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/.."
    };
    Store *s = *state;
    DirOp *op = NULL;
    char path[100], longest[257];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(dir_put(s->dir, s->root, names[i], s->fd, 1, ended, s, &op), -EINVAL);
    assert_int_equal(dir_put(s->dir, "/nowhere/at/all", NAME, s->fd, 1, ended, s, &op), -ENOENT);
    (void) snprintf(path, sizeof path, "%s/link", s->root);
    assert_int_equal(symlink("/tmp", path), 0);
    assert_int_equal(dir_put(s->dir, s->root, "link/a", s->fd, 1, ended, s, &op), -ENOTDIR);
    assert_int_equal(dir_remove(s->root, "link"), 0);
    (void) put(s, NAME, (uint64_t) SIZE + 4097); /* the file is shorter than it was said to be */
    assert_int_equal(wait_for(s), -EIO);
    memset(longest, 'x', sizeof longest);
    longest[255] = '\0';
    (void) put(s, longest, 10);
    assert_int_equal(wait_for(s), 0);
    assert_true(is_same(s, longest, 10));
    assert_int_equal(dir_remove(s->root, longest), 0);
    assert_int_equal(files_in(s, "."), 0);
}

static void test_look(void **state) {
    Store *s = *state;

    assert_int_equal(dir_look(s->root), 0);
    assert_int_equal(dir_look("/nowhere/at/all"), -ENOENT);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put),     cmocka_unit_test(test_many), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_look),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
