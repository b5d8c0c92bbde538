/* The sums that the file host promises: SHA-256, MD5 and CRC-32C. The CRC is written here once
 * more, without the daemon's library, so that the two check each other. */
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "digest.h"

struct Digester {
    Hash *sha256;
    EVP_MD_CTX *md5;
    uint32_t crc;
    uint64_t size;
    bool with_crc;
};

static uint32_t crc_table[8][256]; /* CRC-32C, eight bytes at a time */
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

/* Table n is the CRC of a byte that n more bytes follow. */
static void crc_prepare(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;

        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0x82f63b78 : c >> 1;
        crc_table[0][i] = c;
    }
    for (int t = 1; t < 8; t++)
        for (uint32_t i = 0; i < 256; i++)
            crc_table[t][i] = crc_table[t - 1][i] >> 8 ^ crc_table[0][crc_table[t - 1][i] & 255];
}

/* Eight bytes at a time: files of gigabytes are made and summed while a test waits. */
static uint32_t crc_add(uint32_t crc, const unsigned char *p, size_t size) {
    for (; size >= 8; size -= 8, p += 8) {
        crc ^=
            (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
        crc = crc_table[7][crc & 255] ^ crc_table[6][crc >> 8 & 255] ^
              crc_table[5][crc >> 16 & 255] ^ crc_table[4][crc >> 24] ^ crc_table[3][p[4]] ^
              crc_table[2][p[5]] ^ crc_table[1][p[6]] ^ crc_table[0][p[7]];
    }
    for (; size; size--)
        crc = crc >> 8 ^ crc_table[0][(crc ^ *p++) & 255];
    return crc;
}

Digester *digester_free(Digester *d) {
    if (d) {
        hash_free(d->sha256);
        EVP_MD_CTX_free(d->md5);
        free(d);
    }
    return NULL;
}
DEFINE_CLEANUP(Digester *, digester_free)

Digester *digester_new(bool with_crc) {
    _cleanup_(digester_freep) Digester *d = calloc(1, sizeof *d);

    if (!d || hash_new(&d->sha256) < 0 || !(d->md5 = EVP_MD_CTX_new()) ||
        EVP_DigestInit_ex(d->md5, EVP_md5(), NULL) != 1)
        return NULL;
    if ((d->with_crc = with_crc))
        pthread_once(&crc_once, crc_prepare);
    d->crc = UINT32_MAX;
    return TAKE(d);
}

bool digester_add(Digester *d, const void *bytes, size_t size) {
    if (d->with_crc)
        d->crc = crc_add(d->crc, bytes, size);
    d->size += size;
    return hash_update(d->sha256, bytes, size) == 0 && EVP_DigestUpdate(d->md5, bytes, size) == 1;
}

bool digester_end(Digester *d, Digest *ret) {
    unsigned n = 0;

    *ret = (Digest){ .crc32c = ~d->crc, .size_bytes = d->size };
    if (hash_final(d->sha256, ret->sha256) < 0 ||
        EVP_DigestFinal_ex(d->md5, ret->md5_bytes, &n) != 1 || n != sizeof ret->md5_bytes)
        return false;
    for (unsigned i = 0; i < n; i++)
        snprintf(ret->md5 + 2 * i, 3, "%02x", ret->md5_bytes[i]);
    return true;
}
