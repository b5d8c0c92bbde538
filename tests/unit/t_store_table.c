/* The table of store drivers: which step follows which answer, and how each piece of work ends. */
#include "core/config_value.h"
#include "fixtures.h"
#include "flow/store.h"
#include "torture.h"

#define OWN "https://p.supabase.co/storage/v1/"
#define MESH "u/p/mesh.glb"
#define IMAGE USER_ID "/chair.png"
#define DIR "[replicate]\ntoken = r8_test\n[storage]\ndriver = dir\nurl = /srv/meshes\n"
#define MISSING "{\"statusCode\":\"404\",\"code\":\"NoSuchKey\"}"
#define RECEIPT "{\"Key\":\"user_assets/" MESH "\",\"Id\":\"y\"}"
#define INFO(size) "{\"name\":\"" MESH "\",\"size\":" size ",\"metadata\":{\"sha256\":\"abc\"}}"
#define UP \
    { "POST", "object/user_assets/" MESH }
#define LOOK \
    { "GET", "object/info/user_assets/" MESH }
#define DELETE \
    { "DELETE", "object/user_assets/" MESH }
#define SIGN \
    { "POST", "object/sign/user_assets" }
#define BUCKET \
    { "GET", "bucket/user_assets" }

typedef struct Talk {
    struct {
        const char *method, *path;
    } asked;
    int code; /* 0: no answer, though all went out */
    const char *body;
} Talk;

static StoreWork work_of(const Config *c, Job *j) {
    free(j->object);
    j->object = strdup(MESH);
    j->size_bytes = 12345;
    (void) strcpy(j->sha256, "abc");
    return (StoreWork){ .config = c, .job = j, .fd = 7, .object = MESH };
}

/* The requests and answers of one piece of work, in their order. */
static JobEvent talk(StoreWork *w, JobEvent ev, const Talk *t, size_t max) {
    const StoreDriver *driver = store_driver(w->config);

    for (size_t i = 0; ev == EV_MORE; i++, t++) {
        StoreStep step;
        HttpReply reply;

        assert_true(i < max && t->asked.method);
        assert_int_equal(driver->next(w, &step), 0);
        assert_int_equal(step.what, STORE_SEND);
        print_message("# %s %s\n", step.request.method, step.request.url);
        assert_string_equal(step.request.method, t->asked.method);
        assert_int_equal(strncmp(step.request.url, OWN, strlen(OWN)), 0);
        assert_string_equal(step.request.url + strlen(OWN), t->asked.path);
        http_request_done(&step.request);
        reply = reply_of(t->code, t->body);
        reply.end = t->code ? HTTP_ANSWERED : HTTP_NO_ANSWER;
        reply.sent_whole = !t->code;
        ev = driver->hear(w, &(StoreAnswer){ .reply = &reply });
        http_reply_done(&reply);
        if (ev != EV_MORE && i + 1 < max)
            assert_null(t[1].asked.method); /* all that was expected was asked */
    }
    return ev;
}

static void test_table(void **state) {
    static const char *const texts[] = { GOOD, DIR };

    (void) state;
    for (size_t i = 0; i < 2; i++) {
        _cleanup_(config_freep) Config *c = good(&nothing, texts[i]);
        const StoreDriver *d = store_driver(c);
        StoreWork w = { .config = c };

        assert_int_equal(d->leaves_files, i == 1);
        assert_int_equal(store_abort(&w), EV_OK); /* both send a mesh in one piece */
        torture(n) {
            char *place = d->place(c);

            if (place)
                assert_string_equal(place, i ? "dir /srv/meshes"
                                             : "supabase https://p.supabase.co user_assets");
            else
                assert_true(torture_failed());
            free(place);
        }
    }
}

/* Each word of the key has a driver of that name, but for s3, which the configuration refuses. */
static void test_words(void **state) {
    const ConfigKey *key = &config_table[config_row("storage.driver")];
    char words[80], *word, *rest = words;
    Config c = { 0 };

    (void) state;
    (void) snprintf(words, sizeof words, "%s", key->words);
    for (; (word = strsep(&rest, " ")); c.storage_driver++) {
        const StoreDriver *d;

        print_message("# %s\n", word);
        assert_true(c.storage_driver < _STORAGE_MAX);
        d = store_driver(&c);
        if (c.storage_driver == STORAGE_S3) {
            assert_null(d);
            continue;
        }
        assert_non_null(d);
        assert_string_equal(d->name, word);
        assert_true(d->place && d->begin && d->remove && d->check && d->next && d->hear);
    }
    assert_int_equal(c.storage_driver, _STORAGE_MAX);
}

