/* Small helpers around jansson for JSON from outside, which promises nothing: a value that
 * jansson alone would refuse is read as near as can be, since the rest of the answer may be worth
 * money. Reading in slices, in bounded memory, is core/json_scan.c's. */
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define WHOLE_MAX 9007199254740992.0 /* 2^53: as far as a double counts */

/* The value of \uXXXX at `s`; 0 if there is none. */
static unsigned escape_at(const char *s, size_t size) {
    unsigned n = 0;

    if (size < 6 || s[0] != '\\' || s[1] != 'u')
        return 0;
    for (int i = 2; i < 6; i++) {
        if (!isxdigit((unsigned char) s[i]))
            return 0;
        n = n * 16 +
            (unsigned) (isdigit((unsigned char) s[i]) ? s[i] - '0' : (s[i] | 32) - 'a' + 10);
    }
    return n;
}

static bool is_high(unsigned c) {
    return c >= 0xd800 && c < 0xdc00;
}

static bool is_low(unsigned c) {
    return c >= 0xdc00 && c < 0xe000;
}

/* U+FFFD is Unicode's "a character that can't be shown"; it has as many digits as what it
 * replaces, so it is put in place. */
static void put_replacement(char *escape) {
    for (size_t i = 0; i < 4; i++)
        escape[2 + i] = "fffd"[i];
}

/* Half of a surrogate pair becomes U+FFFD. JavaScript and Python write one when they cut a text
 * in the middle of an emoji, and jansson refuses the whole document then. */
static void mend(char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned c = escape_at(text + i, size - i);

        if (text[i] != '\\')
            continue;
        if (is_high(c) && is_low(escape_at(text + i + 6, size - i - 6)))
            i += 11;
        else if (is_high(c) || is_low(c)) {
            put_replacement(text + i);
            i += 5;
        } else
            i++; /* what is escaped begins no escape */
    }
}

/* First as it is, since nearly all answers are good; only what was refused is copied and mended. */
json_t *json_parse(const char *bytes, size_t size) {
    size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL;
    _cleanup_free_ char *copy = NULL;
    json_error_t error;
    json_t *value = bytes ? json_loadb(bytes, size, flags, &error) : NULL;

    if (value || !bytes || size == 0 || json_error_code(&error) == json_error_out_of_memory ||
        !(copy = malloc(size)))
        return value;
    memcpy(copy, bytes, size);
    mend(copy, size);
    return json_loadb(copy, size, flags | JSON_DECODE_INT_AS_REAL, NULL);
}

const char *json_text(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

double json_number(const json_t *object, const char *name, double otherwise) {
    json_t *value = json_object_get(object, name);

    return json_is_number(value) ? json_number_value(value) : otherwise;
}

/* Beyond 2^53 two whole numbers may be one double: such a number is not taken for what it seems. */
int64_t json_whole(const json_t *object, const char *name, int64_t otherwise) {
    double n = json_number(object, name, 2 * WHOLE_MAX);

    return n >= -WHOLE_MAX && n <= WHOLE_MAX ? (int64_t) n : otherwise;
}

/* Measured first and written then: json_dumps() of jansson 2.14 leaves bytes out when it finds no
 * memory for them, and half a document could be valid JSON. */
char *json_write(const json_t *value) {
    static const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY;
    size_t size = json_dumpb(value, NULL, 0, flags);
    char *text = size > 0 ? calloc(1, size + 1) : NULL;

    if (text && json_dumpb(value, text, size, flags) != size) {
        free(text);
        return NULL;
    }
    for (char *p = text; p && *p; p++) {
        if (*p != '\\')
            continue;
        if (strncmp(p, "\\u0000", 6) == 0)
            put_replacement(p);
        p++; /* what is escaped begins no escape */
    }
    return text;
}
