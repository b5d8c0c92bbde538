/* What all others stand on: text, JSON, hashes, requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>

#include "base/db_message.h"
#include "base/hash.h"
#include "base/http_message.h"
#include "base/json.h"
#include "base/secret.h"
#include "base/str.h"
#include "torture.h"

#define UU "11111111-2222-4333-8444-"
#define N(a) (sizeof(a) / sizeof *(a))
#define EURO "\xe2\x82\xac"

static void test_clean(void **state) {
    static const struct {
        const char *from;
        size_t room;
        const char *to;
    } cases[] = {
        /* clang-format off */
        { NULL, 8, "" }, { "", 8, "" }, { "plain", 8, "plain" }, { "plain", 6, "plain" },
        { "plain", 5, "plai" }, { "plain", 1, "" }, { "a\nb\rc\td\x1b[e", 20, "a b c d?[e" },
        { "a\x7fz", 8, "a?z" }, { "\xc2\x85\xc2\x85" "a" EURO, 7, "??a" EURO },
        { "\xc2\x85" "a\xc3\xa9", 5, "?a\xc3\xa9" },
        { "a\xe2\x80\xae" "b\xe2\x81\xa6" "c\xd8\x9c\xe2\x80\x8e", 20, "a?b?c??" },
        { "\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0", 20, "???\xc2\xa0" }, /* C1 controls, then a space */
        { EURO "\xf0\x9f\xaa\x91", 20, EURO "\xf0\x9f\xaa\x91" }, { EURO, 4, EURO },
        { EURO, 3, "" }, { "a" EURO, 4, "a" }, { "\xff\xfe", 8, "??" }, { "\xe2\x82", 8, "??" },
        { "\xe2\x82z", 8, "??z" }, { "\x80z", 8, "?z" },
        { "\xc0\xaf", 8, "??" },           /* a slash in two bytes */
        { "\xe0\x80\xaf", 8, "???" },      /* in three */
        { "\xed\xa0\x80", 8, "???" },      /* a surrogate */
        { "\xf4\x90\x80\x80", 8, "????" }, /* past U+10FFFF */
        /* clang-format on */
    };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        char to[24];

        memset(to, 'X', sizeof to);
        print_message("# %zu\n", i);
        assert_ptr_equal(str_clean(to, cases[i].room, cases[i].from), to);
        assert_string_equal(to, cases[i].to);
        for (size_t k = cases[i].room; k < sizeof to; k++)
            assert_int_equal(to[k], 'X');
    }
}

/* Whatever comes in: what comes out fits, is UTF-8 and has no controls. */
static void test_clean_anything(void **state) {
    static const unsigned char bytes[] = { 'a',  '\n', 0x7f, 0x80, 0x9f, 0xa0, 0xc2, 0xdf, 0xe0,
                                           0xe2, 0xed, 0xf0, 0xf4, 0xf5, 0xff, 0xbf, 0x85 };
    unsigned seed = 1;

    (void) state;
    for (int round = 0; round < 20000; round++) {
        char from[16] = { 0 }, to[16];
        size_t room = 1 + (size_t) round % sizeof to;

        for (size_t i = 0; i + 1 < sizeof from; i++) {
            seed = seed * 1664525u + 1013904223u;
            from[i] = (char) bytes[(seed >> 16) % sizeof bytes];
        }
        str_clean(to, room, from);
        assert_true(strnlen(to, room) < room);
        assert_true(str_is_utf8(to, strlen(to)));
        for (const char *p = to; *p; p++) {
            assert_false(iscntrl((unsigned char) *p));
            assert_false((unsigned char) *p == 0xc2 && (unsigned char) p[1] < 0xa0);
        }
        assert_true(str_is_utf8(from, str_cut(from, room)) || !str_is_utf8(from, strlen(from)));
        assert_true(str_cut(from, room) <= room);
    }
}

