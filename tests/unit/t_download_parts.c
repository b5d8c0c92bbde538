/* Downloads that break: what is kept, what goes on with it, and what may not. */
#include "fixtures.h"
#include "flow/download.h"

#define TAG "\"5d41402abc\""
#define DATE "Tue, 24 Nov 2026 10:00:00 GMT"
#define LONG124                                                              \
    "0123456789012345678901234567890123456789012345678901234567890123456789" \
    "012345678901234567890123456789012345678901234567890123"

static void set_headers(HttpReply *r, const char *etag, const char *modified, const char *range) {
    (void) snprintf(r->etag, sizeof r->etag, "%s", etag);
    (void) snprintf(r->modified, sizeof r->modified, "%s", modified);
    (void) snprintf(r->range, sizeof r->range, "%s", range);
}

/* What of a first answer that broke off can be gone on with, and by what it is known again. */
static void test_validators(void **state) {
    static const struct {
        const char *etag, *modified;
        bool encoded;
        const char *validator;
    } cases[] = {
        { TAG, DATE, false, TAG },
        { TAG, "", false, TAG },
        { "\"\"", "", false, "\"\"" },
        { "\"a;b=c,d\\e'~!\"", "", false, "\"a;b=c,d\\e'~!\"" },
        { "\"" LONG124 "\"", "", false, "\"" LONG124 "\"" },
        { "", DATE, false, DATE },
        { "", "", false, "" },
        { TAG, DATE, true, "" }, /* packed: its bytes are others each time */
        { "", DATE, true, "" },
        /* a weak one says nothing about bytes; and where there is one, no date may stand for it */
        { "W/" TAG, "", false, "" },
        { "W/" TAG, DATE, false, "" },
        { "w/" TAG, DATE, false, "" },
        { "*", DATE, false, "" }, /* several, or too long */
        { "\"", DATE, false, "" },
        { "5d41402abc", DATE, false, "" },
        { "\"5d41402abc", DATE, false, "" },
        { "5d41402abc\"", DATE, false, "" },
        { "\"5d\"402abc\"", DATE, false, "" },
        { TAG ", " TAG, DATE, false, "" },
        { "\"5d 402abc\"", DATE, false, "" },
        { "\"5d\t402abc\"", DATE, false, "" },
        { "\"5d\x7f\"", DATE, false, "" },
        { "\"5d\xc3\xa9\"", DATE, false, "" },
        { "\"5d\r\nX-Evil: 1\"", DATE, false, "" },
        { "", "*", false, "" },
        { "", "yesterday", false, "" },
        { "", "Tue, 24 Nov 2026 10:00:00 CET", false, "" },
        { "", "Tue, 24 Nov 2026 10:00:00GMT ", false, "" },
        { "", "Tue, 24 Nov\r\n X: 10:00:00 GMT", false, "" },
        { "", "Tue, 24-Nov-2026 10:00:00 GMT", false, "" },
        { "", DATE " GMT", false, "" },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply r = no_reply(HTTP_NO_ANSWER);
        Download d = { .size_bytes = 700, .total_bytes = 800, .parts = 3 };
        bool kept = cases[i].validator[0];
        Fault f = { 0 };

        r.code = 200;
        r.body_size = 300;
        r.length = 1000;
        r.encoded = cases[i].encoded;
        set_headers(&r, cases[i].etag, cases[i].modified, "");
        print_message("# case %zu\n", i);
        assert_int_equal(download_hear(c, &r, &d, &f), EV_WAIT);
        assert_int_equal(f.code, FAULT_OUTPUT_UNREACHED);
        assert_string_equal(d.validator, cases[i].validator);
        assert_int_equal(d.size_bytes, kept ? 300 : 0); /* a 200 is the beginning, always */
        assert_int_equal(d.total_bytes, 1000);
        assert_int_equal(d.parts, 1);
    }
}

