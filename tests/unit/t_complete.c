/* Completing: what the closing calls carry, what their answers mean, and how a job goes back. */
#include <ctype.h>
#include <math.h>

#include "fixtures.h"
#include "flow/complete.h"
#include "flow/fence.h"
#include "torture.h"

#define WORKER "55555555-5555-4555-8555-555555555555"
#define BOUGHT "\"" PREDICTION "\""
#define PAINTING "paintedmnpqrstvwxyz0123456"
#define TOOK(seconds)                                                                        \
    ",\"finished\":true,\"finished_age_usec\":1000000,\"status\":\"succeeded\",\"output\":[" \
    "\"https://x/1.png\"],\"predict_time\":" seconds
#define FAILED \
    ",\"finished\":true,\"finished_age_usec\":1000000,\"status\":\"failed\",\"predict_time\":50"
#define OLD                                                                                     \
    ",\"finished\":true,\"finished_age_usec\":7200000000,\"status\":\"succeeded\",\"output\":[" \
    "\"https://x/0.png\"],\"predict_time\":70"

/* A job that has come as far as its closing: two steps, some of them bought more than once. */
static Job *completing(const Config *c, const char *purchases) {
    static const char url[] = "https://replicate.delivery/x/\"out put\".glb?a=1&b=\xc3\xa9";
    ClaimedRow row = claimed_row;
    Job *j;

    row.purchases = purchases;
    j = job_of(c, &row);
    assert_true(j->has_purchase);
    assert_true(job_at_last_step(j));
    j->object = strdup("a/mesh \"1\".glb");
    j->output_url = strdup(url);
    assert_non_null(j->object);
    assert_non_null(j->output_url);
    j->size_bytes = UINT64_C(5) << 32;
    j->meshes = 3;
    j->triangles = UINT64_C(12) << 32;
    memset(j->sha256, 'a', 64);
    return j;
}

#define TWO_STEPS                                                                              \
    "[" PURCHASE("paint", 1, "bought", "\"oldoldoldold\"", OLD) "," PURCHASE(                  \
        "paint", 2, "bought", "\"" PAINTING "\"",                                              \
        TOOK("0.5")) "," PURCHASE("sculpt", 3, "given_up", "null",                             \
                                  "") "," PURCHASE("sculpt", 4, "ended", "\"endedended\"",     \
                                                   FAILED) "," PURCHASE("sculpt", 5, "bought", \
                                                                        BOUGHT, TOOK("16.75")) "]"

static void test_answers(void **state) {
    static const struct {
        const char *word;
        JobEvent ev;
    } cases[] = {
        { "ok", EV_OK },         { "lost", EV_LOST },   { "closed", EV_LOST },
        { "cancel", EV_CANCEL }, { "gone", EV_CANCEL }, { "", EV_RETRY },
        { "OK", EV_RETRY },      { "okay", EV_RETRY },  { "canceled", EV_RETRY },
        { "bought", EV_RETRY },  { "busy", EV_WAIT },
    };

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Fault f = { 0 };

        assert_int_equal(fence_hear(cases[i].word, &f), cases[i].ev);
        assert_int_equal(f.code != FAULT_NONE, cases[i].ev == EV_RETRY || cases[i].ev == EV_WAIT);
    }
}

static json_t *json_of(const char *text) {
    json_t *value = json_parse(text, strlen(text));

    assert_true(json_is_object(value));
    return value;
}

