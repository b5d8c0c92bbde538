/* How long one answer holds everybody, and who goes first after that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/hold.h"

#define N(array) (sizeof(array) / sizeof *(array))
#define SEC UINT64_C(1000000)
#define NOW (1000 * SEC)

static Fault fault_of(FaultCode code, uint64_t asked_usec) {
    return (Fault){ .code = code, .retry_after_usec = asked_usec };
}

/* Only a 429 is the account's, and is obeyed as told; within an hour. */
static void test_bounds(void **state) {
    static const struct {
        FaultCode code;
        uint64_t asked, held;
    } cases[] = {
        { FAULT_SERVICE_THROTTLED, 30 * SEC, 30 * SEC },
        { FAULT_SERVICE_THROTTLED, 3000 * SEC, 3000 * SEC },
        { FAULT_SERVICE_THROTTLED, UINT64_MAX, 3600 * SEC },
        { FAULT_SERVICE_UNREACHED, 30 * SEC, 30 * SEC },
        { FAULT_SERVICE_UNREACHED, 3600 * SEC, 120 * SEC },
        { FAULT_SERVICE_UNREACHED, UINT64_MAX, 120 * SEC },
        { FAULT_SERVICE_CREDIT, 3600 * SEC, 120 * SEC },
        { FAULT_STORE_UNREACHED, 3600 * SEC, 120 * SEC },
    };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        Fault f = fault_of(cases[i].code, cases[i].asked);
        Hold h = { 0 };

        hold_begin(&h, &f, NOW, 0.5);
        assert_int_equal(h.until_usec - NOW, cases[i].held);
        assert_int_equal(hold_wait_usec(&h, NOW), cases[i].held);
        assert_true(hold_is_on(&h, NOW + cases[i].held - 1));
        assert_false(hold_is_on(&h, NOW + cases[i].held));
    }
}

/* Without a word it grows, and never past a minute. */
static void test_growth(void **state) {
    Fault f = fault_of(FAULT_SERVICE_UNREACHED, 0);
    uint64_t now = NOW, before = 0;
    Hold h = { 0 };

    (void) state;
    for (int i = 0; i < 100; i++) {
        uint64_t held;

        hold_begin(&h, &f, now, 0.999999);
        held = h.until_usec - now;
        assert_true(held > 0 && held <= 60 * SEC && held >= before - before / 1000);
        before = held;
        now = h.until_usec;
    }
    assert_true(before > 59 * SEC);
    hold_end(&h);
    hold_begin(&h, &f, now, 0.999999);
    assert_true(h.until_usec - now <= SEC);
}

/* A hundred answers to what was sent before are one: none of them makes it longer, but a 429. */
static void test_at_once(void **state) {
    Fault f = fault_of(FAULT_SERVICE_UNREACHED, 0),
          told = fault_of(FAULT_SERVICE_UNREACHED, 3600 * SEC),
          account = fault_of(FAULT_SERVICE_THROTTLED, 500 * SEC);
    Hold h = { 0 };
    uint64_t until;

    (void) state;
    hold_begin(&h, &f, NOW, 0.5);
    until = h.until_usec;
    for (int i = 0; i < 100; i++)
        hold_begin(&h, i % 2 ? &f : &told, NOW + (uint64_t) i, 0.5);
    assert_int_equal(h.until_usec, until);
    assert_int_equal(h.count, 1);
    hold_begin(&h, &account, NOW + 1, 0.5);
    assert_int_equal(h.until_usec, NOW + 1 + 500 * SEC);
}

/* One goes first; when it fails the others wait on, when it gives up another one goes, when it succeeds all do. */
static void test_probe(void **state) {
    Fault f = fault_of(FAULT_SERVICE_UNREACHED, 10 * SEC);
    uint64_t now = NOW + 10 * SEC;
    Hold h = { 0 };

    (void) state;
    assert_false(hold_wants_probe(&h));
    hold_begin(&h, &f, NOW, 0.5);
    assert_int_equal(hold_wait_usec(&h, now), 0);
    assert_true(hold_wants_probe(&h));
    hold_probe(&h, now);
    assert_int_equal(hold_wait_usec(&h, now), HOLD_PROBE_USEC);
    hold_probe_over(&h); /* without an answer: its job was cancelled */
    assert_int_equal(hold_wait_usec(&h, now), 0);
    assert_true(hold_wants_probe(&h));
    hold_probe(&h, now);
    hold_begin(&h, &f, now, 0.5); /* it failed */
    assert_int_equal(hold_wait_usec(&h, now), 10 * SEC);
    now += 10 * SEC;
    hold_probe(&h, now);
    assert_int_equal(hold_wait_usec(&h, now + HOLD_PROBE_USEC - 1), 1);
    assert_int_equal(hold_wait_usec(&h, now + HOLD_PROBE_USEC), 0); /* it hangs: another one */
    hold_end(&h);
    assert_false(hold_wants_probe(&h));
    assert_int_equal(hold_wait_usec(&h, now), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_at_once),
        cmocka_unit_test(test_probe),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