static void test_forms(void **state) {
    /* clang-format off */
    static const struct {
        const char *s;
        size_t limit, cut;
    } cuts[] = {
        { "", 0, 0 }, { "", 5, 0 }, { "abc", 0, 0 }, { "abc", 2, 2 }, { "abc", 3, 3 },
        { "abc", 4, 3 }, { "abc", SIZE_MAX, 3 }, { EURO, 1, 0 }, { EURO, 2, 0 }, { EURO, 3, 3 }, { "a" EURO, 3, 1 },
        { "a" EURO "b", 4, 4 }, { EURO EURO, 5, 3 }, { EURO "b", 3, 3 },
    };
    static const struct {
        const char *s;
        bool is;
    } uuids[] = {
        { UU "555555555555", true }, { "abcdef01-ABCD-4eF0-9aBc-deadbeefCAFE", true },
        { NULL, false }, { "", false }, { UU "55555555555", false }, { UU "5555555555555", false },
        { UU "555555555555\n", false }, { "{" UU "555555555555}", false },
        { "11111111222243338444555555555555", false }, { UU "55555555555/", false },
        { "1111111-12222-4333-8444-555555555555", false }, { UU "55555555-555", false },
        { "g1111111-2222-4333-8444-555555555555", false },
        { "------------------------------------", false },
    };
    static const struct {
        const char *s;
        size_t size;
        bool is;
    } texts[] = {
        { "", 0, true }, { "abc", 3, true }, { "a\0c", 3, false }, { "\0", 1, false },
        { "\n\x7f", 2, true }, { "\xc2\x80\xdf\xbf", 4, true },
        { "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", 12, true },
        { "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8, true },
        { EURO, 2, false }, /* of which only two bytes are ours */
        { "\x80", 1, false }, { "\xc1\xbf", 2, false }, { "\xe0\x9f\xbf", 3, false },
        { "\xed\xa0\x80", 3, false }, { "\xf0\x8f\xbf\xbf", 4, false }, { "\xe2\x28\xa1", 3, false },
        { "\xf4\x90\x80\x80", 4, false }, { "\xf8\x88\x80\x80\x80", 5, false },
    };
    /* clang-format on */

    (void) state;
    for (size_t i = 0; i < N(cuts); i++)
        assert_int_equal(str_cut(cuts[i].s, cuts[i].limit), cuts[i].cut);
    for (size_t i = 0; i < N(uuids); i++)
        assert_int_equal(str_is_uuid(uuids[i].s), uuids[i].is);
    for (size_t i = 0; i < N(texts); i++)
        assert_int_equal(str_is_utf8(texts[i].s, texts[i].size), texts[i].is);
}

static void test_buffer(void **state) {
    _cleanup_free_ char *text = str_printf("%d%%/%s", 42, "x");
    char *taken = text;
    StrBuf b = { 0 };
    int r;

    (void) state;
    assert_int_equal(strbuf_add(&b, NULL, 0), 0);
    assert_string_equal(b.text, ""); /* terminated, though nothing is in it */
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(strbuf_printf(&b, "%d,", i % 10), 0);
        assert_int_equal(strbuf_add(&b, "\0", 1), 0);
        assert_int_equal(b.size, 3 * (i + 1));
        assert_true(b.room > b.size);
        assert_int_equal(b.text[b.size], 0);
    }
    for (int i = 0; i < 1000; i++)
        assert_memory_equal(b.text + (ptrdiff_t) 3 * i, ((char[]){ (char) ('0' + i % 10), ',', 0 }),
                            3);
    assert_int_equal(strbuf_add(&b, "x", SIZE_MAX), -ENOMEM);
    assert_int_equal(strbuf_add(&b, "x", SIZE_MAX - b.size), -ENOMEM);
    assert_int_equal(b.size, 3000);
    strbuf_done(&b);
    assert_null(b.text);
    strbuf_done(&b);
    assert_string_equal(text, "42%/x");
    assert_string_equal(TAKE(taken), text);
    assert_null(taken);
    torture(n) {
        char all[512]; /* a power of two leaves no room for the end */

        memset(all, 'y', sizeof all);
        r = strbuf_add(&b, all, sizeof all);
        assert_int_equal(r, torture_failed() ? -ENOMEM : 0);
        assert_int_equal(b.size, torture_failed() ? 0 : sizeof all);
        assert_true(torture_failed() || b.room > b.size);
        strbuf_done(&b);
    }
}

