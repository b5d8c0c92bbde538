/* Calls aside of the loop: each is made and ends once, however quick its thread and however many wait. */
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/aside.h"

#define CALLS 5000
#define DEADLINE_USEC (60 * UINT64_C(1000000))

typedef struct Made {
    atomic_uint worked;
    unsigned ended;
    sem_t *gate; /* NULL: the call is over at once */
} Made;

static unsigned all_ended;

static void work(void *arg) {
    Made *m = arg;

    if (m->gate)
        (void) sem_wait(m->gate);
    m->worked++;
}

static void done(void *arg) {
    Made *m = arg;

    m->ended++;
    all_ended++;
}

static int too_late(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    (void) userdata;
    fail_msg("%u calls have ended", all_ended);
    return 0;
}

static void run_until(sd_event *event, unsigned ended) {
    while (all_ended < ended)
        assert_true(sd_event_run(event, UINT64_MAX) >= 0);
}

static sd_event *new_loop(void) {
    sd_event *event = NULL;

    assert_true(sd_event_new(&event) >= 0);
    assert_true(sd_event_add_time_relative(event, NULL, CLOCK_MONOTONIC, DEADLINE_USEC, 0, too_late,
                                           NULL) >= 0);
    all_ended = 0;
    return event;
}

/* A thread may be over before the loop has written down that it began. */
static void test_quick_ones(void **state) {
    static Made made[CALLS];
    sd_event *event = new_loop();
    Aside *a = NULL;

    (void) state;
    assert_int_equal(aside_new(&a, event, 4), 0);
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(aside_start(a, work, done, &made[i]), 0);
    run_until(event, CALLS);
    for (int i = 0; i < CALLS; i++) {
        assert_int_equal(made[i].worked, 1);
        assert_int_equal(made[i].ended, 1);
    }
    aside_free(a);
    sd_event_unref(event);
}

/* Behind threads that hang, a call that nobody wants ends at once, and is not made. */
static void test_dropped(void **state) {
    sem_t gate;
    Made made[4] = { { .gate = &gate }, { 0 }, { 0 }, { 0 } };
    sd_event *event = new_loop();
    Aside *a = NULL;

    (void) state;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    assert_int_equal(aside_new(&a, event, 1), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(aside_start(a, work, done, &made[i]), 0);
    aside_drop(a, &made[0]); /* under way: it goes on */
    aside_drop(a, &made[2]);
    assert_int_equal(all_ended, 1);
    assert_int_equal(made[2].ended, 1);
    (void) sem_post(&gate);
    run_until(event, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(made[i].worked, i != 2);
        assert_int_equal(made[i].ended, 1);
    }
    aside_free(a);
    sd_event_unref(event);
    (void) sem_destroy(&gate);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quick_ones),
        cmocka_unit_test(test_dropped),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("aside", tests, NULL, NULL);
}
