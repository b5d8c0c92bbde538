/* Downloading: which URLs may be fetched, what is asked, and what the file host's answers mean. */
#include <limits.h>

#include "fixtures.h"
#include "flow/download.h"
#include "torture.h"

#define SINK 77 /* never written to */
#define INSECURE                                                                    \
    GOOD "[replicate]\nurl = http://127.0.0.1:9/v1\nallow_insecure = on\ndownload_" \
         "hosts = 127.0.0.1:9000 files.lan *.lan:81\n"

static void test_check(void **state) {
    static const struct {
        const char *url;
        bool good;
    } cases[] = {
        { "https://replicate.delivery/xezq/a/output.glb", true },
        { "https://tjzk.replicate.delivery/xezq/a/output.glb", true },
        { "https://a.b.replicate.delivery/", true },
        { "https://replicate.delivery", true },
        { "https://replicate.delivery?x=1", true },
        { "https://replicate.delivery:443/x", true },
        { "HTTPS://Replicate.DELIVERY/x", true },
        { "https://A.Replicate.Delivery/x", true },
        { "https://replicate.delivery/x?u=http://evil.com/@/", true },
        /* another scheme */
        { "http://replicate.delivery/x", false },
        { "HTTP://replicate.delivery/x", false },
        { "ftp://replicate.delivery/x", false },
        { "file:///etc/passwd", false },
        { "file://replicate.delivery/etc/passwd", false },
        { "data:model/gltf-binary;base64,Z2xURg==", false },
        { "javascript://replicate.delivery/%0aalert(1)", false },
        { "//replicate.delivery/x", false },
        { "/x", false },
        { "replicate.delivery/x", false },
        { "https:replicate.delivery/x", false },
        { "https:/replicate.delivery/x", false },
        { "https:///replicate.delivery/x", false },
        { "https://", false },
        { "", false },
        /* another host */
        { "https://replicate.delivery:abc/x", false },
        { "https://replicate.delivery:/x", false },
        { "https://replicate.delivery:99999/x", false },
        { "https://replicate.delivery:443x/x", false },
        { "https://evil.com/x", false },
        { "https://evil.com/replicate.delivery", false },
        { "https://evil.com?.replicate.delivery", false },
        { "https://evil.com#.replicate.delivery", false },
        { "https://evil.com\\.replicate.delivery/x", false },
        { "https://replicate.delivery.evil.com/x", false },
        { "https://evilreplicate.delivery/x", false },
        { "https://.replicate.delivery/x", false },
        { "https://replicate.delivery./x", false },
        { "https://replicate/x", false },
        { "https://delivery/x", false },
        { "https://127.0.0.1/x", false },
        { "https://2130706433/x", false },
        { "https://localhost/x", false },
        { "https://[::1]/x", false },
        { "https://[::ffff:127.0.0.1]:443/x", false },
        { "https://[replicate.delivery]/x", false },
        { "https://[::1].replicate.delivery/x", false },
        { "https://[a.replicate.delivery/x", false },
        /* a user's name before the host */
        { "https://replicate.delivery@evil.com/x", false },
        { "https://replicate.delivery:443@evil.com/x", false },
        { "https://user:word@replicate.delivery/x", false },
        { "https://evil.com@replicate.delivery/x", false },
        /* no URL at all */
        { "https://replicate.delivery/a b", false },
        { "https://replicate.delivery/\r\nHost: evil.com", false },
        { " https://replicate.delivery/x", false },
        { "https://replicate.delivery /x", false },
        { "https://replicate.delivery\t.evil.com/x", false },
        { "https://:443/x", false },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    char *url;

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Fault f = { 0 };

        print_message("# url %zu\n", i);
        assert_int_equal(download_check(c, cases[i].url, &f), cases[i].good ? EV_OK : EV_FINAL);
        assert_int_equal(f.code, cases[i].good ? FAULT_NONE : FAULT_OUTPUT_FORBIDDEN);
    }
    for (size_t n = 200; n < 400; n += 7) { /* a host's name beyond any limit */
        Fault f = { 0 };

        url = str_printf("https://%0*d.evil.com/x", (int) n, 7);
        assert_int_equal(download_check(c, url, &f), EV_FINAL);
        free(url);
    }
}

static void test_check_of_named_hosts(void **state) {
    static const struct {
        const char *url;
        bool good;
    } cases[] = {
        { "http://127.0.0.1:9000/x", true },   { "https://127.0.0.1:9000/x", true },
        { "http://127.0.0.1:9001/x", false },  { "http://127.0.0.1/x", false },
        { "https://127.0.0.1/x", false },      { "http://files.lan/x", true },
        { "http://FILES.lan:80/x", true },     { "http://a.lan:81/x", true },
        { "http://a.lan:82/x", false },        { "http://lan:81/x", false },
        { "https://a.lan/x", false },          { "https://replicate.delivery/x", false },
        { "ftp://files.lan/x", false },        { "http://127.0.0.1:9000@evil.com/x", false },
        { "http://127.0.0.1:90000/x", false },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, INSECURE);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Fault f = { 0 };

        print_message("# %s\n", cases[i].url);
        assert_int_equal(download_check(c, cases[i].url, &f), cases[i].good ? EV_OK : EV_FINAL);
    }
}

