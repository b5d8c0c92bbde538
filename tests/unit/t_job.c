/* The grid: every position a job can reach, under every event, and what must hold there. The whole
 * grid is also compared with tests/unit/grid.txt: one changed cell, one changed line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/job.h"

enum {
    WISHES = 1 << (_JOB_EVENT_MAX - EV_LOST),
    POSITIONS = _JOB_STATE_MAX * _JOB_STATE_MAX * WISHES
};

static bool seen[POSITIONS], ends[POSITIONS];
static JobPos all[POSITIONS];
static int n_all;

static int key(JobPos p) {
    return ((int) p.state * _JOB_STATE_MAX + (int) p.resume) * WISHES + (int) (p.wishes >> EV_LOST);
}

static bool is_closing(JobState s) {
    return s == JOB_COMPLETING || s == JOB_FAILING || s == JOB_CLOSING_CANCELED ||
           s == JOB_REQUEUEING;
}

/* States in which an operation must come to its end before the job may be pulled away. */
static bool is_buying(JobState s) {
    return s == JOB_PREDICTING || s == JOB_RECORDING;
}

static bool has_wish(JobPos p, JobEvent ev) {
    return p.wishes & 1u << ev;
}

static void add(JobPos p) {
    if (!seen[key(p)]) {
        seen[key(p)] = true;
        all[n_all++] = p;
    }
}

static int walk(void **state) {
    /* job_start() begins a job in one of these. */
    static const JobPos starts[] = {
        { .state = JOB_SIGNING },
        { .state = JOB_LOOKING },
        { .state = JOB_POLLING },
        { .state = JOB_FAILING },
        { .state = JOB_STOPPING, .resume = JOB_FAILING },
    };

    (void) state;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        add(starts[i]);
    for (int i = 0; i < n_all; i++)
        for (JobEvent ev = 0; ev < _JOB_EVENT_MAX; ev++) {
            JobPos to = job_transition(all[i], ev);

            if (to.state != JOB_BAD)
                add(to);
        }
    return 0;
}

/* Calls `check` for every move that there is. */
static void each_move(void (*check)(JobPos at, JobEvent ev, JobPos to)) {
    for (int i = 0; i < n_all; i++)
        for (JobEvent ev = 0; ev < _JOB_EVENT_MAX; ev++)
            check(all[i], ev, job_transition(all[i], ev));
}

static void check_wish_answered(JobPos at, JobEvent ev, JobPos to) {
    if (ev >= EV_LOST && at.state != JOB_GONE)
        assert_int_not_equal(to.state, JOB_BAD);
}

static void check_lost(JobPos at, JobEvent ev, JobPos to) {
    if (ev != EV_LOST || at.state == JOB_GONE)
        return;
    assert_int_equal(to.state, is_buying(at.state) ? at.state : JOB_GONE);
}

static void check_no_wish_forgotten(JobPos at, JobEvent ev, JobPos to) {
    (void) ev;
    if (to.state != JOB_BAD && at.wishes & ~to.wishes)
        assert_true(is_closing(to.state) || to.state == JOB_STOPPING || to.state == JOB_GONE);
}

static void check_closing_stands(JobPos at, JobEvent ev, JobPos to) {
    if (at.state == JOB_GONE)
        assert_int_equal(to.state, JOB_BAD);
    if (is_closing(at.state) && ev > EV_LOST)
        assert_int_equal(to.state, at.state);
}

static void check_end(JobPos at, JobEvent ev, JobPos to) {
    if (to.state == JOB_GONE && at.state != JOB_GONE)
        assert_true(ev == EV_LOST || has_wish(at, EV_LOST) || is_closing(at.state));
}

static void check_purchase(JobPos at, JobEvent ev, JobPos to) {
    if (to.state == JOB_PREDICTING && at.state != JOB_PREDICTING) {
        assert_int_equal(at.state, JOB_INTENDING); /* a POST follows an intent of its own */
        assert_int_equal(at.wishes, 0);            /* and nothing is bought while a wish waits */
    }
    if (at.state == JOB_PREDICTING && ev == EV_OK)
        assert_int_equal(to.state, JOB_RECORDING); /* an id is written down */
    if (at.state == JOB_PREDICTING && ev == EV_UNSURE)
        assert_true(to.state == JOB_LOOKING || to.state == JOB_GONE || to.state == JOB_REQUEUEING);
    if (to.state == JOB_RESTING)
        assert_false(is_buying(to.resume));
}

