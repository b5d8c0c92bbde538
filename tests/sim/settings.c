/* The settings: a table of names, kinds and bounds. All values are checked before one is set, so
 * a bad request changes nothing. */
#include <stddef.h>
#include <string.h>

#include "sim.h"

typedef enum Kind {
    KIND_MSEC, /* kept in microseconds */
    KIND_NUMBER,
    KIND_FLAG,
    KIND_TEXT,   /* or null */
    KIND_CHOICE, /* body, text or header */
    KIND_SIZES,  /* by model */
    KIND_RATE,
} Kind;

#define NUMBER_MAX (INT64_C(1) << 42) /* and far from an overflow in microseconds */

static const struct {
    const char *name;
    Kind kind;
    size_t offset;
    int64_t min, max;
} settings[] = {
    // clang-format off
    { "starting_ms",         KIND_MSEC,   offsetof(Settings, starting_usec),         0, NUMBER_MAX },
    { "processing_ms",       KIND_MSEC,   offsetof(Settings, processing_usec),       0, NUMBER_MAX },
    { "settle_ms",           KIND_MSEC,   offsetof(Settings, settle_usec),           0, NUMBER_MAX },
    { "keep_ms",             KIND_MSEC,   offsetof(Settings, keep_usec),             0, NUMBER_MAX },
    { "shift_ms",            KIND_MSEC,   offsetof(Settings, shift_usec),            -NUMBER_MAX, NUMBER_MAX },
    { "cancel_after_min_ms", KIND_MSEC,   offsetof(Settings, cancel_after_min_usec), 0, NUMBER_MAX },
    { "jitter_percent",      KIND_NUMBER, offsetof(Settings, jitter_percent),        0, 100 },
    { "glb_bytes",           KIND_NUMBER, offsetof(Settings, glb_bytes),             0, INT64_C(4) << 30 },
    { "model_bytes",         KIND_SIZES,  offsetof(Settings, model_bytes),           0, INT64_C(4) << 30 },
    { "keep_bytes",          KIND_NUMBER, offsetof(Settings, keep_bytes),            0, NUMBER_MAX },
    { "bare",                KIND_FLAG,   offsetof(Settings, bare),                  0, 0 },
    { "list_all",            KIND_FLAG,   offsetof(Settings, list_all),              0, 0 },
    { "throttle",            KIND_CHOICE, offsetof(Settings, throttle),              0, 0 },
    { "api_token",           KIND_TEXT,   offsetof(Settings, api_token),             0, 0 },
    { "storage_key",         KIND_TEXT,   offsetof(Settings, storage_key),           0, 0 },
    { "api_url",             KIND_TEXT,   offsetof(Settings, api_url),               0, 0 },
    { "files_url",           KIND_TEXT,   offsetof(Settings, files_url),             0, 0 },
    { "create_rate",         KIND_RATE,   offsetof(Settings, create),                0, 0 },
    { "get_rate",            KIND_RATE,   offsetof(Settings, get),                   0, 0 },
    { "other_rate",          KIND_RATE,   offsetof(Settings, other),                 0, 0 },
    // clang-format on
};

#define N_SETTINGS (sizeof settings / sizeof settings[0])

bool settings_reset(Sim *sim) {
    settings_done(&sim->set);
    sim->set = (Settings){
        .starting_usec = 300 * MSEC_USEC,
        .processing_usec = 1500 * MSEC_USEC,
        .settle_usec = 5 * SEC_USEC,
        .keep_usec = HOUR_USEC,
        .cancel_after_min_usec = 5 * SEC_USEC,
        .jitter_percent = 20,
        .glb_bytes = 20000,
        .keep_bytes = 1 << 20,
        .throttle = strdup("body"),
    };
    return sim->set.throttle;
}

void settings_done(Settings *set) {
    free(set->throttle);
    free(set->api_token);
    free(set->storage_key);
    free(set->api_url);
    free(set->files_url);
    json_decref(set->model_bytes);
    *set = (Settings){ 0 };
}

static bool in_range(const json_t *value, int64_t min, int64_t max) {
    return json_is_integer(value) && json_integer_value(value) >= min &&
           json_integer_value(value) <= max;
}

static bool is_choice(const json_t *value) {
    const char *text = json_string_value(value);

    return text && (!strcmp(text, "body") || !strcmp(text, "text") || !strcmp(text, "header"));
}

