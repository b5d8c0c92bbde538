/* What lies in the simulated object store, and the tokens of its signed URLs. */
#pragma once
#include "sim.h"

#define STORE_LIMIT_BYTES 524288000 /* of a file, over all buckets (UPLOAD_FILE_SIZE_LIMIT) */

typedef struct StoreBucket {
    char *name;
    int64_t limit_bytes; /* 0: none */
    json_t *types;       /* array, or NULL: any */
    bool is_public;
    int64_t created_usec, changed_usec;
} StoreBucket;

struct Object {
    char *bucket, *key, *type, *cache;
    char id[37], version[37];
    char sha256[HASH_HEX_SIZE], etag[36];
    uint64_t size;
    char *bytes; /* NULL when it was too large to keep */
    json_t *metadata;
    int64_t created_usec, changed_usec;
    unsigned writes, changes; /* all; those with other bytes than before */
};

struct Upload {
    Digester *digester;
    uint64_t size, keep_bytes;
    Buf bytes;
};

typedef enum TokenCheck {
    TOKEN_GOOD,
    TOKEN_NONE, /* no JWT at all */
    TOKEN_BAD,
    TOKEN_EXPIRED,
    TOKEN_OTHER
} TokenCheck;

StoreBucket *store_bucket(const Store *s, const char *name);
bool store_add_bucket(Store *s, const char *name, const json_t *options, int64_t now_usec);
void bucket_change(StoreBucket *b, const json_t *options, int64_t now_usec);
int64_t store_read_limit(const json_t *value); /* "2MB", or a number of bytes; 0: none */
bool bucket_takes(const StoreBucket *b, const char *type);
json_t *bucket_json(const StoreBucket *b);

char *store_path(const char *bucket, const char *key);                   /* bucket/key, allocated */
Object *store_find(const Store *s, const char *bucket, const char *key); /* key may be NULL */
const Object *store_put(Store *s, const char *bucket, const char *key, Upload *u, const char *type,
                        const char *cache, const char *metadata, int64_t now_usec); /* ends u */
bool store_remove(Store *s, const char *bucket, const char *key);
json_t *object_json(const Object *o);     /* as /object/info shows it */
json_t *object_row_json(const Object *o); /* as a row of the table */

void store_sign(const Store *s, Buf *ret_token, const char *target, int64_t now, int64_t seconds);
TokenCheck store_check(const Store *s, const char *token, const char *target, int64_t now,
                       int64_t *ret_end); /* when it ends, where it is good */
