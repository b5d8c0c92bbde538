/* Which addresses the public network does not lead to. */
#pragma once
#include <stdbool.h>
#include <sys/socket.h>

/* Private, loopback, link-local, multicast and the like: AF_INET, or AF_INET6. Addresses that stand for an IPv4 one
 * (NAT64, 6to4, Teredo …) are judged by that one. Any other family is private. */
bool address_is_private(const struct sockaddr *a);
