/* One value of the configuration: text to field, by the row of its key. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/config.h"
#include "core/config_units.h"

typedef enum ConfigKind {
    CONFIG_UINT,     /* unsigned, min to max */
    CONFIG_DURATION, /* uint64_t, microseconds, min to max */
    CONFIG_SIZE,     /* uint64_t, bytes, min to max */
    CONFIG_RATE,     /* unsigned, per minute, min to max */
    CONFIG_SWITCH,   /* bool */
    CONFIG_WORD,     /* enum: the n-th of `words` is min + n */
    CONFIG_LABEL,    /* char *: letters, digits, "._@-", at most 64 */
    CONFIG_BUCKET,   /* char *: letters, digits, "._-", at most 100 */
    CONFIG_PATH,     /* char *: absolute */
    CONFIG_URL,      /* char *: http(s)://HOST[:PORT][/PATH] */
    CONFIG_PLACE,    /* char *: CONFIG_URL or CONFIG_PATH */
    CONFIG_HOSTS,    /* char *: words HOST[:PORT] or *.DOMAIN */
    CONFIG_ADDRESS,  /* char *: HOST:PORT or [V6]:PORT */
    CONFIG_OBJECT,   /* char *: an object's name with {placeholders} */
    CONFIG_TEXT,     /* char *: anything */
    CONFIG_DATABASE, /* Secret: libpq's URI or conninfo */
    CONFIG_KEY,      /* Secret: what can stand in a header */
} ConfigKind;

/* Of the field, so that a test can compare it with the kind. */
typedef enum ConfigType {
    CONFIG_IS_UNSIGNED, /* an enum is one, too */
    CONFIG_IS_INT,
    CONFIG_IS_UINT64,
    CONFIG_IS_BOOL,
    CONFIG_IS_TEXT,
    CONFIG_IS_SECRET,
} ConfigType;

enum {
    CONFIG_RELOADABLE = 1, /* for the reload to come, which may change it; nothing reads it yet */
    CONFIG_LATER = 2,      /* only its default is supported yet */
};

typedef struct ConfigKey {
    const char *name; /* "section.key" */
    ConfigKind kind;
    size_t field; /* its offset in Config */
    ConfigType type;
    uint64_t min, max;
    const char *words;
    const char *standard; /* "": none */
    unsigned flags;
    const char *env;        /* variable that overrides it; NULL: none */
    const char *credential; /* file that overrides both; NULL: none */
    const char *help;
} ConfigKey;

/* core/config_table.c: one row a key. */
#define CONFIG_KEYS 44
extern const ConfigKey config_table[];
extern const char config_builtin_text[];

/* The row of "section.key"; CONFIG_KEYS: there is none. */
size_t config_row(const char *name);

/* Characters of the longest name that [storage] path makes, with the number that one may get. */
size_t config_object_size(const char *path);

/* Sets the field from a text of at least one byte; what was in it is freed. 0, -EINVAL, -ENOMEM. */
int config_value_set(const ConfigKey *key, Config *c, const char *text);

/* Frees a text or a secret and unsets it; leaves others alone. */
void config_value_done(const ConfigKey *key, Config *c);

bool config_value_is_secret(const ConfigKey *key);

#define CONFIG_WHY_MAX 512

/* Why config_value_set() answered -EINVAL, or what an empty text lacks: the end of a sentence that begins
 * with the key. No secret is in it. Returns `to`. */
const char *config_value_refusal(const ConfigKey *key, const char *text, char *to, size_t room);
