/* Where a claimed job begins, and what an event counts for: its tries, its fault, its step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/job.h"

/* --- where a claimed job begins ------------------------------------------------------------ */

static Step steps[] = { { .name = (char *) "paint" }, { .name = (char *) "sculpt" } };
static Pipeline pipeline = { .n_refs = 1, .name = (char *) "text", .steps = steps, .n_steps = 2 };
#define HOUR PURCHASE_OUTPUT_LIVES_USEC
#define NOW (3 * HOUR)

typedef struct Start {
    const char *what;
    struct {
        const char *step;
        unsigned number;
        PurchaseState state;
        bool finished, usable;
        uint64_t ago;
        char of; /* 'm': was the mesh's step, 'i': another, of a configuration that is known */
    } purchases[4];
    JobState state;
    size_t step;
    unsigned live; /* number of the live purchase, 0: none */
} Start;

/* clang-format off */
static const Start start_cases[] = {
    { "nothing bought yet", { { NULL, 0, 0, 0, 0, 0, 0 } }, JOB_SIGNING, 0, 0 },
    { "an intent", { { "paint", 1, PURCHASE_INTENDED, 0, 0, 0, 0 } }, JOB_LOOKING, 0, 1 },
    { "a known prediction", { { "paint", 1, PURCHASE_BOUGHT, 0, 0, 0, 0 } }, JOB_POLLING, 0, 1 },
    { "an ended purchase", { { "paint", 1, PURCHASE_ENDED, 1, 0, 0, 0 } }, JOB_SIGNING, 0, 0 },
    { "given up, then intended again", { { "paint", 1, PURCHASE_GIVEN_UP, 0, 0, 0, 0 }, { "paint", 2, PURCHASE_INTENDED, 0, 0, 0, 0 } }, JOB_LOOKING, 0, 2 },
    { "the first step is done", { { "paint", 1, PURCHASE_BOUGHT, 1, 1, 1, 0 } }, JOB_SIGNING, 1, 0 },
    { "the first step is done, the second runs", { { "paint", 1, PURCHASE_BOUGHT, 1, 1, 1, 0 }, { "sculpt", 1, PURCHASE_BOUGHT, 0, 0, 0, 0 } }, JOB_POLLING, 1, 1 },
    { "the first step's output is gone, the second still runs", { { "paint", 1, PURCHASE_BOUGHT, 1, 1, HOUR, 0 }, { "sculpt", 1, PURCHASE_BOUGHT, 0, 0, 0, 0 } }, JOB_POLLING, 1, 1 },
    { "the first step's output is gone", { { "paint", 1, PURCHASE_BOUGHT, 1, 1, HOUR, 0 } }, JOB_SIGNING, 0, 0 },
    { "the first step's output is nearly gone", { { "paint", 1, PURCHASE_BOUGHT, 1, 1, HOUR - 1, 0 } }, JOB_SIGNING, 1, 0 },
    { "both are done", { { "paint", 1, PURCHASE_BOUGHT, 1, 1, 1, 0 }, { "sculpt", 1, PURCHASE_BOUGHT, 1, 1, 1, 0 } }, JOB_POLLING, 1, 1 },
    { "the mesh is gone, the image is there", { { "paint", 1, PURCHASE_BOUGHT, 1, 1, 1, 0 }, { "sculpt", 1, PURCHASE_BOUGHT, 1, 1, HOUR, 0 } }, JOB_SIGNING, 1, 0 },
    { "the image is gone, the mesh made of it is there", { { "paint", 1, PURCHASE_BOUGHT, 1, 1, HOUR, 0 }, { "sculpt", 1, PURCHASE_BOUGHT, 1, 1, 1, 0 } }, JOB_POLLING, 1, 1 },
    { "both are gone", { { "paint", 1, PURCHASE_BOUGHT, 1, 1, HOUR, 0 }, { "sculpt", 1, PURCHASE_BOUGHT, 1, 1, HOUR, 0 } }, JOB_SIGNING, 0, 0 },
    { "a step that the pipeline does not have any more", { { "draw", 1, PURCHASE_BOUGHT, 0, 0, 0, 0 } }, JOB_REQUEUEING, 0, 1 },
    { "the same, it is over", { { "draw", 1, PURCHASE_BOUGHT, 1, 1, 1, 'i' } }, JOB_SIGNING, 0, 0 },
    { "the same, it is surplus by now", { { "draw", 1, PURCHASE_SURPLUS, 0, 0, 0, 'i' } }, JOB_SIGNING, 0, 0 },
    { "the same, perhaps bought", { { "draw", 3, PURCHASE_INTENDED, 0, 0, 0, 'i' } }, JOB_REQUEUEING, 0, 3 },
    { "the same, beside the mesh", { { "sculpt", 1, PURCHASE_BOUGHT, 0, 0, 0, 'm' }, { "draw", 2, PURCHASE_BOUGHT, 0, 0, 0, 'i' } }, JOB_REQUEUEING, 0, 2 },
    { "the last step was renamed", { { "carve", 4, PURCHASE_BOUGHT, 0, 0, 0, 'm' } }, JOB_POLLING, 1, 4 },
    { "the same, perhaps bought", { { "carve", 4, PURCHASE_INTENDED, 0, 0, 0, 'm' } }, JOB_LOOKING, 1, 4 },
    { "the same, it is over", { { "carve", 4, PURCHASE_BOUGHT, 1, 1, 1, 'm' } }, JOB_POLLING, 1, 4 },
    { "the same, it failed", { { "carve", 4, PURCHASE_ENDED, 1, 0, 0, 'm' } }, JOB_SIGNING, 0, 0 },
    { "the last step was renamed, and bought again", { { "carve", 4, PURCHASE_GIVEN_UP, 0, 0, 0, 'm' }, { "sculpt", 1, PURCHASE_BOUGHT, 0, 0, 0, 'm' } }, JOB_POLLING, 1, 1 },
    { "the last step was another's name", { { "paint", 1, PURCHASE_BOUGHT, 0, 0, 0, 'm' } }, JOB_POLLING, 1, 1 },
    { "the last step was not the last", { { "sculpt", 1, PURCHASE_BOUGHT, 0, 0, 0, 'i' } }, JOB_REQUEUEING, 0, 1 },
    { "steps that are the same", { { "paint", 1, PURCHASE_BOUGHT, 1, 1, 1, 'i' }, { "sculpt", 1, PURCHASE_BOUGHT, 0, 0, 0, 'm' } }, JOB_POLLING, 1, 1 },
    { "over, and without an output", { { "paint", 1, PURCHASE_BOUGHT, 1, 0, 0, 0 } }, JOB_SIGNING, 0, 0 },
    { "the mesh is over, and without an output", { { "paint", 1, PURCHASE_BOUGHT, 1, 1, 1, 0 }, { "sculpt", 1, PURCHASE_BOUGHT, 1, 0, 1, 0 } }, JOB_SIGNING, 1, 0 },
    { "the newest purchase counts", { { "paint", 2, PURCHASE_ENDED, 1, 0, 0, 0 }, { "paint", 1, PURCHASE_BOUGHT, 0, 0, 0, 0 } }, JOB_SIGNING, 0, 0 },
};
/* clang-format on */

