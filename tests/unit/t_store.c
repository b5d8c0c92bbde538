/* Storing: names of objects, what is asked of Supabase and what its answers mean, and signed URLs. */
#include <ctype.h>
#include <openssl/evp.h>

#include "fixtures.h"
#include "flow/object.h"
#include "flow/supabase.h"
#include "torture.h"

#define BOUGHT "\"" PREDICTION "\""
#define GONE /* succeeded two hours ago: its output is gone, it is bought again */              \
    ",\"finished\":true,\"finished_age_usec\":7200000000,\"status\":\"succeeded\",\"output\":{" \
    "\"model_file\":\"https://x/1.glb\"}"
#define FAILED ",\"finished\":true,\"finished_age_usec\":1000000,\"status\":\"failed\""
#define STORE(url, key) "[replicate]\ntoken = r8_test\n[storage]\nurl = " url "\nkey = " key "\n"
#define OWN "https://p.supabase.co/storage/v1/"
#define NAME USER_ID "/" PROJECT_ID "/mesh_" ASSET_ID

static Job *storing(const Config *c, const char *purchases) {
    ClaimedRow row = claimed_row;
    Job *j;

    row.purchases = purchases;
    j = job_of(c, &row);
    assert_true(j->has_purchase);
    return j;
}

#define RUNS(n) PURCHASE("sculpt", n, "bought", BOUGHT, "")
#define WAS(n, state, more) PURCHASE("sculpt", n, state, BOUGHT, more)

static void name(const Config *c, Job *j) {
    free(j->object);
    j->object = object_path(c, j);
    assert_non_null(j->object);
}

static void test_path(void **state) {
    static const struct {
        const char *path, *name;
    } cases[] = {
        { NULL, NAME ".glb" },
        { "{job_id}", JOB_ID },
        { "a.b/{job_id}", "a.b/" JOB_ID },
        { "{asset_id}{asset_id}/{project_id}_x.glb", ASSET_ID ASSET_ID "/" PROJECT_ID "_x.glb" },
    };

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = cases[i].path ? str_printf(GOOD "path = %s\n", cases[i].path) : strdup(GOOD);
        _cleanup_(config_freep) Config *c = good(&nothing, text);
        _cleanup_(job_freep) Job *j = storing(c, "[" RUNS(1) "]");

        print_message("# path %zu\n", i);
        name(c, j);
        assert_string_equal(j->object, cases[i].name);
        free(text);
    }
}

/* The database gives the name, before the first byte goes up. */
static void test_naming(void **state) {
    static const struct {
        const char *answer, *name;
        JobEvent ev;
        const char *object;
    } cases[] = {
        { "ok", "a/b_2.glb", EV_OK, "a/b_2.glb" },
        { "ok", NULL, EV_RETRY, NULL },
        { "lost", NULL, EV_LOST, NULL },
        { "closed", NULL, EV_LOST, NULL },
        { "cancel", NULL, EV_CANCEL, NULL },
        { "gone", NULL, EV_CANCEL, NULL },
        { "something", "a/b.glb", EV_RETRY, NULL },
    };
    _cleanup_(config_freep) Config *c =
        good(&nothing, GOOD "bucket = b\n[worker]\njob_timeout = 2min\n");
    _cleanup_(job_freep) Job *j = storing(c, "[" RUNS(3) "]");
    static const char *const names[] = { "answer", "name" };
    DbRequest r;

    (void) state;
    torture(n) if (object_name_ask(c, USER_ID, j, &r) == 0) {
        const char *const params[] = { USER_ID,
                                       JOB_ID,
                                       "sculpt",
                                       "3",
                                       NAME ".glb",
                                       "supabase https://p.supabase.co b",
                                       "3720.000000 seconds" };

        assert_non_null(strstr(r.sql, "meshify.storing("));
        assert_int_equal(r.n_params, 7);
        for (int i = 0; i < 7; i++)
            assert_string_equal(r.params[i], params[i]);
        db_request_done(&r);
    }
    else assert_true(torture_failed());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        PGresult *res =
            rows_of(2, names, 1, (const char *const[]){ cases[i].answer, cases[i].name });
        Fault f = { 0 };

        free(TAKE(j->object));
        assert_int_equal(object_name_hear(res, j, &f), cases[i].ev);
        assert_int_equal(f.code != FAULT_NONE, cases[i].ev == EV_RETRY);
        if (cases[i].object)
            assert_string_equal(j->object, cases[i].object);
        else
            assert_null(j->object);
        PQclear(res);
    }
}

