/* Purchases that are looked for in a listing, found by the hash of their input. A listing shows
 * the model's defaults as well, so each purchase is compared by the keys that were written down
 * with it: there is a table of hashes for each set of keys, mostly one a step. Reading the
 * listing is listing.c's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "core/pipeline.h"
#include "flow/wanted.h"

#define BUCKETS 256

struct WantedKeys {
    json_t *keys;
    size_t n;
    LIST_HEAD(, Wanted) buckets[BUCKETS];
    LIST_ENTRY(WantedKeys) link;
};

/* A SHA-256 is as random as can be: its first two digits do. */
static unsigned bucket_of(const char *hash) {
    char digits[3] = { hash[0], hash[0] ? hash[1] : '\0', '\0' };

    return (unsigned) strtoul(digits, NULL, 16) % BUCKETS;
}

/* The set of keys, made when it is first needed; a worker has about as many as its configuration
 * has steps. */
static WantedKeys *keys_of(WantedTable *t, json_t *keys) {
    WantedKeys *k;

    LIST_FOREACH(k, &t->all, link)
    if (json_equal(k->keys, keys))
        return k;
    if (!(k = calloc(1, sizeof *k)))
        return NULL;
    k->keys = json_incref(keys);
    LIST_INSERT_HEAD(&t->all, k, link);
    t->n_keys++;
    return k;
}

/* A purchase without a hash can't be found; that is no error, its job gives up in time. */
int wanted_add(WantedTable *t, Wanted *w, const char *hash, json_t *keys,
               void (*found)(Wanted *w, const char *id)) {
    *w = (Wanted){ .found = found };
    if (!hash || strlen(hash) >= sizeof w->hash || !json_is_array(keys))
        return 0;
    if (!(w->keys = keys_of(t, keys)))
        return -ENOMEM;
    memcpy(w->hash, hash, strlen(hash) + 1);
    LIST_INSERT_HEAD(&w->keys->buckets[bucket_of(w->hash)], w, link);
    w->keys->n++;
    t->n++;
    return 0;
}

/* Takes one that was never added. The last purchase of a set of keys takes the set with it. */
void wanted_remove(WantedTable *t, Wanted *w) {
    WantedKeys *k = w->keys;

    if (!k)
        return;
    LIST_REMOVE(w, link);
    t->n--;
    w->keys = NULL;
    if (--k->n > 0)
        return;
    LIST_REMOVE(k, link);
    t->n_keys--;
    json_decref(k->keys);
    free(k);
}

/* An input without one of the keys surely has another hash: nothing needs to be computed for it. */
static bool has_all(const json_t *input, const json_t *keys) {
    json_t *key;
    size_t i;

    json_array_foreach (keys, i, key)
        if (!json_is_string(key) || !json_object_get(input, json_string_value(key)))
            return false;
    return true;
}

/* Several jobs may want the same input, and each of them is told. Whose prediction it is, the
 * database decides, which gives an id to one row only. */
int wanted_show(const WantedTable *t, const char *id, const json_t *input) {
    char hash[HASH_HEX_SIZE];
    WantedKeys *k;
    Wanted *w;

    LIST_FOREACH(k, &t->all, link) {
        if (!has_all(input, k->keys))
            continue;
        if (pipeline_hash(input, k->keys, hash) < 0)
            return -ENOMEM;
        LIST_FOREACH(w, &k->buckets[bucket_of(hash)], link)
        if (strcmp(w->hash, hash) == 0)
            w->found(w, id);
    }
    return 0;
}