static void a_job_begins_where_its_purchases_say(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof start_cases / sizeof *start_cases; i++) {
        const Start *c = &start_cases[i];
        Job *j = calloc(1, sizeof *j);

        print_message("# %s\n", c->what);
        assert_non_null(j);
        j->pipeline = pipeline_ref(&pipeline);
        for (size_t k = 0; k < 4 && c->purchases[k].step; k++) {
            Purchase p = { .step = strdup(c->purchases[k].step),
                           .number = c->purchases[k].number,
                           .state = c->purchases[k].state,
                           .finished = c->purchases[k].finished,
                           .usable = c->purchases[k].usable,
                           .pipeline = c->purchases[k].of ? strdup("text") : NULL,
                           .is_last = c->purchases[k].of == 'm',
                           .finished_usec = NOW - c->purchases[k].ago,
                           .output = c->purchases[k].usable ? json_string("x") : NULL };

            assert_int_equal(job_add_purchase(j, &p), 0);
        }
        job_start(j, 3, NOW);
        assert_string_equal(job_state_word(j->at.state), job_state_word(c->state));
        assert_int_equal(j->step, c->step);
        assert_int_equal(job_purchase(j) ? job_purchase(j)->number : 0, c->live);
        job_free(j);
    }
}

/* What its row says beside the purchases: a fault of the row, a cancel, the attempts. */
typedef struct RowStart {
    const char *what;
    FaultCode fault; /* that the reading of the row found */
    bool cancel;
    unsigned attempts;  /* of 3 */
    const char *bought; /* the step of a prediction that runs; NULL: nothing was bought */
    JobState state, resume;
    FaultCode then;
} RowStart;

