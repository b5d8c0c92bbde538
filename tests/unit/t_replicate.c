/* What Replicate answers when it does not give what was asked for, and how it is asked. */
#include "core/verdict.h"
#include "fixtures.h"
#include "flow/replicate.h"
#include "torture.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define TEN "0123456789"
#define SIXTY TEN TEN TEN TEN TEN TEN
#define HTML "<html><body><h1>502 Bad Gateway</h1></body></html>"
#define PROBLEM(title, detail, status) \
    "{\"title\":\"" title "\",\"detail\":\"" detail "\",\"status\":" #status "}\n"

static void test_statuses(void **state) {
    /* clang-format off */
    static const struct {
        int code;
        const char *body;
        FaultCode fault;
        const char *word; /* that the log must have; NULL: none */
    } cases[] = {
        { 400, "{\"detail\":\"Query parameter \\\"query\\\" is required\"}", FAULT_SERVICE_REFUSED, "is required" },
        { 401, PROBLEM("Unauthenticated", "You did not pass a valid authentication token", 401), FAULT_SERVICE_AUTH, "valid authentication" },
        { 401, "{\"detail\":\"Authorization header required\"}", FAULT_SERVICE_AUTH, "header required" },
        { 401, NULL, FAULT_SERVICE_AUTH, "401" },
        { 402, PROBLEM("Insufficient credit", "You have insufficient credit", 402), FAULT_SERVICE_CREDIT, "insufficient credit" },
        { 402, "", FAULT_SERVICE_CREDIT, "402" },
        { 403, PROBLEM("Forbidden", "not yours", 403), FAULT_SERVICE_AUTH, "not yours" },
        { 403, "error code: 1010", FAULT_SERVICE_UNREACHED, "403" }, /* the edge, not the API */
        { 403, HTML, FAULT_SERVICE_UNREACHED, "403" },
        { 403, "", FAULT_SERVICE_UNREACHED, "403" },
        { 404, "{\"detail\":\"The requested resource could not be found.\",\"status\":404}", FAULT_SERVICE_REFUSED, "not be found" },
        { 404, HTML, FAULT_SERVICE_REFUSED, "404" },
        { 405, "", FAULT_SERVICE_REFUSED, "405" },
        { 408, "", FAULT_SERVICE_UNREACHED, "408" },
        { 410, "{}", FAULT_SERVICE_REFUSED, "410" },
        { 413, "{\"detail\":\"Files must be less than 100MB in size\"}", FAULT_MODEL_INPUT, "100MB" },
        { 413, HTML, FAULT_MODEL_INPUT, "413" },
        { 422, PROBLEM("Invalid version or not permitted", "The specified version does not exist", 422), FAULT_SERVICE_REFUSED, "specified version" },
        { 422, "{\"detail\":\"- input: prompt is required\\n\",\"title\":\"Input validation failed\",\"invalid_fields\":[{\"type\":\"required\",\"field\":\"input\",\"description\":\"prompt is required\"},{\"field\":\"input.seed\",\"description\":\"too\\u001b large\"}]}", FAULT_MODEL_INPUT, "HTTP 422: input: prompt is required, input.seed: too? large" },
        { 422, "{\"title\":\"Input validation failed\",\"invalid_fields\":[7,null,{},{\"field\":7},{\"description\":\"is wrong\"},{\"field\":\"images\"}]}", FAULT_MODEL_INPUT, "HTTP 422: ?: is wrong, images: ?" },
        { 422, "{\"title\":\"Input validation failed\",\"invalid_fields\":{\"field\":\"x\"}}", FAULT_MODEL_INPUT, "Input validation" },
        { 422, "{\"invalid_fields\":[{\"field\":\"" SIXTY SIXTY SIXTY "\",\"description\":\"" SIXTY SIXTY SIXTY "\"},{\"field\":\"" SIXTY "\",\"description\":\"" SIXTY "\"},{\"field\":\"" SIXTY "\",\"description\":\"" SIXTY "\"},{\"field\":\"last\"}]}", FAULT_MODEL_INPUT, "HTTP 422: " SIXTY ": " SIXTY },
        { 422, "{\"detail\":\"- input: prompt is required\\n\",\"status\":422,\"title\":\"Input validation failed\"}", FAULT_MODEL_INPUT, "prompt is required" },
        { 422, "{\"title\":\"Input validation failed\"}", FAULT_MODEL_INPUT, "Input validation" },
        { 429, HTML, FAULT_SERVICE_THROTTLED, "429" },
        { 499, "", FAULT_SERVICE_REFUSED, "499" },
        { 500, "{\"detail\":\"Internal server error\"}", FAULT_SERVICE_UNREACHED, "Internal server" },
        { 500, "{\"detail\":{\"a\":1},\"title\":[]}", FAULT_SERVICE_UNREACHED, "500" },
        { 500, "[\"detail\"]", FAULT_SERVICE_UNREACHED, "500" },
        { 501, "", FAULT_SERVICE_UNREACHED, "501" },
        { 502, HTML, FAULT_SERVICE_UNREACHED, "502" },
        { 503, NULL, FAULT_SERVICE_UNREACHED, "503" },
        { 504, "upstream request timeout", FAULT_SERVICE_UNREACHED, "504" },
        { 520, HTML, FAULT_SERVICE_UNREACHED, "520" },
        { 599, "", FAULT_SERVICE_UNREACHED, "599" },
        { 200, "{", FAULT_SERVICE_UNREACHED, "200" }, /* 2xx and 3xx: not what was asked for */
        { 200, NULL, FAULT_SERVICE_UNREACHED, "200" },
        { 204, "", FAULT_SERVICE_UNREACHED, "204" },
        { 302, "", FAULT_SERVICE_UNREACHED, "302" },
        { 101, "", FAULT_SERVICE_UNREACHED, "101" },
    };
    /* clang-format on */

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        HttpReply r = reply_of(cases[i].code, cases[i].body);
        Fault f = { .code = FAULT_TIMEOUT, .retry_after_usec = 5 };

        print_message("# case %zu: %d\n", i, cases[i].code);
        replicate_fault(&r, &f);
        assert_int_equal(f.code, cases[i].fault);
        assert_int_equal(f.retry_after_usec, 0);
        assert_non_null(strstr(f.detail, cases[i].word));
        http_reply_done(&r);
    }
}

