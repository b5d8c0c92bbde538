/* The configuration while it is being read: its values so far, and where each of them was written. Shared by
 * config.c (reading), config_rows.c (one row) and config_check.c (several rows). Pure. */
#pragma once
#include "core/config_steps.h"
#include "core/config_value.h"

/* Borrows everything but `drafts`, which config_drafts_done() frees. */
typedef struct ConfigParse {
    const ConfigSource *src;
    Config *c;
    ConfigErrors *errors;
    ConfigDrafts drafts;
    struct {
        ConfigWhere at;  /* file NULL: the row has its default */
        unsigned source; /* the text that `at` is in */
        bool bad; /* an error was reported already: checks of several rows leave this one out */
    } rows[CONFIG_KEYS];
    unsigned source; /* number of the text that is being read */
    ConfigText text;
    char section[32]; /* "": the section is a draft's */
} ConfigParse;

/* Where row `i` was set; the configuration file where it has its default. */
ConfigWhere config_row_where(const ConfigParse *p, size_t i);

/* Adds an error about row `i`. 0, -ENOMEM. */
int config_row_error(ConfigParse *p, size_t i, ConfigWhere at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Sets row `i` from a text that came from outside; a text that can't be read becomes an error. 0, -ENOMEM. */
int config_row_set(ConfigParse *p, size_t i, const char *text, ConfigWhere at);

/* Gives each row its default. 0, -ENOMEM. */
int config_rows_set_defaults(ConfigParse *p);
