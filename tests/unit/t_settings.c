/* Which files are read, in which order, and what is said of those that can't be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/settings.h"

#define GOOD "[replicate]\ntoken=t\n[storage]\nurl=https://h\nkey=k\n"

static char dir[] = "/tmp/t_settings.XXXXXX";

static const char *path_of(const char *name) {
    static char path[300];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t size) {
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
}

static void write_text(const char *name, const char *text) {
    write_file(name, text, strlen(text));
}

static int set_up(void **state) {
    static const char *const names[] = { "MESHIFY_CONFIG",
                                         "DATABASE_URL",
                                         "REPLICATE_API_TOKEN",
                                         "SUPABASE_URL",
                                         "SUPABASE_SERVICE_ROLE_KEY",
                                         "CACHE_DIRECTORY",
                                         "CREDENTIALS_DIRECTORY" };

    (void) state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state) {
    static const char *const files[] = { "m.ini",
                                         "fifo",
                                         "meshify.d/two.ini",
                                         "creds/meshifyd.database_url",
                                         "creds/replicate_api_token",
                                         "creds/other",
                                         "creds/loop" };

    (void) state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(path_of(files[i]));
    rmdir(path_of("meshify.d"));
    rmdir(path_of("creds"));
    return rmdir(dir);
}

static Config *good(const char *path, const char *instance, unsigned needs) {
    ConfigErrors e = { 0 };
    Config *c = NULL;

    if (settings_load(path, instance, needs, &c, &e) != 0)
        fail_msg("%s", e.text);
    return c;
}

/* It is refused, with one line that holds `says`. */
static void wrong(const char *path, const char *instance, const char *says) {
    ConfigErrors e = { 0 };
    Config *c = NULL;

    assert_int_equal(settings_load(path, instance, CONFIG_FOR_DAEMON, &c, &e), -EINVAL);
    if (e.n != 1 || !strstr(e.text, says))
        fail_msg("%u: %s", e.n, e.text);
    config_errors_done(&e);
}

static void files(void **state) {
    char path[300];
    Config *c;

    (void) state;
    snprintf(path, sizeof path, "%s", path_of("m.ini"));
    write_text("m.ini", GOOD "[worker]\nmax_jobs = 2\nmax_attempts = 2\n");
    c = good(path, NULL, CONFIG_FOR_DAEMON);
    assert_int_equal(c->max_jobs, 2);
    config_free(c);

    setenv("MESHIFY_CONFIG", path, 1);
    c = good(NULL, "two", CONFIG_FOR_DAEMON);
    assert_int_equal(c->max_jobs, 2);
    assert_string_equal(c->instance + strlen(c->instance) - 4, "@two");
    config_free(c);

    mkdir(path_of("meshify.d"), 0700);
    write_text("meshify.d/two.ini", "[worker]\nmax_jobs = 3\n");
    setenv("REPLICATE_API_TOKEN", "env", 1);
    c = good(NULL, "two", CONFIG_FOR_DAEMON);
    assert_int_equal(c->max_jobs, 3);
    assert_int_equal(c->max_attempts, 2);
    assert_string_equal(c->replicate_token.text, "env");
    config_free(c);

    write_text("meshify.d/two.ini", "[worker]\nmax_jobs = 0\n");
    wrong(path, "two", "/meshify.d/two.ini:2: [worker] max_jobs: '0'");
    wrong(path, "../m", "--instance: is no name");
    wrong(path, "", "--instance: is no name");

    /* Relative paths, from where we are. */
    assert_int_equal(chdir(dir), 0);
    write_text("meshify.d/two.ini", "[worker]\nmax_jobs = 4\n");
    c = good("m.ini", "two", CONFIG_FOR_DAEMON);
    assert_int_equal(c->max_jobs, 4);
    config_free(c);
    assert_int_equal(chdir("/"), 0);
}

static void credentials(void **state) {
    char path[300];
    Config *c;

    (void) state;
    write_text("m.ini", GOOD);
    mkdir(path_of("creds"), 0700);
    write_text("creds/meshifyd.database_url", "postgres://secret/\n");
    write_text("creds/replicate_api_token", "stored");
    write_file("creds/other", "\0", 1); /* not ours: not read */
    assert_int_equal(symlink("loop", path_of("creds/loop")), 0);
    setenv("CREDENTIALS_DIRECTORY", path_of("creds"), 1);
    snprintf(path, sizeof path, "%s", path_of("m.ini"));
    c = good(path, NULL, CONFIG_FOR_DAEMON);
    assert_string_equal(c->database_url.text, "postgres://secret/");
    assert_string_equal(c->replicate_token.text, "stored");
    config_free(c);
    write_file("creds/replicate_api_token", "a\0b", 3);
    wrong(path, NULL, "credential replicate_api_token: holds NUL bytes");
    setenv("CREDENTIALS_DIRECTORY", path_of("m.ini"), 1);
    wrong(path, NULL, "m.ini: cannot be read: Not a directory");
    setenv("CREDENTIALS_DIRECTORY", path_of("nowhere"), 1);
    config_free(good(path, NULL, CONFIG_FOR_DAEMON));
}

static void unreadable(void **state) {
    size_t size = 1024 * 1024 + 1;
    char *large = malloc(size);
    char path[300];

    (void) state;
    snprintf(path, sizeof path, "%s", path_of("m.ini"));
    wrong(path, NULL, "m.ini: cannot be read: No such file or directory");
    setenv("MESHIFY_CONFIG", path, 1);
    wrong(NULL, NULL, "m.ini: cannot be read: No such file or directory");
    wrong(dir, NULL, ": is a directory");
    write_file("m.ini", GOOD "\0", sizeof GOOD);
    wrong(path, NULL, "m.ini: holds NUL bytes");
    assert_non_null(large);
    memset(large, '\n', size);
    write_file("m.ini", large, size);
    wrong(path, NULL, "m.ini: is larger than 1 MiB");
    memcpy(large, GOOD, strlen(GOOD));
    write_file("m.ini", large, size - 1);
    config_free(good(path, NULL, CONFIG_FOR_DAEMON));
    free(large);
    /* Nobody writes into it: it reads as empty, and at once. */
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    config_free(good(path_of("fifo"), NULL, CONFIG_FOR_TOOL));
    config_free(good("/dev/null", NULL, CONFIG_FOR_TOOL));
    snprintf(path, sizeof path, "/dev/zero");
    wrong(path, NULL, "/dev/zero: is larger than 1 MiB");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(credentials, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unreadable, set_up, tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
