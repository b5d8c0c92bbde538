/* Proxies: what the environment says, and who goes through which. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/proxy.h"

#define N(array) (sizeof(array) / sizeof *(array))

static void values(void **state) {
    static const struct {
        const char *value, *url, *host; /* NULL: refused */
        unsigned port;
    } cases[] = {
        /* clang-format off */
        { "http://10.0.0.1:3128", "http://10.0.0.1:3128", "10.0.0.1", 3128 },
        { "http://proxy.example:3128/", "http://proxy.example:3128", "proxy.example", 3128 },
        { "proxy.example", "http://proxy.example:1080", "proxy.example", 1080 },
        { "proxy.example:8080", "http://proxy.example:8080", "proxy.example", 8080 },
        { "HTTPS://proxy.example", "https://proxy.example:443", "proxy.example", 443 },
        { "socks5://p:1", "socks5h://p:1", "p", 1 }, { "socks4://p:1", "socks4a://p:1", "p", 1 },
        { "socks5h://p", "socks5h://p:1080", "p", 1080 }, { "socks4a://p", "socks4a://p:1080", "p", 1080 },
        { "http://me:secret%40@p:3128", "http://me:secret%40@p:3128", "p", 3128 },
        { "me@p:3128", "http://me@p:3128", "p", 3128 },
        { "http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128", "2001:db8::1", 3128 },
        { "[::1]", "http://[::1]:1080", "::1", 1080 },
        { "ftp://p:1", NULL, NULL, 0 }, { "http://", NULL, NULL, 0 }, { "http://p:0", NULL, NULL, 0 },
        { "http://p:65536", NULL, NULL, 0 }, { "http://p:1/path", NULL, NULL, 0 },
        { "http://p:1?q", NULL, NULL, 0 }, { "http://me:a@b@p:1", NULL, NULL, 0 },
        { "http://me:a/b@p:1", NULL, NULL, 0 }, { "http://p q:1", NULL, NULL, 0 },
        { "http://p:1\n", NULL, NULL, 0 }, { "http://[::1:1", NULL, NULL, 0 }, { ":3128", NULL, NULL, 0 },
        { "http://@", NULL, NULL, 0 },
        /* clang-format on */
    };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        char text[200];
        char *environ_[] = { text, NULL };
        const char *name = NULL;
        Proxies p = { 0 };
        int r;

        (void) snprintf(text, sizeof text, "https_proxy=%s", cases[i].value);
        print_message("# %s\n", cases[i].value);
        r = proxies_read(environ_, &p, &name);
        assert_int_equal(r, cases[i].url ? 0 : -EINVAL);
        if (cases[i].url) {
            assert_string_equal(p.https.url, cases[i].url);
            assert_string_equal(p.https.host, cases[i].host);
            assert_int_equal(p.https.port, cases[i].port);
            assert_null(p.http.url);
        } else
            assert_string_equal(name, "https_proxy");
        proxies_done(&p);
    }
}

static void variables(void **state) {
    static const struct {
        const char *environ_[5];
        const char *http, *https; /* hosts; NULL: none */
    } cases[] = {
        { { "x=y" }, NULL, NULL },
        { { "http_proxy=a" }, "a", NULL },
        { { "HTTP_PROXY=a" }, NULL, NULL }, /* comes from a request's header "Proxy:" in a CGI */
        { { "HTTPS_PROXY=a" }, NULL, "a" },
        { { "HTTPS_PROXY=a", "https_proxy=b" }, NULL, "b" },
        { { "all_proxy=a" }, "a", "a" },
        { { "ALL_PROXY=a", "http_proxy=b" }, "b", "a" },
        { { "https_proxy=", "all_proxy=a" }, "a", "a" },
    };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        const char *name = NULL;
        Proxies p = { 0 };

        assert_int_equal(proxies_read((char *const *) (const void *) cases[i].environ_, &p, &name),
                         0);
        print_message("# %s\n", cases[i].environ_[0]);
        assert_string_equal(p.http.host, cases[i].http ? cases[i].http : "");
        assert_string_equal(p.https.host, cases[i].https ? cases[i].https : "");
        proxies_done(&p);
    }
}

static void exceptions(void **state) {
    static const struct {
        const char *none, *host;
        unsigned port;
        bool direct;
    } cases[] = {
        /* clang-format off */
        { "*", "a.example", 443, true }, { "", "a.example", 443, false }, { "a.example", "a.example", 443, true },
        { "example", "a.example", 443, true }, { ".example", "a.example", 443, true },
        { "*.example", "a.example", 443, true }, { "A.EXAMPLE.", "a.example", 443, true },
        { "a.example", "a.example.", 443, true }, { "a.example", "ba.example", 443, false },
        { "a.example", "a.example.org", 443, false }, { "x, a.example", "a.example", 443, true },
        { "x a.example", "a.example", 443, true }, { "a.example:443", "a.example", 443, true },
        { "a.example:444", "a.example", 443, false }, { "10.0.0.1", "10.0.0.1", 80, true },
        { "10.0.0.1:80", "10.0.0.1", 80, true }, { "10.0.0.1:81", "10.0.0.1", 80, false },
        { "10.0.0.0/8", "10.9.9.9", 80, true }, { "10.0.0.0/8", "11.9.9.9", 80, false },
        { "10.0.0.0/33", "10.0.0.0", 80, false }, { "10.0.0.0/", "10.0.0.0", 80, false },
        { "192.168.128.0/17", "192.168.255.1", 80, true }, { "192.168.128.0/17", "192.168.127.1", 80, false },
        { "0.0.0.0/0", "8.8.8.8", 80, true }, { "0.0.0.0/0", "a.example", 80, false },
        { "::1", "::1", 80, true }, { "[::1]", "::1", 80, true }, { "[::1]:80", "::1", 80, true },
        { "[::1]:81", "::1", 80, false }, { "fd00::/8", "fd12::1", 80, true }, { "fd00::/8", "fe00::1", 80, false },
        { "localhost", "127.0.0.1", 80, false }, { ",, ,", "a", 80, false }, { ".", "a.", 80, false },
        /* clang-format on */
    };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        char text[100];
        char *environ_[] = { "all_proxy=p", text, NULL };
        const char *name = NULL;
        Proxies p = { 0 };

        (void) snprintf(text, sizeof text, "no_proxy=%s", cases[i].none);
        assert_int_equal(proxies_read(environ_, &p, &name), 0);
        if (!proxies_find(&p, true, cases[i].host, cases[i].port) != cases[i].direct)
            fail_msg("no_proxy=%s: %s", cases[i].none, cases[i].host);
        proxies_done(&p);
    }
}

static void description(void **state) {
    char *environ_[] = { "https_proxy=http://me:hidden@p:3128", "http_proxy=q:80", NULL };
    const char *name = NULL;
    char text[600];
    Proxies p = { 0 };

    (void) state;
    assert_string_equal(proxies_describe(&p, text, sizeof text), "");
    assert_int_equal(proxies_read(environ_, &p, &name), 0);
    assert_string_equal(proxies_describe(&p, text, sizeof text), "https by p:3128, http by q:80");
    proxies_done(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(variables),
        cmocka_unit_test(exceptions),
        cmocka_unit_test(description),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
