/* Temporary files of ours in a directory that others use too. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/dir_sweep.h"

#define A "11111111-1111-4111-8111-111111111111"

static void test_names(void **state) {
    static const struct {
        const char *name, *element;
        bool is;
    } cases[] = {
        { ".mesh_" A ".glb.1f.tmp", "mesh_{asset_id}.glb", true },
        { ".mesh_" A ".glb.0123456789abcdef.tmp", "mesh_{asset_id}.glb", true },
        { ".mesh_" A "_2.glb.1f.tmp", "mesh_{asset_id}.glb", true },
        { ".mesh_" A "_22.glb.1f.tmp", "mesh_{asset_id}.glb", true },
        { "." A ".1f.tmp", "{job_id}", true },
        { "." A "_3.1f.tmp", "{job_id}", true },
        { "." A ".tar_3.gz.1f.tmp", "{job_id}.tar.gz", true },
        { "mesh_" A ".glb.1f.tmp", "mesh_{asset_id}.glb", false },
        { ".mesh_" A ".glb.1f.tm", "mesh_{asset_id}.glb", false },
        { ".mesh_" A ".glb.1g.tmp", "mesh_{asset_id}.glb", false },
        { ".mesh_" A ".glb..tmp", "mesh_{asset_id}.glb", false },
        { ".mesh_" A ".glb.tmp", "mesh_{asset_id}.glb", false },
        { ".mesh_" A ".glb.0123456789abcdef0.tmp", "mesh_{asset_id}.glb", false },
        { ".mesh_" A ".gltf.1f.tmp", "mesh_{asset_id}.glb", false },
        { ".mesh_" A "2.glb.1f.tmp", "mesh_{asset_id}.glb", false },
        { ".mesh_" A "_.glb.1f.tmp", "mesh_{asset_id}.glb", false },
        { ".mesh_x.glb.1f.tmp", "mesh_{asset_id}.glb", false },
        { ".mesh_11111111-1111.1f.tmp", "mesh_{asset_id}.glb", false }, /* cut, but not by us */
        { ".photo_" A ".glb.1f.tmp", "mesh_{asset_id}.glb", false },
        { ".1f.tmp", "{job_id}", false },
        { ".tmp", "{job_id}", false },
        { ".", "{job_id}", false },
        { "..", "{job_id}", false },
        { "", "{job_id}", false },
    };

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("# %s\n", cases[i].name);
        assert_int_equal(dir_is_temporary(cases[i].name, cases[i].element), cases[i].is);
    }
}

/* `element` with a UUID for each placeholder, and where that is wanted, with a number before its extension. */
static void fill(char to[static 500], const char *element, bool number) {
    const char *dot = strrchr(element, '.');
    char *at = to;

    for (const char *p = element; *p;) {
        if (number && p == dot)
            at = stpcpy(at, "_12");
        at = *p == '{' ? stpcpy(at, A) : (*at = *p, at + 1);
        p += *p == '{' ? strcspn(p, "}") + 1 : 1;
    }
    (void) strcpy(at, number && !dot ? "_12" : "");
}

/* Names too long for NAME_MAX are cut, wherever that is, and known all the same. */
static void test_long_names(void **state) {
    static const char *const around[][2] = {
        { "", "_{asset_id}.glb" }, { "", "{asset_id}{job_id}.glb" }, { "{asset_id}_", ".glb" },
        { "{asset_id}.", "" },     { "{asset_id}.", "{job_id}" },    { "", "" },
    };
    char element[400], leaf[500], letters[256], *name, *end;

    (void) state;
    for (size_t i = 0; i < 6 * 2 * 255; i++) {
        size_t n = i % 255 + 1;

        memset(letters, 'x', sizeof letters);
        letters[n] = '\0';
        (void) snprintf(element, sizeof element, "%s%s%s", around[i / 510][0], letters,
                        around[i / 510][1]);
        fill(leaf, element, i / 255 % 2);
        if (strlen(leaf) > 255) /* no object can have this name */
            continue;
        name = dir_temporary(leaf, UINT64_MAX);
        assert_non_null(name);
        assert_true(strlen(name) <= 255);
        if (!dir_is_temporary(name, element))
            print_message("# %s of %s\n", name, element);
        assert_true(dir_is_temporary(name, element));
        name[1] ^= 64;
        assert_false(dir_is_temporary(name, element));
        name[1] ^= 64;
        end = name + strlen(name) - strlen(".ffffffffffffffff.tmp"); /* the leaf's end */
        end[-1] ^= 64;
        assert_false(dir_is_temporary(name, element));
        free(name);
    }
}

static void make(int root, const char *name, long age_seconds) {
    struct timespec now, times[2];
    char path[300];
    int fd;

    (void) snprintf(path, sizeof path, "%s", name);
    for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void) mkdirat(root, path, 0700);
        *slash = '/';
    }
    fd = openat(root, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
    times[0] = times[1] = (struct timespec){ .tv_sec = now.tv_sec - age_seconds };
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static void test_sweep(void **state) {
    static const char *const gone[] = { A "/" A "/.mesh_" A ".glb.ab.tmp",
                                        A "/" A "/.mesh_" A "_2.glb.ab.tmp" };
    static const char *const stays[] = { A "/" A "/.mesh_x.glb.ab.tmp", A "/" A "/mesh_" A ".glb",
                                         A "/x/.mesh_" A ".glb.ab.tmp", A "/.mesh_" A ".glb.ab.tmp",
                                         ".mesh_" A ".glb.ab.tmp" };
    static const char young[] = A "/" A "/.mesh_" A ".glb.cd.tmp";
    char root[] = "/tmp/t_dir_sweep-XXXXXX", command[64];
    int fd;

    (void) state;
    assert_non_null(mkdtemp(root));
    fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        make(fd, gone[i], 7300);
    for (size_t i = 0; i < sizeof stays / sizeof *stays; i++)
        make(fd, stays[i], 7300);
    make(fd, young, 7100);
    assert_int_equal(dir_sweep(root, "{user_id}/{project_id}/mesh_{asset_id}.glb", 7200), 2);
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        assert_int_equal(faccessat(fd, gone[i], F_OK, 0), -1);
    for (size_t i = 0; i < sizeof stays / sizeof *stays; i++)
        assert_int_equal(faccessat(fd, stays[i], F_OK, 0), 0);
    assert_int_equal(faccessat(fd, young, F_OK, 0), 0);
    assert_int_equal(dir_sweep("/nowhere/at/all", "{job_id}", 0), 0);
    close(fd);
    (void) snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_sweep),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
