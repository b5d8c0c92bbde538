/* Servers of a database URL, as libpq means them, and the lists that it is handed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/hosts_list.h"

#define N(array) (sizeof(array) / sizeof *(array))

static void urls(void **state) {
    static const struct {
        const char *url, *host, *hostaddr, *port;
    } cases[] = {
        { "postgresql://me:word@a.example:5432,b.example:6543/db", "a.example,b.example", "",
          "5432,6543" },
        { "host=a,b hostaddr=10.0.0.1, port=1", "a,b", "10.0.0.1,", "1" },
        { "service=meshes", "dead.example", "", "6000" },
        { "service=meshes host=other", "other", "", "6000" },
        { "service=meshes sslmode=require port=7", "dead.example", "", "7" },
        { "service=none", "", "", "" },             /* refused by libpq, when it is to connect */
        { "postgresql://a:b@c@d/%zz", "", "", "" }, /* likewise */
        { "user=me", "", "", "" },
    };
    char path[] = "/tmp/t_hosts-XXXXXX";
    int fd = mkstemp(path);
    static const char services[] = "[meshes]\nhost=dead.example\nport=6000\n";

    (void) state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, services, strlen(services)), strlen(services));
    close(fd);
    unsetenv("PGHOST");
    unsetenv("PGHOSTADDR");
    unsetenv("PGPORT");
    unsetenv("PGSERVICE");
    setenv("PGSERVICEFILE", path, 1);
    for (size_t i = 0; i < N(cases); i++) {
        HostsText t;

        print_message("# %s\n", cases[i].url);
        assert_int_equal(hosts_text_read(cases[i].url, &t), 0);
        assert_string_equal(t.host, cases[i].host);
        assert_string_equal(t.hostaddr, cases[i].hostaddr);
        if (*cases[i].port)
            assert_string_equal(t.port, cases[i].port);
        hosts_text_done(&t);
    }
    setenv("PGSERVICE", "meshes", 1);
    for (int i = 0; i < 2; i++) { /* also where no URL is set */
        HostsText t;

        assert_int_equal(hosts_text_read(i ? "" : "user=me", &t), 0);
        assert_string_equal(t.host, "dead.example");
        hosts_text_done(&t);
    }
    unsetenv("PGSERVICE");
    unlink(path);
}

/* Kinds: n a name to look up, - none. */
static void lists(void **state) {
    static const struct {
        const char *host, *hostaddr, *port, *kinds;
    } cases[] = {
        { "", "", "", "-" },
        { "a", "", "", "n" },
        { "a,10.0.0.1,/run,@x,::1,", "", "5432", "n-----" },
        { "a,b", "10.0.0.1,", "1,2", "-n" },
        { "", "10.0.0.1,10.0.0.2", "", "--" },
        { "a,b", "10.0.0.1", "", "" }, /* do not fit */
        { "a,b", "", "1,2,3", "" },
    };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        HostsText t = { strdup(cases[i].host), strdup(cases[i].hostaddr), strdup(cases[i].port) };
        HostsList l;

        print_message("# '%s' '%s' '%s'\n", t.host, t.hostaddr, t.port);
        assert_int_equal(hosts_list_read(&t, &l), 0);
        assert_int_equal(l.n, strlen(cases[i].kinds));
        for (unsigned k = 0; k < l.n; k++)
            assert_int_equal(l.servers[k].is_name, cases[i].kinds[k] == 'n');
        hosts_list_done(&l);
        hosts_text_done(&t);
    }
}

static void too_many(void **state) {
    char list[2 * HOSTS_MAX + 2] = "a";
    HostsText t = { list, "", "" };
    HostsList l;

    (void) state;
    for (unsigned i = 1; i < HOSTS_MAX; i++)
        strcat(list, ",a");
    assert_int_equal(hosts_list_read(&t, &l), 0);
    assert_int_equal(l.n, HOSTS_MAX);
    hosts_list_done(&l);
    strcat(list, ",a");
    assert_int_equal(hosts_list_read(&t, &l), -E2BIG);
}

/* An element for each address, beginning with number `first`. */
static void written(void **state) {
    HostsText t = { "a,b", "", "1,2" }, w;
    HostsList l;

    (void) state;
    assert_int_equal(hosts_list_read(&t, &l), 0);
    free(l.servers[0].addresses[0]);
    l.servers[0].addresses[0] = strdup("10.0.0.1");
    l.servers[0].addresses[1] = strdup("10.0.0.2");
    l.servers[0].n = 2;
    free(l.servers[1].addresses[0]);
    l.servers[1].addresses[0] = strdup("::1");
    assert_int_equal(hosts_list_write(&l, 4, &w), 3);
    assert_string_equal(w.host, "a,b,a");
    assert_string_equal(w.hostaddr, "10.0.0.2,::1,10.0.0.1");
    assert_string_equal(w.port, "1,2,1");
    hosts_text_done(&w);
    for (unsigned i = 0; i < 2; i++) /* none found */
        while (l.servers[i].n > 0)
            free(l.servers[i].addresses[--l.servers[i].n]);
    assert_int_equal(hosts_list_write(&l, 0, &w), 0);
    assert_null(w.host);
    hosts_list_done(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls),
        cmocka_unit_test(lists),
        cmocka_unit_test(too_many),
        cmocka_unit_test(written),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