static void test_done(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = completing(c, TWO_STEPS);
    json_t *data, *meta, *steps, *urls;
    DbRequest r;

    (void) state;
    assert_int_equal(complete_done_ask(WORKER, j, &r), 0);
    assert_int_equal(r.n_params, 7);
    assert_string_equal(r.params[0], WORKER);
    assert_string_equal(r.params[1], JOB_ID);
    assert_string_equal(r.params[2], j->object);
    assert_string_equal(r.params[3], "21474836480");
    assert_string_equal(r.params[4], "model/gltf-binary");
    data = json_of(r.params[5]);
    assert_int_equal(json_object_size(data), 3);
    assert_string_equal(json_text(data, "storage_path"), j->object);
    assert_string_equal(json_text(data, "mesh_url"), j->output_url);
    assert_int_equal(json_integer_value(json_object_get(data, "file_size")), j->size_bytes);
    meta = json_of(r.params[6]);
    assert_string_equal(json_text(meta, "replicate_prediction_id"), PREDICTION);
    assert_string_equal(json_text(meta, "model_version"), job_current_step(j)->version);
    /* Of what was used, and nothing else. */
    assert_true(fabs(json_number(meta, "processing_time", -1) - 17.25) < 0.001);
    assert_string_equal(json_text(meta, "sha256"), j->sha256);
    assert_int_equal(json_integer_value(json_object_get(meta, "meshes")), 3);
    assert_int_equal(json_integer_value(json_object_get(meta, "triangles")), j->triangles);
    urls = json_object_get(meta, "output_urls");
    assert_int_equal(json_array_size(urls), 1);
    assert_string_equal(json_string_value(json_array_get(urls, 0)), j->output_url);
    steps = json_object_get(meta, "steps");
    assert_int_equal(json_array_size(steps), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *step = json_array_get(steps, i);

        assert_string_equal(json_text(step, "step"), c->text->steps[i].name);
        assert_string_equal(json_text(step, "model"), c->text->steps[i].model);
        assert_string_equal(json_text(step, "prediction_id"), i == 0 ? PAINTING : PREDICTION);
    }
    json_decref(data);
    json_decref(meta);
    db_request_done(&r);
}

/* The configuration has changed since: what was bought counts. */
static void test_done_names_what_was_bought(void **state) {
    static const struct {
        const char *purchases, *model, *version;
    } cases[] = {
        { "[" PURCHASE("mesh", 1, "bought", BOUGHT,
                       TOOK("1") ",\"model\":\"other/model:c0ffee\"") "]",
          "other/model:c0ffee", "c0ffee" },
        { "[" PURCHASE("mesh", 1, "bought", BOUGHT, TOOK("1") ",\"model\":\"c0ffee\"") "]",
          "c0ffee", "c0ffee" },
        { "[" PURCHASE("mesh", 1, "bought", BOUGHT,
                       TOOK("1") ",\"model\":\"deployment:acme/mesh\"") "]",
          "deployment:acme/mesh", "deployment:acme/mesh" },
    };
    _cleanup_(config_freep) Config *c =
        good(&nothing,
             GOOD "[pipeline text]\nsteps = mesh\n[step mesh]\nmodel = tencent/hunyuan-3d-3.1\n"
                  "input.prompt = ${prompt}\n");

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_(job_freep) Job *j = completing(c, cases[i].purchases);
        json_t *meta;
        DbRequest r;

        assert_int_equal(complete_done_ask(WORKER, j, &r), 0);
        meta = json_of(r.params[6]);
        assert_string_equal(json_text(meta, "model_version"), cases[i].version);
        assert_string_equal(json_text(json_array_get(json_object_get(meta, "steps"), 0), "model"),
                            cases[i].model);
        json_decref(meta);
        db_request_done(&r);
    }
}

/* What is written down before the closing is what the closing needs, with the purchase's name. */
static void test_stored(void **state) {
    _cleanup_(config_freep) Config *c =
        good(&nothing,
             GOOD "[pipeline text]\nsteps = mesh\n[step mesh]\nmodel = tencent/hunyuan-3d-3.1\n"
                  "input.prompt = ${prompt}\n");
    _cleanup_(job_freep) Job *j =
        completing(c, "[" PURCHASE("mesh", 3, "bought", BOUGHT, TOOK("1")) "]");
    DbRequest stored, done;

    (void) state;
    assert_int_equal(complete_stored_ask(WORKER, j, &stored), 0);
    assert_int_equal(complete_done_ask(WORKER, j, &done), 0);
    assert_int_equal(stored.n_params, 9);
    assert_string_equal(stored.params[2], "mesh");
    assert_string_equal(stored.params[3], "3");
    for (int i = 0; i < 2; i++)
        assert_string_equal(stored.params[i], done.params[i]);
    for (int i = 2; i < 7; i++)
        assert_string_equal(stored.params[i + 2], done.params[i]);
    db_request_done(&stored);
    db_request_done(&done);
}