/* Every status and every end is a fault, whatever the body. */
static void test_everything(void **state) {
    static const char *const bodies[] = { NULL, "", "{}", "null", HTML, "{\"detail\":\"no\"}" };

    (void) state;
    for (int code = 0; code <= 999; code++)
        for (size_t b = 0; b < N(bodies); b++) {
            HttpReply r = reply_of(code, bodies[b]);
            Fault f = { 0 };
            JobEvent ev;

            replicate_fault(&r, &f);
            assert_int_not_equal(f.code, FAULT_NONE);
            ev = verdict_event(&f);
            assert_true(ev == EV_WAIT || ev == EV_FINAL);
            if (code >= 500) /* theirs: it passes */
                assert_int_equal(ev, EV_WAIT);
            http_reply_done(&r);
        }
}

static void test_ends(void **state) {
    static const HttpEnd ends[] = { HTTP_UNSENT, HTTP_NO_ANSWER, HTTP_TOO_LARGE, HTTP_PRIVATE,
                                    HTTP_SINK };

    (void) state;
    for (size_t i = 0; i < N(ends); i++) {
        HttpReply r = no_reply(ends[i]);
        Fault f = { 0 };

        replicate_fault(&r, &f);
        /* What is too large came from somebody: it is no reason to hold the others. */
        assert_int_equal(f.code, ends[i] == HTTP_TOO_LARGE ? FAULT_SERVICE_REFUSED
                                                           : FAULT_SERVICE_UNREACHED);
        assert_non_null(strstr(f.detail, ends[i] == HTTP_TOO_LARGE ? "too large" : "scripted"));
        assert_int_equal(f.retry_after_usec, 0);
        if (ends[i] == HTTP_TOO_LARGE)
            continue;
        /* an answer that broke off counts for nothing, even with a status */
        r.code = 401;
        r.body = strdup("{\"detail\":\"half of it\"}");
        r.body_size = strlen(r.body);
        replicate_fault(&r, &f);
        assert_int_equal(f.code, FAULT_SERVICE_UNREACHED);
        assert_int_equal(verdict_event(&f), EV_WAIT);
        http_reply_done(&r);
    }
}

