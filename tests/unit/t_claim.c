/* Rows of the queue as jobs: good ones, bad ones, and where each begins. */
#include "fixtures.h"
#include "torture.h"

static void test_asks(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    DbRequest r;
    Job a = { .id = JOB_ID }, b = { .id = USER_ID };
    Job *const known[] = { &a, &b };

    (void) state;
    assert_int_equal(claim_ask(c, "w-1", 7, true, &r), 0);
    assert_string_equal(r.params[0], "w-1");
    assert_string_equal(r.params[1], "7");
    assert_int_equal(atoi(r.params[2]), c->max_jobs_per_user);
    assert_string_equal(r.params[3], "t");
    assert_int_equal(r.n_params, 4);
    db_request_done(&r);
    assert_int_equal(claim_ask_compare("w-1", known, 2, &r), 0);
    assert_string_equal(r.params[1], "{" JOB_ID "," USER_ID "}");
    db_request_done(&r);
    assert_int_equal(claim_ask_compare("w-1", NULL, 0, &r), 0);
    assert_string_equal(r.params[1], "{}");
    db_request_done(&r);
}

static void test_asks_without_memory(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    Job a = { .id = JOB_ID }, b = { .id = USER_ID };
    Job *const known[] = { &a, &b };

    (void) state;
    for (int which = 0; which < 2; which++)
        torture(n) {
            DbRequest r;
            int e = which == 0 ? claim_ask(c, "w-1", 7, false, &r)
                               : claim_ask_compare("w-1", known, 2, &r);

            assert_int_equal(e, torture_failed() ? -ENOMEM : 0);
            if (e == 0) {
                assert_string_equal(r.params[0], "w-1");
                db_request_done(&r);
            }
        }
}

static void test_queue(void **state) {
    ClaimedRow row = claimed_row;
    PGresult *res = claim_of(&row);

    (void) state;
    assert_true(claim_next_usec(res) == UINT64_MAX);
    assert_false(claim_misses(res, JOB_ID));
    PQclear(res);
    row.next = "1500000";
    row.missing = "{" JOB_ID "}";
    res = claim_of(&row);
    assert_true(claim_next_usec(res) == 1500000);
    assert_true(claim_misses(res, JOB_ID));
    assert_false(claim_misses(res, USER_ID));
    assert_false(claim_is_gone(res, JOB_ID));
    PQclear(res);
    row.gone = "{" JOB_ID "}";
    res = claim_of(&row);
    assert_true(claim_is_gone(res, JOB_ID));
    assert_false(claim_is_gone(res, USER_ID));
    PQclear(res);
    res = answer_of("another shape");
    assert_true(claim_next_usec(res) == UINT64_MAX);
    assert_false(claim_misses(res, JOB_ID));
    PQclear(res);
    assert_true(claim_next_usec(NULL) == UINT64_MAX);
}

static void test_a_good_row(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    ClaimedRow row = claimed_row;
    _cleanup_(job_freep) Job *j = NULL;

    (void) state;
    row.attempts = "3";
    row.worked = "5000000";
    j = job_of(c, &row);
    assert_string_equal(j->id, JOB_ID);
    assert_string_equal(j->user_id, USER_ID);
    assert_string_equal(j->project_id, PROJECT_ID);
    assert_string_equal(j->asset_id, ASSET_ID);
    assert_string_equal(j->prompt, "a chair");
    assert_null(j->image);
    assert_int_equal(j->attempts, 3);
    assert_int_equal(j->worked_usec, 5000000);
    assert_int_equal(j->age_usec, 1000000);
    assert_int_equal(j->claimed_usec, NOW);
    assert_false(j->cancel_asked);
    assert_ptr_equal(j->pipeline, c->text);
    assert_int_equal(j->at.state, JOB_SIGNING);
    assert_string_equal(j->log.job_id, JOB_ID);
    job_free(j);
    row.cancel = "t"; /* it does not even begin */
    j = job_of(c, &row);
    assert_true(j->cancel_asked);
    assert_int_equal(j->at.state, JOB_STOPPING);
    assert_int_equal(j->at.resume, JOB_CLOSING_CANCELED);
}

