/* Storing: names of objects, what is asked of Supabase and what its answers mean, and signed URLs. */
#include <ctype.h>

#include "fixtures.h"
#include "flow/store.h"
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

static void test_name(void **state) {
    static const struct {
        const char *path, *purchases, *name;
    } cases[] = {
        { NULL, RUNS(1), NAME ".glb" },
        { NULL, RUNS(7), NAME ".glb" },
        { "{job_id}", RUNS(1), JOB_ID },
        { "a.b/{job_id}", RUNS(1), "a.b/" JOB_ID },
        { "{asset_id}{asset_id}/{project_id}_x.glb", RUNS(1),
          ASSET_ID ASSET_ID "/" PROJECT_ID "_x.glb" },
        /* bought again after a success: beside it, not over it */
        { NULL, WAS(1, "bought", GONE) "," RUNS(2), NAME "_2.glb" },
        { NULL, WAS(1, "bought", GONE) "," WAS(2, "bought", GONE) "," RUNS(3), NAME "_3.glb" },
        { NULL, RUNS(4) "," WAS(2, "bought", GONE), NAME "_2.glb" },
        { "{job_id}", WAS(1, "bought", GONE) "," RUNS(2), JOB_ID "_2" },
        { NULL, WAS(1, "ended", ",\"finished\":true,\"status\":\"succeeded\"") "," RUNS(2),
          NAME "_2.glb" },
        { "a.b/{job_id}", WAS(1, "bought", GONE) "," RUNS(2), "a.b/" JOB_ID "_2" },
        { "{job_id}.tar.gz", WAS(1, "bought", GONE) "," RUNS(2), JOB_ID ".tar_2.gz" },
        /* not after a purchase that gave no mesh */
        { NULL, WAS(1, "ended", FAILED) "," RUNS(2), NAME ".glb" },
        { NULL, PURCHASE("sculpt", 1, "given_up", "null", "") "," RUNS(2), NAME ".glb" },
        { NULL, WAS(1, "surplus", ",\"finished\":true,\"status\":\"canceled\"") "," RUNS(2),
          NAME ".glb" },
        { NULL, PURCHASE("sculpt", 1, "ended", "null", "") "," WAS(2, "bought", GONE) "," RUNS(3),
          NAME "_2.glb" },
        /* nor after another step's success */
        { NULL, PURCHASE("paint", 1, "bought", BOUGHT, GONE) "," RUNS(2), NAME ".glb" },
    };

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = cases[i].path ? str_printf(GOOD "path = %s\n", cases[i].path) : strdup(GOOD);
        char *purchases = str_printf("[%s]", cases[i].purchases);
        _cleanup_(config_freep) Config *c = good(&nothing, text);
        _cleanup_(job_freep) Job *j = storing(c, purchases);

        print_message("# name %zu\n", i);
        assert_int_equal(store_name(c, j), 0);
        assert_string_equal(j->object, cases[i].name);
        assert_int_equal(store_name(c, j), 0); /* asked again, it is the same */
        assert_string_equal(j->object, cases[i].name);
        free(purchases);
        free(text);
    }
}

