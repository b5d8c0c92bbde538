/* MD5, SHA-256 and CRC-32C over the same bytes in one go, as the file host promises them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

typedef struct Digest {
    char md5[33], sha256[HASH_HEX_SIZE]; /* hexadecimal */
    unsigned char md5_bytes[16];
    uint32_t crc32c;
    uint64_t size_bytes;
} Digest;

typedef struct Digester Digester;

Digester *digester_new(bool with_crc);
bool digester_add(Digester *d, const void *bytes, size_t size);
bool digester_end(Digester *d, Digest *ret); /* once */
Digester *digester_free(Digester *d);