/* What was answered is believed in Storage's own words alone; what was not is looked for first. */
static void test_upload(void **state) {
    static const struct {
        bool unproven;
        Talk talk[3];
        JobEvent ev;
        bool unproven_then;
    } cases[] = {
        { false, { { UP, 200, RECEIPT } }, EV_OK, false },
        { false, { { UP, 503, "busy" } }, EV_WAIT, false },
        { false, { { UP, 400, "{\"code\":\"EntityTooLarge\"}" } }, EV_FINAL, false },
        { false, { { UP, 0, NULL } }, EV_WAIT, true },
        { false, { { UP, 200, "<html>" }, { LOOK, 200, INFO("12345") } }, EV_OK, true },
        { false, { { UP, 200, "<html>" }, { LOOK, 200, INFO("1") } }, EV_WAIT, true },
        { false, { { UP, 200, "<html>" }, { LOOK, 400, MISSING } }, EV_WAIT, true },
        { false, { { UP, 200, "<html>" }, { LOOK, 503, "busy" } }, EV_WAIT, true },
        { true, { { LOOK, 200, INFO("12345") } }, EV_OK, true },
        { true, { { LOOK, 503, "busy" } }, EV_WAIT, true },
        { true, { { LOOK, 400, MISSING }, { UP, 200, RECEIPT } }, EV_OK, false },
        { true, { { LOOK, 200, INFO("1") }, { UP, 0, NULL } }, EV_WAIT, true },
        { true,
          { { LOOK, 400, MISSING }, { UP, 200, "{}" }, { LOOK, 200, INFO("12345") } },
          EV_OK,
          true },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = job_of(c, &claimed_row);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        StoreWork w = work_of(c, j);

        print_message("# --- %zu\n", i);
        j->unproven = cases[i].unproven;
        assert_int_equal(talk(&w, store_driver(c)->begin(&w), cases[i].talk, 3), cases[i].ev);
        assert_int_equal(j->unproven, cases[i].unproven_then);
        if (cases[i].ev != EV_OK)
            assert_int_not_equal(w.fault.code, FAULT_NONE);
    }
}

static void test_remove(void **state) {
    static const struct {
        Talk talk;
        JobEvent ev;
        bool general;
    } cases[] = {
        { { DELETE, 200, "{\"message\":\"Successfully deleted\"}" }, EV_OK, false },
        { { DELETE, 400, MISSING }, EV_OK, false },
        { { DELETE, 400, "{\"code\":\"AccessDenied\"}" }, EV_WAIT, false },
        { { DELETE, 429, "" }, EV_WAIT, true },
        { { DELETE, 503, "busy" }, EV_WAIT, true },
        { { DELETE, 0, NULL }, EV_WAIT, true },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        StoreWork w = { .config = c, .object = MESH };

        assert_int_equal(talk(&w, store_driver(c)->remove(&w), &cases[i].talk, 1), cases[i].ev);
        assert_int_equal(w.is_general, cases[i].general);
    }
}

static void test_sign(void **state) {
#define SIGNED(url) "[{\"error\":null,\"path\":\"" IMAGE "\",\"signedURL\":" url "}]"
#define NO_IMAGE "[{\"error\":\"Either\",\"path\":\"" IMAGE "\",\"signedURL\":null}]"
    static const struct {
        Talk talk[2];
        JobEvent ev;
        FaultCode fault;
    } cases[] = {
        { { { SIGN, 200, SIGNED("\"/object/sign/user_assets/" IMAGE "?token=x\"") } }, EV_OK, 0 },
        { { { SIGN, 503, "busy" } }, EV_WAIT, FAULT_STORE_UNREACHED },
        { { { SIGN, 200, NO_IMAGE }, { BUCKET, 200, "{\"id\":\"user_assets\"}" } },
          EV_FINAL,
          FAULT_IMAGE_MISSING },
        { { { SIGN, 200, NO_IMAGE }, { BUCKET, 400, "{\"code\":\"NoSuchBucket\"}" } },
          EV_WAIT,
          FAULT_STORE_BUCKET },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = job_of(c, &claimed_row);
    StoreWork w = work_of(c, j);

    (void) state;
    j->image = strdup(PROJECT_ID "/chair.png");
    assert_int_equal(store_sign(&w), EV_FINAL); /* nothing is asked for another's image */
    assert_int_equal(w.fault.code, FAULT_IMAGE_FORBIDDEN);
    free(j->image);
    j->image = strdup(IMAGE);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        w = work_of(c, j);
        free(TAKE(j->image_url));
        assert_int_equal(talk(&w, store_sign(&w), cases[i].talk, 2), cases[i].ev);
        assert_int_equal(w.fault.code, cases[i].fault);
        assert_int_equal(j->image_url != NULL, cases[i].ev == EV_OK);
    }
}

