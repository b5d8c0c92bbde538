/* The one clock that durations are counted on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/str.h"

/* A worker on a machine that was booted just now takes up what another did an hour ago. */
static void test_what_was_before_the_boot(void **state) {
    (void) state;
    assert_true(clock_now_usec() > UINT64_C(30) * 24 * 3600 * USEC_PER_SEC);
}

static void test_it_goes_on(void **state) {
    uint64_t last = clock_now_usec();

    (void) state;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_now_usec();

        assert_true(now >= last && now - last < 60 * USEC_PER_SEC);
        last = now;
    }
}

static void test_chance(void **state) {
    double least = 1, most = 0;

    (void) state;
    for (int i = 0; i < 1000; i++) {
        double x = clock_chance();

        assert_true(x >= 0 && x < 1);
        least = x < least ? x : least;
        most = x > most ? x : most;
    }
    assert_true(least < 0.1 && most > 0.9);
}

static void test_keys(void **state) {
    char before[STR_UUID_SIZE], key[STR_UUID_SIZE];

    (void) state;
    assert_int_equal(clock_key(before), 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(clock_key(key), 0);
        assert_true(str_is_uuid(key) && strcmp(key, before) != 0);
        assert_true(strncmp(key, before, 8) >= 0); /* later by a minute, or not */
        memcpy(before, key, sizeof before);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_before_the_boot),
        cmocka_unit_test(test_it_goes_on),
        cmocka_unit_test(test_chance),
        cmocka_unit_test(test_keys),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