/* A worker that was left behind knows less, but writes its purchase's bytes under the same name. */
static void test_name_of_a_zombie(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *zombie = storing(c, "[" WAS(1, "bought", GONE) "," RUNS(2) "]");
    _cleanup_(job_freep) Job *other =
        storing(c, "[" WAS(1, "bought", GONE) "," WAS(2, "bought", GONE) "," RUNS(3) "]");

    (void) state;
    assert_int_equal(store_name(c, zombie), 0);
    assert_int_equal(store_name(c, other), 0);
    assert_string_not_equal(zombie->object, other->object);
    other->purchase = 1;
    assert_int_equal(store_name(c, other), 0);
    assert_string_equal(zombie->object, other->object);
    other->purchase = zombie->purchase = 0;
    assert_int_equal(store_name(c, other), 0);
    assert_int_equal(store_name(c, zombie), 0);
    assert_string_equal(zombie->object, other->object);
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

        j->size_bytes = UINT64_C(5) << 32;
        assert_int_equal(store_name(c, j), 0);
        torture(n) if (store_ask(c, j, 7, &r) == 0) {
            assert_string_equal(r.method, "POST");
            assert_string_equal(r.url, OWN "object/user_assets/" NAME ".glb");
            check_keys(&r, cases[i].key, cases[i].bearer);
            assert_string_equal(header_of(&r, "Content-Type"), "model/gltf-binary");
            assert_string_equal(header_of(&r, "x-upsert"), "true"); /* "TRUE" would be false */
            assert_int_equal(r.body_fd, 7);
            assert_true(r.body_size == j->size_bytes);
            assert_null(r.body);
            assert_int_equal(r.sink_fd, 0);
            assert_int_equal(r.timeout_usec, 0); /* as long as bytes flow */
            http_request_done(&r);
        }
        else assert_true(torture_failed());
        torture(n) if (store_remove_ask(c, j, &r) == 0) {
            assert_string_equal(r.method, "DELETE");
            assert_string_equal(r.url, OWN "object/user_assets/" NAME ".glb");
            check_keys(&r, cases[i].key, cases[i].bearer);
            assert_null(header_of(&r, "Content-Type")); /* with it, no body would be an error */
            assert_null(r.body);
            assert_int_equal(r.body_fd, 0);
            http_request_done(&r);
        }
        else assert_true(torture_failed());
        torture(n) if (store_name(c, j) < 0) assert_true(torture_failed());
    }
}

#define REFUSAL(status, code) \
    "{\"statusCode\":\"" #status "\",\"error\":\"x\",\"message\":\"y\",\"code\":\"" code "\"}"

/* Most refusals come as HTTP 400; the JSON says what they are. `signing`: what a sign_hear makes of
 * the same answer, where that is something else. */
static const struct {
    HttpEnd end;
    int code;
    const char *body;
    FaultCode fault, signing;
} refusals[] = {
    { HTTP_ANSWERED, 400, REFUSAL(413, "EntityTooLarge"), FAULT_STORE_TOO_LARGE, 0 },
    { HTTP_ANSWERED, 413, "Maximum size exceeded", FAULT_STORE_TOO_LARGE, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(415, "InvalidMimeType"), FAULT_STORE_REFUSED, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(400, "InvalidKey"), FAULT_STORE_REFUSED, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(404, "NoSuchBucket"), FAULT_STORE_BUCKET, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(404, "NoSuchKey"), FAULT_STORE_REFUSED, FAULT_IMAGE_MISSING },
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
    { HTTP_ANSWERED, 400, "{\"statusCode\":1e300}", FAULT_STORE_REFUSED, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(423, "ResourceLocked"), FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 400, REFUSAL(409, "KeyAlreadyExists"), FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 500, REFUSAL(500, "DatabaseError"), FAULT_STORE_UNREACHED, 0 },
    { HTTP_ANSWERED, 402, "{\"message\":\"exceeded_egress_quota\"}", FAULT_STORE_CLOSED, 0 },
    { HTTP_ANSWERED, 402, "<html>", FAULT_STORE_CLOSED, 0 },
    { HTTP_ANSWERED, 404, "<html>", FAULT_STORE_UNREACHED, 0 }, /* not the store's own words */
    { HTTP_ANSWERED, 404, "{\"message\":\"x\"}", FAULT_STORE_REFUSED, FAULT_IMAGE_MISSING },
    { HTTP_ANSWERED, 400, "{\"statusCode\":400}", FAULT_STORE_REFUSED, 0 },
    { HTTP_ANSWERED, 400, "{\"statusCode\":400,\"message\":\"x\"}", FAULT_STORE_REFUSED, 0 },
    { HTTP_ANSWERED, 400, "{\"statusCode\":\"1000\"}", FAULT_STORE_REFUSED, 0 },
    { HTTP_ANSWERED, 304, "{\"statusCode\":\"404\"}", FAULT_STORE_REFUSED, 0 },
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
    { HTTP_LOST, 0, NULL, FAULT_STORE_UNREACHED, 0 },
    { HTTP_LOST, 200, "{\"Key\":\"user", FAULT_STORE_UNREACHED, 0 },
    { HTTP_TOO_LARGE, 200, NULL, FAULT_STORE_UNREACHED, 0 },
};