static void check_store(JobPos at, JobEvent ev, JobPos to) {
    (void) ev;
    if (to.state == JOB_COMPLETING)
        assert_true(at.state == JOB_STORING || at.state == JOB_COMPLETING);
}

static void check_resume(JobPos at, JobEvent ev, JobPos to) {
    (void) at;
    (void) ev;
    if (to.state != JOB_BAD)
        assert_true((to.state == JOB_RESTING || to.state == JOB_STOPPING) ==
                    (to.resume != JOB_BAD));
}

#define WALK(name, check)            \
    static void name(void **state) { \
        (void) state;                \
        each_move(check);            \
    }
WALK(every_state_answers_every_wish, check_wish_answered)
WALK(a_lost_lease_ends_a_job_but_where_an_id_may_come, check_lost)
WALK(no_wish_is_forgotten, check_no_wish_forgotten)
WALK(a_closing_job_cannot_be_pulled_away, check_closing_stands)
WALK(only_a_closing_or_a_lost_lease_ends_a_job, check_end)
WALK(every_purchase_has_its_intent_and_its_record, check_purchase)
WALK(nothing_is_completed_before_it_is_stored, check_store)
WALK(resume_is_set_where_it_is_needed, check_resume)

static void many_positions_are_reached(void **state) {
    (void) state;
    assert_in_range(n_all, 80, POSITIONS);
}

static void every_position_leads_to_the_end(void **state) {
    (void) state;
    for (bool more = true; more;) { /* backwards from GONE, until nothing changes */
        more = false;
        for (int i = 0; i < n_all; i++) {
            bool end = all[i].state == JOB_GONE;

            for (JobEvent ev = 0; ev < EV_LOST && !end; ev++) {
                JobPos to = job_transition(all[i], ev);

                end = to.state != JOB_BAD && ends[key(to)];
            }
            if (end && !ends[key(all[i])])
                more = ends[key(all[i])] = true;
        }
    }
    for (int i = 0; i < n_all; i++)
        assert_true(ends[key(all[i])]);
}

/* A story: from a state, events in a row, and where each leads. */
typedef struct Tale {
    const char *what;
    JobState from;
    struct {
        JobEvent ev;
        JobState to, resume;
    } moves[6];
} Tale;

/* clang-format off */
static const Tale tales[] = {
    { "a cancel waits for the purchase, its id is recorded, then it is granted", JOB_PREDICTING,
      { { EV_CANCEL, JOB_PREDICTING, 0 }, { EV_OK, JOB_RECORDING, 0 }, { EV_OK, JOB_STOPPING, JOB_CLOSING_CANCELED },
        { EV_WAIT, JOB_STOPPING, JOB_CLOSING_CANCELED }, { EV_OK, JOB_CLOSING_CANCELED, 0 }, { EV_OK, JOB_GONE, 0 } } },
    { "a cancel is granted when the look finds that nothing was bought", JOB_PREDICTING,
      { { EV_CANCEL, JOB_PREDICTING, 0 }, { EV_UNSURE, JOB_LOOKING, 0 }, { EV_NOT_BOUGHT, JOB_STOPPING, JOB_CLOSING_CANCELED } } },
    { "a time-out cancels, then fails", JOB_POLLING,
      { { EV_EXPIRE, JOB_STOPPING, JOB_FAILING }, { EV_OK, JOB_FAILING, 0 }, { EV_OK, JOB_GONE, 0 } } },
    { "a cancel that came before the closing wins", JOB_COMPLETING,
      { { EV_OVERTAKEN, JOB_STOPPING, JOB_CLOSING_CANCELED }, { EV_OK, JOB_CLOSING_CANCELED, 0 } } },
    { "with the lease lost the id is still recorded", JOB_PREDICTING,
      { { EV_LOST, JOB_PREDICTING, 0 }, { EV_OK, JOB_RECORDING, 0 }, { EV_OK, JOB_GONE, 0 } } },
    { "a stop waits for an upload under way, not for one that must rest", JOB_STORING,
      { { EV_DRAIN, JOB_STORING, 0 }, { EV_WAIT, JOB_REQUEUEING, 0 } } },
    { "after a rest the same thing again", JOB_DOWNLOADING,
      { { EV_WAIT, JOB_RESTING, JOB_DOWNLOADING }, { EV_OK, JOB_DOWNLOADING, 0 } } },
    { "a further step begins with its intent", JOB_POLLING,
      { { EV_STEP, JOB_INTENDING, 0 }, { EV_OK, JOB_PREDICTING, 0 } } },
    { "a stop during a purchase hands the job back once its id is known", JOB_PREDICTING,
      { { EV_DRAIN, JOB_PREDICTING, 0 }, { EV_OK, JOB_RECORDING, 0 }, { EV_OK, JOB_REQUEUEING, 0 }, { EV_OK, JOB_GONE, 0 } } },
};
/* clang-format on */

