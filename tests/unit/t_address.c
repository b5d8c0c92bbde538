/* Addresses, one by one. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "base/address.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct {
    const char *text;
    bool is_private;
} cases[] = {
    { "93.184.216.34", false },
    { "0.1.2.3", true },
    { "9.255.255.255", false },
    { "10.0.0.1", true },
    { "11.0.0.0", false },
    { "100.63.255.255", false },
    { "100.64.0.1", true },
    { "100.128.0.0", false },
    { "127.0.0.1", true },
    { "169.254.169.254", true },
    { "172.15.255.255", false },
    { "172.16.0.1", true },
    { "172.31.255.255", true },
    { "172.32.0.0", false },
    { "192.0.0.1", true },
    { "192.0.1.1", false },
    { "192.168.1.1", true },
    { "198.18.0.1", true },
    { "198.19.255.255", true },
    { "198.20.0.0", false },
    { "224.0.0.1", true },
    { "255.255.255.255", true },
    { "2606:2800:220:1::1", false },
    { "::", true },
    { "::1", true },
    { "fe80::1", true },
    { "febf::1", true },
    { "fec0::1", true },
    { "feff::1", true },
    { "fc00::1", true },
    { "fdff::1", true },
    { "fe00::1", false },
    { "ff02::1", true },
    /* what stands for an IPv4 address is as private as that */
    { "::ffff:93.184.216.34", false },
    { "::ffff:10.0.0.1", true },
    { "::93.184.216.34", false },
    { "::127.0.0.1", true },
    { "::ffff:0:93.184.216.34", false },
    { "::ffff:0:192.168.0.1", true },
    { "64:ff9b::93.184.216.34", false },
    { "64:ff9b::169.254.169.254", true },
    { "64:ff9b:1::93.184.216.34", true }, /* a site's own prefix: nobody else knows what it hides */
    { "64:ff9c::10.0.0.1", false },
    { "2002:5db8:d822::1", false }, /* 93.184.216.34 */
    { "2002:a00:1::1", true },      /* 10.0.0.1 */
    { "2002:7f00:1::", true },
    { "2001:0:1:2:3:4:a247:27dd", false }, /* a client at 93.184.216.34, its bits turned over */
    { "2001:0:1:2:3:4:f5ff:fffe", true },  /* a client at 10.0.0.1 */
    { "2001:1:1:2:3:4:f5ff:fffe", false }, /* not Teredo */
};

static void each(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sockaddr_in v4 = { .sin_family = AF_INET };
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
        bool is_v4 = inet_pton(AF_INET, cases[i].text, &v4.sin_addr) == 1;

        if (!is_v4)
            assert_int_equal(inet_pton(AF_INET6, cases[i].text, &v6.sin6_addr), 1);
        if (address_is_private(is_v4 ? (struct sockaddr *) &v4 : (struct sockaddr *) &v6) !=
            cases[i].is_private)
            fail_msg("%s", cases[i].text);
    }
}

static void another_family(void **state) {
    const struct sockaddr a = { .sa_family = AF_UNIX };

    (void) state;
    assert_true(address_is_private(&a));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each),
        cmocka_unit_test(another_family),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
