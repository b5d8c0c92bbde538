/* The sums over a file, fed piece by piece: SHA-256 by libcrypto, which libcurl brings along
 * anyway; CRC-32C by ISA-L, which uses the processor's own instructions where it has them and a
 * table where it has none. What they are compared with is the caller's. */
#include <errno.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <openssl/evp.h>

#include "base/cleanup.h"
#include "base/hash.h"

struct Hash {
    EVP_MD_CTX *ctx;
    uint32_t crc;
};

/* CRC-32C begins with all bits set and ends inverted; ISA-L leaves both to its caller. */
uint32_t hash_crc32c(const Hash *h) {
    return ~h->crc;
}

Hash *hash_free(Hash *h) {
    if (h) {
        EVP_MD_CTX_free(h->ctx);
        free(h);
    }
    return NULL;
}
DEFINE_CLEANUP(Hash *, hash_free)

/* A download that begins anew goes on with the same object: no allocation can fail in the middle
 * of a file. */
int hash_restart(Hash *h) {
    h->crc = UINT32_MAX;
    return EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

int hash_new(Hash **ret) {
    _cleanup_(hash_freep) Hash *h = calloc(1, sizeof *h);

    if (!h || !(h->ctx = EVP_MD_CTX_new()) || hash_restart(h) < 0)
        return -ENOMEM;
    *ret = TAKE(h);
    return 0;
}

/* Both sums in one pass, while the bytes are in the processor's cache. */
int hash_update(Hash *h, const void *bytes, size_t size) {
    const unsigned char *b = bytes;

    for (size_t done = 0; done < size;) { /* ISA-L counts in int, and its pointer lacks a const */
        int piece = size - done < INT_MAX ? (int) (size - done) : INT_MAX;

        h->crc = crc32_iscsi((unsigned char *) (b + done), piece, h->crc);
        done += (size_t) piece;
    }
    return EVP_DigestUpdate(h->ctx, bytes, size) == 1 ? 0 : -ENOMEM;
}

/* The sum is written in lower case, as PostgreSQL's encode() and sha256sum(1) have it. */
int hash_final(Hash *h, char ret_hex[static HASH_HEX_SIZE]) {
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned size = 0;

    if (EVP_DigestFinal_ex(h->ctx, bytes, &size) != 1 || size != 32)
        return -ENOMEM;
    for (unsigned i = 0; i < size; i++) {
        ret_hex[2 * i] = digits[bytes[i] >> 4];
        ret_hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret_hex[64] = '\0';
    return 0;
}

int hash_sha256_hex(const void *bytes, size_t size, char ret_hex[static HASH_HEX_SIZE]) {
    _cleanup_(hash_freep) Hash *h = NULL;

    if (hash_new(&h) < 0 || hash_update(h, bytes, size) < 0)
        return -ENOMEM;
    return hash_final(h, ret_hex);
}