#define THROTTLED "Request was throttled. "

static void test_how_long(void **state) {
    /* clang-format off */
    static const struct {
        int code;
        const char *body;
        uint64_t header, asked;
    } cases[] = {
        { 429, "{\"detail\":\"" THROTTLED "Your rate limit resets in ~5s.\",\"status\":429,\"retry_after\":5}", 0, 5 * SEC },
        { 429, "{\"retry_after\":5}", 0, 5 * SEC },
        { 429, "{\"retry_after\":5}", 60 * SEC, 5 * SEC }, /* the body knows better */
        { 429, "{\"retry_after\":0.25}", 0, SEC / 4 },
        { 429, "{\"detail\":\"" THROTTLED "resets in ~9s.\",\"retry_after\":5}", 0, 5 * SEC },
        { 429, "{\"detail\":\"" THROTTLED "Your rate limit resets in ~30s.\"}", 0, 30 * SEC },
        { 429, "{\"detail\":\"" THROTTLED "Your rate limit resets in ~30s.\"}", 2 * SEC, 30 * SEC },
        { 429, "{\"detail\":\"" THROTTLED "Your rate limit resets in ~1.5s.\"}", 0, 1500000 },
        { 429, "{\"detail\":\"" THROTTLED "Expected available in 1 second.\"}", 0, SEC },
        { 429, "{\"detail\":\"" THROTTLED "Expected available in 17 seconds.\"}", 0, 17 * SEC },
        { 429, "{\"detail\":\"" THROTTLED "\"}", 0, 0 },
        { 429, "{\"detail\":\"" THROTTLED "\"}", 7 * SEC, 7 * SEC },
        { 429, "{\"detail\":\"resets in ~soon\"}", 7 * SEC, 7 * SEC },
        { 429, "{\"detail\":\"resets in ~\"}", 0, 0 },
        { 429, "{\"detail\":\"available in \"}", 0, 0 },
        { 429, "{\"detail\":5}", 7 * SEC, 7 * SEC },
        { 429, "{\"retry_after\":0}", 7 * SEC, 7 * SEC },
        { 429, "{\"retry_after\":-5}", 7 * SEC, 7 * SEC },
        { 429, "{\"retry_after\":null}", 7 * SEC, 7 * SEC },
        { 429, "{\"retry_after\":[5]}", 7 * SEC, 7 * SEC },
        { 429, "{\"detail\":\"resets in ~-5s\"}", 7 * SEC, 7 * SEC },
        { 429, "{\"detail\":\"resets in ~nan s\"}", 7 * SEC, 7 * SEC },
        { 429, HTML, 7 * SEC, 7 * SEC }, { 429, NULL, 7 * SEC, 7 * SEC }, { 429, "", 0, 0 },
        { 503, HTML, 7 * SEC, 7 * SEC }, { 500, NULL, 7 * SEC, 7 * SEC },
    };
    static const char *const huge[] = {
        "{\"retry_after\":1e300}", "{\"retry_after\":9223372036854775807}", "{\"retry_after\":20000000000000}",
        "{\"detail\":\"resets in ~99999999999999999999999s\"}", "{\"detail\":\"resets in ~inf\"}",
    };
    /* clang-format on */

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        HttpReply r = reply_of(cases[i].code, cases[i].body);
        Fault f = { 0 };

        print_message("# case %zu\n", i);
        r.retry_after_usec = cases[i].header;
        replicate_fault(&r, &f);
        assert_true(f.retry_after_usec == cases[i].asked);
        http_reply_done(&r);
    }
    for (size_t i = 0; i < N(huge); i++) {
        HttpReply r = reply_of(429, huge[i]);
        Fault f = { 0 };

        replicate_fault(&r, &f);
        assert_in_range(f.retry_after_usec, 60 * SEC, 86400 * SEC);
        http_reply_done(&r);
    }
}

