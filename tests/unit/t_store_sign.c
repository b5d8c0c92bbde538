/* Signed URLs for images in the bucket: which are asked for, and what the answers mean. */
#include "fixtures.h"
#include "flow/store.h"
#include "flow/supabase.h"
#include "torture.h"

#define BOUGHT "\"" PREDICTION "\""
#define RUNS(n) PURCHASE("sculpt", n, "bought", BOUGHT, "")
#define STORE(url, key) "[replicate]\ntoken = r8_test\n[storage]\nurl = " url "\nkey = " key "\n"
#define OWN "https://p.supabase.co/storage/v1/"

static Job *storing(const Config *c, const char *purchases) {
    ClaimedRow row = claimed_row;
    Job *j;

    row.purchases = purchases;
    j = job_of(c, &row);
    assert_true(j->has_purchase);
    return j;
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

#define REFUSAL(status, code) \
    "{\"statusCode\":\"" #status "\",\"error\":\"x\",\"message\":\"y\",\"code\":\"" code "\"}"

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
        { USER_ID "/a?token=x", true }, /* a key may have that, and is encoded */
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
        StoreWork other = { .config = dir, .job = j };
        Fault f = { 0 };

        j->image = (char *) cases[i].image;
        print_message("# image %zu\n", i);
        assert_int_equal(supabase_sign_check(c, j, &f), cases[i].good ? EV_OK : EV_FINAL);
        assert_int_equal(f.code, cases[i].good ? FAULT_NONE : FAULT_IMAGE_FORBIDDEN);
        assert_int_equal(store_sign(&other), EV_FINAL);
        assert_int_equal(other.fault.code, FAULT_IMAGE_FORBIDDEN);
    }
    for (int n = 10; n < 2000; n += 1989) { /* keys have at most 1024 bytes */
        Fault f = { 0 };

        (void) snprintf(image, sizeof image, USER_ID "/%0*d", n, 7);
        j->image = image;
        assert_int_equal(supabase_sign_check(c, j, &f), n == 10 ? EV_OK : EV_FINAL);
    }
    j->image = (char *) "/chair.png"; /* a job without a user has nobody's path */
    j->user_id[0] = '\0';
    assert_int_equal(supabase_sign_check(c, j, &j->fault), EV_FINAL);
    j->image = NULL;
}

/* The key stands in the body as it is: in the path it would be decoded by half. */
static void test_sign_ask(void **state) {
    static const char odd[] = USER_ID "/a b/!*'() &$=@;:+,?.png";
    _cleanup_(config_freep) Config *c =
        good(&nothing, STORE("https://p.supabase.co", "sb_secret_abc"));
    _cleanup_(job_freep) Job *j = storing(c, "[" RUNS(1) "]");
    HttpRequest r;

    (void) state;
    j->image = (char *) "/user_assets/" USER_ID "/a.png";
    assert_int_equal(supabase_sign_ask(c, j, &r), 0);
    assert_non_null(strstr(r.body, "[\"" USER_ID "/a.png\"]"));
    http_request_done(&r);
    j->image = (char *) odd;
    torture(k) if (supabase_sign_ask(c, j, &r) == 0) {
        json_t *body = json_loadb(r.body, r.body_size, 0, NULL),
               *paths = json_object_get(body, "paths");

        assert_string_equal(r.method, "POST");
        assert_string_equal(r.url, OWN "object/sign/user_assets");
        assert_string_equal(header_of(&r, "Content-Type"), "application/json");
        check_keys(&r, "sb_secret_abc", false);
        /* The prediction may stand in a queue for long before it reads the image. */
        assert_true(json_integer_value(json_object_get(body, "expiresIn")) >= 3600);
        assert_int_equal(json_array_size(paths), 1);
        assert_string_equal(json_string_value(json_array_get(paths, 0)), odd);
        assert_int_equal(json_object_size(body), 2);
        json_decref(body);
        http_request_done(&r);
    }
    else assert_true(torture_failed());
    j->image = NULL;
}

