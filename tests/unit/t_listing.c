/* The listing, page by page: what is asked, where the next page is, how far it went, and what can be found. */
#include "fixtures.h"
#include "flow/listing.h"
#include "torture.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define ROOT "https://api.replicate.com/v1"
#define EPOCH 1772323499 /* 2026-03-01 00:04:59; five minutes before it: */
#define FROM "2026-02-28T23:59:59Z"
#define ITEM(id, at) "{\"id\":\"" id "\",\"created_at\":\"" at "\",\"input\":{\"p\":1}}"
#define PAGE(next, items) "{\"next\":" next ",\"results\":[" items "]}"

static unsigned seen;

static int told(void *userdata, const char *id, const json_t *input) {
    (void) userdata;
    assert_true(id && json_is_object(input));
    seen++;
    return 0;
}

/* Asks for a page, and hears it in pieces. */
static int hear(const Config *c, Listing *l, int code, const char *body, Fault *reterr) {
    HttpReply r = reply_of(code, NULL);
    HttpRequest request;
    int e = listing_ask(c, l, &request);

    seen = 0;
    if (e < 0)
        return e;
    for (size_t i = 0, n = strlen(body); i < n && e == 0; i += 5)
        e = request.sieve->feed(request.sieve, body + i, n - i < 5 ? n - i : 5);
    assert_int_equal(e, 0);
    http_request_done(&request);
    assert_int_equal(l->sieve.end(&l->sieve, &r), 0);
    e = listing_hear(l, &r, reterr);
    http_reply_done(&r);
    return e;
}

static void test_asks(void **state) {
    static const struct {
        int64_t intent;
        const char *from;
    } cases[] = {
        { 300, "1970-01-01T00:00:00Z" },
        { EPOCH, FROM },
        { 1709164800, "2024-02-28T23:55:00Z" },
        { 4102444800, "2099-12-31T23:55:00Z" },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    char url[200];
    HttpRequest r;
    Listing l;

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        (void) snprintf(url, sizeof url, ROOT "/predictions?created_after=%s", cases[i].from);
        listing_begin(&l, cases[i].intent, told, NULL);
        torture(n) {
            int e = listing_ask(c, &l, &r);

            assert_int_equal(e, torture_failed() ? -ENOMEM : 0);
            if (e < 0)
                continue;
            assert_string_equal(r.method, "GET");
            assert_string_equal(r.url, url);
            assert_string_equal(header_of(&r, "Authorization"), "Bearer r8_test");
            assert_ptr_equal(r.sieve, &l.sieve);
            http_request_done(&r);
        }
        listing_done(&l);
    }
}