/* clang-format off */
static const RowStart row_starts[] = {
    { "nothing to say", 0, false, 1, NULL, JOB_SIGNING, 0, 0 },
    { "a fault, nothing bought", FAULT_INPUT_INVALID, false, 1, NULL, JOB_FAILING, 0, FAULT_INPUT_INVALID },
    { "a fault, and something runs", FAULT_INPUT_INVALID, false, 1, "paint", JOB_STOPPING, JOB_FAILING, FAULT_INPUT_INVALID },
    { "a cancel, nothing bought", 0, true, 1, NULL, JOB_STOPPING, JOB_CLOSING_CANCELED, 0 },
    { "a cancel, and something runs", 0, true, 1, "paint", JOB_STOPPING, JOB_CLOSING_CANCELED, 0 },
    { "a cancel of a job that fails anyhow", FAULT_TOO_OLD, true, 1, NULL, JOB_FAILING, 0, FAULT_TOO_OLD },
    { "a step that is gone", 0, false, 2, "draw", JOB_REQUEUEING, 0, FAULT_STEP_GONE },
    { "a step that is gone, and the last attempt", 0, false, 3, "draw", JOB_STOPPING, JOB_FAILING, FAULT_STEP_GONE },
    { "a step that is gone, of a job with a fault", FAULT_CRASHED, false, 1, "draw", JOB_STOPPING, JOB_FAILING, FAULT_CRASHED },
};
/* clang-format on */

static void a_job_begins_as_its_row_says(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof row_starts / sizeof *row_starts; i++) {
        const RowStart *c = &row_starts[i];
        Job *j = calloc(1, sizeof *j);

        print_message("# %s\n", c->what);
        assert_non_null(j);
        *j = (Job){ .pipeline = pipeline_ref(&pipeline),
                    .attempts = c->attempts,
                    .cancel_asked = c->cancel,
                    .fault = { .code = c->fault } };
        if (c->bought) {
            Purchase p = { .step = strdup(c->bought), .number = 1, .state = PURCHASE_BOUGHT };

            assert_int_equal(job_add_purchase(j, &p), 0);
        }
        job_start(j, 3, NOW);
        assert_string_equal(job_state_word(j->at.state), job_state_word(c->state));
        assert_int_equal(j->at.resume, c->resume);
        assert_int_equal(j->fault.code, c->then);
        assert_int_equal(j->started_usec, NOW);
        job_free(j);
    }
}

/* --- what an event counts for -------------------------------------------------------------- */

typedef struct Apply {
    const char *what;
    JobPos at;
    unsigned tries, attempts; /* of 3 */
    FaultCode fault;
    bool is_shortage;
    JobEvent ev;
    JobState state, resume; /* from here on: what comes of it */
    JobEvent counts_as;
    unsigned then_tries;
    FaultCode then_fault;
} Apply;

