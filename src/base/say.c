/* Prints for operators: lines, cells of tables, and JSON, all without what a terminal would obey.
 * Texts come from users and services, and a line that moves the cursor could make a screen lie.
 * The log has its own way out, log.c. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/redact.h"
#include "base/say.h"
#include "base/str.h"

/* The blank at the end of a line is the line break that libpq ends its messages with. */
__attribute__((format(printf, 2, 0))) static void put(FILE *to, const char *format, va_list ap,
                                                      bool is_line) {
    char raw[2 * STR_CLEAN_MAX], clean[STR_CLEAN_MAX];
    size_t n;

    (void) vsnprintf(raw, sizeof raw, format, ap);
    str_clean(clean, sizeof clean, raw);
    for (n = strlen(clean); is_line && n > 0 && clean[n - 1] == ' '; n--)
        ;
    (void) fwrite(clean, 1, n, to);
    if (is_line)
        say_end(to);
}

void say(FILE *to, const char *format, ...) {
    va_list ap;

    va_start(ap, format);
    put(to, format, ap, true);
    va_end(ap);
}

/* For a line that is made of several parts; say_end() ends it. */
void say_part(FILE *to, const char *format, ...) {
    va_list ap;

    va_start(ap, format);
    put(to, format, ap, false);
    va_end(ap);
}

void say_end(FILE *to) {
    fputc('\n', to);
}

/* Columns are counted in characters, not in bytes, so that a table with names in any script stays
 * straight; characters of double width are not known. */
void say_cell(FILE *to, const char *text, int width) {
    char clean[512];
    int columns = 0;

    str_clean(clean, sizeof clean, text);
    for (const char *p = clean; *p; p++)
        columns += ((unsigned char) *p & 0xc0) != 0x80;
    if (width > 0 && columns > width) { /* cut on a character's border */
        char *p = clean;

        for (int n = 0; *p && n < width; p++)
            n += ((unsigned char) p[1] & 0xc0) != 0x80;
        *p = '\0';
        columns = width;
    }
    fputs(clean, to);
    for (; columns < width; columns++)
        fputc(' ', to);
}

/* A text of several lines, each behind `prefix`, so that a program's output and a quoted text can
 * be told apart. */
void say_lines(FILE *to, const char *prefix, const char *text) {
    for (const char *line = text; line && *line;) {
        size_t n = strcspn(line, "\n");

        say(to, "%s%.*s", prefix, (int) n, line);
        line += n + (line[n] == '\n');
    }
}

/* The same value, with its texts as they may be shown; NULL when there is no memory. */
static json_t *shown(const json_t *value) {
    json_t *copy = NULL, *item;
    const char *key;
    size_t i;

    if (json_is_string(value)) {
        size_t room = 3 * json_string_length(value) + 4; /* "…" is three bytes */
        _cleanup_free_ char *text = malloc(room);

        return text ? json_string(redact_text(text, room, json_string_value(value))) : NULL;
    }
    if (!json_is_object(value) && !json_is_array(value))
        return json_incref((json_t *) value);
    copy = json_is_object(value) ? json_object() : json_array();
    json_object_foreach ((json_t *) value, key, item)
        (void) json_object_set_new(copy, key, shown(item));
    json_array_foreach (value, i, item)
        (void) json_array_append_new(copy, shown(item));
    return copy;
}

void say_json(const json_t *value) {
    _cleanup_(json_unrefp) json_t *copy = shown(value);

    _cleanup_free_ char *text = json_dumps(copy, JSON_INDENT(2) | JSON_ENCODE_ANY);
    size_t left = text ? strlen(text) : 0;

    /* Line feeds here are the layout's; within strings they are escaped already. What else a terminal
     * obeys is written as JSON allows, with the same meaning. */
    for (const char *p = text; left > 0;) {
        unsigned code;
        size_t n = *p == '\n' ? 0 : str_obeyed(p, left, &code);

        if (n > 0)
            printf("\\u%04x", code);
        else
            fputc(*p, stdout);
        n += n == 0;
        p += n;
        left -= n;
    }
    say_end(stdout);
}
