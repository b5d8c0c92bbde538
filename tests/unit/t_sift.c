/* Large JSON read as it comes: what is kept of it is what jansson would have read, up to its size. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/str.h"
#include "core/sift.h"
#include "flow/answer.h"
#include "torture.h"

#define N(a) (sizeof(a) / sizeof *(a))

static const SiftPlan plan = {
    .members = { { "a", 4096, false }, { "tail", 10, true }, { "small", 100, false } },
    .list = "list",
    .record = { { "id", 100, false }, { "in", 1000, false } },
};

typedef struct Seen {
    json_t *records; /* as they were told */
    unsigned large;
} Seen;

static int take(void *userdata, const json_t *record, unsigned large) {
    Seen *seen = userdata;

    seen->large |= large;
    return json_array_append(seen->records, (json_t *) record) < 0 ? -ENOMEM : 0;
}

/* In pieces of `piece` bytes. */
static int sift(Sift *s, Seen *seen, const char *text, size_t size, size_t piece) {
    int r = 0;

    seen->records = json_array();
    seen->large = 0;
    sift_init(s, &plan, take, seen);
    for (size_t i = 0; i < size && r == 0; i += piece)
        r = sift_feed(s, text + i, size - i < piece ? size - i : piece);
    return r < 0 ? r : sift_end(s);
}

static void done(Sift *s, Seen *seen) {
    json_decref(seen->records);
    sift_done(s);
}

/* Any value reads as jansson reads it, however it comes. */
static void test_values(void **state) {
    static const char *const values[] = {
        "1",
        "-0",
        "1.5e3",
        "12345678901234567890",
        "true",
        "false",
        "null",
        "\"\"",
        "\"a\\u00e9\\ud83d\\ude00\\n\\\"\\\\\\/\"",
        "\"\xc3\xa9\xf0\x9f\x98\x80\"",
        "\"\\ud83d\"",
        "\"\\ud83dx\"",
        "\"\\ud83d\\n\"",
        "\"\\ud83d\\ud83d\\ude00\"",
        "\"\\ude00\\ude00\"",
        "\"x\\u0000y\"",
        "[]",
        "{}",
        "[1,[2,[3,{\"x\":[]}]],\"y\"]",
        "{\"x\":{\"y\":{\"z\":1},\"w\":2},\"x2\":[{},{\"k\":\"v\"}],\"a\":0}",
        "{\"x\":1,\"x\":2}",
        "\"a string of more than sixty-three bytes, which is what the scanner keeps by itself\"",
    };
    static const size_t pieces[] = { 1, 2, 7, 1000 };

    (void) state;
    for (size_t i = 0; i < N(values); i++)
        for (size_t k = 0; k < N(pieces); k++) {
            _cleanup_free_ char *text =
                str_printf("{\"other\":[{\"a\":9}],\"a\":%s,\"z\":1}", values[i]);
            json_t *whole = json_parse(text, strlen(text));
            Seen seen;
            Sift s;

            assert_non_null(whole);
            assert_int_equal(sift(&s, &seen, text, strlen(text), pieces[k]), 0);
            if (!json_equal(json_object_get(whole, "a"), json_object_get(s.root, "a")))
                fail_msg("%s", values[i]);
            assert_int_equal(json_object_size(s.root), 1);
            assert_false(s.is_listed);
            json_decref(whole);
            done(&s, &seen);
        }
}