static void test_hosts(void **state) {
    static const char both[] = "replicate.delivery *.replicate.delivery";
    static const struct {
        const char *patterns, *host;
        unsigned port;
        bool meant;
    } cases[] = {
        /* clang-format off */
        { both, "replicate.delivery", 443, true }, { both, "a.replicate.delivery", 443, true },
        { both, "a.b.replicate.delivery", 443, true },
        { both, "a.b.replicate.delivery", 8443, false }, { both, "replicate.delivery", 80, false },
        { "a.org:443", "a.org", 443, true },
        { both, "TJZK.Replicate.DELIVERY", 443, true },
        { both, "evilreplicate.delivery", 443, false },
        { both, "replicate.delivery.evil.org", 443, false },
        { both, ".replicate.delivery", 443, false }, { both, "delivery", 443, false },
        { both, "", 443, false }, { "*.replicate.delivery", "replicate.delivery", 443, false },
        { "A.Example", "a.example", 443, true }, { "a:8080", "a", 8080, true },
        { "a:8080", "a", 8081, false }, { "a:8080 a:8081", "a", 8081, true },
        { "*.a.org:8080", "x.a.org", 8080, true }, { "*.a.org:8080", "x.a.org", 443, false },
        { "a.org", "a.or", 443, false }, { "a.org", "ba.org", 443, false },
        { "", "a.org", 443, false }, { NULL, "a.org", 443, false },
        { "  ", "a.org", 443, false }, { "  x   a.org  ", "a.org", 443, true },
        /* clang-format on */
    };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        print_message("# %s\n", cases[i].host);
        assert_int_equal(str_host_matches(cases[i].patterns, cases[i].host, cases[i].port, 443),
                         cases[i].meant);
    }
}

static void test_json(void **state) {
    static const struct {
        const char *text, *again; /* NULL: it is not JSON */
    } cases[] = {
        /* clang-format off */
        { "{}", "{}" }, { " [1, \"a\\u0000b\\\\u0000\"]\n", "[1,\"a\\ufffdb\\\\u0000\"]" }, { "\"x\"", "\"x\"" },
        { "null", "null" }, { "true", "true" }, { "-0.5", "-0.5" },
        { "{\"a\":1,\"a\":2}", "{\"a\":2}" }, { "", NULL }, { " ", NULL }, { "{", NULL },
        { "{} x", NULL }, { "{}{}", NULL }, { "{\"a\":}", NULL }, { "{'a':1}", NULL },
        { "\"\xff\"", NULL }, { "NaN", NULL }, { "<html>", NULL },
        /* What jansson alone refuses: an integer that is too large, half a character. */
        { "[18446744073709551615]", "[1.8446744073709552e19]" }, { "[1e999]", NULL },
        { "\"a\\ud83d\"", "\"a\xef\xbf\xbd\"" }, { "\"\\udE00z\"", "\"\xef\xbf\xbdz\"" },
        { "\"\\ud83d\\ude00\\ud83d\"", "\"\xf0\x9f\x98\x80\xef\xbf\xbd\"" },
        { "[\"\\\\ud83d\", 18446744073709551615]", "[\"\\\\ud83d\",1.8446744073709552e19]" },
        { "\"\\ud83d", NULL }, { "\"\\ud83", NULL }, { "\"\\", NULL },
        /* clang-format on */
    };
    _cleanup_(json_unrefp) json_t *root = NULL;
    char *text;

    (void) state;
    assert_null(json_parse(NULL, 0));
    for (size_t i = 0; i < N(cases); i++) {
        json_t *value = json_parse(cases[i].text, strlen(cases[i].text));

        print_message("# case %zu\n", i);
        assert_int_equal(value != NULL, cases[i].again != NULL);
        if (value) {
            text = json_write(value);
            assert_string_equal(text, cases[i].again);
            free(text);
        }
        json_decref(value);
    }
    assert_null(json_parse("[1]", 2)); /* no further than its size */
    root = json_parse("{\"s\":\"x\",\"e\":\"\",\"i\":-3,\"r\":2.5,\"t\":true,\"n\":null}", 49);
    assert_string_equal(json_text(root, "s"), "x");
    assert_string_equal(json_text(root, "e"), "");
    assert_null(json_text(root, "i"));
    assert_null(json_text(root, "n"));
    assert_null(json_text(root, "none"));
    assert_null(json_text(NULL, "s"));
    assert_null(json_text(json_object_get(root, "s"), "s"));
    assert_true(json_number(root, "i", 9) == -3);
    assert_true(json_number(root, "r", 9) == 2.5);
    assert_true(json_number(root, "t", 9) == 9);
    assert_true(json_number(root, "s", 9) == 9);
    assert_true(json_number(root, "none", 9) == 9);
    assert_true(json_number(NULL, "i", 9) == 9);
    torture(n) {
        json_t *value = json_parse("{\"a\":[1,\"b\",{\"c\":2.5}]}", 23);

        assert_true(value || torture_failed());
        text = value ? json_write(value) : NULL;
        assert_true(text || torture_failed());
        free(text);
        json_decref(value);
    }
}

