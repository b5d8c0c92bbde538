/* Values that can be read and are hardly what was meant: the sample's placeholders, keys of another kind. Pure. */
#pragma once
#include "core/config_value.h"

typedef enum ConfigDoubt {
    CONFIG_DOUBT_NONE,
    CONFIG_DOUBT_WARNING, /* may be meant all the same */
    CONFIG_DOUBT_ERROR    /* surely is not: nothing can work with it */
} ConfigDoubt;

/* The doubt about the key's value, as the end of a sentence that begins with the key. Nothing of the
 * value is repeated. */
ConfigDoubt config_doubt(const ConfigKey *key, const Config *c, char *ret_why, size_t room);