static void test_records(void **state) {
    static const struct {
        const char *text, *records;
        bool is_listed;
    } cases[] = {
        { "{\"list\":[]}", "[]", true },
        { "{\"list\":[{\"id\":\"x\",\"in\":{\"p\":[1]},\"logs\":\"l\"},{}]}",
          "[{\"id\":\"x\",\"in\":{\"p\":[1]}},{}]", true },
        { "{\"list\":[1,null,\"a\",[{\"id\":\"no\"}],{\"id\":\"b\"}],\"a\":1}", "[{\"id\":\"b\"}]",
          true },
        { "{\"list\":{\"id\":\"x\"}}", "[]", false },
        { "{\"list\":7,\"b\":[{\"id\":\"x\"}]}", "[]", false },
        { "{\"b\":{\"list\":[{\"id\":\"x\"}]}}", "[]", false },
        { "{\"b\":[[{\"id\":\"x\"}]]}", "[]", false },
        { "{\"list\":[{\"id\":\"x\",\"deep\":{\"in\":1,\"id\":[{\"id\":\"y\"}]}}]}",
          "[{\"id\":\"x\"}]", true },
        { "[{\"id\":\"x\"}]", "[]", false },
        { "\"list\"", "[]", false },
    };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        json_t *wanted = json_parse(cases[i].records, strlen(cases[i].records));
        Seen seen;
        Sift s;

        assert_int_equal(sift(&s, &seen, cases[i].text, strlen(cases[i].text), 3), 0);
        if (!json_equal(wanted, seen.records) || s.is_listed != cases[i].is_listed)
            fail_msg("%s", cases[i].text);
        json_decref(wanted);
        done(&s, &seen);
    }
}

/* What is too large is left out, and the rest is read on. */
static void test_sizes(void **state) {
    _cleanup_free_ char *long_text = calloc(1, 5001), *text = NULL, *digits = NULL, *many = NULL;
    StrBuf deep = { 0 };
    Seen seen;
    Sift s;

    (void) state;
    memset(long_text, 'x', 5000);
    text = str_printf("{\"a\":{\"k\":[\"%s\",{\"n\":1}]},\"small\":[1,2],\"tail\":\"%s0123456789\","
                      "\"list\":[{\"id\":\"1\",\"in\":{\"p\":\"%s\",\"q\":[[]]}},{\"id\":\"2\","
                      "\"in\":3}]}",
                      long_text, long_text, long_text);
    assert_int_equal(sift(&s, &seen, text, strlen(text), 100), 0);
    assert_int_equal(s.root_large, 1 | 4); /* a list of small things takes room, too */
    assert_null(json_object_get(s.root, "a"));
    assert_string_equal(json_text(s.root, "tail"), "0123456789");
    assert_int_equal(json_array_size(seen.records), 2);
    assert_int_equal(seen.large, 2);
    assert_null(json_object_get(json_array_get(seen.records, 0), "in"));
    assert_non_null(json_object_get(json_array_get(seen.records, 1), "in"));
    assert_true(s.scan.whole.text.room <= 16384);
    done(&s, &seen);

    /* A tail begins with a whole character; what is no string is no tail. */
    text = (free(text),
            str_printf("{\"tail\":\"%s\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9.\"}", long_text));
    assert_int_equal(sift(&s, &seen, text, strlen(text), 1), 0);
    assert_string_equal(json_text(s.root, "tail"), "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9.");
    done(&s, &seen);

    /* A number that nobody can hold, in what is wanted and in what is not. */
    digits = calloc(1, 401);
    memset(digits, '9', 400);
    many = str_printf("{\"a\":[%s],\"b\":%s,\"tail\":1,\"list\":[{\"id\":\"1\",\"in\":1e999}]}",
                      digits, digits);
    assert_int_equal(sift(&s, &seen, many, strlen(many), 9), 0);
    assert_int_equal(s.root_large, 1);
    assert_int_equal(seen.large, 2);
    done(&s, &seen);

    for (int i = 0; i < 2000; i++)
        assert_int_equal(strbuf_add(&deep, "{\"list\":[{\"in\":", i == 0 ? 15 : 0), 0);
    for (int i = 0; i < 1500; i++)
        assert_int_equal(strbuf_add(&deep, "[", 1), 0);
    for (int i = 0; i < 1500; i++)
        assert_int_equal(strbuf_add(&deep, "]", 1), 0);
    assert_int_equal(strbuf_add(&deep, "},{\"id\":\"x\"}]}", 14), 0);
    assert_int_equal(sift(&s, &seen, deep.text, deep.size, 50), 0);
    assert_int_equal(json_array_size(seen.records), 2);
    assert_int_equal(seen.large, 2);
    done(&s, &seen);
    strbuf_done(&deep);
}

