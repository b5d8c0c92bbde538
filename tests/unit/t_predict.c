/* Buying: what is written down before, what is sent, what an answer proves, what is written after. */
#include "fixtures.h"
#include "flow/look.h"
#include "flow/predict.h"
#include "torture.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define HTML "<html><body><h1>502 Bad Gateway</h1></body></html>"
#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PNG "https://replicate.delivery/1.png"
#define BOUGHT "\"" PREDICTION "\""
#define DONE ",\"finished\":true,\"finished_age_usec\":1000000,\"status\":\"succeeded\",\"output\":"
#define PAINTED "[" PURCHASE("paint", 1, "bought", BOUGHT, DONE "[\"" PNG "\"]") "]"
#define INTENDED "[" PURCHASE("paint", 7, "intended", "null", "") "]"

/* In the midst of a torture only the function under test is to suffer. */
static Job *job_with(const Config *c, const char *purchases) {
    ClaimedRow row = claimed_row;
    long left = torture_left;
    Job *j;

    torture_left = -1;
    row.purchases = purchases;
    j = job_of(c, &row);
    torture_left = left;
    return j;
}

static void set_text(char **text, const char *value) {
    free(*text);
    *text = value ? strdup(value) : NULL;
}

/* Stands for a parameter that may be anything. */
static const char ANY[] = "any";

static void check_call(DbRequest *r, const char *function, int n, const char *const *expected) {
    assert_non_null(strstr(r->sql, function));
    assert_int_equal(r->n_params, n);
    for (int i = 0; i < n; i++)
        if (!expected[i])
            assert_null(r->params[i]);
        else if (expected[i] != ANY)
            assert_string_equal(r->params[i], expected[i]);
    db_request_done(r);
}