static void test_hash(void **state) {
    static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                      abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    char hex[HASH_HEX_SIZE];
    Hash *h = NULL;

    (void) state;
    assert_int_equal(hash_sha256_hex("", 0, hex), 0);
    assert_string_equal(hex, empty);
    assert_int_equal(hash_sha256_hex("abc", 3, hex), 0);
    assert_string_equal(hex, abc);
    torture(n) {
        if (hash_new(&h) < 0) {
            assert_true(torture_failed());
            continue;
        }
        assert_int_equal(hash_update(h, "a", 1), 0);
        assert_int_equal(hash_update(h, "", 0), 0);
        assert_int_equal(hash_update(h, "bc", 2), 0);
        assert_int_equal(hash_final(h, hex), 0);
        assert_string_equal(hex, abc);
        h = hash_free(h);
        assert_null(h);
    }
    assert_null(hash_free(NULL));
}

/* The examples of RFC 3720, B.4, and the usual check word; whole, and in two pieces at every place. */
static void test_crc32c(void **state) {
    unsigned char rising[32], falling[32];
    static const unsigned char zeros[32];
    unsigned char ones[32];
    const struct {
        const void *bytes;
        size_t size;
        uint32_t sum;
    } cases[] = {
        { "", 0, 0 },
        { "123456789", 9, 0xe3069283 },
        { zeros, 32, 0x8a9136aa },
        { ones, 32, 0x62a8ab43 },
        { rising, 32, 0x46dd794e },
        { falling, 32, 0x113fdb5c },
    };

    (void) state;
    memset(ones, 0xff, sizeof ones);
    for (unsigned char i = 0; i < 32; i++) {
        rising[i] = i;
        falling[i] = (unsigned char) (31 - i);
    }
    for (size_t i = 0; i < N(cases); i++)
        for (size_t cut = 0; cut <= cases[i].size; cut++) {
            Hash *h = NULL;

            assert_int_equal(hash_new(&h), 0);
            assert_int_equal(hash_update(h, cases[i].bytes, cut), 0);
            assert_int_equal(
                hash_update(h, (const char *) cases[i].bytes + cut, cases[i].size - cut), 0);
            assert_int_equal(hash_crc32c(h), cases[i].sum);
            assert_int_equal(hash_restart(h), 0);
            assert_int_equal(hash_crc32c(h), 0);
            hash_free(h);
        }
}

static void test_http_messages(void **state) {
    HttpRequest r = { .method = "GET", .url = strdup("u"), .body = strdup("b"), .body_size = 1 };
    Secret s = { .text = strdup("r8_secret") };
    HttpReply reply = { .body = strdup("b"), .redirect = strdup("u"), .code = 200 };

    (void) state;
    assert_int_equal(http_request_add(&r, NULL), -ENOMEM);
    assert_int_equal(r.n_headers, 0);
    for (int i = 0; i < HTTP_HEADERS_MAX; i++)
        assert_int_equal(http_request_add(&r, str_printf("H: %d", i)), 0);
    assert_true(http_request_add(&r, strdup("one: too many")) < 0);
    assert_int_equal(r.n_headers, HTTP_HEADERS_MAX);
    assert_string_equal(r.headers[0], "H: 0");
    assert_string_equal(r.headers[HTTP_HEADERS_MAX - 1], "H: 11");
    for (int twice = 0; twice < 2; twice++) {
        http_request_done(&r);
        assert_null(r.url);
        assert_null(r.body);
        assert_int_equal(r.n_headers, 0);
        http_reply_done(&reply);
        secret_done(&s);
        assert_null(s.text);
        assert_null(reply.body);
        assert_null(reply.redirect);
        assert_int_equal(reply.code, 0);
    }
}

static void test_db_messages(void **state) {
    DbRequest r = { .sql = "SELECT 1" };
    char text[] = "mine";

    (void) state;
    assert_int_equal(db_request_add(&r, text), 0);
    text[0] = 'X'; /* it has a copy */
    assert_int_equal(db_request_add(&r, NULL), 0);
    assert_int_equal(db_request_addf(&r, "%s=%d", "n", 5), 0);
    assert_int_equal(db_request_add(&r, ""), 0);
    assert_string_equal(r.params[0], "mine");
    assert_null(r.params[1]);
    assert_string_equal(r.params[2], "n=5");
    assert_string_equal(r.params[3], "");
    while (r.n_params < DB_REQUEST_PARAMS)
        assert_int_equal(db_request_add(&r, "more"), 0);
    assert_true(db_request_add(&r, "x") < 0);
    assert_true(db_request_add(&r, NULL) < 0);
    assert_true(db_request_addf(&r, "%d", 1) < 0);
    assert_int_equal(r.n_params, DB_REQUEST_PARAMS);
    for (int twice = 0; twice < 2; twice++) {
        db_request_done(&r);
        assert_int_equal(r.n_params, 0);
        assert_null(r.params[0]);
        assert_null(r.sql);
    }
    torture(n) {
        int res = db_request_add(&r, "x");

        assert_int_equal(res, torture_failed() ? -ENOMEM : 0);
        assert_int_equal(r.n_params, torture_failed() ? 0 : 1);
        db_request_done(&r);
    }
}