static void test_sign_hear(void **state) {
#define SIGNED(url) "[{\"error\":null,\"path\":\"" USER_ID "/a +?.png\",\"signedURL\":" url "}]"
#define URL "/object/sign/user_assets/" USER_ID "/a +?.png"
    static const struct {
        const char *body;
        JobEvent ev;
        FaultCode fault;
    } cases[] = {
        { SIGNED("\"" URL "?token=eyJ.x-y_z\""), EV_OK, FAULT_NONE },
        { SIGNED("\"" URL "?token=no?token=eyJ.x-y_z\""), EV_OK, FAULT_NONE },
        /* odd, for this image alone: it holds nobody else */
        { SIGNED("\"https://evil.com/object/sign/x?token=eyJ.x-y_z\""), EV_RETRY,
          FAULT_IMAGE_UNSIGNED },
        { SIGNED("\".evil.com/x\""), EV_RETRY, FAULT_IMAGE_UNSIGNED },
        { SIGNED("\"" URL "?token=eyJ x\""), EV_RETRY, FAULT_IMAGE_UNSIGNED },
        { SIGNED("\"" URL "?token=a&b\""), EV_RETRY, FAULT_IMAGE_UNSIGNED },
        { SIGNED("\"" URL "?token=a\\u001b[2J\""), EV_RETRY, FAULT_IMAGE_UNSIGNED },
        { SIGNED("\"" URL "?token=\""), EV_RETRY, FAULT_IMAGE_UNSIGNED },
        { SIGNED("\"" URL "\""), EV_RETRY, FAULT_IMAGE_UNSIGNED },
        { SIGNED("\"\""), EV_RETRY, FAULT_IMAGE_UNSIGNED },
        { SIGNED("null"), EV_RETRY, FAULT_IMAGE_UNSIGNED },
        { "[{\"error\":\"Either\",\"path\":\"" USER_ID "/a +?.png\",\"signedURL\":null}]", EV_MORE,
          FAULT_IMAGE_MISSING },
        /* not Storage's answer */
        { "[{\"error\":null,\"path\":\"other\",\"signedURL\":\"" URL "?token=eyJ\"}]", EV_WAIT,
          FAULT_STORE_UNREACHED },
        { "{\"signedURL\":\"" URL "?token=eyJ\"}", EV_WAIT, FAULT_STORE_UNREACHED },
        { "[7]", EV_WAIT, FAULT_STORE_UNREACHED },
        { "{}", EV_WAIT, FAULT_STORE_UNREACHED },
        { "[]", EV_WAIT, FAULT_STORE_UNREACHED },
        { "", EV_WAIT, FAULT_STORE_UNREACHED },
        { "<html>", EV_WAIT, FAULT_STORE_UNREACHED },
    };
    static const char *const stores[] = {
        STORE("https://p.supabase.co/", "x"),
        STORE("http://kong:8000", "x") "public_url = https://p.supabase.co/\n",
    };

    (void) state;
    for (size_t k = 0; k < 2; k++) {
        _cleanup_(config_freep) Config *c = good(&nothing, stores[k]);
        _cleanup_(job_freep) Job *j = storing(c, "[" RUNS(1) "]");

        j->image = (char *) USER_ID "/a +?.png";
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            HttpReply r = reply_of(200, cases[i].body);
            Fault f = { 0 };

            print_message("# %s\n", cases[i].body);
            free(TAKE(j->image_url));
            assert_int_equal(supabase_sign_hear(c, &r, j, &f), cases[i].ev);
            assert_int_equal(f.code, cases[i].fault);
            if (cases[i].ev == EV_OK)
                assert_string_equal(j->image_url, OWN "object/sign/user_assets/" USER_ID
                                                      "/a%20%2B%3F.png?token=eyJ.x-y_z");
            else
                assert_null(j->image_url);
            http_reply_done(&r);
        }
        HttpReply r = reply_of(200, cases[0].body);

        torture(n) {
            Fault f = { 0 };
            JobEvent ev = supabase_sign_hear(c, &r, j, &f);

            assert_true(ev == EV_OK || torture_failed());
            assert_int_equal(j->image_url != NULL, ev == EV_OK);
        }
        http_reply_done(&r);
        j->image = NULL;
    }
}

/* A list does not tell a missing image from a bucket that is missing, or hidden from the key. */
static void test_sign_bucket(void **state) {
    static const struct {
        int code;
        const char *body;
        JobEvent ev;
        FaultCode fault;
    } cases[] = {
        { 200, "{\"id\":\"user_assets\",\"public\":false}", EV_FINAL, FAULT_IMAGE_MISSING },
        { 400, REFUSAL(404, "NoSuchBucket"), EV_WAIT, FAULT_STORE_BUCKET },
        { 503, "busy", EV_WAIT, FAULT_STORE_UNREACHED },
    };

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply r = reply_of(cases[i].code, cases[i].body);
        Fault f = { .code = FAULT_IMAGE_MISSING };

        assert_int_equal(supabase_sign_bucket_hear(&r, &f), cases[i].ev);
        assert_int_equal(f.code, cases[i].fault);
        http_reply_done(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sign_check),
        cmocka_unit_test(test_sign_ask),
        cmocka_unit_test(test_sign_hear),
        cmocka_unit_test(test_sign_bucket),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
