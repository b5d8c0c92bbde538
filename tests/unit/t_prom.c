/* The text that Prometheus reads, to the byte; and addresses of listeners. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "base/prom.h"
#include "torture.h"

#define N(a) (sizeof(a) / sizeof *(a))

static void test_samples(void **state) {
    Prom p = { 0 };

    (void) state;
    prom_one(&p, "a_total", "counter", "How many.", 3);
    prom_begin(&p, "b", "gauge", "By \"kind\",\nwith a \\.");
    prom_add(&p, 0.25, "kind", "x", PROM_END);
    prom_add(&p, -1, "kind", "y", "other", "z", PROM_END);
    assert_false(p.failed);
    assert_string_equal(p.text.text, "# HELP a_total How many.\n"
                                     "# TYPE a_total counter\n"
                                     "a_total 3\n"
                                     "# HELP b By \"kind\",\\nwith a \\\\.\n"
                                     "# TYPE b gauge\n"
                                     "b{kind=\"x\"} 0.25\n"
                                     "b{kind=\"y\",other=\"z\"} -1\n");
    prom_done(&p);
}

/* A value of a label can't end its line, its quotes or begin another label. */
static void test_escapes(void **state) {
    static const struct {
        const char *value, *written;
    } cases[] = {
        { "", "" },
        { "plain word", "plain word" },
        { "\"", "\\\"" },
        { "\\", "\\\\" },
        { "\n", "\\n" },
        { "a\"} 1\nb{c=\"d", "a\\\"} 1\\nb{c=\\\"d" },
        { "\\n", "\\\\n" },
        { "\"\"\n\n\\\\", "\\\"\\\"\\n\\n\\\\\\\\" },
        { "\xc3\xa4{},=", "\xc3\xa4{},=" },
    };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        Prom p = { .name = "m" };
        char expected[80];

        prom_add(&p, 1, "l", cases[i].value, PROM_END);
        (void) snprintf(expected, sizeof expected, "m{l=\"%s\"} 1\n", cases[i].written);
        assert_string_equal(p.text.text, expected);
        prom_done(&p);
    }
}

static void test_numbers(void **state) {
    static const struct {
        double value;
        const char *written;
    } cases[] = {
        { 0, "m 0\n" },
        { 0.1, "m 0.1\n" },
        { 0.0025, "m 0.0025\n" },
        { 1e15 - 1, "m 999999999999999\n" }, /* no byte of a petabyte is lost */
        { 8589934592.0, "m 8589934592\n" },
        { 1764130000, "m 1764130000\n" },
        { INFINITY, "m +Inf\n" },
        { -INFINITY, "m -Inf\n" },
        { NAN, "m NaN\n" },
    };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        Prom p = { .name = "m" };

        prom_add(&p, cases[i].value, PROM_END);
        assert_string_equal(p.text.text, cases[i].written);
        prom_done(&p);
    }
}

/* Buckets are cumulative, a bound belongs to its bucket, and the last one holds all. */
static void test_histogram(void **state) {
    static const double bounds[] = { 0.1, 1, 10 };
    PromHistogram h = { .bounds = bounds, .n_bounds = N(bounds) };
    Prom p = { 0 };

    (void) state;
    prom_histogram(&p, "s", "Seconds.", &h);
    assert_string_equal(p.text.text, "# HELP s Seconds.\n# TYPE s histogram\n"
                                     "s_bucket{le=\"0.1\"} 0\ns_bucket{le=\"1\"} 0\n"
                                     "s_bucket{le=\"10\"} 0\ns_bucket{le=\"+Inf\"} 0\n"
                                     "s_sum 0\ns_count 0\n");
    prom_done(&p);

    p = (Prom){ 0 };
    prom_histogram_add(&h, 0);
    prom_histogram_add(&h, 0.125);
    prom_histogram_add(&h, 1);
    prom_histogram_add(&h, 10.5);
    prom_histogram_add(&h, 1e6);
    prom_histogram(&p, "s", "Seconds.", &h);
    assert_string_equal(p.text.text, "# HELP s Seconds.\n# TYPE s histogram\n"
                                     "s_bucket{le=\"0.1\"} 1\ns_bucket{le=\"1\"} 3\n"
                                     "s_bucket{le=\"10\"} 3\ns_bucket{le=\"+Inf\"} 5\n"
                                     "s_sum 1000011.625\ns_count 5\n");
    prom_done(&p);
}

/* A text of which something is missing is never taken for the whole. */
static void test_torture(void **state) {
    (void) state;
    torture(n) {
        static const double bounds[] = { 1 };
        PromHistogram h = { .bounds = bounds, .n_bounds = 1 };
        Prom p = { 0 };

        for (int i = 0; i < 40; i++) {
            prom_one(&p, "a", "counter", "A counter.", i);
            prom_histogram(&p, "b", "A histogram.", &h);
        }
        assert_int_equal(p.failed, torture_failed());
        prom_done(&p);
    }
}

static void test_addresses(void **state) {
    static const struct {
        const char *text, *host; /* NULL: none */
        unsigned port;
    } cases[] = {
        { "127.0.0.1:9464", "127.0.0.1", 9464 },
        { "0.0.0.0:0", "0.0.0.0", 0 },
        { "localhost:65535", "localhost", 65535 },
        { "a-b.example_1:080", "a-b.example_1", 80 },
        { "[::]:1", "::", 1 },
        { "[fe80::1%eth0]:9464", "fe80::1%eth0", 9464 },
        { "[::ffff:127.0.0.1]:9464", "::ffff:127.0.0.1", 9464 },
        { "", NULL, 0 },
        { ":", NULL, 0 },
        { ":1", NULL, 0 },
        { "a", NULL, 0 },
        { "a:", NULL, 0 },
        { "a:b", NULL, 0 },
        { "a:-1", NULL, 0 },
        { "a: 1", NULL, 0 },
        { "a:1 ", NULL, 0 },
        { "a:65536", NULL, 0 },
        { "a:99999999999999999999", NULL, 0 },
        { "a:1:2", NULL, 0 },
        { "::1:9464", NULL, 0 },
        { "a b:1", NULL, 0 },
        { "a/b:1", NULL, 0 },
        { "http://a:1", NULL, 0 },
        { "[]:1", NULL, 0 },
        { "[::1]", NULL, 0 },
        { "[::1]1", NULL, 0 },
        { "[::1", NULL, 0 },
        { "[::1:1", NULL, 0 },
        { "[a]:1", NULL, 0 },
        { "[::1]:1]", NULL, 0 },
    };
    char host[STR_HOST_SIZE], text[STR_HOST_SIZE + 8];
    unsigned port;

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        print_message("# %s\n", cases[i].text);
        assert_int_equal(str_split_address(cases[i].text, host, &port), cases[i].host != NULL);
        if (cases[i].host) {
            assert_string_equal(host, cases[i].host);
            assert_int_equal(port, cases[i].port);
        }
    }
    memset(text, 'a', sizeof text);
    (void) strcpy(text + STR_HOST_SIZE - 1, ":1");
    assert_true(str_split_address(text, host, &port));
    assert_int_equal(strlen(host), STR_HOST_SIZE - 1);
    memset(text, 'a', sizeof text);
    (void) strcpy(text + STR_HOST_SIZE, ":1");
    assert_false(str_split_address(text, host, &port));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples), cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_torture), cmocka_unit_test(test_addresses),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
