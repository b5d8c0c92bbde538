/* Inputs that jobs look for in the listing. Each of its items is hashed once for every set of keys,
 * however many jobs look. Pure. */
#pragma once
#include <jansson.h>
#include <sys/queue.h>

#include "base/hash.h"

typedef struct Wanted Wanted;
typedef struct WantedKeys WantedKeys;

struct Wanted { /* stands in its owner; zeroed: in no table */
    WantedKeys *keys;
    char hash[HASH_HEX_SIZE];
    void (*found)(Wanted *w, const char *id); /* must change no table */
    LIST_ENTRY(Wanted) link;
};

typedef struct WantedTable { /* zeroed: empty */
    LIST_HEAD(, WantedKeys) all;
    size_t n, n_keys; /* wanted; sets of keys */
} WantedTable;

/* 0, -ENOMEM. One without a hash, or without keys, is never found. */
int wanted_add(WantedTable *t, Wanted *w, const char *hash, json_t *keys,
               void (*found)(Wanted *w, const char *id));
void wanted_remove(WantedTable *t, Wanted *w);

/* Tells all whose input this is. 0, -ENOMEM: who knows? */
int wanted_show(const WantedTable *t, const char *id, const json_t *input);