static void test_hear(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = storing(c, "[" RUNS(1) "]");
    HttpReply good_one = reply_of(200, "{\"Key\":\"user_assets/x\",\"Id\":\"y\"}");
    Fault f = { 0 };

    (void) state;
    assert_int_equal(store_hear(&good_one, &f), EV_OK);
    assert_int_equal(f.code, FAULT_NONE);
    http_reply_done(&good_one);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        FaultCode signing = refusals[i].signing ? refusals[i].signing : refusals[i].fault;
        HttpReply r = reply_of(refusals[i].code, refusals[i].body);

        r.end = refusals[i].end;
        r.retry_after_usec = i % 2 * SEC;
        print_message("# %d %s\n", r.code, r.body ? r.body : "");
        assert_int_equal(store_hear(&r, &f), fault_info(refusals[i].fault)->verdict == VERDICT_FINAL
                                                 ? EV_FINAL
                                                 : EV_WAIT);
        assert_int_equal(f.code, refusals[i].fault);
        assert_int_equal(f.retry_after_usec, r.retry_after_usec);
        assert_int_equal(store_sign_hear(c, &r, j, &f),
                         fault_info(signing)->verdict == VERDICT_FINAL ? EV_FINAL : EV_WAIT);
        assert_int_equal(f.code, signing);
        assert_null(j->image_url);
        http_reply_done(&r);
    }
}

static void test_sign_check(void **state) {
    static const struct {
        const char *image;
        bool good;
    } cases[] = {
        { USER_ID "/chair.png", true },
        { USER_ID "/a/b/chair (1).png", true },
        { USER_ID "/...", true },
        { USER_ID "/b/.c/d", true },
        { USER_ID "/bc/c./d", true },
        { USER_ID "/.hidden", true },
        { PROJECT_ID "/chair.png", false },
        { USER_ID "x/chair.png", false },
        { USER_ID, false },
        { USER_ID "/", false },
        { "chair.png", false },
        { "/" USER_ID "/chair.png", true }, /* as frontends store it */
        { "user_assets/" USER_ID "/chair.png", true },
        { "/user_assets/" USER_ID "/a/chair.png", true },
        { "//" USER_ID "/chair.png", false },
        { "user_assets//" USER_ID "/chair.png", false },
        { "user_assets/user_assets/" USER_ID "/chair.png", false },
        { "user_assets/" PROJECT_ID "/chair.png", false },
        { "/user_assets/" USER_ID "/../" PROJECT_ID "/chair.png", false },
        { "user_assets/" USER_ID, false },
        { "user_assetsx/" USER_ID "/chair.png", false },
        { "other_assets/" USER_ID "/chair.png", false },
        { "user_assets/", false },
        { "/", false },
        { "", false },
        { "a/" USER_ID "/chair.png", false },
        { USER_ID "/../" PROJECT_ID "/chair.png", false },
        { USER_ID "/a/../../" PROJECT_ID "/chair.png", false },
        { USER_ID "/..", false },
        { USER_ID "/.", false },
        { USER_ID "/./chair.png", false },
        { USER_ID "//chair.png", false },
        { USER_ID "/chair.png/", false },
        { USER_ID "/%2e%2e/x.png", false },
        { USER_ID "/a\\..\\x.png", false },
        { USER_ID "/a?token=x", false },
        { USER_ID "/a#b", false },
        { USER_ID "/a\nb", false },
        { USER_ID "/ch\xc3\xa4ir.png", false }, /* no key of the store has such a letter */
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(config_freep) Config *dir = good(
        &nothing, "[replicate]\ntoken = r8_test\n[storage]\ndriver = dir\nurl = /srv/meshes\n");
    _cleanup_(job_freep) Job *j = storing(c, "[" RUNS(1) "]");
    char image[sizeof USER_ID + 2000];

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Fault f = { 0 };

        j->image = (char *) cases[i].image;
        print_message("# image %zu\n", i);
        assert_int_equal(store_sign_check(c, j, &f), cases[i].good ? EV_OK : EV_FINAL);
        assert_int_equal(f.code, cases[i].good ? FAULT_NONE : FAULT_IMAGE_FORBIDDEN);
        assert_int_equal(store_sign_check(dir, j, &f), EV_FINAL);
        assert_int_equal(f.code, FAULT_IMAGE_FORBIDDEN);
    }
    for (int n = 10; n < 2000; n += 1989) { /* keys have at most 1024 bytes */
        Fault f = { 0 };

        (void) snprintf(image, sizeof image, USER_ID "/%0*d", n, 7);
        j->image = image;
        assert_int_equal(store_sign_check(c, j, &f), n == 10 ? EV_OK : EV_FINAL);
    }
    j->image = (char *) "/chair.png"; /* a job without a user has nobody's path */
    j->user_id[0] = '\0';
    assert_int_equal(store_sign_check(c, j, &j->fault), EV_FINAL);
    j->image = NULL;
}