/* Each is what input_data may hold, and the fault it is; FAULT_NONE: it can be worked on. */
/* A job ends with the pipeline that it began with, whatever becomes of the configuration. */
static void test_outlives_its_config(void **state) {
    Config *c = good(&nothing, GOOD);
    ClaimedRow row = claimed_row;
    Job *j = job_of(c, &row);
    char step[64];

    (void) state;
    (void) snprintf(step, sizeof step, "%s", c->text->steps[0].name);
    config_free(c);
    assert_string_equal(j->pipeline->name, "text");
    assert_string_equal(j->pipeline->steps[0].name, step);
    job_free(j);
}

static void test_inputs(void **state) {
    static const struct {
        const char *input;
        FaultCode fault;
        const char *prompt, *image;
    } cases[] = {
        { "{\"prompt\":\"x\"}", FAULT_NONE, "x", NULL },
        { "{\"prompt\":\"x\",\"input_image_url\":null}", FAULT_NONE, "x", NULL },
        { "{\"prompt\":\"x\",\"input_image_url\":\"\"}", FAULT_NONE, "x", NULL },
        { "{\"prompt\":null,\"input_image_url\":\"u/p.png\"}", FAULT_NONE, NULL, "u/p.png" },
        { "{\"prompt\":\"x\",\"more\":[1,{}]}", FAULT_NONE, "x", NULL },
        { "{\"prompt\":\"x\\u0000y\"}", FAULT_NONE, "x", NULL },
        { "{\"prompt\":\"\"}", FAULT_PROMPT_MISSING, NULL, NULL },
        { "{\"prompt\":\" \\t\\n\"}", FAULT_PROMPT_MISSING, NULL, NULL },
        { "{\"prompt\":\"\\u3000\\u00a0\\u200b\\ufeff\",\"input_image_url\":\" \"}",
          FAULT_PROMPT_MISSING, NULL, NULL },
        { "{\"prompt\":\"\\u2003\",\"input_image_url\":\"u/p.png\"}", FAULT_NONE, NULL, "u/p.png" },
        { "{}", FAULT_PROMPT_MISSING, NULL, NULL },
        { "{\"prompt\":5}", FAULT_INPUT_INVALID, NULL, NULL },
        { "{\"prompt\":\"x\",\"input_image_url\":{}}", FAULT_INPUT_INVALID, "x", NULL },
        { "[]", FAULT_INPUT_INVALID, NULL, NULL },
        { "null", FAULT_INPUT_INVALID, NULL, NULL },
        { "\"x\"", FAULT_INPUT_INVALID, NULL, NULL },
        { "{", FAULT_INPUT_INVALID, NULL, NULL },
        { "", FAULT_INPUT_INVALID, NULL, NULL },
        { NULL, FAULT_INPUT_INVALID, NULL, NULL },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ClaimedRow row = claimed_row;
        _cleanup_(job_freep) Job *j = NULL;

        row.input = cases[i].input;
        j = job_of(c, &row);
        print_message("# %s\n", row.input ? row.input : "NULL");
        assert_int_equal(j->fault.code, cases[i].fault);
        assert_int_equal(j->at.state, cases[i].fault ? JOB_FAILING : JOB_SIGNING);
        if (cases[i].prompt)
            assert_string_equal(j->prompt, cases[i].prompt);
        else
            assert_null(j->prompt);
        if (cases[i].image)
            assert_string_equal(j->image, cases[i].image);
        else
            assert_null(j->image);
        assert_ptr_equal(j->pipeline, cases[i].image ? c->image : c->text);
    }
}

/* The database did not answer the input, as it is too large. */
static void test_too_large(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    ClaimedRow row = claimed_row;
    PGresult *res;
    Job *j = NULL;

    (void) state;
    row.input = NULL;
    res = claim_of(&row);
    assert_int_equal(claim_read(res, 1, c, NOW, &j), 0);
    assert_int_equal(j->fault.code, FAULT_INPUT_INVALID);
    j = job_free(j);
    assert_true(PQsetvalue(res, 1, 12, (char *) "1048576", 7)); /* next_usec */
    assert_int_equal(claim_read(res, 1, c, NOW, &j), 0);
    assert_int_equal(j->fault.code, FAULT_INPUT_TOO_LARGE);
    assert_non_null(strstr(j->fault.detail, "1048576 bytes"));
    assert_int_equal(j->at.state, JOB_FAILING);
    j = job_free(j);
    PQclear(res);
}