/* A JWT stands in both headers; the newer keys are none, and stand in one. */
static void check_keys(const HttpRequest *r, const char *key, bool bearer) {
    assert_string_equal(header_of(r, "apikey"), key);
    if (bearer) {
        assert_int_equal(strncmp(header_of(r, "Authorization"), "Bearer ", 7), 0);
        assert_string_equal(header_of(r, "Authorization") + 7, key);
    } else
        assert_null(header_of(r, "Authorization"));
}

/* What tells later whose object it is; and a large file has more time than a small one. */
static void check_upload(const HttpRequest *r, const Job *j) {
    const char *text = header_of(r, "x-metadata");
    char decoded[512];
    int n = EVP_DecodeBlock((unsigned char *) decoded, (const unsigned char *) text,
                            (int) strlen(text));
    json_t *root;

    assert_true(n > 0 && strlen(text) < sizeof decoded);
    decoded[strcspn(decoded, "}") + 1] = '\0';
    assert_non_null(root = json_loads(decoded, 0, NULL));
    assert_string_equal(json_string_value(json_object_get(root, "sha256")), j->sha256);
    assert_string_equal(json_string_value(json_object_get(root, "job")), j->id);
    assert_string_equal(json_string_value(json_object_get(root, "prediction")), PREDICTION);
    assert_int_equal(json_object_size(root), 3);
    json_decref(root);
    assert_string_equal(header_of(r, "Cache-Control"), "max-age=3600");
    assert_true(r->stall_usec > 70 * SEC && r->timeout_usec > r->stall_usec);
    assert_true(r->stall_usec > j->size_bytes / (1024 * 1024) * SEC);
    assert_int_equal(r->ack_usec, 0);
}

static void test_ask(void **state) {
    static const struct {
        const char *text, *key;
        bool bearer;
    } cases[] = {
        { STORE("https://p.supabase.co", "eyJhbGciOiJIUzI1NiJ9.e30.x"),
          "eyJhbGciOiJIUzI1NiJ9.e30.x", true },
        { STORE("https://p.supabase.co/", "sb_secret_abc"), "sb_secret_abc", false },
        { STORE("https://p.supabase.co//", "sb_secret_abc"), "sb_secret_abc", false },
    };

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_(config_freep) Config *c = good(&nothing, cases[i].text);
        _cleanup_(job_freep) Job *j = storing(c, "[" RUNS(1) "]");
        HttpRequest r;
        char *other;

        j->size_bytes = UINT64_C(5) << 32;
        name(c, j);
        torture(n) if (supabase_upload_ask(c, j, 7, &r) == 0) {
            assert_string_equal(r.method, "POST");
            assert_string_equal(r.url, OWN "object/user_assets/" NAME ".glb");
            check_keys(&r, cases[i].key, cases[i].bearer);
            assert_string_equal(header_of(&r, "Content-Type"), "model/gltf-binary");
            assert_string_equal(header_of(&r, "x-upsert"), "true"); /* "TRUE" would be false */
            assert_int_equal(r.body_fd, 7);
            assert_true(r.body_size == j->size_bytes);
            assert_null(r.body);
            assert_int_equal(r.sink_fd, 0);
            check_upload(&r, j);
            http_request_done(&r);
        }
        else assert_true(torture_failed());
        torture(n) if (supabase_remove_ask(c, j->object, &r) == 0) {
            assert_string_equal(r.method, "DELETE");
            assert_string_equal(r.url, OWN "object/user_assets/" NAME ".glb");
            check_keys(&r, cases[i].key, cases[i].bearer);
            assert_null(header_of(&r, "Content-Type")); /* with it, no body would be an error */
            assert_null(r.body);
            assert_int_equal(r.body_fd, 0);
            http_request_done(&r);
        }
        else assert_true(torture_failed());
        torture(n) if (!(other = object_path(c, j))) assert_true(torture_failed());
        else free(other);
    }
}

#define REFUSAL(status, code) \
    "{\"statusCode\":\"" #status "\",\"error\":\"x\",\"message\":\"y\",\"code\":\"" code "\"}"

/* Most refusals come as HTTP 400; the JSON says what they are. `signing`: what supabase_sign_hear() makes of
 * the same answer, where that is something else. */
