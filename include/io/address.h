/* Which addresses the public network does not lead to. */
#pragma once
#include <stdbool.h>
#include <sys/socket.h>

/* Private, loopback, link-local, multicast and the like: AF_INET, or AF_INET6. */
bool address_is_private(const struct sockaddr *a);