static bool are_sizes(json_t *value, int64_t max) {
    const char *model;
    json_t *size;

    json_object_foreach (value, model, size)
        if (!in_range(size, 0, max))
            return false;
    return json_is_object(value) || json_is_null(value);
}

/* {"per_minute": N, "burst": N}; null lifts the limit. */
static bool is_rate(json_t *value) {
    return json_is_null(value) || (json_object_size(value) == 2 &&
                                   json_number_value(json_object_get(value, "per_minute")) > 0 &&
                                   json_number_value(json_object_get(value, "burst")) >= 1);
}

static bool is_good(size_t i, json_t *value) {
    switch (settings[i].kind) {
    case KIND_MSEC:
    case KIND_NUMBER:
        return in_range(value, settings[i].min, settings[i].max);
    case KIND_FLAG:
        return json_is_boolean(value);
    case KIND_TEXT:
        return json_is_string(value) || json_is_null(value);
    case KIND_CHOICE:
        return is_choice(value);
    case KIND_SIZES:
        return are_sizes(value, settings[i].max);
    case KIND_RATE:
        return is_rate(value);
    }
    return false;
}

static bool set_text(char **to, const char *text) {
    char *copy = text ? strdup(text) : NULL;

    if (text && !copy)
        return false;
    free(*to);
    *to = copy;
    return true;
}

static bool apply(Settings *set, size_t i, json_t *value) {
    void *to = (char *) set + settings[i].offset;

    switch (settings[i].kind) {
    case KIND_MSEC:
        *(int64_t *) to = json_integer_value(value) * MSEC_USEC;
        return true;
    case KIND_NUMBER:
        *(int64_t *) to = json_integer_value(value);
        return true;
    case KIND_FLAG:
        *(bool *) to = json_is_true(value);
        return true;
    case KIND_TEXT:
    case KIND_CHOICE:
        return set_text(to, json_string_value(value));
    case KIND_SIZES:
        json_decref(*(json_t **) to);
        *(json_t **) to = json_is_object(value) ? json_incref(value) : NULL;
        return true;
    case KIND_RATE:
        *(Bucket *) to = (Bucket){
            .per_minute = json_number_value(json_object_get(value, "per_minute")),
            .burst = json_number_value(json_object_get(value, "burst")),
            .tokens = json_number_value(json_object_get(value, "burst")),
            .seen_usec = text_now_usec(),
        };
        return true;
    }
    return false;
}

static size_t find(const char *name) {
    size_t i = 0;

    while (i < N_SETTINGS && strcmp(settings[i].name, name) != 0)
        i++;
    return i;
}

bool settings_set(Sim *sim, json_t *values, Buf *reterr_why) {
    const char *name;
    json_t *value;

    if (!json_is_object(values)) {
        buf_add_text(reterr_why, "settings are an object\n");
        return false;
    }
    json_object_foreach (values, name, value) {
        size_t i = find(name);

        if (i == N_SETTINGS)
            buf_printf(reterr_why, "%.60s: no such setting\n", name);
        else if (!is_good(i, value))
            buf_printf(reterr_why, "%s: not such a value, or out of range\n", name);
    }
    if (reterr_why->size)
        return false; /* none is set when one is bad */
    json_object_foreach (values, name, value)
        if (!apply(&sim->set, find(name), value)) {
            buf_add_text(reterr_why, "out of memory\n");
            return false;
        }
    return true;
}

static json_t *current(const Settings *set, size_t i) {
    const void *from = (const char *) set + settings[i].offset;

    switch (settings[i].kind) {
    case KIND_MSEC:
        return json_integer(*(const int64_t *) from / MSEC_USEC);
    case KIND_NUMBER:
        return json_integer(*(const int64_t *) from);
    case KIND_FLAG:
        return json_boolean(*(const bool *) from);
    case KIND_TEXT:
    case KIND_CHOICE:
        return *(char *const *) from ? json_string(*(char *const *) from) : json_null();
    case KIND_SIZES:
        return *(json_t *const *) from ? json_deep_copy(*(json_t *const *) from) : json_null();
    case KIND_RATE: {
        const Bucket *b = from;

        return b->per_minute > 0
                   ? json_pack("{s:f, s:f}", "per_minute", b->per_minute, "burst", b->burst)
                   : json_null();
    }
    }
    return NULL;
}

json_t *settings_list(const Settings *set) {
    json_t *list = json_object();

    for (size_t i = 0; i < N_SETTINGS; i++)
        json_object_set_new(list, settings[i].name, current(set, i));
    return list;
}
