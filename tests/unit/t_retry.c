/* Back-off and token buckets: bounds, overflow, and waits that are long enough and no longer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <limits.h>

#include "core/retry.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define SEC UINT64_C(1000000)
#define T0 UINT64_C(5000000000)

static void test_delays(void **state) {
    /* clang-format off */
    static const struct {
        uint64_t base, max;
        unsigned n;
        double chance;
        uint64_t delay;
    } cases[] = {
        { 5 * SEC, 600 * SEC, 1, 0.5, 2500000 }, { 5 * SEC, 600 * SEC, 2, 0.5, 5 * SEC },
        { 5 * SEC, 600 * SEC, 3, 0.5, 10 * SEC }, { 5 * SEC, 600 * SEC, 7, 0.5, 160 * SEC },
        { 5 * SEC, 600 * SEC, 8, 0.5, 300 * SEC }, { 5 * SEC, 600 * SEC, 100, 0.5, 300 * SEC },
        { 5 * SEC, 600 * SEC, UINT_MAX, 0.5, 300 * SEC }, { 5 * SEC, 600 * SEC, 8, 0, 0 },
        { 5 * SEC, 600 * SEC, 8, 0.999, 599400000 },
        { 5 * SEC, 5 * SEC, 9, 0.5, 2500000 }, { 9 * SEC, 5 * SEC, 1, 0.5, 2500000 },
        { 9 * SEC, 5 * SEC, 9, 0.5, 2500000 }, { 5 * SEC, 0, 3, 0.5, 0 }, { 0, SEC, 3, 0.5, 0 },
        { 1, UINT64_MAX, 64, 0.5, UINT64_C(1) << 62 },
        { 1, UINT64_MAX, 65, 0.5, UINT64_C(1) << 63 },
        { 3, UINT64_MAX, UINT_MAX, 0.5, UINT64_C(1) << 63 },
        { UINT64_MAX, UINT64_MAX, 2, 0.5, UINT64_C(1) << 63 },
    };
    /* clang-format on */

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        print_message("# case %zu\n", i);
        assert_true(retry_delay_usec(cases[i].base, cases[i].max, cases[i].n, cases[i].chance) ==
                    cases[i].delay);
    }
}

/* Any base, limit, attempt and chance: from 0 to the top of that attempt, and all of that range. */
static void test_bounds(void **state) {
    static const uint64_t usec[] = {
        1, 2, 3, 999, SEC, 5 * SEC, 600 * SEC, UINT64_C(1) << 40, UINT64_C(1) << 52
    };
    static const unsigned attempts[] = { 1, 2, 3, 4, 5, 10, 31, 32, 33, 63, 64, 65, 100, UINT_MAX };
    static const double chances[] = { 0, 0.001, 0.25, 0.5, 0.75, 0.999, 0.999999999 };

    (void) state;
    for (size_t b = 0; b < N(usec); b++)
        for (size_t m = 0; m < N(usec); m++)
            for (size_t n = 0; n < N(attempts); n++) {
                uint64_t last = 0, top = usec[b];

                for (unsigned k = 1; k < attempts[n] && k < 60 && top < usec[m]; k++)
                    top *= 2;
                if (top > usec[m])
                    top = usec[m];
                for (size_t c = 0; c < N(chances); c++) {
                    uint64_t d = retry_delay_usec(usec[b], usec[m], attempts[n], chances[c]);
                    double ideal = (double) top * chances[c];

                    assert_true(d <= top && d >= last);
                    assert_true((double) d > ideal - 1.5 && (double) d < ideal + 1.5);
                    last = d;
                }
                assert_true(retry_delay_usec(usec[b], usec[m], attempts[n], 0) == 0);
            }
}

/* Tokens that can be had at one moment. */
static unsigned drain(Bucket *b, uint64_t now_usec, uint64_t *ret_wait_usec) {
    unsigned n = 0;

    while (bucket_take(b, now_usec, ret_wait_usec))
        assert_true(++n < 10000000);
    return n;
}

static void test_burst(void **state) {
    static const struct {
        unsigned per_minute;
        double share;
        unsigned burst;
    } cases[] = {
        { 600, 1, 50 },   { 600, 0.5, 25 },   { 600, 0.01, 1 }, { 60, 1, 5 },
        { 12, 1, 1 },     { 1, 1, 1 },        { 1, 0.0001, 1 }, { 6, 1, 1 },
        { 3000, 1, 250 }, { 30000, 1, 2500 }, { 24, 1, 2 },     { 1000000, 1, 83333 },
    };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        Bucket b = { 0 };
        uint64_t wait = 0, now = T0;

        print_message("# %u a minute, share %g\n", cases[i].per_minute, cases[i].share);
        bucket_set(&b, cases[i].per_minute, cases[i].share, T0);
        assert_int_equal(drain(&b, T0, &wait), cases[i].burst);
        assert_true(wait > 0);
        /* the time of a burst and a half, and of a million: not more than the burst */
        now += (uint64_t) (1.5 * cases[i].burst / (cases[i].per_minute / 60e6 * cases[i].share));
        assert_int_equal(drain(&b, now, &wait), cases[i].burst);
        now += (now - T0) * 1000000;
        assert_int_equal(drain(&b, now, &wait), cases[i].burst);
    }
}