static void test_own_image(void **state) {
    static const struct {
        const char *image;
        JobEvent ev;
        FaultCode fault;
    } cases[] = {
        /* clang-format off */
        { "https://x.org/p.png?a=b#c", EV_OK, FAULT_NONE },
        { "http://x.org/p.png", EV_OK, FAULT_NONE }, { "HTTPS://X.org/p.png", EV_OK, FAULT_NONE },
        { USER_ID "/p.png", EV_MORE, FAULT_NONE }, { "/p.png", EV_MORE, FAULT_NONE },
        { "a b.png", EV_MORE, FAULT_NONE }, { "dir/a:b.png", EV_MORE, FAULT_NONE },
        { "https/p.png", EV_MORE, FAULT_NONE }, { NULL, EV_FINAL, FAULT_IMAGE_MISSING },
        { "data:image/png;base64,AAAA", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "http://", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "https:///x.png", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "https://?x.org", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "https://#x.org", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "https://:443/x.png", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "https://user:word@/x.png", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "https://user@:443/x.png", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "https://\\x.org/x.png", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "https://./x.png", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "https://[]/x.png", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "https://x", EV_OK, FAULT_NONE },
        { "https://x?y", EV_OK, FAULT_NONE },
        { "https://[2001:db8::1]:8443/x.png", EV_OK, FAULT_NONE },
        { "https://user@x.org:443/x@y.png", EV_OK, FAULT_NONE },
        { "https://b\xc3\xbc" "cher.example/x.png", EV_OK, FAULT_NONE },
        { "file:///etc/passwd", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "ftp://x.org/p.png", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "httpsx://x.org/p.png", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "https://x.org/a b.png", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        { "https://x.org/\r\nX: y", EV_FINAL, FAULT_IMAGE_FORBIDDEN },
        /* clang-format on */
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = job_with(c, "[]");
    _cleanup_free_ char *longest = calloc(1, 100001);

    (void) state;
    set_text(&j->image_url, "of another step");
    assert_int_equal(predict_image(j, NOW, &j->fault), EV_OK); /* this step needs none */
    assert_null(j->image_url);
    pipeline_unref(j->pipeline);
    j->pipeline = pipeline_ref(c->image);
    for (size_t i = 0; i < N(cases); i++) {
        Fault f = { 0 };

        print_message("# case %zu\n", i);
        set_text(&j->image, cases[i].image);
        set_text(&j->image_url, "old");
        assert_int_equal(predict_image(j, NOW, &f), cases[i].ev);
        assert_int_equal(f.code, cases[i].fault);
        if (cases[i].ev == EV_OK)
            assert_string_equal(j->image_url, cases[i].image);
        else
            assert_null(j->image_url);
    }
    memset(longest, 'x', 100000);
    memcpy(longest, "https://", 8);
    set_text(&j->image, longest);
    assert_int_equal(predict_image(j, NOW, &j->fault), EV_FINAL);
}

static void test_image_of_the_step_before(void **state) {
    static const struct {
        const char *purchases;
        uint64_t later; /* seconds */
        JobEvent ev;
        FaultCode fault;
    } cases[] = {
        /* clang-format off */
        { PAINTED, 0, EV_OK, FAULT_NONE }, { PAINTED, 3598, EV_OK, FAULT_NONE },
        { PAINTED, 3599, EV_RETRY, FAULT_OUTPUT_GONE }, /* it ended a second ago */
        { "[]", 0, EV_RETRY, FAULT_OUTPUT_GONE }, { INTENDED, 0, EV_RETRY, FAULT_OUTPUT_GONE },
        { "[" PURCHASE("paint", 1, "bought", BOUGHT, "") "]", 0, EV_RETRY, FAULT_OUTPUT_GONE },
        { "[" PURCHASE("paint", 1, "surplus", BOUGHT, DONE "[\"" PNG "\"]") "]", 0, EV_RETRY, FAULT_OUTPUT_GONE },
        { "[" PURCHASE("older", 1, "bought", BOUGHT, DONE "[\"" PNG "\"]") "]", 0, EV_RETRY, FAULT_OUTPUT_GONE },
        /* Where another configuration found it, it is; and what was the mesh then is no image now. */
        { "[" PURCHASE("paint", 1, "bought", BOUGHT, OF(f, "\"/a\"") DONE "{\"a\":\"" PNG "\"}") "]", 0, EV_OK, FAULT_NONE },
        { "[" PURCHASE("paint", 1, "bought", BOUGHT, OF(f, "null") DONE "{\"b\":\"" PNG "\"}") "]", 0, EV_OK, FAULT_NONE },
        { "[" PURCHASE("paint", 1, "bought", BOUGHT, OF(t, "\"/0\"") DONE "[\"" PNG "\"]") "]", 0, EV_RETRY, FAULT_OUTPUT_GONE },
        { "[" PURCHASE("paint", 1, "bought", BOUGHT, DONE "[5]") "]", 0, EV_FINAL, FAULT_OUTPUT_MISSING },
        /* clang-format on */
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        _cleanup_(job_freep) Job *j = job_with(c, cases[i].purchases);
        Fault f = { 0 };

        j->step = 1;
        set_text(&j->image, "https://x.org/own.png"); /* not this one */
        print_message("# case %zu\n", i);
        assert_int_equal(predict_image(j, NOW + cases[i].later * SEC, &f), cases[i].ev);
        assert_int_equal(f.code, cases[i].fault);
        if (cases[i].ev == EV_OK)
            assert_string_equal(j->image_url, PNG);
        else
            assert_null(j->image_url);
    }
}

static const char *const own[] = { KEY, JOB_ID, "paint", "7", BUYER, "00" };

/* A member of it. */
static const char *told(const DbRequest *r, int param, const char *name) {
    static char texts[4][128];
    static unsigned next;
    char *text = texts[next++ % N(texts)];
    long left = torture_left;
    json_t *of, *value;

    torture_left = -1; /* it is not this that may fail */
    of = json_parse(r->params[param], strlen(r->params[param]));
    value = json_object_get(of, name);

    assert_non_null(of);
    (void) snprintf(text, sizeof *texts, "%d", (int) json_integer_value(value));
    if (!json_is_integer(value))
        strcpy(text, json_is_string(value) ? json_string_value(value) : "none");
    json_decref(of);
    torture_left = left;
    return text;
}

static void check_told(const DbRequest *r, int param, const char *const of[6]) {
    static const char *const members[6] = { "key", "job", "step", "purchase", "worker", "hash" };

    for (size_t i = 0; i < 6; i++)
        assert_string_equal(told(r, param, members[i]), of[i]);
}

static void test_intend_asks(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = job_with(c, "[]"), *other = job_with(c, "[]"),
                             *again = job_with(c, INTENDED);
    /* Given up after 5 s to leave, create_timeout, and 10 s to arrive. */
    static const char *const expected[] = { "w-1",
                                            ANY,
                                            "3",
                                            "black-forest-labs/flux-schnell",
                                            "[\"output_format\",\"prompt\",\"seed\"]",
                                            "text",
                                            "f",
                                            "/0",
                                            "35.000000 seconds",
                                            NULL };
    char first[HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    DbRequest r;

    (void) state;
    c->create_timeout_usec = 20 * SEC;
    j->attempts = 3;
    strcpy(j->next_key, KEY);
    assert_int_equal(predict_intend_ask(c, "w-1", j, &r), 0);
    assert_string_equal(json_text(j->input, "prompt"), "a chair, single object, white background");
    assert_int_equal(json_integer_value(json_object_get(j->input, "seed")),
                     pipeline_seed(JOB_ID, "paint", 1));
    assert_int_equal(pipeline_hash(j->input, NULL, hash), 0);
    check_told(&r, 1, (const char *const[]){ KEY, JOB_ID, "paint", "1", "w-1", hash });
    strcpy(first, hash);
    check_call(&r, "meshify.intend_purchase(", 10, expected);
    j->attempts = 4; /* the same purchase asked for once more */
    assert_int_equal(predict_intend_ask(c, "w-2", j, &r), 0);
    check_told(&r, 1, (const char *const[]){ KEY, JOB_ID, "paint", "1", "w-2", first });
    db_request_done(&r);
    strcpy(other->id, USER_ID);
    assert_int_equal(predict_intend_ask(c, "w-1", other, &r), 0);
    assert_string_not_equal(told(&r, 1, "hash"), first);
    db_request_done(&r);
    again->give_up = 1;
    assert_int_equal(predict_intend_ask(c, "w-1", again, &r), 0);
    assert_string_equal(told(&r, 1, "purchase"), "8"); /* numbers are not used twice */
    assert_string_not_equal(told(&r, 1, "hash"), first);
    check_told(&r, 9, own);
    db_request_done(&r);
    again->give_up = 0;
    again->step = 1; /* the last one */
    set_text(&again->image_url, PNG);
    assert_int_equal(predict_intend_ask(c, "w-1", again, &r), 0);
    assert_string_equal(r.params[6], "t");
    db_request_done(&r);
    torture(n) {
        int e = predict_intend_ask(c, "w-1", j, &r);

        assert_true(e == 0 || (e == -ENOMEM && torture_failed()));
        if (e == 0)
            db_request_done(&r);
    }
    set_text(&j->prompt, "\xff");
    assert_true(predict_intend_ask(c, "w-1", j, &r) < 0);
}

#define NEW "88888888-8888-7888-8888-888888888888"

static PGresult *intend_answer(const char *answer, const char *id, const char *prediction) {
    static const char *const names[] = { "answer", "id", "prediction_id", "extract" };
    const char *const values[] = { answer, id, prediction, "1790000000" };

    return rows_of(4, names, 1, values);
}

static void test_intend_hears_ok(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    PGresult *res = intend_answer("ok", NEW, NULL);

    (void) state;
    torture(n) {
        Job *j = job_with(c, INTENDED);
        Fault f = { 0 };
        long left = torture_left;
        DbRequest r;
        JobEvent ev;

        torture_left = -1;
        j->give_up = 1;
        strcpy(j->next_key, NEW);
        j->has_purchase = false;
        j->late_looks = 1;
        j->looked_usec = NOW;
        assert_true(look_found(j, "fromanotherlook"));
        assert_int_equal(predict_intend_ask(c, "w-1", j, &r), 0);
        torture_left = left;
        ev = predict_intend_hear(c, BUYER, j, res, NOW + 5, &f);
        if (ev != EV_OK) {
            assert_true(torture_failed());
            assert_int_equal(ev, EV_RETRY);
            assert_int_equal(f.code, FAULT_INTERNAL);
            assert_int_equal(j->n_purchases, 1);
        } else {
            const Purchase *p = job_purchase(j);

            assert_int_equal(j->n_purchases, 2);
            assert_string_equal(p->key, NEW);
            assert_string_equal(p->buyer, BUYER);
            assert_string_equal(p->pipeline, "text");
            assert_string_equal(p->pointer, "/0");
            assert_false(p->is_last);
            assert_string_equal(j->next_key, ""); /* the next has another */
            assert_int_equal(p->number, 8);
            assert_int_equal(p->state, PURCHASE_INTENDED);
            assert_string_equal(p->step, "paint");
            assert_string_equal(p->input_hash, told(&r, 1, "hash"));
            assert_int_equal(json_array_size(p->input_keys), 3);
            assert_null(p->prediction_id);
            assert_true(p->intent_usec == NOW + 5);
            assert_true(p->intent_epoch == 1790000000);
            assert_true(p->give_up_usec == NOW + 5 + c->create_timeout_usec + 15 * SEC);
            assert_false(p->finished);
            assert_true(p->predict_time < 0);
            assert_int_equal(j->purchases[0].state, PURCHASE_GIVEN_UP);
            assert_int_equal(j->give_up, 0);
            assert_true(j->late_looks == 0 && j->looked_usec == 0 &&
                        j->n_found == 0); /* nobody looked for this one */
        }
        db_request_done(&r);
        job_free(j);
    }
    PQclear(res);
}

static void test_intend_hears_no(void **state) {
    static const struct {
        const char *answer, *id, *prediction;
        JobEvent ev;
        int fault; /* < 0: not promised */
    } cases[] = {
        /* clang-format off */
        { "bought", KEY, PREDICTION, EV_BOUGHT, FAULT_NONE },
        { "bought", NEW, PREDICTION, EV_RETRY, FAULT_DATABASE }, /* not what we asked about */
        { "bought", KEY, "../x", EV_RETRY, FAULT_DATABASE }, /* nothing that could be asked for */
        { "lost", NULL, NULL, EV_LOST, FAULT_NONE }, { "closed", NULL, NULL, EV_LOST, FAULT_NONE },
        { "cancel", NULL, NULL, EV_CANCEL, FAULT_NONE }, { "gone", NULL, NULL, EV_CANCEL, FAULT_NONE },
        { "", NULL, NULL, EV_RETRY, FAULT_DATABASE }, { NULL, NULL, NULL, EV_RETRY, FAULT_DATABASE },
        { "okay", NEW, NULL, EV_RETRY, FAULT_DATABASE }, { "OK", NEW, NULL, EV_RETRY, FAULT_DATABASE },
        { "ok", KEY, NULL, EV_RETRY, FAULT_DATABASE }, /* not the one that was intended */
        { "ok", NULL, "narrow", EV_RETRY, FAULT_DATABASE },
        { "ok", NULL, NULL, EV_RETRY, FAULT_DATABASE }, /* no row: nothing may be bought */
        /* clang-format on */
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        _cleanup_(job_freep) Job *j = job_with(c, INTENDED);
        bool found = cases[i].ev == EV_BOUGHT,
             narrow = cases[i].prediction && strcmp(cases[i].prediction, "narrow") == 0;
        PGresult *res = narrow ? answer_of("ok")
                               : intend_answer(cases[i].answer, cases[i].id, cases[i].prediction);
        Fault f = { 0 };

        j->give_up = 1;
        strcpy(j->next_key, NEW);
        j->has_purchase = false;
        j->step = i % j->pipeline->n_steps; /* it may have gone back, or not */
        j->input = json_object();
        print_message("# case %zu\n", i);
        assert_int_equal(predict_intend_hear(c, BUYER, j, res, NOW, &f), cases[i].ev);
        if (cases[i].fault >= 0)
            assert_int_equal(f.code, cases[i].fault);
        assert_int_equal(j->n_purchases, 1);
        assert_int_equal(j->has_purchase, found);
        assert_int_equal(j->purchases[0].state, found ? PURCHASE_BOUGHT : PURCHASE_INTENDED);
        assert_int_equal(j->purchases[0].prediction_id != NULL, found);
        if (found) {
            assert_string_equal(job_purchase(j)->prediction_id, PREDICTION);
            assert_string_equal(j->log.prediction_id, PREDICTION);
            assert_int_equal(j->give_up, 0);
            assert_string_equal(job_current_step(j)->name, job_purchase(j)->step);
        }
        PQclear(res);
    }
}

static void test_asks(void **state) {
    static const struct {
        const char *model, *url, *version;
        uint64_t timeout_usec;
        const char *cancel_after;
    } cases[] = {
        /* clang-format off */
        { "a/b", "https://r/v1/models/a/b/predictions", NULL, 120 * SEC, "120" },
        { "a/b:" HEX64, "https://r/v1/predictions", HEX64, 900 * SEC, "900" },
        { HEX64, "https://r/v1/predictions", HEX64, 5 * SEC, "5" },
        { "deployment:a/b", "https://r/v1/deployments/a/b/predictions", NULL, 4 * SEC, "5" },
        { "a/b", "https://r/v1/models/a/b/predictions", NULL, 86400 * SEC, "86400" },
        { "a/b", "https://r/v1/models/a/b/predictions", NULL, 90000 * SEC, "86400" },
        /* clang-format on */
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = job_with(c, "[]");
    HttpRequest r;

    (void) state;
    set_text(&c->replicate_url, "https://r/v1/");
    c->create_timeout_usec = 12345678;
    j->input = json_pack("{s:s,s:[i,b]}", "prompt", "\"} ${seed}", "x", 1, 1);
    for (size_t i = 0; i < N(cases); i++) {
        Step *step = &j->pipeline->steps[j->step];
        json_t *body;

        assert_int_equal(pipeline_set_model(step, cases[i].model), 0);
        step->timeout_usec = cases[i].timeout_usec;
        print_message("# %s\n", cases[i].model);
        assert_int_equal(predict_ask(c, j, &r), 0);
        assert_string_equal(r.method, "POST");
        assert_string_equal(r.url, cases[i].url);
        assert_true(r.once);
        assert_true(r.timeout_usec == 12345678);
        assert_string_equal(header_of(&r, "Authorization"), "Bearer r8_test");
        assert_string_equal(header_of(&r, "Content-Type"), "application/json");
        assert_string_equal(header_of(&r, "Cancel-After"), cases[i].cancel_after);
        assert_null(header_of(&r, "Prefer"));
        assert_int_equal(r.body_size, strlen(r.body));
        body = json_parse(r.body, r.body_size);
        /* the schema is closed: no other key */
        assert_int_equal(json_object_size(body), cases[i].version ? 2 : 1);
        assert_true(json_equal(json_object_get(body, "input"), j->input));
        if (cases[i].version)
            assert_string_equal(json_text(body, "version"), cases[i].version);
        json_decref(body);
        http_request_done(&r);
    }
    torture(n) {
        int e = predict_ask(c, j, &r);

        assert_true(e == 0 || (e == -ENOMEM && torture_failed()));
        if (e == 0)
            http_request_done(&r);
    }
    assert_int_equal(j->input->refcount, 1);
}

#define DETAIL "{\"detail\":\"no\",\"status\":400}"

static void test_hears(void **state) {
    /* clang-format off */
    static const struct {
        int code;
        const char *body;
        JobEvent ev;
        FaultCode fault;
    } cases[] = {
        { 201, "{\"id\":\"" PREDICTION "\",\"status\":\"starting\"}", EV_OK, FAULT_NONE },
        { 200, "{\"id\":\"" PREDICTION "\"}", EV_OK, FAULT_NONE },
        { 202, "{\"status\":\"failed\",\"id\":\"" PREDICTION "\",\"error\":\"x\"}\n", EV_OK, FAULT_NONE },
        /* no id: it may have been bought all the same */
        { 201, "{}", EV_UNSURE, 0 }, { 201, "{\"id\":5}", EV_UNSURE, 0 }, { 201, "{\"id\":\"\"}", EV_UNSURE, 0 },
        { 201, "{\"id\":\"../account\"}", EV_UNSURE, 0 }, { 201, "{\"id\":\"" PREDICTION "\"", EV_UNSURE, 0 },
        { 201, "[\"id\"]", EV_UNSURE, 0 }, { 201, "", EV_UNSURE, 0 }, { 201, NULL, EV_UNSURE, 0 },
        { 201, HTML, EV_UNSURE, 0 }, { 204, "", EV_UNSURE, 0 }, { 301, DETAIL, EV_UNSURE, 0 }, { 307, "", EV_UNSURE, 0 },
        { 500, DETAIL, EV_UNSURE, 0 }, { 500, "{\"id\":\"" PREDICTION "\"}", EV_UNSURE, 0 }, { 502, HTML, EV_UNSURE, 0 },
        { 503, "", EV_UNSURE, 0 }, { 504, DETAIL, EV_UNSURE, 0 }, { 520, HTML, EV_UNSURE, 0 }, { 408, DETAIL, EV_UNSURE, 0 },
        /* an edge in front of the API says nothing about what is behind it */
        { 400, HTML, EV_UNSURE, 0 }, { 403, "error code: 1010", EV_UNSURE, 0 }, { 404, HTML, EV_UNSURE, 0 }, { 422, "", EV_UNSURE, 0 },
        /* refused, in so many words */
        { 400, DETAIL, EV_FINAL, FAULT_SERVICE_REFUSED }, { 401, DETAIL, EV_WAIT, FAULT_SERVICE_AUTH },
        { 402, DETAIL, EV_WAIT, FAULT_SERVICE_CREDIT }, { 403, DETAIL, EV_WAIT, FAULT_SERVICE_AUTH },
        { 404, DETAIL, EV_FINAL, FAULT_SERVICE_REFUSED }, { 422, DETAIL, EV_FINAL, FAULT_MODEL_INPUT },
        { 413, DETAIL, EV_FINAL, FAULT_MODEL_INPUT }, { 413, HTML, EV_FINAL, FAULT_MODEL_INPUT },
        { 422, "{\"title\":\"Invalid version or not permitted\"}", EV_FINAL, FAULT_SERVICE_REFUSED },
        { 429, "{\"detail\":\"throttled\",\"retry_after\":5}", EV_WAIT, FAULT_SERVICE_THROTTLED },
        { 429, "slow down", EV_WAIT, FAULT_SERVICE_THROTTLED },
    };
    /* clang-format on */
    Job j = { .prediction_id = strdup("older") };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        HttpReply r = reply_of(cases[i].code, cases[i].body);
        Fault f = { 0 };

        print_message("# case %zu: %d\n", i, cases[i].code);
        assert_int_equal(predict_hear(&r, &j, &f), cases[i].ev);
        if (cases[i].ev == EV_OK)
            assert_string_equal(j.prediction_id, PREDICTION);
        else
            assert_null(j.prediction_id);
        set_text(&j.prediction_id, NULL);
        if (cases[i].ev != EV_UNSURE)
            assert_int_equal(f.code, cases[i].fault);
        assert_true(f.retry_after_usec ==
                    (f.code == FAULT_SERVICE_THROTTLED && cases[i].body[0] == '{' ? 5 * SEC : 0));
        http_reply_done(&r);
    }
}

/* Only a connection that was never there and a 4xx prove that nothing was bought. */
static void test_never_not_bought(void **state) {
    static const char *const bodies[] = {
        NULL, "", HTML, "{", "null", DETAIL, "{\"id\":\"" PREDICTION "\"}"
    };
    HttpReply bought;
    Job j = { 0 };

    (void) state;
    for (HttpEnd end = HTTP_ANSWERED; end <= HTTP_SINK; end++)
        for (int code = 0; code < 1000; code++)
            for (size_t b = 0; b < N(bodies); b++) {
                HttpReply r = reply_of(code, bodies[b]);
                Fault f = { 0 };
                JobEvent ev;

                r.end = end;
                ev = predict_hear(&r, &j, &f);
                if (ev == EV_OK)
                    assert_true(end == HTTP_ANSWERED && code / 100 == 2 && b == N(bodies) - 1);
                else if (ev != EV_UNSURE) {
                    assert_true(ev == EV_WAIT || ev == EV_RETRY || ev == EV_FINAL);
                    assert_true(end == HTTP_UNSENT || end == HTTP_PRIVATE ||
                                (end == HTTP_ANSWERED && code / 100 == 4 && code != 408));
                    assert_int_not_equal(f.code, FAULT_NONE);
                }
                if (end == HTTP_UNSENT)
                    assert_int_equal(ev, EV_WAIT);
                assert_int_equal(j.prediction_id != NULL, ev == EV_OK);
                set_text(&j.prediction_id, NULL);
                http_reply_done(&r);
            }
    bought = reply_of(201, bodies[N(bodies) - 1]);
    torture(n) {
        Fault f = { 0 };
        JobEvent ev = predict_hear(&bought, &j, &f);

        assert_true(ev == EV_OK || (ev == EV_UNSURE && torture_failed()));
        set_text(&j.prediction_id, NULL);
    }
    http_reply_done(&bought);
}

static void test_record(void **state) {
    static const struct {
        const char *answer;
        Recorded recorded;
    } cases[] = {
        /* clang-format off */
        { "ok", RECORDED }, { "taken", RECORDED_TAKEN }, { "surplus", RECORDED_SURPLUS },
        { "cancel", RECORDED_CANCEL }, { "lost", RECORDED_LOST }, { "closed", RECORDED_CANCEL },
        { "gone", RECORDED_GONE }, { "busy", RECORDED_BUSY },
        /* clang-format on */
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = job_with(c, INTENDED);
    const char *expected[] = { "w-1", ANY, PREDICTION, ANY, "t" };
    DbRequest r;

    (void) state;
    set_text(&j->prediction_id, PREDICTION);
    torture(n) {
        int e = predict_record_ask("w-1", j, &r);

        assert_int_equal(e, torture_failed() ? -ENOMEM : 0);
        if (e == 0) {
            check_told(&r, 1, own);
            check_call(&r, "meshify.record_purchase(", 5, expected);
        }
    }
    j->looked_usec = NOW; /* the listing showed it */
    expected[4] = "f";
    assert_int_equal(predict_record_ask("w-1", j, &r), 0);
    check_call(&r, "meshify.record_purchase(", 5, expected);
    for (size_t i = 0; i < N(cases); i++) {
        PGresult *res = answer_of(cases[i].answer);

        assert_int_equal(predict_record_hear(res), cases[i].recorded);
        PQclear(res);
    }
}

static void test_settle(void **state) {
    const char *const done[] = {
        ANY, PREDICTION, "succeeded", "[\"" PNG "\"]", "{\"predict_time\":1.5}", NULL, "t"
    };
    const char *const refused[] = { ANY, NULL, "refused", NULL, NULL, "no\nmore", "f" };
    const char *const another[] = { NEW, JOB_ID, "x", "2", "none", "none" };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = job_with(c, "[" PURCHASE("paint", 7, "bought", BOUGHT, "") "]");
    Purchase unsent = { .key = NEW, .step = (char *) "x", .number = 2 };
    json_t *output = json_pack("[s]", PNG), *metrics = json_pack("{s:f}", "predict_time", 1.5);
    DbRequest r;

    (void) state;
    torture(n) {
        int e = predict_settle_ask(j, job_purchase(j), "succeeded", output, metrics, NULL, 1, &r);

        assert_int_equal(e, torture_failed() ? -ENOMEM : 0);
        if (e == 0) {
            check_told(&r, 0, own);
            check_call(&r, "meshify.settle_purchase(", 7, done);
        }
    }
    assert_int_equal(predict_settle_ask(j, &unsent, "refused", NULL, NULL, "no\nmore", 0, &r), 0);
    check_told(&r, 0, another);
    check_call(&r, "meshify.settle_purchase(", 7, refused);
    json_decref(output);
    json_decref(metrics);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_image),       cmocka_unit_test(test_image_of_the_step_before),
        cmocka_unit_test(test_intend_asks),     cmocka_unit_test(test_intend_hears_ok),
        cmocka_unit_test(test_intend_hears_no), cmocka_unit_test(test_asks),
        cmocka_unit_test(test_hears),           cmocka_unit_test(test_never_not_bought),
        cmocka_unit_test(test_record),          cmocka_unit_test(test_settle),
    };

    torture_json();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