static void test_bad(void **state) {
    static const char *const bad[] = {
        "",      "<html>",         "{\"a\":1", "{\"list\":[{\"id\":\"x\"}", "{\"a\":\"\xff\"}",
        "{} {}", "{\"a\":\"\n\"}",
    };

    (void) state;
    for (size_t i = 0; i < N(bad); i++) {
        Seen seen;
        Sift s;

        assert_int_equal(sift(&s, &seen, bad[i], strlen(bad[i]), 2), -EBADMSG);
        done(&s, &seen);
    }
}

static int answer(const char *text, HttpReply *ret) {
    HttpSieve *sieve;
    int r = answer_sieve(&sieve);

    *ret = (HttpReply){ .end = HTTP_ANSWERED, .code = 200 };
    for (const char *p = text; r == 0 && *p; p += strnlen(p, 5))
        r = sieve->feed(sieve, p, strnlen(p, 5));
    if (r == 0)
        r = sieve->end(sieve, ret);
    if (sieve)
        sieve->free(sieve);
    return r;
}

static void test_answers(void **state) {
    _cleanup_free_ char *long_text = calloc(1, 300001), *large = NULL;
    HttpReply r;
    json_t *root;

    (void) state;
    assert_int_equal(
        answer("{\"id\":\"x\",\"input\":{\"p\":1},\"too_large\":[\"id\"],\"output\":null}", &r), 0);
    assert_string_equal(r.body, "{\"id\":\"x\",\"output\":null}");
    assert_int_equal(r.body_size, strlen(r.body));
    http_reply_done(&r);
    assert_int_equal(answer("<html><body>502</body></html>", &r), 0);
    assert_null(r.body);
    assert_int_equal(answer("[1,2]", &r), 0);
    assert_null(r.body);
    memset(long_text, 'x', 300000);
    large = str_printf("{\"status\":\"processing\",\"output\":[\"%s\"],\"logs\":\"%s 42%%|##| 1\"}",
                       long_text, long_text);
    assert_int_equal(answer(large, &r), 0);
    root = json_parse(r.body, r.body_size);
    assert_null(json_object_get(root, "output"));
    assert_string_equal(json_string_value(json_array_get(json_object_get(root, "too_large"), 0)),
                        "output");
    assert_true(r.body_size < 20000 && strstr(r.body, " 42%|##| 1\""));
    json_decref(root);
    http_reply_done(&r);
}

static void test_no_memory(void **state) {
    static const char text[] =
        "{\"a\":[{\"k\":\"v\\u00e9\"}],\"tail\":\"0123456789abcdefghijklmnop\",\"list\":[{\"id\":"
        "\"x\",\"in\":{\"p\":[1.5]}}]}";

    (void) state;
    torture(n) {
        Seen seen = { 0 };
        Sift s;
        HttpReply reply = { 0 };
        int r = sift(&s, &seen, text, sizeof text - 1, 11);

        if (r == 0)
            assert_true(json_object_get(s.root, "a") && json_array_size(seen.records) == 1);
        else
            assert_true(torture_failed() && r == -ENOMEM);
        done(&s, &seen);
        HttpSieve *sieve = NULL;
        if (answer_sieve(&sieve) == 0) {
            r = sieve->feed(sieve, "{\"id\":\"x\"}", 10);
            if (r == 0 && (r = sieve->end(sieve, &reply)) == 0)
                assert_non_null(reply.body);
            else
                assert_int_equal(r, -ENOMEM);
            sieve->free(sieve);
        }
        http_reply_done(&reply);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),  cmocka_unit_test(test_records),
        cmocka_unit_test(test_sizes),   cmocka_unit_test(test_bad),
        cmocka_unit_test(test_answers), cmocka_unit_test(test_no_memory),
    };

    torture_json();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