/* Where a model gave no time, there is none; where it has no version, its name stands for it. */
static void test_done_knows_little(void **state) {
    _cleanup_(config_freep) Config *c =
        good(&nothing,
             GOOD "[pipeline text]\nsteps = mesh\n[step mesh]\nmodel = tencent/hunyuan-3d-3.1\n"
                  "input.prompt = ${prompt}\n");
    _cleanup_(job_freep) Job *j =
        completing(c, "[" PURCHASE("mesh", 1, "bought", BOUGHT, TOOK("null")) "]");
    json_t *meta;
    DbRequest r;

    (void) state;
    assert_int_equal(complete_done_ask(WORKER, j, &r), 0);
    meta = json_of(r.params[6]);
    assert_string_equal(json_text(meta, "model_version"), "tencent/hunyuan-3d-3.1");
    assert_true(json_number(meta, "processing_time", 0) == 0);
    assert_int_equal(json_array_size(json_object_get(meta, "steps")), 1);
    json_decref(meta);
    db_request_done(&r);
}

/* To the user goes the sentence, never what only the log may know. */
static void test_fail(void **state) {
    Job j = { .id = JOB_ID };
    DbRequest r;

    (void) state;
    for (FaultCode code = FAULT_NONE; code < _FAULT_MAX; code++) {
        const char *sentence;

        fault_set(&j.fault, code, "hidden: /var/cache/meshifyd, r8_token");
        assert_int_equal(complete_fail_ask(WORKER, &j, &r), 0);
        assert_int_equal(r.n_params, 4);
        assert_string_equal(r.params[0], WORKER);
        assert_string_equal(r.params[1], JOB_ID);
        sentence = r.params[2];
        assert_in_range(strlen(sentence), 10, 400);
        assert_true(isupper(sentence[0]));
        assert_null(strpbrk(sentence, "\r\n<>{}"));
        assert_true(strlen(r.params[3]) > 0);
        if (code != FAULT_NONE) {
            assert_string_equal(sentence, fault_info(code)->sentence);
            assert_string_equal(r.params[3], fault_info(code)->word);
        }
        for (int i = 0; i < r.n_params; i++)
            assert_null(strstr(r.params[i], "hidden"));
        db_request_done(&r);
    }
    assert_int_equal(complete_canceled_ask(WORKER, &j, &r), 0);
    assert_int_equal(r.n_params, 2);
    assert_string_equal(r.params[0], WORKER);
    assert_string_equal(r.params[1], JOB_ID);
    db_request_done(&r);
}

static void test_hear(void **state) {
    static const struct {
        const char *answer;
        JobEvent done, other; /* after done(), and after fail() and canceled() */
    } cases[] = {
        { "ok", EV_OK, EV_OK },       { "closed", EV_OK, EV_OK },        { "parked", EV_OK, EV_OK },
        { "lost", EV_LOST, EV_LOST }, { "gone", EV_OVERTAKEN, EV_LOST },
    };
    PGresult *res = answer_of("cancel");
    Fault f = { 0 };

    (void) state;
    assert_int_equal(complete_hear(res, true, &f), EV_OVERTAKEN);
    assert_false(complete_keeps(res));
    PQclear(res);
    res = answer_of("keep");
    assert_int_equal(complete_hear(res, true, &f), EV_OVERTAKEN);
    assert_true(complete_keeps(res));
    PQclear(res);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        res = answer_of(cases[i].answer);
        assert_int_equal(complete_hear(res, true, &f), cases[i].done);
        assert_int_equal(complete_hear(res, false, &f), cases[i].other);
        assert_int_equal(f.code, FAULT_NONE);
        assert_true(complete_is_parked(res) == (strcmp(cases[i].answer, "parked") == 0));
        PQclear(res);
    }
    res = answer_of("busy");
    assert_int_equal(complete_hear(res, true, &f), EV_WAIT);
    assert_int_equal(complete_hear(res, false, &f), EV_WAIT);
    assert_int_equal(f.code, FAULT_DATABASE_BUSY);
    f = (Fault){ 0 };
    PQclear(res);
    res = answer_of("refused");
    assert_int_equal(complete_hear(res, true, &f), EV_FINAL);
    assert_int_equal(f.code, FAULT_ASSET_MISSING);
    f = (Fault){ 0 };
    PQclear(res);
    /* What nobody understands does not end a job. */
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = { "answer" }, *const two[] = { "ok", "ok" };

        res = i == 0 ? answer_of("done") : i == 1 ? answer_of(NULL) : rows_of(1, names, 2, two);
        for (int is_done = 0; is_done < 2; is_done++) {
            JobEvent ev = complete_hear(res, is_done, &f);

            assert_true(ev != EV_OK && ev != EV_OVERTAKEN && ev != EV_LOST);
            assert_int_not_equal(f.code, FAULT_NONE);
        }
        PQclear(res);
    }
}