static void test_ask(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD "[asset]\nmax_size = 3MiB\n");
    _cleanup_(config_freep) Config *insecure = good(&nothing, INSECURE);
    Download nothing_yet = { 0 }, some = { .size_bytes = 5000000000, .validator = "\"v1\"" };
    Hash *hash = NULL;
    HttpRequest r;

    (void) state;
    assert_int_equal(hash_new(&hash), 0);
    torture(n) if (download_ask(c, "https://replicate.delivery/x", &nothing_yet, SINK, hash, &r) ==
                   0) {
        assert_string_equal(r.method, "GET");
        assert_string_equal(r.url, "https://replicate.delivery/x");
        assert_int_equal(r.n_headers, 0); /* no token goes to the file host, and no key */
        assert_int_equal(r.sink_from, 0);
        assert_null(r.body);
        assert_int_equal(r.body_fd, 0);
        assert_int_equal(r.sink_fd, SINK);
        assert_ptr_equal(r.sink_hash, hash);
        assert_int_equal(r.body_max, 3 << 20);
        assert_true(r.public_only);
        assert_false(r.once);
        http_request_done(&r);
    }
    else assert_true(torture_failed());
    assert_int_equal(
        download_ask(insecure, "http://127.0.0.1:9000/x", &nothing_yet, SINK, NULL, &r), 0);
    assert_false(r.public_only);
    http_request_done(&r);
    /* What is there already is not asked for again; where the URL led is asked instead of it. */
    some.redirect = strdup("https://a.replicate.delivery/y");
    torture(n) if (download_ask(c, "https://replicate.delivery/x", &some, SINK, hash, &r) == 0) {
        assert_string_equal(r.url, "https://a.replicate.delivery/y");
        assert_int_equal(r.n_headers, 2);
        assert_string_equal(r.headers[0], "Range: bytes=5000000000-");
        assert_string_equal(r.headers[1], "If-Range: \"v1\"");
        assert_int_equal(r.sink_from, 5000000000);
        assert_int_equal(r.body_max, 3 << 20); /* for the whole */
        http_request_done(&r);
    }
    else assert_true(torture_failed());
    hash_free(hash);
    download_done(&some);
    assert_null(some.redirect);
    assert_int_equal(some.size_bytes, 0);
}

static void test_hear(void **state) {
    static const struct {
        HttpEnd end;
        int code;
        size_t size;
        JobEvent ev;
        FaultCode fault;
    } cases[] = {
        { HTTP_ANSWERED, 200, 1, EV_OK, FAULT_NONE },
        { HTTP_ANSWERED, 200, SIZE_MAX, EV_OK, FAULT_NONE },
        { HTTP_ANSWERED, 200, 0, EV_FINAL, FAULT_ASSET_INVALID },
        /* Google's storage answers so once a file was removed */
        { HTTP_ANSWERED, 403, 0, EV_RETRY, FAULT_OUTPUT_GONE },
        { HTTP_ANSWERED, 404, 0, EV_RETRY, FAULT_OUTPUT_GONE },
        { HTTP_ANSWERED, 410, 0, EV_RETRY, FAULT_OUTPUT_GONE },
        { HTTP_ANSWERED, 429, 0, EV_WAIT, FAULT_OUTPUT_UNREACHED },
        { HTTP_ANSWERED, 500, 0, EV_WAIT, FAULT_OUTPUT_UNREACHED },
        { HTTP_ANSWERED, 503, 0, EV_WAIT, FAULT_OUTPUT_UNREACHED },
        { HTTP_ANSWERED, 206, 5, EV_WAIT, FAULT_OUTPUT_UNREACHED }, /* a part nobody asked for */
        { HTTP_ANSWERED, 302, 0, EV_WAIT, FAULT_OUTPUT_UNREACHED }, /* to nowhere */
        { HTTP_ANSWERED, 304, 0, EV_WAIT, FAULT_OUTPUT_UNREACHED },
        { HTTP_UNSENT, 0, 0, EV_WAIT, FAULT_OUTPUT_UNREACHED },
        { HTTP_NO_ANSWER, 0, 0, EV_WAIT, FAULT_OUTPUT_UNREACHED },
        { HTTP_NO_ANSWER, 200, 5, EV_WAIT, FAULT_OUTPUT_UNREACHED }, /* it broke off */
        { HTTP_NO_ANSWER, 206, 5, EV_WAIT, FAULT_OUTPUT_UNREACHED },
        { HTTP_NO_ANSWER, 404, 5, EV_WAIT, FAULT_OUTPUT_UNREACHED },
        { HTTP_ANSWERED, 203, 5, EV_WAIT, FAULT_OUTPUT_UNREACHED },
        { HTTP_ANSWERED, 416, 5, EV_WAIT, FAULT_OUTPUT_UNREACHED },
        { HTTP_TOO_LARGE, 200, 5, EV_FINAL, FAULT_ASSET_TOO_LARGE },
        { HTTP_PRIVATE, 0, 0, EV_FINAL, FAULT_OUTPUT_FORBIDDEN },
        { HTTP_SINK, 200, 5, EV_WAIT, FAULT_SPOOL_FULL },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply r = no_reply(cases[i].end);
        Download d = { 0 };
        Fault f = { 0 };

        r.code = cases[i].code;
        r.body_size = cases[i].size;
        r.local_errno = r.end == HTTP_SINK ? ENOSPC : 0;
        print_message("# end %d, HTTP %d\n", r.end, r.code);
        assert_int_equal(download_hear(c, &r, &d, &f), cases[i].ev);
        assert_int_equal(f.code, cases[i].fault);
        assert_int_equal(d.size_bytes, cases[i].ev == EV_OK ? cases[i].size : 0);
    }
    /* Of memory for the hash, not of room in the spool. */
    Download d = { .size_bytes = 7 };
    HttpReply r = no_reply(HTTP_SINK);
    Fault f = { 0 };

    r.local_errno = ENOMEM;
    assert_int_equal(download_hear(c, &r, &d, &f), EV_RETRY);
    assert_int_equal(f.code, FAULT_INTERNAL);
    assert_int_equal(d.size_bytes, 0);
}

