/* Judges the addresses that a host name from outside leads to. A mesh is fetched from the public
 * network only: a model's output must not make this machine fetch from its own network, nor from
 * the metadata server of its cloud. Looking names up is left to io/resolve.c, refusing a
 * connection to io/http_setup.c and io/http_route.c. */
#include <netinet/in.h>
#include <string.h>

#include "base/address.h"

/* The networks of RFC 6890 that are not public: this network, private, shared, loopback,
 * link-local, IETF, benchmarks, multicast. `bytes` are in network order. */
static bool v4_is_private(const uint8_t *bytes) {
    uint32_t a;

    memcpy(&a, bytes, sizeof a);
    a = ntohl(a);
    return a >> 24 == 0 || a >> 24 == 10 || a >> 22 == (100u << 2 | 1) || a >> 24 == 127 ||
           a >> 16 == (169u << 8 | 254) || a >> 20 == (172u << 4 | 1) || a >> 8 == (192u << 16) ||
           a >> 16 == (192u << 8 | 168) || a >> 17 == (198u << 7 | 9) || a >> 28 >= 14;
}

/* Networks whose addresses are private by themselves. */
static const struct {
    uint8_t bits, bytes[6];
} private_v6[] = {
    { 8, { 0xff } },                                /* multicast */
    { 7, { 0xfc } },                                /* unique local, RFC 4193 */
    { 10, { 0xfe, 0x80 } },                         /* link-local */
    { 10, { 0xfe, 0xc0 } },                         /* site-local, RFC 3879 */
    { 48, { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 } }, /* NAT64 of a site's own, RFC 8215 */
};

/* Networks whose addresses stand for an IPv4 one, which the packets go to in the end: it begins at byte `at`. */
static const struct {
    uint8_t size, at, mask; /* `size` in bytes; each byte of the address is xored with `mask` */
    uint8_t bytes[12];
} embedding[] = {
    { 12, 12, 0, { 0 } },                                        /* ::/96, ::1 and :: too */
    { 12, 12, 0, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff } }, /* ::ffff:0:0/96 */
    { 12, 12, 0, { 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0 } }, /* ::ffff:0:0:0/96, RFC 7915 */
    { 12, 12, 0, { 0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0 } }, /* NAT64, RFC 6052 */
    { 2, 2, 0, { 0x20, 0x02 } },                                       /* 6to4, RFC 3056 */
    { 4, 12, 0xff, { 0x20, 0x01, 0, 0 } },                             /* Teredo, RFC 4380 */
};

/* Compares the first `bits` of an address, as a route does; prefixes end in the middle of a
 * byte. */
static bool begins_with(const uint8_t *address, const uint8_t *bytes, unsigned bits) {
    unsigned rest = bits % 8;

    return memcmp(address, bytes, bits / 8) == 0 &&
           (rest == 0 || (address[bits / 8] ^ bytes[bits / 8]) >> (8 - rest) == 0);
}

/* An embedded IPv4 address is judged as such: a name with the address ::ffff:127.0.0.1 leads to
 * this machine, too. */
static bool v6_is_private(const uint8_t *a) {
    uint8_t v4[4];

    for (size_t i = 0; i < sizeof private_v6 / sizeof *private_v6; i++)
        if (begins_with(a, private_v6[i].bytes, private_v6[i].bits))
            return true;
    for (size_t i = 0; i < sizeof embedding / sizeof *embedding; i++)
        if (begins_with(a, embedding[i].bytes, embedding[i].size * 8u)) {
            for (unsigned k = 0; k < sizeof v4; k++)
                v4[k] = a[embedding[i].at + k] ^ embedding[i].mask;
            return v4_is_private(v4);
        }
    return false;
}

bool address_is_private(const struct sockaddr *a) {
    if (a->sa_family == AF_INET6)
        return v6_is_private(((const struct sockaddr_in6 *) (const void *) a)->sin6_addr.s6_addr);
    if (a->sa_family == AF_INET)
        return v4_is_private(
            (const uint8_t *) &((const struct sockaddr_in *) (const void *) a)->sin_addr);
    return true;
}