static void test_hand_back(void **state) {
    static const struct {
        FaultCode code;
        uint64_t retry_after; /* seconds */
        unsigned attempts;
        double chance;
        bool counted;
        uint64_t low, high; /* of the delay, in seconds */
    } cases[] = {
        { FAULT_NONE, 0, 3, 0.999, false, 0, 0 },
        /* full jitter below base * 2^(attempts - 1) and below the maximum */
        { FAULT_MODEL_FAILED, 0, 1, 0, true, 0, 0 },
        { FAULT_MODEL_FAILED, 0, 1, 0.999, true, 4, 5 },
        { FAULT_MODEL_FAILED, 0, 3, 0.999, true, 19, 20 },
        { FAULT_MODEL_FAILED, 0, 3, 0.5, true, 10, 10 },
        { FAULT_MODEL_FAILED, 0, 30, 0.999, true, 599, 600 },
        { FAULT_MODEL_BUSY, 0, 1, 0.999, true, 4, 5 },
        /* what takes a while begins with more */
        { FAULT_MODEL_OVERLOADED, 0, 1, 0.999, true, 79, 80 },
        { FAULT_MODEL_OVERLOADED, 0, 2, 0.999, true, 159, 160 },
        { FAULT_MODEL_OVERLOADED, 0, 9, 0.999, true, 599, 600 },
        { FAULT_OUTPUT_GONE, 0, 1, 0.5, true, 2, 3 },
        { FAULT_INTERNAL, 0, 2, 0.999, true, 9, 10 },
        { FAULT_DATABASE, 0, 2, 0.999, true, 9, 10 },
        /* waiting is not the job's fault */
        { FAULT_SERVICE_UNREACHED, 0, 4, 0.999, false, 0, 5 },
        { FAULT_SERVICE_CREDIT, 0, 4, 0.999, false, 0, 5 },
        { FAULT_STORE_UNREACHED, 0, 4, 0, false, 0, 5 },
        { FAULT_DATABASE_BUSY, 0, 4, 0.999, false, 0, 5 },
        /* who says when is obeyed; but for long only where it is about the account */
        { FAULT_SERVICE_THROTTLED, 30, 1, 0, false, 30, 30 },
        { FAULT_SERVICE_THROTTLED, 30, 1, 0.999, false, 30, 35 },
        { FAULT_SERVICE_THROTTLED, 3600, 1, 0.5, false, 3600, 3605 },
        { FAULT_STORE_UNREACHED, 3600, 1, 0.5, false, 120, 125 },
        { FAULT_MODEL_BUSY, 30, 9, 0.999, true, 599, 600 },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Job j = { .attempts = cases[i].attempts, .claimed_usec = NOW - 60 * SEC };
        Requeue h;

        fault_set(&j.fault, cases[i].code, "x");
        j.fault.retry_after_usec = cases[i].retry_after * SEC;
        h = complete_requeue(c, &j, NOW, cases[i].chance);
        print_message("# %zu: %llu us\n", i, (unsigned long long) h.delay_usec);
        assert_in_range(h.delay_usec, cases[i].low * SEC, cases[i].high * SEC);
        assert_int_equal(h.counted, cases[i].counted);
        assert_string_equal(h.reason, fault_info(cases[i].code)->word);
        assert_int_equal(h.worked_usec, 60 * SEC);
        j.idle_usec = 45 * SEC; /* of a held lane, which does not count */
        assert_int_equal(complete_requeue(c, &j, NOW, 0).worked_usec, 15 * SEC);
        j.idle_usec = 61 * SEC;
        assert_int_equal(complete_requeue(c, &j, NOW, 0).worked_usec, 0);
    }
}