static const struct {
    HttpEnd end;
    int code;
    const char *body;
    FaultCode fault, signing;
} refusals[] = {
    { HTTP_ANSWERED, 400, REFUSAL(413, "EntityTooLarge"), FAULT_STORE_TOO_LARGE, 0 },
    { HTTP_ANSWERED, 413, "Maximum size exceeded", FAULT_STORE_TOO_LARGE, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(415, "InvalidMimeType"), FAULT_STORE_TYPE, 0 },
    { HTTP_ANSWERED, 400,
      "{\"statusCode\":\"415\",\"error\":\"invalid_mime_type\",\"message\":\"y\"}",
      FAULT_STORE_TYPE, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(400, "InvalidKey"), FAULT_STORE_REFUSED, FAULT_IMAGE_FORBIDDEN },
    { HTTP_ANSWERED, 400, "{\"statusCode\":\"404\",\"error\":\"not_found\",\"message\":\"y\"}",
      FAULT_STORE_UNREACHED, FAULT_IMAGE_MISSING },
    /* not Storage's own words: a gateway's, which is the same for all */
    { HTTP_ANSWERED, 400, REFUSAL(400, "InvalidRequest"), FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 404, REFUSAL(404, "InvalidRequest"), FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 404, "{\"message\":\"no Route matched with those values\"}",
      FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 405, "{\"message\":\"Method Not Allowed\"}", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 405, "<html>", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 403, "<html>", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 302, "<html>", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(404, "NoSuchBucket"), FAULT_STORE_BUCKET, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(404, "NoSuchKey"), FAULT_STORE_UNREACHED, FAULT_IMAGE_MISSING },
    { HTTP_ANSWERED, 400, REFUSAL(403, "AccessDenied"), FAULT_STORE_AUTH, 0 },
    { HTTP_ANSWERED, 401, "{\"message\":\"Invalid API key\"}", FAULT_STORE_AUTH, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(503, "DatabaseReadOnly"), FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(503, "LockTimeout"), FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 400, "{\"statusCode\":503,\"code\":\"SlowDown\"}", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 400, "{\"code\":\"DatabaseReadOnly\",\"message\":\"x\"}",
      FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 400, "{\"code\":\"EntityTooLarge\",\"message\":\"x\"}", FAULT_STORE_TOO_LARGE,
      0 },
    { HTTP_ANSWERED, 400,
      "{\"error\":\"Bad Request\",\"message\":\"Client Error\",\"statusCode\":400}",
      FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 400, "{\"statusCode\":1e300}", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(423, "ResourceLocked"), FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(409, "KeyAlreadyExists"), FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 500, REFUSAL(500, "DatabaseError"), FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 402, "{\"message\":\"exceeded_egress_quota\"}", FAULT_STORE_CLOSED, 0 },
    { HTTP_ANSWERED, 402, "<html>", FAULT_STORE_CLOSED, 0 },
    { HTTP_ANSWERED, 404, "<html>", FAULT_STORE_UNREACHED, 0 }, /* not the store's own words */
    { HTTP_ANSWERED, 404, "{\"message\":\"x\"}", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 400, "{\"statusCode\":400}", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 400, "{\"statusCode\":400,\"message\":\"x\"}", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 400, "{\"statusCode\":\"1000\"}", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 304, "{\"statusCode\":\"404\"}", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(402, "x"), FAULT_STORE_CLOSED, 0 },
    { HTTP_TOO_LARGE, 402, NULL, FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 408, "", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 425, NULL, FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 429, "{\"message\":\"too_many_connections\"}", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 502, "<html>502 Bad Gateway</html>", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 520, "error code: 520", FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 540, "Project paused", FAULT_STORE_CLOSED, 0 },
    { HTTP_ANSWERED, 544, REFUSAL(544, "DatabaseTimeout"), FAULT_STORE_UNREACHED, 0 },
    { HTTP_UNSENT, 0, NULL, FAULT_STORE_UNREACHED, 0 },
    { HTTP_NO_ANSWER, 0, NULL, FAULT_STORE_UNREACHED, 0 },
    { HTTP_NO_ANSWER, 200, "{\"Key\":\"user", FAULT_STORE_UNREACHED, 0 },
    { HTTP_TOO_LARGE, 200, NULL, FAULT_STORE_UNREACHED, 0 },
};

