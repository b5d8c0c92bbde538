/* SHA-256 by libcrypto, and CRC-32C by ISA-L, over the same bytes. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define HASH_HEX_SIZE 65 /* 64 hexadecimal digits and the terminator */

typedef struct Hash Hash;

/* A running hash: feed it with hash_update(), end it once with hash_final(). */
int hash_new(Hash **ret);
int hash_restart(Hash *h); /* as if it was new */
int hash_update(Hash *h, const void *bytes, size_t size);
int hash_final(Hash *h, char ret_hex[static HASH_HEX_SIZE]);
Hash *hash_free(Hash *h);

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4) of what the hash was fed so far. */
uint32_t hash_crc32c(const Hash *h);

/* All at once. Returns 0 or -ENOMEM. */
int hash_sha256_hex(const void *bytes, size_t size, char ret_hex[static HASH_HEX_SIZE]);