/* Who waits as long as he is told gets a token; who comes clearly earlier does not. */
static void test_waits(void **state) {
    static const unsigned rates[] = { 1, 6, 7, 59, 60, 600, 601, 2999, 30000, 100000 };
    static const double shares[] = { 1, 0.5, 1.0 / 3, 0.001 };

    (void) state;
    for (size_t r = 0; r < N(rates); r++)
        for (size_t s = 0; s < N(shares); s++) {
            double apart = 60e6 / rates[r] / shares[s];
            Bucket b = { 0 };
            uint64_t now = T0, wait = 0;

            bucket_set(&b, rates[r], shares[s], now);
            drain(&b, now, &wait);
            assert_true((double) wait > 0 && (double) wait < apart + 2);
            for (int i = 0; i < 200; i++) {
                uint64_t early;

                if (wait > 1000) {
                    Bucket copy = b;

                    assert_false(bucket_take(&copy, now + wait / 2, &early));
                    assert_true(early <= wait - wait / 2 + 1 && early + 3 >= wait - wait / 2);
                    assert_false(bucket_take(&copy, now + wait - 3, &early));
                }
                now += wait;
                assert_true(bucket_take(&b, now, &early));
                assert_false(bucket_take(&b, now, &wait));
                assert_true((double) wait < apart + 2);
            }
        }
}

/* Asked every few milliseconds: over any length of time not more than the rate and one burst, and
 * not less than the rate. */
static void test_rate_holds(void **state) {
    Bucket b = { 0 };
    unsigned taken = 0, asked = 0;
    uint64_t now = T0, wait;

    (void) state;
    bucket_set(&b, 600, 0.5, now); /* 5 a second */
    for (; now < T0 + 600 * SEC; asked++) {
        taken += bucket_take(&b, now, &wait);
        now += 1000 + 7919 * (uint64_t) asked % 20000;
        assert_true(taken <= 25 + (now - T0) * 5 / SEC + 1);
    }
    assert_in_range(taken, 3000, 3025);
}

static void test_clock_goes_back(void **state) {
    Bucket b = { 0 };
    uint64_t wait = 0;

    (void) state;
    bucket_set(&b, 60, 1, T0);
    assert_int_equal(drain(&b, T0, &wait), 5);
    assert_int_equal(drain(&b, T0 - 3600 * SEC, &wait), 0);
    assert_in_range(wait, 1, SEC + 1);
    assert_int_equal(drain(&b, 0, &wait), 0);
    assert_int_equal(drain(&b, T0, &wait), 0); /* the way back brings nothing either */
    assert_int_equal(drain(&b, T0 + SEC + 1, &wait), 1);
    bucket_set(&b, 60, 1, 0);
    assert_int_equal(drain(&b, T0 + SEC + 1, &wait), 0);
}

static void test_no_limit(void **state) {
    Bucket b = { 0 };
    uint64_t wait = 77;

    (void) state;
    bucket_set(&b, 0, 1, T0);
    for (int i = 0; i < 100000; i++)
        assert_true(bucket_take(&b, T0, &wait));
    assert_int_equal(wait, 77);
    bucket_set(&b, 60, 1, T0); /* a limit from here on */
    assert_in_range(drain(&b, T0, &wait), 0, 5);
    assert_in_range(wait, 1, SEC + 1);
}

/* Shares change with each worker that comes or goes: that must not bring tokens. */
static void test_set_again(void **state) {
    Bucket b = { 0 };
    uint64_t wait = 0;

    (void) state;
    bucket_set(&b, 600, 1, T0);
    bucket_set(&b, 600, 0.1, T0); /* full, but smaller */
    assert_int_equal(drain(&b, T0, &wait), 5);
    assert_in_range(wait, SEC - 1, SEC + 1);
    for (int i = 0; i < 10; i++) {
        bucket_set(&b, 600, i % 2 ? 0.1 : 1, T0);
        assert_int_equal(drain(&b, T0, &wait), 0);
    }
    bucket_set(&b, 600, 1, T0);
    assert_int_equal(drain(&b, T0, &wait), 0);
    assert_in_range(wait, SEC / 10 - 1, SEC / 10 + 1);
    assert_int_equal(drain(&b, T0 + SEC, &wait), 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delays),     cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_burst),      cmocka_unit_test(test_waits),
        cmocka_unit_test(test_rate_holds), cmocka_unit_test(test_clock_goes_back),
        cmocka_unit_test(test_no_limit),   cmocka_unit_test(test_set_again),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