#define AT(s) \
    { .state = JOB_##s }
#define REST(s) \
    { .state = JOB_RESTING, .resume = JOB_##s }
#define STOP(s) \
    { .state = JOB_STOPPING, .resume = JOB_##s }

/* clang-format off */
static const Apply applies[] = {
    { "what goes well ends a fault and its tries", AT(SIGNING), 3, 1, FAULT_STORE_UNREACHED, false, EV_OK, JOB_INTENDING, 0, EV_OK, 0, FAULT_NONE },
    { "a rest is a try", AT(SIGNING), 2, 1, FAULT_STORE_UNREACHED, false, EV_WAIT, JOB_RESTING, JOB_SIGNING, EV_WAIT, 3, FAULT_STORE_UNREACHED },
    { "after it the tries go on", REST(SIGNING), 3, 1, FAULT_STORE_UNREACHED, false, EV_OK, JOB_SIGNING, 0, EV_OK, 3, FAULT_NONE },
    { "a rest too many is another attempt", AT(SIGNING), 6, 1, FAULT_STORE_UNREACHED, false, EV_WAIT, JOB_REQUEUEING, 0, EV_RETRY, 0, FAULT_STORE_UNREACHED },
    { "the same of an intent", AT(INTENDING), 6, 1, FAULT_DATABASE_BUSY, false, EV_WAIT, JOB_REQUEUEING, 0, EV_RETRY, 0, FAULT_DATABASE_BUSY },
    { "the same of a download", AT(DOWNLOADING), 6, 1, FAULT_OUTPUT_UNREACHED, false, EV_WAIT, JOB_REQUEUEING, 0, EV_RETRY, 0, FAULT_OUTPUT_UNREACHED },
    { "the sixth is not too many", AT(DOWNLOADING), 5, 1, FAULT_OUTPUT_UNREACHED, false, EV_WAIT, JOB_RESTING, JOB_DOWNLOADING, EV_WAIT, 6, FAULT_OUTPUT_UNREACHED },
    { "a shortage of ours is not counted", AT(DOWNLOADING), 60, 3, FAULT_SPOOL_FULL, true, EV_WAIT, JOB_RESTING, JOB_DOWNLOADING, EV_WAIT, 61, FAULT_SPOOL_FULL },
    { "a file waits for its store, whatever it takes", AT(STORING), 60, 3, FAULT_STORE_UNREACHED, false, EV_WAIT, JOB_RESTING, JOB_STORING, EV_WAIT, 61, FAULT_STORE_UNREACHED },
    { "a closing waits as long", AT(COMPLETING), 60, 3, FAULT_NONE, false, EV_WAIT, JOB_COMPLETING, 0, EV_WAIT, 61, FAULT_NONE },
    { "polling once more is a try", AT(POLLING), 1, 1, FAULT_SERVICE_UNREACHED, false, EV_WAIT, JOB_POLLING, 0, EV_WAIT, 2, FAULT_SERVICE_UNREACHED },
    { "another attempt may do", AT(POLLING), 0, 2, FAULT_MODEL_BUSY, false, EV_RETRY, JOB_REQUEUEING, 0, EV_RETRY, 0, FAULT_MODEL_BUSY },
    { "of the last attempt it is the end", AT(POLLING), 0, 3, FAULT_MODEL_BUSY, false, EV_RETRY, JOB_FAILING, 0, EV_FINAL, 0, FAULT_MODEL_BUSY },
    { "some faults have fewer attempts", AT(POLLING), 0, 2, FAULT_MODEL_FAILED, false, EV_RETRY, JOB_FAILING, 0, EV_FINAL, 0, FAULT_MODEL_FAILED },
    { "what only waits has no last attempt", AT(INTENDING), 0, 9, FAULT_SERVICE_CREDIT, false, EV_RETRY, JOB_REQUEUEING, 0, EV_RETRY, 0, FAULT_SERVICE_CREDIT },
    { "a rest too many on the last attempt is the end", AT(SIGNING), 6, 3, FAULT_IMAGE_UNSIGNED, false, EV_WAIT, JOB_FAILING, 0, EV_FINAL, 0, FAULT_IMAGE_UNSIGNED },
    { "a shortage of ours ends no job", AT(STORING), 0, 3, FAULT_INTERNAL, true, EV_RETRY, JOB_REQUEUEING, 0, EV_RETRY, 0, FAULT_INTERNAL },
    { "a drain is no fault of the job", AT(POLLING), 2, 1, FAULT_SERVICE_UNREACHED, false, EV_DRAIN, JOB_REQUEUEING, 0, EV_DRAIN, 0, FAULT_NONE },
    { "a cancel leaves the fault", AT(POLLING), 2, 1, FAULT_SERVICE_UNREACHED, false, EV_CANCEL, JOB_STOPPING, JOB_CLOSING_CANCELED, EV_CANCEL, 0, FAULT_SERVICE_UNREACHED },
    { "a time-out is a fault", AT(POLLING), 2, 1, FAULT_NONE, false, EV_EXPIRE, JOB_STOPPING, JOB_FAILING, EV_EXPIRE, 0, FAULT_TIMEOUT },
    { "stopped, it fails of what it was stopped for", STOP(FAILING), 2, 1, FAULT_MODEL_INPUT, false, EV_OK, JOB_FAILING, 0, EV_OK, 0, FAULT_MODEL_INPUT },
    { "what can't be cancelled does not keep it", STOP(CLOSING_CANCELED), 8, 3, FAULT_NONE, false, EV_FINAL, JOB_CLOSING_CANCELED, 0, EV_FINAL, 0, FAULT_NONE },
    { "a cancel is tried again", STOP(CLOSING_CANCELED), 2, 3, FAULT_NONE, false, EV_WAIT, JOB_STOPPING, JOB_CLOSING_CANCELED, EV_WAIT, 3, FAULT_NONE },
    { "a cancel that came first ends a fault", AT(COMPLETING), 2, 1, FAULT_DATABASE_BUSY, false, EV_OVERTAKEN, JOB_STOPPING, JOB_CLOSING_CANCELED, EV_OVERTAKEN, 0, FAULT_NONE },
    { "the database refuses the failure: it goes back with it", AT(FAILING), 0, 3, FAULT_MODEL_BUSY, false, EV_FINAL, JOB_REQUEUEING, 0, EV_FINAL, 0, FAULT_MODEL_BUSY },
};
/* clang-format on */

static void an_event_counts_for_what_it_is(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof applies / sizeof *applies; i++) {
        const Apply *c = &applies[i];
        Job j = { .at = c->at,
                  .pipeline = &pipeline,
                  .tries = c->tries,
                  .attempts = c->attempts,
                  .fault = { .code = c->fault },
                  .is_shortage = c->is_shortage };
        JobMove m;

        print_message("# %s\n", c->what);
        m = job_apply(&j, c->ev, 3);
        assert_string_equal(job_state_word(j.at.state), job_state_word(c->state));
        assert_int_equal(j.at.resume, c->resume);
        assert_int_equal(m.from.state, c->at.state);
        assert_int_equal(m.ev, c->counts_as);
        assert_false(m.is_kept || m.is_bug || j.is_shortage);
        assert_int_equal(j.tries, c->then_tries);
        assert_int_equal(j.fault.code, c->then_fault);
    }
}

static void a_wish_that_waits_changes_nothing_else(void **state) {
    Job j = { .at = AT(RECORDING), .tries = 2, .fault = { .code = FAULT_DATABASE_BUSY } };

    (void) state;
    assert_true(job_apply(&j, EV_CANCEL, 3).is_kept);
    assert_int_equal(j.at.state, JOB_RECORDING);
    assert_int_equal(j.tries, 2);
    assert_int_equal(j.fault.code, FAULT_DATABASE_BUSY);
    assert_true(job_has_wish(&j, EV_CANCEL));
    job_wish(&j, EV_LOST); /* comes first, though it was told last */
    assert_true(job_has_wish(&j, EV_LOST));
    assert_false(job_apply(&j, EV_OK, 3).is_kept);
    assert_int_equal(j.at.state, JOB_GONE);
}

static void no_way_out_is_a_bug_and_leads_back(void **state) {
    Job j = { .at = AT(VALIDATING), .tries = 1, .attempts = 1 };
    JobMove m = job_apply(&j, EV_UNSURE, 3);

    (void) state;
    assert_true(m.is_bug);
    assert_int_equal(j.at.state, JOB_REQUEUEING);
    assert_int_equal(j.fault.code, FAULT_INTERNAL);
    assert_int_equal(j.tries, 0);
}

static void a_step_that_is_done_leads_to_the_next(void **state) {
    Job j = { .at = AT(POLLING), .pipeline = &pipeline, .has_purchase = true };

    (void) state;
    j.image_url = strdup("an image");
    (void) job_apply(&j, EV_STEP, 3);
    assert_int_equal(j.at.state, JOB_INTENDING);
    assert_int_equal(j.step, 1);
    assert_false(j.has_purchase);
    assert_null(j.image_url);
}

static void attempts_are_counted_by_fault(void **state) {
    (void) state;
    for (FaultCode code = FAULT_NONE; code < _FAULT_MAX; code++)
        for (unsigned attempts = 1; attempts < 6; attempts++) {
            Job j = { .attempts = attempts, .fault = { .code = code } };
            /* what costs each time, and will hardly end otherwise */
            bool twice = code == FAULT_MODEL_FAILED || code == FAULT_MODEL_TIMEOUT;

            assert_int_equal(job_is_last_attempt(&j, 3),
                             fault_info(code)->verdict == VERDICT_RETRY &&
                                 attempts >= (twice ? 2 : 3));
        }
}

/* A mesh was given up that took long to look for; what its step needs may be gone by now. */
static void a_step_back_leads_behind_what_is_there(void **state) {
    static const char *const names[] = { "draw", "paint", "sculpt" };
    Step of[3] = { 0 };
    Pipeline three = { .n_refs = 1, .steps = of, .n_steps = 3 };
    static const struct {
        uint64_t ago[2]; /* since draw and paint succeeded */
        size_t step;
    } cases[] = { { { 1, 1 }, 2 }, { { HOUR, 1 }, 2 }, { { 1, HOUR }, 1 }, { { HOUR, HOUR }, 0 } };

    (void) state;
    for (size_t i = 0; i < 3; i++)
        of[i].name = (char *) names[i];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Job *j = calloc(1, sizeof *j);
        Purchase lost = { .key = "9", .number = 1, .state = PURCHASE_INTENDED };

        assert_non_null(j);
        j->pipeline = pipeline_ref(&three);
        for (size_t k = 0; k < 2; k++) {
            Purchase p = { .step = strdup(names[k]),
                           .number = 1,
                           .state = PURCHASE_BOUGHT,
                           .finished = true,
                           .usable = true,
                           .finished_usec = NOW - cases[i].ago[k],
                           .output = json_string("x") };

            assert_int_equal(job_add_purchase(j, &p), 0);
        }
        lost.step = strdup("sculpt");
        assert_int_equal(job_add_purchase(j, &lost), 0);
        job_start(j, 3, NOW);
        assert_int_equal(j->at.state, JOB_LOOKING);
        assert_int_equal(j->step, 2);
        j->image_url = strdup("an old one");
        job_previous_step(j, NOW);
        assert_int_equal(j->step, cases[i].step);
        assert_null(job_purchase(j));
        assert_null(j->image_url);
        job_use_purchase(j, &j->purchases[2]); /* it had been bought after all */
        assert_int_equal(j->step, 2);
        assert_string_equal(job_purchase(j)->key, "9");
        job_free(j);
    }
}

static void a_number_is_never_given_twice(void **state) {
    static const unsigned numbers[] = { 2, 7, 3 };
    Job *j = calloc(1, sizeof *j);

    (void) state;
    assert_non_null(j);
    j->pipeline = pipeline_ref(&pipeline);
    assert_int_equal(job_next_number(j), 1);
    for (size_t i = 0; i < 3; i++) {
        Purchase p = { .step = strdup("paint"), .number = numbers[i], .state = PURCHASE_ENDED };
        Purchase other = { .step = strdup("sculpt"), .number = 90, .state = PURCHASE_GIVEN_UP };

        assert_int_equal(job_add_purchase(j, &p), 0);
        assert_int_equal(job_add_purchase(j, &other), 0);
    }
    assert_int_equal(job_next_number(j), 8);
    assert_int_equal(job_given_up(j), 0);
    job_next_step(j);
    assert_int_equal(job_next_number(j), 91);
    assert_int_equal(job_given_up(j), 3);
    job_free(j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_begins_where_its_purchases_say),
        cmocka_unit_test(a_job_begins_as_its_row_says),
        cmocka_unit_test(an_event_counts_for_what_it_is),
        cmocka_unit_test(a_wish_that_waits_changes_nothing_else),
        cmocka_unit_test(no_way_out_is_a_bug_and_leads_back),
        cmocka_unit_test(a_step_that_is_done_leads_to_the_next),
        cmocka_unit_test(attempts_are_counted_by_fault),
        cmocka_unit_test(a_step_back_leads_behind_what_is_there),
        cmocka_unit_test(a_number_is_never_given_twice),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