/* What they write goes to the log: bounded, and without what a terminal obeys. */
static void test_detail_is_clean(void **state) {
    StrBuf b = { 0 };
    HttpReply r;
    Fault f;

    (void) state;
    strbuf_printf(&b, "{\"detail\":\"a\\u001b[31m\\nb");
    for (int i = 0; i < 5000; i++)
        strbuf_printf(&b, "\xe2\x82\xac");
    strbuf_printf(&b, "\"}");
    r = reply_of(500, b.text);
    replicate_fault(&r, &f);
    assert_in_range(strlen(f.detail), 200, sizeof f.detail - 1);
    assert_true(str_is_utf8(f.detail, strlen(f.detail)));
    assert_null(strpbrk(f.detail, "\x1b\n"));
    http_reply_done(&r);
    strbuf_done(&b);
    r = reply_of(429, "{\"detail\":\"~5s\"}");
    torture(n) {
        replicate_fault(&r, &f);
        assert_int_equal(f.code, FAULT_SERVICE_THROTTLED);
        assert_true(f.retry_after_usec == 5 * SEC || (torture_failed() && !f.retry_after_usec));
    }
    http_reply_done(&r);
}

static void test_events(void **state) {
    static const JobEvent events[] = {
        [VERDICT_WAIT] = EV_WAIT, [VERDICT_RETRY] = EV_RETRY, [VERDICT_FINAL] = EV_FINAL
    };

    (void) state;
    for (FaultCode code = 0; code < _FAULT_MAX; code++) {
        Fault f = { .code = code };

        assert_int_equal(verdict_event(&f), events[fault_info(code)->verdict]);
    }
}

static void test_requests(void **state) {
    static const struct {
        const char *root, *path, *url;
    } cases[] = {
        { "https://api.replicate.com/v1", "predictions/x",
          "https://api.replicate.com/v1/predictions/x" },
        { "https://api.replicate.com/v1/", "predictions",
          "https://api.replicate.com/v1/predictions" },
        { "https://api.replicate.com/v1//", "a?b=c&d", "https://api.replicate.com/v1/a?b=c&d" },
        { "http://127.0.0.1:8080", "account", "http://127.0.0.1:8080/account" },
        { "http://h/%25s", "%s", "http://h/%25s/%s" },
    };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        Config c = { .replicate_url = (char *) cases[i].root,
                     .replicate_token.text = (char *) "r8_%s" };
        HttpRequest r = { .once = true, .n_headers = 3, .sink_fd = 3 }; /* whatever was in it */

        assert_int_equal(replicate_request(&c, "QUERY", cases[i].path, &r), 0);
        assert_string_equal(r.url, cases[i].url);
        assert_string_equal(r.method, "QUERY");
        assert_string_equal(header_of(&r, "Authorization"), "Bearer r8_%s");
        assert_null(strstr(r.url, "r8_"));
        assert_null(r.body);
        assert_int_equal(r.body_size, 0);
        assert_true(r.body_fd == 0 && r.sink_fd == 0 && !r.sink_hash && !r.once);
        assert_true(r.body_max > 0 && r.timeout_usec > 0); /* neither without end */
        http_request_done(&r);
    }
}