static void test_sign_ask(void **state) {
    static const char plain[] = USER_ID "/a/chair_1-2.png";
    static const char odd[] = USER_ID "/a b/!*'() &$=@;:+,.png";
    _cleanup_(config_freep) Config *c =
        good(&nothing, STORE("https://p.supabase.co", "sb_secret_abc"));
    _cleanup_(job_freep) Job *j = storing(c, "[" RUNS(1) "]");
    char decoded[200];
    HttpRequest r;
    size_t n = 0;

    (void) state;
    j->image = (char *) "/user_assets/" USER_ID "/a/chair_1-2.png";
    assert_int_equal(store_sign_ask(c, j, &r), 0);
    assert_string_equal(r.url, OWN "object/sign/user_assets/" USER_ID "/a/chair_1-2.png");
    http_request_done(&r);
    j->image = (char *) plain;
    torture(k) if (store_sign_ask(c, j, &r) == 0) {
        json_t *body = json_loadb(r.body, r.body_size, 0, NULL);

        assert_string_equal(r.method, "POST");
        assert_string_equal(r.url, OWN "object/sign/user_assets/" USER_ID "/a/chair_1-2.png");
        assert_string_equal(header_of(&r, "Content-Type"), "application/json");
        check_keys(&r, "sb_secret_abc", false);
        /* The prediction may stand in a queue for long before it reads the image. */
        assert_true(json_integer_value(json_object_get(body, "expiresIn")) >= 3600);
        assert_int_equal(json_object_size(body), 1);
        json_decref(body);
        http_request_done(&r);
    }
    else assert_true(torture_failed());
    j->image = (char *) odd;
    assert_int_equal(store_sign_ask(c, j, &r), 0);
    for (const char *p = r.url + strlen(OWN "object/sign/user_assets/"); *p; p++) {
        unsigned byte = (unsigned char) *p;

        assert_true(isalnum(*p) || strchr("/._-~%!*'()", *p));
        if (*p == '%') {
            assert_int_equal(sscanf(p + 1, "%2x", &byte), 1);
            p += 2;
        }
        assert_true(n + 1 < sizeof decoded);
        decoded[n++] = (char) byte;
    }
    decoded[n] = '\0';
    assert_string_equal(decoded, odd);
    http_request_done(&r);
    j->image = NULL;
}