static void tales_come_true(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof tales / sizeof *tales; i++) {
        JobPos p = { .state = tales[i].from };

        print_message("# %s\n", tales[i].what);
        for (size_t k = 0; k < 6 && tales[i].moves[k].to != JOB_BAD; k++) {
            p = job_transition(p, tales[i].moves[k].ev);
            assert_string_equal(job_state_word(p.state), job_state_word(tales[i].moves[k].to));
            assert_int_equal(p.resume, tales[i].moves[k].resume);
        }
    }
}

static void print_grid(FILE *to) {
    static const char *const events[] = { "ok",        "step",   "bought", "not bought", "taken",
                                          "overtaken", "wait",   "unsure", "retry",      "final",
                                          "lost",      "cancel", "expire", "drain" };

    for (JobState s = JOB_RESUME + 1; s < _JOB_STATE_MAX; s++)
        for (JobEvent ev = 0; ev < _JOB_EVENT_MAX; ev++) {
            bool paused = s == JOB_RESTING || s == JOB_STOPPING;
            JobPos at = { .state = s, .resume = paused ? JOB_FAILING : JOB_BAD };
            JobPos p = job_transition(at, ev);

            fprintf(to, "%-16s %-10s %s%s%s%s\n", job_state_word(s), events[ev],
                    p.state == JOB_BAD ? "-" : job_state_word(p.state), p.resume ? ", then " : "",
                    p.resume ? job_state_word(p.resume) : "", p.wishes ? " (kept)" : "");
        }
}

static void the_grid_is_the_golden_one(void **state) {
    char *text = NULL, golden[32768];
    size_t size = 0, n;
    FILE *memory = open_memstream(&text, &size), *file = fopen("tests/unit/grid.txt", "r");

    (void) state;
    assert_non_null(memory);
    assert_non_null(file);
    print_grid(memory);
    fclose(memory);
    n = fread(golden, 1, sizeof golden - 1, file);
    golden[n] = '\0';
    fclose(file);
    assert_string_equal(text, golden);
    free(text);
}

static void wishes_have_words(void **state) {
    char words[40], few[8];

    (void) state;
    assert_string_equal(job_wish_words((JobPos){ .state = JOB_POLLING }, words, sizeof words),
                        "none");
    assert_string_equal(job_wish_words((JobPos){ .wishes = 1u << EV_DRAIN }, words, sizeof words),
                        "drain");
    assert_string_equal(job_wish_words((JobPos){ .wishes = 0xfu << EV_LOST }, words, sizeof words),
                        "lost, cancel, expire, drain");
    assert_string_equal(job_wish_words((JobPos){ .wishes = 0xfu << EV_LOST }, few, sizeof few),
                        "lost, c");
}

static void every_state_has_a_word(void **state) {
    (void) state;
    for (JobState s = JOB_RESUME + 1; s < _JOB_STATE_MAX; s++)
        assert_string_not_equal(job_state_word(s), "bad");
    assert_string_equal(job_state_word(JOB_BAD), "bad");
    assert_string_equal(job_state_word(_JOB_STATE_MAX), "bad");
    assert_string_equal(job_state_word((JobState) -1), "bad");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_positions_are_reached),
        cmocka_unit_test(every_state_answers_every_wish),
        cmocka_unit_test(a_lost_lease_ends_a_job_but_where_an_id_may_come),
        cmocka_unit_test(no_wish_is_forgotten),
        cmocka_unit_test(a_closing_job_cannot_be_pulled_away),
        cmocka_unit_test(only_a_closing_or_a_lost_lease_ends_a_job),
        cmocka_unit_test(every_purchase_has_its_intent_and_its_record),
        cmocka_unit_test(nothing_is_completed_before_it_is_stored),
        cmocka_unit_test(resume_is_set_where_it_is_needed),
        cmocka_unit_test(every_position_leads_to_the_end),
        cmocka_unit_test(tales_come_true),
        cmocka_unit_test(the_grid_is_the_golden_one),
        cmocka_unit_test(every_state_has_a_word),
        cmocka_unit_test(wishes_have_words),
    };

    if (argc > 1 && strcmp(argv[1], "--print-grid") == 0) {
        (void) argv;
        print_grid(stdout);
        return 0;
    }
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, walk, NULL);
}
