/* The rows of a configuration while it is read: each has a value, the place that set it, and its errors.
 * How a text becomes a value is config_value.c's; what several rows have to do with each other is
 * config_check.c's. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_rows.h"

ConfigWhere config_row_where(const ConfigParse *p, size_t row) {
    if (p->rows[row].at.file)
        return p->rows[row].at;
    return (ConfigWhere){ .file = p->src->file.name ? p->src->file.name : "configuration" };
}

/* The row counts as bad from now on, so that no check of several rows adds a second error for the
 * same mistake. */
int config_row_error(ConfigParse *p, size_t i, ConfigWhere at, const char *format, ...) {
    const char *dot = strchr(config_table[i].name, '.');
    _cleanup_free_ char *section =
        strndup(config_table[i].name, (size_t) (dot - config_table[i].name));
    char *what = NULL;
    va_list ap;
    int r;

    va_start(ap, format);
    r = vasprintf(&what, format, ap);
    va_end(ap);
    if (r < 0)
        return -ENOMEM;
    p->rows[i].bad = true;
    r = section ? config_errors_at(p->errors, at, section, dot + 1, "%s", what) : -ENOMEM;
    free(what);
    return r;
}

/* An empty text unsets a key that may be unset. [metrics] listen is one with a default that can
 * be turned off by an empty value. */
int config_row_set(ConfigParse *p, size_t i, const char *text, ConfigWhere at) {
    const ConfigKey *key = &config_table[i];
    bool listen = key->field == offsetof(Config, metrics_listen);
    char why[CONFIG_WHY_MAX];
    int r;

    p->rows[i].at = at;
    p->rows[i].source = p->source;
    p->rows[i].bad = false;
    if (!*text && (!*key->standard || listen)) {
        config_value_done(key, p->c);
        return listen && !(p->c->metrics_listen = strdup("")) ? -ENOMEM : 0;
    }
    if (key->flags & CONFIG_LATER && strcmp(text, key->standard) != 0)
        return config_row_error(p, i, at, "is not supported yet; leave it out");
    r = *text ? config_value_set(key, p->c, text) : -EINVAL;
    if (r != -EINVAL)
        return r;
    return config_row_error(p, i, at, "%s", config_value_refusal(key, text, why, sizeof why));
}

int config_rows_set_defaults(ConfigParse *p) {
    int r = 0;

    for (size_t i = 0; i < CONFIG_KEYS && r == 0; i++)
        if (*config_table[i].standard)
            r = config_value_set(&config_table[i], p->c, config_table[i].standard);
    return r;
}