/* Each hop is checked as the first URL was, and there are not many of them. */
static void test_redirects(void **state) {
    static const struct {
        int code;
        const char *to;
        unsigned before;
        JobEvent ev;
    } cases[] = {
        { 301, "https://a.replicate.delivery/x", 0, EV_MORE },
        { 302, "https://a.replicate.delivery/x", 1, EV_MORE },
        { 303, "https://a.replicate.delivery/x", 2, EV_MORE },
        { 307, "https://a.replicate.delivery/x", DOWNLOAD_REDIRECTS_MAX - 1, EV_MORE },
        { 308, "https://a.replicate.delivery/x", DOWNLOAD_REDIRECTS_MAX, EV_FINAL },
        { 307, "https://a.replicate.delivery/x", UINT_MAX, EV_FINAL },
        { 302, "http://replicate.delivery/x", 0, EV_FINAL },
        { 302, "https://evil.com/x", 0, EV_FINAL },
        { 302, "https://169.254.169.254/latest/meta-data/", 0, EV_FINAL },
        { 302, "https://replicate.delivery@evil.com/x", 0, EV_FINAL },
        { 302, "file:///etc/passwd", 0, EV_FINAL },
        { 302, "https://a.replicate.delivery/\x1b[2J", 0, EV_WAIT }, /* no URL */
        { 302, "/x\x1b[2J", 1, EV_WAIT },
        { 302, "//[::1", 0, EV_WAIT },
        { 302, "https://evil.com/\x1b[2J", 0, EV_FINAL },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply r = { .end = HTTP_ANSWERED, .code = cases[i].code };
        Download d = { .redirects = cases[i].before };
        Fault f = { 0 };

        r.redirect = (char *) cases[i].to;
        print_message("# %d to %s\n", r.code, r.redirect);
        assert_int_equal(download_hear(c, &r, &d, &f), cases[i].ev);
        assert_int_equal(f.code, cases[i].ev == EV_MORE   ? FAULT_NONE
                                 : cases[i].ev == EV_WAIT ? FAULT_OUTPUT_UNREACHED
                                                          : FAULT_OUTPUT_FORBIDDEN);
    }
}

/* https://cloud.google.com/storage/docs/hashes-etags: base64 of the CRC-32C, big-endian. */
static void test_verify(void **state) {
    static const struct {
        const char *bytes, *promised;
        JobEvent ev;
    } cases[] = {
        { "123456789", "4waSgw==", EV_OK }, /* the check value of the polynomial: 0xe3069283 */
        { "123456789", "4waSgg==", EV_RETRY }, { "123456789", "", EV_OK },
        { "123456789", "x", EV_RETRY },        { "", "AAAAAA==", EV_OK },
    };
    char hex[HASH_HEX_SIZE];

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Download d = { 0 };
        Fault f = { 0 };
        Hash *h;

        assert_int_equal(hash_new(&h), 0);
        for (const char *p = cases[i].bytes; *p; p++)
            assert_int_equal(hash_update(h, p, 1), 0);
        (void) snprintf(d.crc32c, sizeof d.crc32c, "%s", cases[i].promised);
        assert_int_equal(download_verify(&d, hash_crc32c(h), &f), cases[i].ev);
        assert_int_equal(f.code, cases[i].ev == EV_OK ? FAULT_NONE : FAULT_OUTPUT_DAMAGED);
        assert_int_equal(hash_restart(h), 0); /* nothing of it is left */
        assert_int_equal(hash_crc32c(h), 0);
        assert_int_equal(hash_final(h, hex), 0);
        assert_string_equal(hex,
                            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        hash_free(h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_check_of_named_hosts),
        cmocka_unit_test(test_ask),
        cmocka_unit_test(test_hear),
        cmocka_unit_test(test_redirects),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