/* Of `next` the cursor is taken, and nothing else: we ask where we always ask. */
static void test_cursors(void **state) {
    static const struct {
        const char *next, *cursor; /* NULL: there is none, and nothing is known */
    } cases[] = {
        { ROOT "/predictions?cursor=cD0y%25s%2B==", "cD0y%25s%2B==" },
        { ROOT "/predictions?created_after=x&cursor=a+b/c", "a+b/c" },
        { ROOT "/predictions?cursor=abc&created_after=x", "abc" },
        { ROOT "/predictions?xcursor=no&cursor=abc#cursor=d", "abc" },
        { "https://another.example/v1/predictions?cursor=x", "x" },
        { "http://10.0.0.1:99/other?cursor=x%20y", "x%20y" },
        { "/v1/predictions?cursor=x", "x" },
        { "?cursor=x", "x" },
        { "?cursor=a b\\\"<>\\u00e9%zz%4", "a%20b%22%3C%3E%C3%A9%25zz%254" },
        { "?cursor=\\r\\nHost: x", "%0D%0AHost:%20x" },
        { "?cursor=", NULL },
        { "?cursor=&cursor=x", NULL },
        { "?Cursor=x", NULL },
        { "?x#cursor=x", NULL },
        { "#?cursor=x", "x" }, /* who writes that means it */
        { ROOT, NULL },
        { "", NULL },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    char body[300], url[300];
    HttpRequest r;
    Listing l;

    (void) state;
    for (int slash = 0; slash < 2; slash++) {
        for (size_t i = 0; i < N(cases); i++) {
            Fault f = { 0 };

            print_message("# %s\n", cases[i].next);
            listing_begin(&l, EPOCH, told, NULL);
            (void) snprintf(body, sizeof body, PAGE("\"%s\"", ""), cases[i].next);
            assert_int_equal(hear(c, &l, 200, body, &f), cases[i].cursor ? 1 : -EBADMSG);
            assert_int_equal(f.code, cases[i].cursor ? FAULT_NONE : FAULT_SERVICE_UNREACHED);
            if (cases[i].cursor) {
                (void) snprintf(url, sizeof url,
                                ROOT "/predictions?created_after=" FROM "&cursor=%s",
                                cases[i].cursor);
                assert_int_equal(listing_ask(c, &l, &r), 0);
                assert_string_equal(r.url, url);
                http_request_done(&r);
            }
            listing_done(&l);
        }
        free(TAKE(c->replicate_url));
        c->replicate_url = strdup(ROOT "/"); /* as it may be written */
    }
}

/* Pages that lead round in a circle, however large it is, have no end; neither have too many. */
static void test_circles(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (int size = 1; size < 70; size += size < 5 ? 1 : 13)
        for (int before = 0; before < 5; before += 2) {
            int r = 1, pages = 0;
            Fault f = { 0 };
            Listing l;

            listing_begin(&l, EPOCH, told, NULL);
            for (; r == 1; pages++) {
                char body[100];

                (void) snprintf(body, sizeof body, PAGE("\"?cursor=%d\"", ""),
                                pages < before ? 1000 + pages : (pages - before) % size);
                r = hear(c, &l, 200, body, &f);
            }
            assert_int_equal(r, -EBADMSG);
            assert_int_equal(f.code, FAULT_SERVICE_UNREACHED);
            assert_true(pages <= 4 * (size + before) + 2);
            listing_done(&l);
        }
    {
        Fault f = { 0 };
        Listing l;

        listing_begin(&l, EPOCH, told, NULL);
        assert_int_equal(hear(c, &l, 200, PAGE("\"?cursor=a\"", ""), &f), 1);
        l.pages = LISTING_PAGES_MAX - 1;
        assert_int_equal(hear(c, &l, 200, PAGE("\"?cursor=b\"", ""), &f), -EBADMSG);
        listing_done(&l);
    }
}

static void test_ends(void **state) {
    static const struct {
        int code;
        const char *body;
        int answer;
        FaultCode fault;
    } cases[] = {
        { 200, PAGE("null", ""), 0, FAULT_NONE },
        { 200, "{\"results\":[]}", 0, FAULT_NONE },
        { 200, PAGE("7", ""), -EBADMSG, FAULT_SERVICE_UNREACHED },
        { 200, PAGE("[\"?cursor=x\"]", ""), -EBADMSG, FAULT_SERVICE_UNREACHED },
        { 200, "{\"results\":{}}", -EBADMSG, FAULT_SERVICE_UNREACHED },
        { 200, "{\"next\":null}", -EBADMSG, FAULT_SERVICE_UNREACHED },
        { 200, "<html>", -EBADMSG, FAULT_SERVICE_UNREACHED },
        { 200, "{\"results\":[{\"id\":\"x\"}", -EBADMSG, FAULT_SERVICE_UNREACHED },
        { 500, PAGE("null", ""), -EBADMSG, FAULT_SERVICE_UNREACHED },
        { 401, "{\"detail\":\"no\"}", -EBADMSG, FAULT_SERVICE_AUTH },
        { 429, "{\"detail\":\"throttled\",\"retry_after\":3}", -EBADMSG, FAULT_SERVICE_THROTTLED },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_free_ char *next = calloc(1, 9001), *body = NULL;
    Fault f = { 0 };
    Listing l;

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        f = (Fault){ 0 };
        print_message("# %s\n", cases[i].body);
        listing_begin(&l, EPOCH, told, NULL);
        assert_int_equal(hear(c, &l, cases[i].code, cases[i].body, &f), cases[i].answer);
        assert_int_equal(f.code, cases[i].fault);
        assert_int_equal(f.retry_after_usec, cases[i].code == 429 ? 3 * SEC : 0);
        listing_done(&l);
    }
    memset(next, 'x', 9000);
    body = str_printf(PAGE("\"?cursor=%s\"", ""), next);
    listing_begin(&l, EPOCH, told, NULL);
    assert_int_equal(hear(c, &l, 200, body, &f), -EBADMSG);
    listing_done(&l);
}

/* What was made since a time has been shown when something older came, and all was in order. */
static void test_reaches(void **state) {
    static const struct {
        const char *items;
        bool reached; /* 2026-03-01 00:04:59, less five minutes */
    } cases[] = {
        { "", false },
        { ITEM("a", "2026-03-01T00:00:00.5Z"), false },
        { ITEM("a", "2026-02-28T23:59:59Z"), false },
        { ITEM("a", "2026-02-28T23:59:58.999999Z"), true },
        { ITEM("a", "2026-03-01T00:00:00Z") "," ITEM("b", "2026-02-28T23:00:00Z"), true },
        { ITEM("a", "2026-02-28T23:00:00Z") "," ITEM("b", "2026-03-01T00:00:00Z"), false },
        { ITEM("a", "yesterday") "," ITEM("b", "2026-02-28T23:00:00Z"), false },
        { ITEM("a", "2026-02-28T23:00:00+01:00"), false },
        { "{\"id\":\"a\"}," ITEM("b", "2026-02-28T23:00:00Z"), false },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        char body[500];
        Fault f = { 0 };
        Listing l;

        print_message("# %s\n", cases[i].items);
        listing_begin(&l, EPOCH - 3600, told, NULL);
        assert_false(listing_has_reached(&l, EPOCH));
        (void) snprintf(body, sizeof body, PAGE("\"?cursor=x\"", "%s"), cases[i].items);
        assert_int_equal(hear(c, &l, 200, body, &f), 1);
        assert_int_equal(listing_has_reached(&l, EPOCH), cases[i].reached);
        listing_done(&l);
    }
}

/* Whose input is too large is passed by; ours never is. */
static void test_sizes(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_free_ char *text = calloc(1, 2 * LISTING_INPUT_MAX + 1), *body = NULL, *ours = NULL;
    json_t *input;
    Fault f = { 0 };
    Listing l;

    (void) state;
    memset(text, 'x', 2 * LISTING_INPUT_MAX);
    body =
        str_printf(PAGE("null", "{\"id\":\"a\",\"input\":{\"p\":\"%s\"}}," ITEM("b", "x")), text);
    listing_begin(&l, EPOCH, told, NULL);
    assert_int_equal(hear(c, &l, 200, body, &f), 0);
    assert_int_equal(seen, 1);
    assert_int_equal(l.too_large, 1);
    listing_done(&l);

    input =
        json_pack("{s:s%, s:[i,i]}", "p", text, (size_t) LISTING_INPUT_MAX / 2 - 1000, "n", 1, 2);
    assert_true(listing_can_show(input));
    ours = json_dumps(input, JSON_ENSURE_ASCII);
    free(body);
    body = str_printf(PAGE("null", "{\"id\":\"a\",\"input\":%s}"), ours);
    listing_begin(&l, EPOCH, told, NULL);
    assert_int_equal(hear(c, &l, 200, body, &f), 0);
    assert_int_equal(seen, 1);
    listing_done(&l);
    json_decref(input);
    input = json_pack("{s:s%}", "p", text, (size_t) LISTING_INPUT_MAX / 2);
    assert_false(listing_can_show(input));
    json_decref(input);
}

static void test_no_memory(void **state) {
    static const char body[] = PAGE("\"?cursor=x\"", ITEM("a", "2026-02-28T23:00:00Z"));
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    torture(n) {
        Fault f = { 0 };
        Listing l;
        int r;

        listing_begin(&l, EPOCH, told, NULL);
        r = hear(c, &l, 200, body, &f);
        if (r == 1)
            assert_true(seen == 1 && l.cursor);
        else
            assert_true(torture_failed() && r == -ENOMEM);
        listing_done(&l);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asks),      cmocka_unit_test(test_cursors),
        cmocka_unit_test(test_circles),   cmocka_unit_test(test_ends),
        cmocka_unit_test(test_reaches),   cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_no_memory),
    };

    torture_json();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