static void test_sign_hear(void **state) {
    static const struct {
        const char *body, *url;
    } cases[] = {
        { "{\"signedURL\":\"/object/sign/user_assets/a/b.png?token=eyJ\"}",
          OWN "object/sign/user_assets/a/b.png?token=eyJ" },
        { "{\"signedURL\":\"https://evil.com/object/sign/x\"}", NULL },
        { "{\"signedURL\":\"http://169.254.169.254/x\"}", NULL },
        { "{\"signedURL\":\".evil.com/x\"}", NULL },
        { "{\"signedURL\":\"@evil.com/x\"}", NULL },
        { "{\"signedURL\":\"/object/sign/a b\"}", NULL },
        { "{\"signedURL\":\"/object/sign/a\\r\\nb\"}", NULL },
        { "{\"signedURL\":\"/object/sign/a\\u001b[2J\"}", NULL },
        { "{\"signedURL\":\"\"}", NULL },
        { "{\"signedURL\":null,\"error\":\"x\"}", NULL },
        { "{}", NULL },
        { "[]", NULL },
        { "", NULL },
        { "<html>", NULL },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, STORE("https://p.supabase.co/", "x"));
    _cleanup_(job_freep) Job *j = storing(c, "[" RUNS(1) "]");

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply r = reply_of(200, cases[i].body);
        Fault f = { 0 };

        print_message("# %s\n", cases[i].body);
        free(TAKE(j->image_url));
        if (cases[i].url) {
            assert_int_equal(store_sign_hear(c, &r, j, &f), EV_OK);
            assert_string_equal(j->image_url, cases[i].url);
        } else {
            assert_int_equal(store_sign_hear(c, &r, j, &f), EV_WAIT);
            assert_int_equal(f.code, FAULT_STORE_UNREACHED);
            assert_null(j->image_url);
        }
        http_reply_done(&r);
    }
    {
        _cleanup_(config_freep) Config *inside =
            good(&nothing, STORE("http://kong:8000", "x") "public_url = https://p.supabase.co/\n");
        HttpReply r = reply_of(200, cases[0].body);
        Fault f = { 0 };

        assert_int_equal(store_sign_hear(inside, &r, j, &f), EV_OK);
        assert_string_equal(j->image_url, cases[0].url);
        http_reply_done(&r);
    }
    for (int n = 8000; n < 9000; n += 900) { /* too long for a header of anybody's */
        char *body = str_printf("{\"signedURL\":\"/%0*d\"}", n, 7);
        HttpReply r = reply_of(200, body);
        Fault f = { 0 };

        assert_int_equal(store_sign_hear(c, &r, j, &f), n == 8000 ? EV_OK : EV_WAIT);
        http_reply_done(&r);
        free(body);
    }
    HttpReply r = reply_of(200, cases[0].body);

    torture(n) {
        Fault f = { 0 };
        JobEvent ev = store_sign_hear(c, &r, j, &f);

        assert_true(ev == EV_OK || torture_failed());
        assert_int_equal(j->image_url != NULL, ev == EV_OK);
    }
    http_reply_done(&r);
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
        int e = store_bucket_ask(c, &r);

        assert_true(e == 0 || (e == -ENOMEM && torture_failed()));
        if (e < 0)
            continue;
        assert_string_equal(r.method, "GET");
        assert_string_equal(r.url, "https://p.supabase.co/storage/v1/bucket/user_assets");
        assert_string_equal(header_of(&r, "apikey"), "service");
        http_request_done(&r);
    }
    assert_int_equal(store_bucket_ask(slash, &r), 0);
    assert_string_equal(r.url, "https://p.supabase.co/storage/v1/bucket/user_assets");
    http_request_done(&r);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply reply = reply_of(cases[i].code, cases[i].body);
        Fault f = { 0 };
        bool is_public;

        assert_int_equal(store_bucket_hear(&reply, &is_public, &f), cases[i].ev);
        assert_int_equal(is_public, cases[i].is_public);
        assert_int_equal(f.code, cases[i].fault);
        http_reply_done(&reply);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_name),       cmocka_unit_test(test_name_of_a_zombie),
        cmocka_unit_test(test_ask),        cmocka_unit_test(test_hear),
        cmocka_unit_test(test_sign_check), cmocka_unit_test(test_sign_ask),
        cmocka_unit_test(test_sign_hear),  cmocka_unit_test(test_bucket),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