static void test_release(void **state) {
    Job j = { .id = JOB_ID };
    Requeue h = {
        .delay_usec = 1500000, .worked_usec = 7, .counted = true, .reason = "model_busy"
    };
    DbRequest r;

    (void) state;
    for (int counted = 0; counted < 2; counted++) {
        h.counted = counted;
        assert_int_equal(complete_requeue_ask(WORKER, &j, &h, &r), 0);
        assert_int_equal(r.n_params, 6);
        assert_string_equal(r.params[0], WORKER);
        assert_string_equal(r.params[1], JOB_ID);
        assert_string_equal(r.params[2], "1.500000 seconds");
        assert_string_equal(r.params[3], counted ? "t" : "f");
        assert_string_equal(r.params[4], "0.000007 seconds");
        assert_string_equal(r.params[5], "model_busy");
        db_request_done(&r);
    }
}

/* What the job goes back without, and what its worker knew of it. */
static void test_hand_back_without(void **state) {
    static const char *const keys[] = { "a", "b", "c" };
    Step step = { .name = (char *) "carve" };
    Pipeline one = { .steps = &step, .n_steps = 1 };
    Purchase all[3];
    Job j = { .id = JOB_ID, .pipeline = &one, .purchases = all, .n_purchases = 3 };
    Requeue h = { .reason = "x" };
    DbRequest r;

    (void) state;
    for (size_t i = 0; i < 3; i++) {
        all[i] = (Purchase){ .step = (char *) (i < 2 ? "draw" : "carve"),
                             .number = (unsigned) i + 1,
                             .state = i ? PURCHASE_BOUGHT : PURCHASE_INTENDED };
        strcpy(all[i].key, keys[i]);
    }
    for (int gone = 0; gone < 2; gone++) {
        json_t *without, *of;

        j.give_up = gone ? 0 : 1;
        j.fault.code = gone ? FAULT_STEP_GONE : FAULT_NONE;
        assert_int_equal(complete_requeue_ask(WORKER, &j, &h, &r), 0);
        assert_non_null(strstr(r.sql, "meshify.hand_back_without("));
        assert_int_equal(r.n_params, 7);
        without = json_parse(r.params[6], strlen(r.params[6]));
        assert_int_equal(json_array_size(without), gone ? 2 : 1);
        for (size_t i = 0; i < json_array_size(without); i++) {
            of = json_array_get(without, i);
            assert_string_equal(json_text(of, "key"), keys[i]);
            assert_string_equal(json_text(of, "job"), JOB_ID);
            assert_string_equal(json_text(of, "state"), i ? "bought" : "intended");
        }
        json_decref(without);
        db_request_done(&r);
    }
    torture(n) {
        int e = complete_requeue_ask(WORKER, &j, &h, &r);

        assert_int_equal(e, torture_failed() ? -ENOMEM : 0);
        if (e == 0)
            db_request_done(&r);
    }
}

static void test_no_memory(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = completing(c, TWO_STEPS);
    Requeue h = { .reason = "x" };

    (void) state;
    for (int which = 0; which < 4; which++)
        torture(n) {
            DbRequest r;
            int e = which == 0   ? complete_done_ask(WORKER, j, &r)
                    : which == 1 ? complete_fail_ask(WORKER, j, &r)
                    : which == 2 ? complete_canceled_ask(WORKER, j, &r)
                                 : complete_requeue_ask(WORKER, j, &h, &r);

            assert_int_equal(e, torture_failed() ? -ENOMEM : 0);
            if (e == 0)
                db_request_done(&r);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_done),
        cmocka_unit_test(test_done_names_what_was_bought),
        cmocka_unit_test(test_done_knows_little),
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_stored),
        cmocka_unit_test(test_hear),
        cmocka_unit_test(test_hand_back),
        cmocka_unit_test(test_release),
        cmocka_unit_test(test_hand_back_without),
        cmocka_unit_test(test_no_memory),
    };

    torture_json();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
