/* The errors of a configuration, collected: an operator sees all of them at once. Pure. */
#pragma once

/* One line each: "FILE:LINE: [section] key: what is wrong; what is allowed". No secret is in it. */
typedef struct ConfigErrors {
    char *text; /* NULL: none */
    unsigned n;
} ConfigErrors;

void config_errors_done(ConfigErrors *e);

/* Adds a line. Past a hundred lines only the number grows. 0, -ENOMEM. */
int config_errors_add(ConfigErrors *e, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Where a value was written. */
typedef struct ConfigWhere {
    const char *kind; /* "environment " …; NULL: a file */
    const char *file; /* borrowed */
    unsigned line;    /* 0: nowhere in particular */
} ConfigWhere;

/* Adds "FILE:LINE: [section] key: …". `key` NULL: about the section. 0, -ENOMEM. */
int config_errors_at(ConfigErrors *e, ConfigWhere at, const char *section, const char *key,
                     const char *format, ...) __attribute__((format(printf, 5, 6)));