/* The doctor's words are the driver's. */
static void test_check(void **state) {
    static const struct {
        int code;
        const char *body;
        unsigned grade;
        const char *found, *advice;
    } cases[] = {
        { 200, "{\"public\":false}", STORE_GOOD, "bucket user_assets is there, private", NULL },
        { 200, "{\"public\":true}", STORE_BAD, "bucket user_assets is public", "Make it private" },
        { 200, "{\"allowed_mime_types\":[\"image/png\"]}", STORE_BAD, "does not take",
          "Add model/" },
        { 200, "{\"file_size_limit\":1048576}", STORE_DOUBTFUL, "takes files up to 1.0 MiB",
          "Raise" },
        { 400, "{\"code\":\"NoSuchBucket\",\"message\":\"none\"}", STORE_BAD,
          "bucket user_assets: storage: status 404 NoSuchBucket: none", NULL },
        { 0, NULL, STORE_BAD, "bucket user_assets: storage: no answer", NULL },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        StoreWork w = { .config = c };
        Talk t = { BUCKET, cases[i].code, cases[i].body };
        JobEvent ev = talk(&w, store_driver(c)->check(&w), &t, 1);

        print_message("# %s\n", w.finding.found);
        assert_int_equal(ev == EV_OK, cases[i].code == 200);
        assert_int_equal(w.finding.grade, cases[i].grade);
        assert_non_null(strstr(w.finding.found, cases[i].found));
        assert_int_equal(w.finding.advice != NULL, cases[i].advice != NULL);
        if (cases[i].advice)
            assert_int_equal(strncmp(w.finding.advice, cases[i].advice, strlen(cases[i].advice)),
                             0);
    }
}

/* One step each. A file that is gone was to be removed. */
static void test_dir(void **state) {
    static const struct {
        unsigned what;
        int error;
        JobEvent ev;
    } cases[] = {
        { STORE_PUT, 0, EV_OK },          { STORE_PUT, -ENOSPC, EV_WAIT },
        { STORE_PUT, -ENOENT, EV_WAIT },  { STORE_UNLINK, 0, EV_OK },
        { STORE_UNLINK, -ENOENT, EV_OK }, { STORE_UNLINK, -EACCES, EV_WAIT },
        { STORE_LOOK, 0, EV_OK },         { STORE_LOOK, -EACCES, EV_WAIT },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, DIR);
    _cleanup_(job_freep) Job *j = job_of(c, &claimed_row);
    const StoreDriver *d = store_driver(c);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        StoreWork w = work_of(c, j);
        StoreStep step;

        assert_int_equal(cases[i].what == STORE_PUT      ? d->begin(&w)
                         : cases[i].what == STORE_UNLINK ? d->remove(&w)
                                                         : d->check(&w),
                         EV_MORE);
        assert_int_equal(d->next(&w, &step), 0);
        assert_int_equal(step.what, cases[i].what);
        assert_string_equal(step.root, "/srv/meshes");
        if (step.what != STORE_LOOK)
            assert_string_equal(step.name, MESH);
        assert_int_equal(d->hear(&w, &(StoreAnswer){ .error = cases[i].error }), cases[i].ev);
        assert_int_equal(w.fault.code, cases[i].ev == EV_OK ? FAULT_NONE : FAULT_STORE_UNREACHED);
        assert_false(w.is_general);
        if (step.what == STORE_LOOK) {
            assert_int_equal(w.finding.grade, cases[i].error ? STORE_BAD : STORE_GOOD);
            assert_int_equal(strncmp(w.finding.found, "/srv/meshes", 11), 0);
            assert_int_equal(w.finding.advice != NULL, cases[i].error != 0);
        }
    }
}

static void test_no_memory(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = job_of(c, &claimed_row);
    const StoreDriver *d = store_driver(c);
    StoreWork w = work_of(c, j);

    (void) state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(i ? d->remove(&w) : d->begin(&w), EV_MORE);
        torture(n) {
            StoreStep step;
            int r = d->next(&w, &step);

            assert_true(r == 0 || (r == -ENOMEM && torture_failed()));
            if (r == 0)
                http_request_done(&step.request);
        }
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),  cmocka_unit_test(test_words),
        cmocka_unit_test(test_upload), cmocka_unit_test(test_remove),
        cmocka_unit_test(test_sign),   cmocka_unit_test(test_check),
        cmocka_unit_test(test_dir),    cmocka_unit_test(test_no_memory),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