static void test_not_worth_a_purchase(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    ClaimedRow none = claimed_row, others = claimed_row, ownerless = claimed_row,
               nobody = claimed_row, homeless = claimed_row, crashing = claimed_row;
    const struct {
        const ClaimedRow *row;
        FaultCode fault;
    } cases[] = {
        { &none, FAULT_ASSET_MISSING },      { &others, FAULT_ASSET_MISSING },
        { &ownerless, FAULT_ASSET_MISSING }, { &nobody, FAULT_ASSET_MISSING },
        { &homeless, FAULT_ASSET_MISSING },  { &crashing, FAULT_CRASHED },
    };

    (void) state;
    none.asset = none.owner = NULL;
    others.owner = PROJECT_ID;
    ownerless.owner = NULL;
    nobody.user = NULL;
    homeless.project = NULL;
    crashing.crashes = "5";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_(job_freep) Job *j = job_of(c, cases[i].row);

        assert_int_equal(j->fault.code, cases[i].fault);
        assert_int_equal(j->at.state, JOB_FAILING);
    }
}

static void test_too_old(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    ClaimedRow row = claimed_row;
    Job *j;

    (void) state;
    c->max_age_usec = 2 * SEC;
    row.age = "3000000";
    j = job_of(c, &row);
    assert_int_equal(j->fault.code, FAULT_TOO_OLD);
    job_free(j);
    row.purchases = "[" PURCHASE("paint", 1, "bought", "\"" PREDICTION "\"", "") "]";
    j = job_of(c, &row); /* what is paid for is not thrown away */
    assert_int_equal(j->fault.code, FAULT_NONE);
    job_free(j);
    row.purchases = "[" PURCHASE("paint", 1, "ended", "null", "") "]";
    j = job_of(c, &row); /* refused, or never sent */
    assert_int_equal(j->fault.code, FAULT_TOO_OLD);
    job_free(j);
    c->max_age_usec = 0;
    row.purchases = "[]";
    row.age = "900000000000000";
    j = job_of(c, &row);
    assert_int_equal(j->fault.code, FAULT_NONE);
    job_free(j);
}

#define BOUGHT "\"" PREDICTION "\""
#define DONE(output) \
    ",\"finished\":true,\"finished_age_usec\":1000000,\"status\":\"succeeded\",\"output\":" output

/* Purchases, and where the job goes on. */
static void test_where_it_begins(void **state) {
    static const struct {
        const char *purchases;
        JobState state;
        size_t step;
        bool live;
    } cases[] = {
        { "[]", JOB_SIGNING, 0, false },
        { "[" PURCHASE("paint", 1, "intended", "null", "") "]", JOB_LOOKING, 0, true },
        { "[" PURCHASE("paint", 1, "bought", BOUGHT, "") "]", JOB_POLLING, 0, true },
        { "[" PURCHASE("paint", 1, "given_up", "null", "") "]", JOB_SIGNING, 0, false },
        { "[" PURCHASE("paint", 1, "ended", "null", "") "]", JOB_SIGNING, 0, false },
        { "[" PURCHASE("paint", 1, "surplus", BOUGHT, "") "]", JOB_SIGNING, 0, false },
        /* the newest counts, not the last in the list */
        { "[" PURCHASE("paint", 2, "bought", BOUGHT, "") "," PURCHASE("paint", 1, "given_up",
                                                                      "null", "") "]",
          JOB_POLLING, 0, true },
        /* a step that is done leads to the next */
        { "[" PURCHASE("paint", 1, "bought", BOUGHT, DONE("[\"https://x/1.png\"]")) "]",
          JOB_SIGNING, 1, false },
        { "[" PURCHASE("paint", 1, "bought", BOUGHT, DONE("[\"https://x/1.png\"]")) "," PURCHASE(
              "sculpt", 2, "intended", "null", "") "]",
          JOB_LOOKING, 1, true },
        /* it may have been bought though what it was made of is gone: that is found out first */
        { "[" PURCHASE(
              "paint", 1, "bought", BOUGHT,
              ",\"finished\":true,\"finished_age_usec\":3700000000,\"status\":\"succeeded\","
              "\"output\":[\"https://x/1.png\"]") "," PURCHASE("sculpt", 2, "intended", "null",
                                                               "") "]",
          JOB_LOOKING, 1, true },
        /* a later step's running prediction needs nothing of the one before */
        { "[" PURCHASE("sculpt", 2, "bought", BOUGHT, "") "]", JOB_POLLING, 1, true },
        /* finished without a usable output: bought again */
        { "[" PURCHASE("paint", 1, "bought", BOUGHT,
                       ",\"finished\":true,\"finished_age_usec\":1,\"status\":\"failed\"") "]",
          JOB_SIGNING, 0, false },
        /* its output is gone from the file host */
        { "[" PURCHASE(
              "paint", 1, "bought", BOUGHT,
              ",\"finished\":true,\"finished_age_usec\":3700000000,\"status\":\"succeeded\","
              "\"output\":[\"https://x/1.png\"]") "]",
          JOB_SIGNING, 0, false },
        /* a step of another pipeline, before the configuration was changed */
        { "[" PURCHASE("older", 1, "bought", BOUGHT, "") "]", JOB_REQUEUEING, 0, true },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ClaimedRow row = claimed_row;
        _cleanup_(job_freep) Job *j = NULL;

        row.purchases = cases[i].purchases;
        print_message("# %s\n", row.purchases);
        j = job_of(c, &row);
        assert_int_equal(j->at.state, cases[i].state);
        assert_int_equal(j->step, cases[i].step);
        assert_int_equal(j->has_purchase, cases[i].live);
        if (j->has_purchase && strstr(cases[i].purchases, "intended"))
            assert_true(job_purchase(j)->give_up_usec == NOW + 100 * SEC);
    }
}