static void test_graphic(void **state) {
    static const char *const bad[] = { " ", "a b", "a\n", "\r", "\t", "\x1b[2J", "a\x7f", "\x01" };

    (void) state;
    assert_true(str_is_graphic("") && str_is_graphic("https://x/~a?b=c#" EURO "!"));
    for (size_t i = 0; i < N(bad); i++)
        assert_false(str_is_graphic(bad[i]));
}

/* Of each range its first and last character, and what stands before and after it. */
static void test_blank(void **state) {
    static const char *const blank[] = {
        "",
        " ",
        " \t\r\n\v\f",
        "\x01\x1f\x7f",
        "\xc2\x85\u00a0\u00ad",
        "\u034f\u061c",
        "\u115f\u1160\u1680",
        "\u17b4\u17b5\u180b\u180e\u180f",
        "\u2000\u2003\u200a\u200b\u200d\u200f",
        "\u2028\u2029\u202a\u202e\u202f",
        "\u205f\u2060\u2064\u2066\u206f",
        "\u2800",
        "\u3000",
        "\u3164\ufe00\ufe0f\ufeff\uffa0\ufff0\ufff8",
        "\U0001bca0\U0001bca3\U0001d173\U0001d17a",
        "\U000e0000\U000e0041\U000e0fff",
    };
    static const char *const seen[] = {
        "x",      " x",     "x\u200b", "\u200b.", "!",          "~",          "\u00a1", "\u00ac",
        "\u00ae", "\u0350", "\u2010",  "\u2027",  "\u2030",     "\u205e",     "\u2070", "\u2801",
        "\u3001", "\u6f22", "\ufffc",  "\ufffd",  "\U0001fa91", "\U000e1000", "\xff",   " \x80",
    };

    (void) state;
    for (size_t i = 0; i < N(blank); i++)
        assert_true(str_is_blank(blank[i]));
    for (size_t i = 0; i < N(seen); i++)
        assert_false(str_is_blank(seen[i]));
}

/* Of version 7 and the variant of RFC 9562, in the order of their times, and else as random as what went in. */
static void test_uuid7(void **state) {
    uint8_t none[10] = { 0 }, all[10];
    char a[STR_UUID_SIZE], b[STR_UUID_SIZE];

    (void) state;
    memset(all, 0xff, sizeof all);
    str_uuid7(0, none, a);
    assert_string_equal(a, "00000000-0000-7000-8000-000000000000");
    str_uuid7(UINT64_C(0xffffffffffff), all, a);
    assert_string_equal(a, "ffffffff-ffff-7fff-bfff-ffffffffffff");
    str_uuid7(UINT64_C(0x1020304050607), none, a); /* what no 48 bits hold comes again */
    assert_string_equal(a, "02030405-0607-7000-8000-000000000000");
    for (uint64_t t = 1, before = 0; t < UINT64_C(1) << 48; before = t, t = t * 3 + 1) {
        str_uuid7(before, all, a);
        str_uuid7(t, none, b);
        assert_true(str_is_uuid(b) && strcmp(a, b) < 0);
    }
    for (int i = 0; i < 80; i++) { /* each random bit but the six of version and variant counts */
        uint8_t one[10] = { 0 };
        bool fixed = (i >= 0 && i < 4) || (i >= 16 && i < 18);

        one[i / 8] = (uint8_t) (0x80 >> i % 8);
        str_uuid7(7, none, a);
        str_uuid7(7, one, b);
        assert_int_equal(strcmp(a, b) == 0, fixed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean),       cmocka_unit_test(test_clean_anything),
        cmocka_unit_test(test_forms),       cmocka_unit_test(test_buffer),
        cmocka_unit_test(test_hosts),       cmocka_unit_test(test_json),
        cmocka_unit_test(test_graphic),     cmocka_unit_test(test_blank),
        cmocka_unit_test(test_hash),        cmocka_unit_test(test_crc32c),
        cmocka_unit_test(test_uuid7),       cmocka_unit_test(test_http_messages),
        cmocka_unit_test(test_db_messages),
    };

    torture_json();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