static void test_hear(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = storing(c, "[" RUNS(1) "]");
    Fault f = { 0 };

    (void) state;
    name(c, j);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        FaultCode signing = refusals[i].signing ? refusals[i].signing : refusals[i].fault;
        HttpReply r = reply_of(refusals[i].code, refusals[i].body);
        bool waits = fault_info(refusals[i].fault)->verdict == VERDICT_WAIT;

        r.end = refusals[i].end;
        r.retry_after_usec = i % 2 * SEC;
        r.sent_whole = i % 3 == 0;
        j->unproven = false;
        print_message("# %d %s\n", r.code, r.body ? r.body : "");
        assert_int_equal(supabase_upload_hear(c, &r, j, &f), waits ? EV_WAIT : EV_FINAL);
        assert_int_equal(f.code, refusals[i].fault);
        assert_int_equal(f.retry_after_usec, r.retry_after_usec);
        /* What went out whole may be there: it is asked for before it is sent again. */
        assert_int_equal(j->unproven, waits && r.sent_whole);
        assert_int_equal(supabase_sign_hear(c, &r, j, &f),
                         signing == FAULT_IMAGE_MISSING                            ? EV_MORE
                         : fault_info(refusals[i].fault)->verdict == VERDICT_FINAL ? EV_FINAL
                                                                                   : EV_WAIT);
        assert_int_equal(f.code, signing);
        assert_null(j->image_url);
        http_reply_done(&r);
    }
}

/* Only Storage's own words say that an object was stored. */
static void test_receipt(void **state) {
    static const struct {
        int code;
        const char *body;
        JobEvent ev;
    } cases[] = {
        { 200, "{\"Key\":\"user_assets/" NAME ".glb\",\"Id\":\"y\"}", EV_OK },
        { 200, "{\"Key\":\"user_assets/" NAME ".glb\"}", EV_OK },
        { 200, "{\"Key\":\"user_assets/" NAME ".glb\",\"Id\":null}", EV_UNSURE },
        { 200, "{\"Key\":\"user_assets/" NAME ".glb\",\"Id\":\"\"}", EV_UNSURE },
        { 200, "{\"Key\":\"user_assets/" NAME "_2.glb\",\"Id\":\"y\"}", EV_UNSURE },
        { 200, "{\"Key\":\"" NAME ".glb\",\"Id\":\"y\"}", EV_UNSURE },
        { 200, "{\"Key\":\"user_assets2/" NAME ".glb\",\"Id\":\"y\"}", EV_UNSURE },
        { 200, "{\"Key\":7}", EV_UNSURE },
        { 200, "{}", EV_UNSURE },
        { 200, "[]", EV_UNSURE },
        { 200, "", EV_UNSURE },
        { 200, "<html>please log in</html>", EV_UNSURE },
        { 204, NULL, EV_UNSURE },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = storing(c, "[" RUNS(1) "]");

    (void) state;
    name(c, j);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply r = reply_of(cases[i].code, cases[i].body);
        Fault f = { 0 };

        print_message("# %s\n", cases[i].body ? cases[i].body : "");
        j->unproven = false;
        assert_int_equal(supabase_upload_hear(c, &r, j, &f), cases[i].ev);
        assert_int_equal(f.code, cases[i].ev == EV_OK ? FAULT_NONE : FAULT_STORE_UNREACHED);
        assert_int_equal(j->unproven, cases[i].ev != EV_OK);
        http_reply_done(&r);
    }
}

static void test_info(void **state) {
#define INFO(name, size, more) "{\"name\":\"" name "\",\"size\":" size more "}"
#define OURS ",\"metadata\":{\"sha256\":\"abc\"}"
    static const struct {
        int code;
        const char *body;
        JobEvent sent, lost; /* after an answer that was no proof, and after none */
        FaultCode fault;
    } cases[] = {
        { 200, INFO(NAME ".glb", "12345", OURS), EV_OK, EV_OK, 0 },
        { 200, INFO(NAME ".glb", "12345", ""), EV_OK, EV_MORE, 0 },
        { 200, INFO(NAME ".glb", "12345", ",\"metadata\":{}"), EV_OK, EV_MORE, 0 },
        { 200, INFO(NAME ".glb", "12345", ",\"metadata\":{\"sha256\":\"abd\"}"), EV_MORE, EV_MORE,
          0 },
        { 200, INFO(NAME ".glb", "12344", OURS), EV_MORE, EV_MORE, 0 },
        { 200, INFO(NAME ".glb", "\"12345\"", OURS), EV_WAIT, EV_WAIT, FAULT_STORE_UNREACHED },
        { 200, INFO("x", "12345", OURS), EV_WAIT, EV_WAIT, FAULT_STORE_UNREACHED },
        { 200, "{}", EV_WAIT, EV_WAIT, FAULT_STORE_UNREACHED },
        { 200, "<html>", EV_WAIT, EV_WAIT, FAULT_STORE_UNREACHED },
        { 400, REFUSAL(404, "NoSuchKey"), EV_MORE, EV_MORE, 0 },
        /* So it answers a key that may not see the bucket: the upload says which it is. */
        { 400, REFUSAL(404, "NoSuchBucket"), EV_WAIT, EV_MORE, 0 },
        { 404, "{\"message\":\"no Route matched\"}", EV_WAIT, EV_WAIT, FAULT_STORE_UNREACHED },
        { 503, "busy", EV_WAIT, EV_WAIT, FAULT_STORE_UNREACHED },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = storing(c, "[" RUNS(1) "]");
    HttpRequest ask;

    (void) state;
    name(c, j);
    j->size_bytes = 12345;
    (void) strcpy(j->sha256, "abc");
    assert_int_equal(supabase_info_ask(c, j, &ask), 0);
    assert_string_equal(ask.url, OWN "object/info/user_assets/" NAME ".glb");
    assert_string_equal(ask.method, "GET");
    http_request_done(&ask);
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        HttpReply r = reply_of(cases[i / 2].code, cases[i / 2].body);
        Fault f = { 0 };

        print_message("# %s\n", cases[i / 2].body);
        assert_int_equal(supabase_info_hear(&r, j, i % 2, &f),
                         i % 2 ? cases[i / 2].sent : cases[i / 2].lost);
        if (cases[i / 2].fault)
            assert_int_equal(f.code, cases[i / 2].fault);
        http_reply_done(&r);
    }
}

