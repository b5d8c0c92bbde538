#include <netinet/in.h>
#include <string.h>

#include "io/address.h"

bool address_is_private(const struct sockaddr *a) {
    uint32_t v4;

    if (a->sa_family == AF_INET6) {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *) (const void *) a)->sin6_addr;

        if (!IN6_IS_ADDR_V4MAPPED(v6))
            return IN6_IS_ADDR_LOOPBACK(v6) || IN6_IS_ADDR_LINKLOCAL(v6) ||
                   IN6_IS_ADDR_UNSPECIFIED(v6) || IN6_IS_ADDR_MULTICAST(v6) ||
                   (v6->s6_addr[0] & 0xfe) == 0xfc || /* unique local, RFC 4193 */
                   (v6->s6_addr[0] == 0 && v6->s6_addr[1] == 0x64 && v6->s6_addr[2] == 0xff &&
                    v6->s6_addr[3] == 0x9b); /* NAT64, RFC 6052: may hide a private IPv4 */
        memcpy(&v4, v6->s6_addr + 12, 4);
    } else
        memcpy(&v4, &((const struct sockaddr_in *) (const void *) a)->sin_addr, 4);
    v4 = ntohl(v4);
    /* RFC 6890: this network, private, shared, loopback, link-local, IETF, benchmarks, multicast. */
    return v4 >> 24 == 0 || v4 >> 24 == 10 || v4 >> 22 == (100u << 2 | 1) || v4 >> 24 == 127 ||
           v4 >> 16 == (169u << 8 | 254) || v4 >> 20 == (172u << 4 | 1) ||
           v4 >> 8 == (192u << 16) || v4 >> 16 == (192u << 8 | 168) ||
           v4 >> 17 == (198u << 7 | 9) || v4 >> 28 >= 14;
}