static void test_cancel(void **state) {
    /* clang-format off */
    static const struct {
        int code;
        const char *body;
        bool over;
    } cases[] = {
        { 200, "{\"id\":\"x\",\"status\":\"canceled\"}", true }, { 200, "{\"status\":\"succeeded\"}", true },
        { 200, "", true }, { 202, HTML, true }, { 204, NULL, true },
        { 404, "{\"detail\":\"x\"}", true }, { 404, HTML, true }, { 409, "", true },
        { 400, "", false }, { 401, "{}", false }, { 402, "{}", false }, { 403, "{}", false },
        { 403, HTML, false }, { 408, "", false }, { 429, "{\"retry_after\":5}", false },
        { 500, "", false }, { 502, HTML, false }, { 503, NULL, false }, { 302, "", false },
    };
    /* clang-format on */
    Config c = { .replicate_url = (char *) "https://r/v1", .replicate_token.text = (char *) "t" };
    HttpRequest request;
    Fault f;

    (void) state;
    assert_int_equal(replicate_cancel_ask(&c, PREDICTION, &request), 0);
    assert_string_equal(request.method, "POST");
    assert_string_equal(request.url, "https://r/v1/predictions/" PREDICTION "/cancel");
    assert_string_equal(header_of(&request, "Authorization"), "Bearer t");
    assert_false(request.once); /* it buys nothing */
    http_request_done(&request);
    for (size_t i = 0; i < N(cases); i++) {
        HttpReply r = reply_of(cases[i].code, cases[i].body);

        f = (Fault){ 0 };
        print_message("# %d\n", cases[i].code);
        assert_int_equal(replicate_cancel_hear(&r, &f), cases[i].over ? EV_OK : EV_WAIT);
        assert_int_equal(f.code != FAULT_NONE, !cases[i].over);
        http_reply_done(&r);
    }
    for (HttpEnd end = HTTP_UNSENT; end <= HTTP_SINK; end++) {
        HttpReply r = no_reply(end);

        r.code = 200;
        assert_int_equal(replicate_cancel_hear(&r, &f), EV_WAIT);
        http_reply_done(&r);
    }
}

static void test_ids(void **state) {
    /* clang-format off */
    static const char *const good_ids[] = { PREDICTION, "a", "A-b_C9", "-", "m1vd8x2k5nrmc0ctq7a9w3hz6e", SIXTY "0123" };
    static const char *const bad_ids[] = {
        NULL, "", ".", "..", "../account", "a/b", "a/", "/a", "a\\b", "a?b", "a#b", "a%2fb", "a b", " a",
        "a ", "a\n", "a\r\nX: y", "a:b", "a@b", "a.b", "\xc3\xa4", "\x80", SIXTY "01234", SIXTY SIXTY,
    };
    /* clang-format on */

    (void) state;
    for (size_t i = 0; i < N(good_ids); i++)
        assert_true(replicate_is_id(good_ids[i]));
    for (size_t i = 0; i < N(bad_ids); i++) {
        print_message("# bad %zu\n", i);
        assert_false(replicate_is_id(bad_ids[i]));
    }
}

static void test_terminal_status(void **state) {
    static const struct {
        int code;
        const char *body, *status;
    } cases[] = {
        { 200, "{\"status\":\"canceled\"}", "canceled" },
        { 201, "{\"status\":\"succeeded\"}", "succeeded" },
        { 200, "{\"status\":\"failed\"}", "failed" },
        { 200, "{\"status\":\"aborted\"}", "aborted" },
        { 200, "{\"status\":\"processing\"}", NULL },
        { 200, "{\"status\":7}", NULL },
        { 200, "<html>", NULL },
        { 404, "{\"status\":\"canceled\"}", NULL },
        { 404, "{\"status\":404}", NULL },
        { 200, "{\"id\":\"p1\",\"status\":\"canceled\"}", "canceled" },
        { 200, "{\"id\":\"p2\",\"status\":\"succeeded\"}", NULL }, /* another's */
    };

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply r = reply_of(cases[i].code, cases[i].body);
        const char *status = replicate_terminal_status(&r, "p1");

        if (cases[i].status)
            assert_string_equal(status, cases[i].status);
        else
            assert_null(status);
        http_reply_done(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminal_status), cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_everything),      cmocka_unit_test(test_ends),
        cmocka_unit_test(test_how_long),        cmocka_unit_test(test_detail_is_clean),
        cmocka_unit_test(test_events),          cmocka_unit_test(test_requests),
        cmocka_unit_test(test_cancel),          cmocka_unit_test(test_ids),
    };

    torture_json();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