static void test_remove_hear(void **state) {
    static const struct {
        int code;
        const char *body;
        JobEvent ev;
    } cases[] = {
        { 200, "{\"message\":\"Successfully deleted\"}", EV_OK },
        { 400, REFUSAL(404, "NoSuchKey"), EV_OK }, /* it is gone already */
        { 200, "<html>", EV_WAIT },
        { 204, NULL, EV_WAIT },
        { 404, "{\"message\":\"no Route matched\"}", EV_WAIT },
        { 400, REFUSAL(400, "InvalidKey"), EV_WAIT },
        { 503, "busy", EV_WAIT },
        { 0, NULL, EV_WAIT },
    };

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply r = reply_of(cases[i].code, cases[i].body);
        Fault f = { 0 };

        r.end = cases[i].code ? HTTP_ANSWERED : HTTP_UNSENT;
        assert_int_equal(supabase_remove_hear(&r, &f), cases[i].ev);
        http_reply_done(&r);
    }
}

/* What the doctor asks: is the bucket there, and private? */
static void test_bucket(void **state) {
    static const struct {
        int code;
        const char *body;
        JobEvent ev;
        bool is_public;
        FaultCode fault;
    } cases[] = {
        { 200, "{\"id\":\"user_assets\",\"public\":false}", EV_OK, false, FAULT_NONE },
        { 200, "{\"id\":\"user_assets\",\"public\":true}", EV_OK, true, FAULT_NONE },
        { 200, "<html>", EV_WAIT, false, FAULT_STORE_UNREACHED },
        { 400, "{\"statusCode\":\"404\",\"code\":\"NoSuchBucket\"}", EV_WAIT, false,
          FAULT_STORE_BUCKET },
        { 400, "{\"statusCode\":\"403\",\"code\":\"AccessDenied\"}", EV_WAIT, false,
          FAULT_STORE_AUTH },
        { 503, "busy", EV_WAIT, false, FAULT_STORE_UNREACHED },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(config_freep) Config *slash = good(&nothing, STORE("https://p.supabase.co/", "x"));
    HttpRequest r;

    (void) state;
    torture(n) {
        int e = supabase_bucket_ask(c, &r);

        assert_true(e == 0 || (e == -ENOMEM && torture_failed()));
        if (e < 0)
            continue;
        assert_string_equal(r.method, "GET");
        assert_string_equal(r.url, "https://p.supabase.co/storage/v1/bucket/user_assets");
        assert_string_equal(header_of(&r, "apikey"), "service");
        http_request_done(&r);
    }
    assert_int_equal(supabase_bucket_ask(slash, &r), 0);
    assert_string_equal(r.url, "https://p.supabase.co/storage/v1/bucket/user_assets");
    http_request_done(&r);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply reply = reply_of(cases[i].code, cases[i].body);
        Fault f = { 0 };
        bool is_public;

        assert_int_equal(supabase_bucket_hear(&reply, &is_public, &f), cases[i].ev);
        assert_int_equal(is_public, cases[i].is_public);
        assert_int_equal(f.code, cases[i].fault);
        http_reply_done(&reply);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path),        cmocka_unit_test(test_naming),
        cmocka_unit_test(test_ask),         cmocka_unit_test(test_hear),
        cmocka_unit_test(test_receipt),     cmocka_unit_test(test_info),
        cmocka_unit_test(test_remove_hear), cmocka_unit_test(test_bucket),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