/* 300 of 1000 bytes are there: does what comes now go on with them? */
static void test_parts(void **state) {
    static const struct {
        const char *range;
        size_t size;
        HttpEnd end;
        JobEvent ev;
        uint64_t kept;
    } cases[] = {
        { "bytes 300-999/1000", 700, HTTP_ANSWERED, EV_OK, 1000 },
        { "Bytes 300-999/1000", 700, HTTP_ANSWERED, EV_OK, 1000 },
        { "bytes 0300-00999/0001000", 700, HTTP_ANSWERED, EV_OK, 1000 },
        { "bytes 300-999/1000", 700, HTTP_NO_ANSWER, EV_OK, 1000 }, /* all came before it broke */
        { "bytes 300-999/1000", 699, HTTP_NO_ANSWER, EV_WAIT, 999 },
        { "bytes 300-999/1000", 0, HTTP_NO_ANSWER, EV_WAIT, 300 },
        { "bytes 300-499/1000", 200, HTTP_ANSWERED, EV_WAIT, 500 }, /* less than was asked for */
        { "bytes 300-300/1000", 1, HTTP_ANSWERED, EV_WAIT, 301 },
        /* a length that lies */
        { "bytes 300-999/1000", 699, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-999/1000", 701, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-499/1000", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-499/1000", 201, HTTP_NO_ANSWER, EV_WAIT, 0 },
        /* another place, or another total */
        { "bytes 0-999/1000", 1000, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 299-999/1000", 701, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 301-999/1000", 699, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-998/999", 699, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-1000/1001", 701, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-1000/1000", 701, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-299/1000", 0, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-0/1000", 0, HTTP_NO_ANSWER, EV_WAIT, 0 },
        /* nothing that says where it belongs */
        { "", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "*", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes ", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-999", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-999/", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-999/*", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes */1000", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes=300-999/1000", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "octets 300-999/1000", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes  300-999/1000", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300 -999/1000", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-999/1000 ", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-999/1000,", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes +300-999/1000", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes -300-999/1000", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 0x12c-999/1000", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        /* 2^64 and around it */
        { "bytes 18446744073709551616-999/1000", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 18446744073709551916-999/1000", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-18446744073709552615/1000", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-999/18446744073709552616", 700, HTTP_ANSWERED, EV_WAIT, 0 },
        { "bytes 300-18446744073709551615/18446744073709551615", 700, HTTP_NO_ANSWER, EV_WAIT, 0 },
        { "bytes 300-99999999999999999999999999999999999/1000", 700, HTTP_ANSWERED, EV_WAIT, 0 },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply r = no_reply(cases[i].end);
        Download d = { .size_bytes = 300,
                       .total_bytes = 1000,
                       .parts = 1,
                       .validator = TAG,
                       .reached_bytes = 300 };
        Fault f = { 0 };

        r.code = 206;
        r.body_size = cases[i].size;
        set_headers(&r, TAG, DATE, cases[i].range);
        print_message("# %s, %zu bytes, end %d\n", cases[i].range, cases[i].size, r.end);
        assert_int_equal(download_hear(c, &r, &d, &f), cases[i].ev);
        assert_int_equal(f.code, cases[i].ev == EV_OK ? FAULT_NONE : FAULT_OUTPUT_UNREACHED);
        assert_int_equal(d.size_bytes, cases[i].kept);
        assert_int_equal(d.farther, cases[i].ev == EV_WAIT && cases[i].kept > 300);
        assert_int_equal(d.parts, cases[i].kept > 0 ? 2 : 1);
    }
}

/* A part of another file is not put behind what is there. */
static void test_parts_of_another(void **state) {
    static const struct {
        const char *validator, *crc32c, *etag, *modified, *promised;
        bool encoded, goes_on;
    } cases[] = {
        { TAG, "", TAG, "", "", false, true },
        { TAG, "AAAAAA==", TAG, "", "", false, true },
        { TAG, "AAAAAA==", TAG, "", "AAAAAA==", false, true },
        { TAG, "", TAG, "", "AAAAAA==", false, true },
        { TAG, "", TAG, "Wed, 25 Nov 2026 10:00:00 GMT", "", false, true }, /* bytes decide */
        { TAG, "", "\"5d41402abd\"", "", "", false, false },
        { TAG, "", "W/" TAG, "", "", false, false },
        { TAG, "", "", DATE, "", false, false }, /* a part must come with it */
        { TAG, "", "*", DATE, "", false, false },
        { TAG, "AAAAAA==", TAG, "", "4waSgw==", false, false },
        { TAG, "", TAG, "", "", true, false },
        { DATE, "", "", DATE, "", false, true },
        { DATE, "", "", "", "", false, true }, /* with If-Range a date need not come again */
        { DATE, "", "", "Wed, 25 Nov 2026 10:00:00 GMT", "", false, false },
        { DATE, "", "", "*", "", false, false },
        { DATE, "AAAAAA==", "", DATE, "4waSgw==", false, false },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply r = no_reply(HTTP_ANSWERED);
        Download d = { .size_bytes = 300, .parts = 1 }; /* the length was not told at first */
        Fault f = { 0 };

        r.code = 206;
        r.body_size = 700;
        r.encoded = cases[i].encoded;
        set_headers(&r, cases[i].etag, cases[i].modified, "bytes 300-999/1000");
        (void) snprintf(r.crc32c, sizeof r.crc32c, "%s", cases[i].promised);
        (void) snprintf(d.validator, sizeof d.validator, "%s", cases[i].validator);
        (void) snprintf(d.crc32c, sizeof d.crc32c, "%s", cases[i].crc32c);
        print_message("# case %zu\n", i);
        assert_int_equal(download_hear(c, &r, &d, &f), cases[i].goes_on ? EV_OK : EV_WAIT);
        assert_int_equal(d.size_bytes, cases[i].goes_on ? 1000 : 0);
        if (cases[i].goes_on) /* the promise holds for the whole, whichever answer made it */
            assert_string_equal(d.crc32c,
                                cases[i].promised[0] ? cases[i].promised : cases[i].crc32c);
    }
}

/* What is kept when there is no part at all. */
static void test_between_parts(void **state) {
    static const struct {
        HttpEnd end;
        int code;
        size_t size;
        uint64_t length;
        JobEvent ev;
        uint64_t kept;
    } cases[] = {
        { HTTP_ANSWERED, 200, 900, 900, EV_OK, 900 },   /* another file: it takes the place */
        { HTTP_ANSWERED, 200, 900, 0, EV_OK, 900 },     /* chunked */
        { HTTP_ANSWERED, 200, 900, 950, EV_WAIT, 900 }, /* shorter than it promised */
        { HTTP_ANSWERED, 200, 0, 0, EV_FINAL, 0 },
        { HTTP_NO_ANSWER, 200, 100, 900, EV_WAIT, 100 },
        { HTTP_NO_ANSWER, 200, 900, 900, EV_OK, 900 },
        { HTTP_NO_ANSWER, 200, 900, 0, EV_WAIT, 900 }, /* chunked: nobody knows whether it is all */
        { HTTP_NO_ANSWER, 200, 0, 900, EV_WAIT, 0 },
        { HTTP_ANSWERED, 416, 10, 10, EV_WAIT, 0 }, /* there is no such part any more */
        { HTTP_NO_ANSWER, 0, 0, 0, EV_WAIT, 300 },
        { HTTP_NO_ANSWER, 503, 10, 20, EV_WAIT, 300 },
        { HTTP_UNSENT, 0, 0, 0, EV_WAIT, 300 },
        { HTTP_ANSWERED, 429, 10, 10, EV_WAIT, 300 },
        { HTTP_ANSWERED, 503, 10, 10, EV_WAIT, 300 },
        { HTTP_ANSWERED, 302, 0, 0, EV_MORE, 300 },
        { HTTP_SINK, 0, 0, 0, EV_WAIT, 0 }, /* nobody knows what lies in the spool */
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply r = no_reply(cases[i].end);
        Download d = { .size_bytes = 300,
                       .total_bytes = 1000,
                       .parts = 1,
                       .validator = TAG,
                       .crc32c = "AAAAAA==",
                       .reached_bytes = 300 };
        Fault f = { 0 };

        r.code = cases[i].code;
        r.body_size = cases[i].size;
        r.length = cases[i].length;
        r.local_errno = ENOSPC;
        r.redirect = (char *) "https://a.replicate.delivery/x";
        set_headers(&r, TAG, DATE, "bytes 300-999/1000");
        print_message("# end %d, HTTP %d, %zu bytes\n", r.end, r.code, r.body_size);
        assert_int_equal(download_hear(c, &r, &d, &f), cases[i].ev);
        assert_int_equal(d.size_bytes, cases[i].kept);
        assert_int_equal(d.farther, cases[i].ev == EV_WAIT && cases[i].kept > 300);
        assert_string_equal(d.crc32c, r.code == 200 ? "" : "AAAAAA=="); /* of another file */
    }
}

/* One byte at a time does not go on for ever; nor does what begins anew each time. */
static void test_farther(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    Download d = { 0 }, again = { 0 };
    HttpReply r = no_reply(HTTP_NO_ANSWER);
    unsigned farther = 0;
    Fault f = { 0 };

    (void) state;
    r.body_size = 1;
    for (unsigned i = 0; i < 3 * DOWNLOAD_RESUMES_MAX; i++) {
        char range[72];

        (void) snprintf(range, sizeof range, "bytes %u-999/1000", i);
        r.code = i == 0 ? 200 : 206;
        r.length = i == 0 ? 1000 : 1000 - i;
        set_headers(&r, TAG, "", range);
        assert_int_equal(download_hear(c, &r, &d, &f), EV_WAIT);
        assert_int_equal(d.size_bytes, i + 1);
        farther += d.farther;
    }
    assert_int_equal(farther, DOWNLOAD_RESUMES_MAX);
    r.code = 200;
    r.length = 1000;
    set_headers(&r, "", "", "");
    for (unsigned i = 0; i < 9; i++) { /* the same once more is no progress, more than ever is */
        r.body_size = i < 5 ? 100 : 101;
        assert_int_equal(download_hear(c, &r, &again, &f), EV_WAIT);
        assert_int_equal(again.size_bytes, 0);
        assert_int_equal(again.farther, i == 0 || i == 5);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_validators),       cmocka_unit_test(test_parts),
        cmocka_unit_test(test_parts_of_another), cmocka_unit_test(test_between_parts),
        cmocka_unit_test(test_farther),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
