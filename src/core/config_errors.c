/* The errors of a configuration, one line each, collected so that an operator mends all of them at once. What
 * is an error is decided by the files that read and check; here it only becomes a line. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "core/config_errors.h"

/* A file that is no configuration at all would fill the terminal. */
#define ERRORS_MAX 100

/* Adds a line and frees it. Names of files and keys come from outside, and may hold line breaks
 * and worse. */
static int add_error(ConfigErrors *e, char *line) {
    _cleanup_free_ char *owned = line;
    char clean[STR_CLEAN_MAX];
    StrBuf buf = { .text = e->text };

    if (!owned)
        return -ENOMEM;
    /* Counted all the same: the caller says how many there were. */
    if (++e->n > ERRORS_MAX)
        return 0;
    buf.size = e->text ? strlen(e->text) : 0;
    buf.room = e->text ? buf.size + 1 : 0;
    str_clean(clean, sizeof clean, owned);
    if (strbuf_add(&buf, clean, strlen(clean)) < 0 || strbuf_add(&buf, "\n", 1) < 0) {
        e->text = buf.text;
        return -ENOMEM;
    }
    e->text = buf.text;
    return 0;
}

int config_errors_add(ConfigErrors *e, const char *format, ...) {
    char *line = NULL;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vasprintf(&line, format, ap);
    va_end(ap);
    return n < 0 ? -ENOMEM : add_error(e, line);
}

/* "FILE:LINE: [section] key: what" is the form that editors jump to. */
int config_errors_at(ConfigErrors *e, ConfigWhere at, const char *section, const char *key,
                     const char *format, ...) {
    _cleanup_free_ char *what = NULL;
    char *line = NULL, number[16] = "";
    va_list ap;
    int n;

    va_start(ap, format);
    n = vasprintf(&line, format, ap);
    va_end(ap);
    if (n < 0)
        return -ENOMEM;
    what = line;
    if (at.line > 0)
        snprintf(number, sizeof number, ":%u", at.line);
    return add_error(e, str_printf("%s%s%s: [%s] %s%s%s", at.kind ? at.kind : "", at.file, number,
                                   section, key ? key : "", key ? ": " : "", what));
}

void config_errors_done(ConfigErrors *e) {
    free(e->text);
    *e = (ConfigErrors){ 0 };
}
