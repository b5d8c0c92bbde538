#include <errno.h>
#include <openssl/evp.h>

#include "base/cleanup.h"
#include "base/hash.h"

struct Hash {
    EVP_MD_CTX *ctx;
    uint32_t crc;
};

static uint32_t crc_table[256];

__attribute__((constructor)) static void make_crc_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        crc_table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            crc_table[i] = crc_table[i] >> 1 ^ (crc_table[i] & 1 ? 0x82f63b78u : 0);
    }
}

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

int hash_update(Hash *h, const void *bytes, size_t size) {
    const unsigned char *b = bytes;

    for (size_t i = 0; i < size; i++)
        h->crc = crc_table[(h->crc ^ b[i]) & 255] ^ h->crc >> 8;
    return EVP_DigestUpdate(h->ctx, bytes, size) == 1 ? 0 : -ENOMEM;
}

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