/* A fault with something bought: that is cancelled first. */
static void test_fault_with_a_purchase(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    ClaimedRow row = claimed_row;
    _cleanup_(job_freep) Job *j = NULL;

    (void) state;
    row.owner = NULL;
    row.purchases = "[" PURCHASE("paint", 1, "bought", BOUGHT, "") "]";
    j = job_of(c, &row);
    assert_int_equal(j->at.state, JOB_STOPPING);
    assert_int_equal(j->at.resume, JOB_FAILING);
}

/* Purchases that can't be read, changed by hand: nothing is bought any more, the job ends. */
static void test_unreadable_purchases(void **state) {
    static const char *const purchases[] = {
        NULL,
        "",
        "{}",
        "[1]",
        "[{}]",
        "[{\"key\":\"" KEY "\",\"step\":\"paint\",\"purchase\":1,\"state\":\"x\"}]",
        "[{\"id\":1,\"step\":\"paint\",\"purchase\":1,\"state\":\"intended\"}]",
        "[{\"key\":\"x" KEY "\",\"step\":\"paint\",\"purchase\":1,\"state\":\"intended\"}]",
        "[{\"key\":\"" KEY "\",\"step\":7,\"purchase\":1,\"state\":\"intended\"}]",
        "[" PURCHASE("paint", 1, "bought", "null", "") "]",
        "[" PURCHASE("paint", 1, "bought", "\"../account\"", "") "]",
        "[{\"key\":\"" KEY "\",\"step\":\"paint\",\"purchase\":-1,\"state\":\"intended\"}]",
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    ClaimedRow row = claimed_row;
    Job *j;

    (void) state;
    for (size_t i = 0; i < sizeof purchases / sizeof *purchases; i++) {
        row.purchases = purchases[i];
        print_message("# %s\n", purchases[i] ? purchases[i] : "NULL");
        j = job_of(c, &row);
        assert_int_equal(j->fault.code, FAULT_PURCHASE_UNKNOWN);
        assert_int_equal(j->at.state, JOB_FAILING);
        j = job_free(j);
    }
    /* what can be read is cancelled first */
    row.purchases = "[{},7," PURCHASE("paint", 2, "bought", BOUGHT, "") "]";
    j = job_of(c, &row);
    assert_int_equal(j->fault.code, FAULT_PURCHASE_UNKNOWN);
    assert_int_equal(j->at.state, JOB_STOPPING);
    assert_int_equal(j->at.resume, JOB_FAILING);
    assert_string_equal(job_purchase(j)->prediction_id, PREDICTION);
    j = job_free(j);
}

static void test_unreadable_rows(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    ClaimedRow row = claimed_row;
    PGresult *res;
    Job *j = NULL;

    (void) state;
    row.job = "no uuid";
    res = claim_of(&row);
    assert_int_equal(claim_read(res, 1, c, NOW, &j), -EBADMSG);
    assert_int_equal(claim_read(res, 2, c, NOW, &j), -EBADMSG);
    assert_int_equal(claim_read(res, 0, c, NOW, &j), -EBADMSG);
    PQclear(res);
    res = answer_of("x");
    assert_int_equal(claim_read(res, 1, c, NOW, &j), -EBADMSG);
    PQclear(res);
    assert_null(j);
}

/* A prediction for a step that is not there any more: the job goes back without it, as an attempt. */
static void test_step_gone(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    ClaimedRow row = claimed_row;
    Job *j;

    (void) state;
    row.purchases = "[" PURCHASE("draw", 3, "bought", BOUGHT, OF(f, "null")) "]";
    j = job_of(c, &row);
    assert_int_equal(j->fault.code, FAULT_STEP_GONE);
    assert_int_equal(j->at.state, JOB_REQUEUEING);
    j = job_free(j);
    row.attempts = "5"; /* the last one: it is cancelled, and the job fails */
    j = job_of(c, &row);
    assert_int_equal(j->fault.code, FAULT_STEP_GONE);
    assert_int_equal(j->at.state, JOB_STOPPING);
    assert_int_equal(j->at.resume, JOB_FAILING);
    assert_string_equal(job_purchase(j)->prediction_id, PREDICTION);
    j = job_free(j);
    row.purchases = "[" PURCHASE("draw", 3, "bought", BOUGHT, OF(t, "\"/mesh\"")) "]";
    j = job_of(c, &row); /* it is the mesh */
    assert_int_equal(j->fault.code, FAULT_NONE);
    assert_int_equal(j->at.state, JOB_POLLING);
    assert_string_equal(job_purchase(j)->pipeline, "text");
    assert_string_equal(job_purchase(j)->pointer, "/mesh");
    j = job_free(j);
}

/* Numbers that no clock and no sequence gives. */
static void test_numbers(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    ClaimedRow row = claimed_row;
    Job *j = NULL;

    (void) state;
    row.purchases =
        "[{\"key\":\"" KEY "\",\"step\":\"paint\",\"purchase\":1,\"state\":\"intended\","
        "\"intent_age_usec\":-5,\"give_up_in_usec\":1e300,\"x\":18446744073709551615}]";
    j = job_of(c, &row);
    assert_true(job_purchase(j)->intent_usec == NOW);
    assert_true(job_purchase(j)->give_up_usec == NOW);
    assert_string_equal(job_purchase(j)->key, KEY);
    assert_string_equal(job_purchase(j)->buyer, "");
    j = job_free(j);
}

/* A success counts as one only while the purchase is still ours. */
static void test_usable(void **state) {
    static const char *const others[] = { "ended", "surplus" };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    ClaimedRow row = claimed_row;
    char purchases[512];

    (void) state;
    for (size_t i = 0; i < 2; i++) {
        _cleanup_(job_freep) Job *j = NULL;

        (void) snprintf(purchases, sizeof purchases,
                        "[" PURCHASE("paint", 1, "%s", BOUGHT, DONE("[]")) "]", others[i]);
        row.purchases = purchases;
        j = job_of(c, &row);
        assert_true(j->purchases[0].finished);
        assert_true(j->purchases[0].succeeded);
        assert_false(j->purchases[0].usable);
    }
}

static void test_no_memory(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    ClaimedRow row = claimed_row;
    PGresult *res;

    (void) state;
    row.purchases =
        "[" PURCHASE("paint", 1, "bought", BOUGHT, DONE("[\"https://x/1.png\"]")) "," PURCHASE(
            "sculpt", 2, "intended", "null", "") "]";
    res = claim_of(&row);
    torture(n) {
        Job *j = NULL;
        int r = claim_read(res, 1, c, NOW, &j);

        if (torture_failed())
            assert_true(r == -ENOMEM || r == 0);
        else
            assert_int_equal(r, 0);
        job_free(j);
    }
    PQclear(res);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asks),
        cmocka_unit_test(test_asks_without_memory),
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_a_good_row),
        cmocka_unit_test(test_outlives_its_config),
        cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_not_worth_a_purchase),
        cmocka_unit_test(test_too_old),
        cmocka_unit_test(test_where_it_begins),
        cmocka_unit_test(test_fault_with_a_purchase),
        cmocka_unit_test(test_unreadable_purchases),
        cmocka_unit_test(test_unreadable_rows),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_step_gone),
        cmocka_unit_test(test_usable),
        cmocka_unit_test(test_no_memory),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
