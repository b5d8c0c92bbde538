/* Text: what is cleaned before it is shown, what is compared, split and appended. Nothing here
 * depends on the locale, since a daemon and an operator's terminal may have different ones.
 * Leaving secrets out is redact.c's. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/redact.h"
#include "base/str.h"

/* Length of the UTF-8 character at `s` (of `size` bytes at most), 0 if it is none. RFC 3629:
 * overlong forms, surrogates and what lies beyond U+10FFFF are none, and PostgreSQL refuses them
 * too. */
static size_t utf8_length(const unsigned char *s, size_t size) {
    size_t n = s[0] < 0x80                    ? 1
               : s[0] >= 0xc2 && s[0] <= 0xdf ? 2
               : (s[0] & 0xf0) == 0xe0        ? 3
               : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                              : 0;

    if (n == 0 || n > size)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* C0 and C1 controls; and from U+061C on the marks that turn the direction of text, with which a
 * line can be made to read backwards, and the separators of lines and paragraphs. */
size_t str_obeyed(const char *text, size_t size, unsigned *ret_code) {
    const unsigned char *s = (const unsigned char *) text;
    size_t n = size > 0 ? utf8_length(s, size) : 0;
    unsigned code = n == 1   ? s[0]
                    : n == 2 ? (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu)
                    : n == 3 ? (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu)
                             : 0x10ffff;

    *ret_code = code;
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x061c ||
                   (code >= 0x200e && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
                   (code >= 0x2066 && code <= 0x2069)
               ? n
               : 0;
}

/* Secrets are left out first, while the text is still as it came: a "?" in place of one byte
 * would hide them from redact_text(). */
const char *str_clean(char *to, size_t room, const char *from) {
    char safe[STR_CLEAN_MAX]; /* on the stack: also want of memory has to be said */
    const unsigned char *s = (const unsigned char *) redact_text(safe, sizeof safe, from);
    size_t left = strnlen((const char *) s, 2 * room), used = 0; /* two bytes may become one */

    while (left > 0) {
        size_t n = utf8_length(s, left);
        unsigned code = 0;
        bool bad = n == 0 || str_obeyed((const char *) s, left, &code) > 0;

        /* A character goes in whole or not at all. */
        if (used + (bad ? 1 : n) >= room)
            break;
        if (bad)
            to[used++] = n > 0 && (code == '\n' || code == '\r' || code == '\t') ? ' ' : '?';
        else {
            memcpy(to + used, s, n);
            used += n;
        }
        n += n == 0;
        s += n;
        left -= n;
    }
    to[used] = '\0';
    return to;
}

/* A URL that was cut at the wrong "@" or ":" gives a piece of a password as its host: what has a
 * character that no host has is not shown. */
const char *str_host(const char *host) {
    static const char made_of[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  ".-_:[]%/";
    const char *p = host ? host : "";

    p += *p == '@';
    return p[strspn(p, made_of)] ? "…" : host ? host : "";
}

/* Steps back over the bytes 10xxxxxx, which only continue a character. */
size_t str_cut(const char *s, size_t limit) {
    size_t n = strnlen(s, limit);

    if (n < limit || !s[n])
        return n;
    for (n = limit; n > 0 && ((unsigned char) s[n] & 0xc0) == 0x80;)
        n--;
    return n;
}

/* The form only; PostgreSQL takes other spellings as well, but never writes one. */
bool str_is_uuid(const char *s) {
    if (!s || strnlen(s, 37) != 36)
        return false;
    for (int i = 0; i < 36; i++)
        if (i == 8 || i == 13 || i == 18 || i == 23 ? s[i] != '-' : !isxdigit((unsigned char) s[i]))
            return false;
    return true;
}

/* RFC 9562: 48 bits of time, the version, 12 random bits, the variant, 62 random bits. */
void str_uuid7(uint64_t unix_msec, const uint8_t random[static 10],
               char ret[static STR_UUID_SIZE]) {
    uint8_t b[16];
    char *at = ret;

    for (int i = 0; i < 6; i++)
        b[i] = (uint8_t) (unix_msec >> (40 - 8 * i));
    memcpy(b + 6, random, 10);
    b[6] = (uint8_t) (0x70 | (b[6] & 0x0f));
    b[8] = (uint8_t) (0x80 | (b[8] & 0x3f));
    for (int i = 0; i < 16; i++)
        at += sprintf(at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", b[i]);
}

bool str_is_utf8(const char *s, size_t size) {
    while (size > 0) {
        size_t n = *s ? utf8_length((const unsigned char *) s, size) : 0;

        if (n == 0)
            return false;
        s += n;
        size -= n;
    }
    return true;
}

/* Bytes above 0x7f pass: they may be UTF-8. */
bool str_is_graphic(const char *s) {
    for (; *s; s++)
        if ((unsigned char) *s <= ' ' || *s == 0x7f)
            return false;
    return true;
}

bool str_is_quoted(const char *s) {
    size_t n = strlen(s);

    return n >= 2 && strchr("'\"`", s[0]) && s[n - 1] == s[0];
}

/* The value of the UTF-8 character of `n` bytes at `s`. */
static unsigned utf8_value(const unsigned char *s, size_t n) {
    unsigned c = n == 1 ? s[0] : s[0] & (0xffU >> (n + 1));

    for (size_t i = 1; i < n; i++)
        c = c << 6 | (s[i] & 0x3fU);
    return c;
}

bool str_is_blank(const char *s) {
    /* PropList.txt and DerivedCoreProperties.txt of Unicode 15; and U+2800, a cell without dots. */
    static const struct {
        unsigned first, last;
    } unseen[] = {
        { 0x1, 0x20 },        { 0x7f, 0xa0 },       { 0xad, 0xad },     { 0x34f, 0x34f },
        { 0x61c, 0x61c },     { 0x115f, 0x1160 },   { 0x1680, 0x1680 }, { 0x17b4, 0x17b5 },
        { 0x180b, 0x180f },   { 0x2000, 0x200f },   { 0x2028, 0x202f }, { 0x205f, 0x206f },
        { 0x2800, 0x2800 },   { 0x3000, 0x3000 },   { 0x3164, 0x3164 }, { 0xfe00, 0xfe0f },
        { 0xfeff, 0xfeff },   { 0xffa0, 0xffa0 },   { 0xfff0, 0xfff8 }, { 0x1bca0, 0x1bca3 },
        { 0x1d173, 0x1d17a }, { 0xe0000, 0xe0fff },
    };

    for (size_t left = strlen(s), n; left > 0; s += n, left -= n) {
        unsigned c;
        bool found = false;

        if ((n = utf8_length((const unsigned char *) s, left)) == 0)
            return false;
        c = utf8_value((const unsigned char *) s, n);
        for (size_t i = 0; i < sizeof unseen / sizeof *unseen && !found; i++)
            found = c >= unseen[i].first && c <= unseen[i].last;
        if (!found)
            return false;
    }
    return true;
}

/* Doubles its room, so that n small additions cost no more than n copies in all; always leaves
 * room for the final NUL. */
int strbuf_add(StrBuf *b, const char *bytes, size_t size) {
    if (size >= b->room - b->size || !b->text) {
        size_t room = b->room ? b->room : 256;
        char *text;

        while (room - b->size <= size)
            if (__builtin_mul_overflow(room, (size_t) 2, &room))
                return -ENOMEM;
        if (!(text = realloc(b->text, room)))
            return -ENOMEM;
        b->text = text;
        b->room = room;
    }
    if (size > 0)
        memcpy(b->text + b->size, bytes, size);
    b->size += size;
    b->text[b->size] = '\0';
    return 0;
}

int strbuf_printf(StrBuf *b, const char *format, ...) {
    _cleanup_free_ char *text = NULL;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vasprintf(&text, format, ap);
    va_end(ap);
    if (n < 0) {
        text = NULL; /* undefined after a failure */
        return -ENOMEM;
    }
    return strbuf_add(b, text, (size_t) n);
}

void strbuf_done(StrBuf *b) {
    free(b->text);
    *b = (StrBuf){ 0 };
}

char *str_printf(const char *format, ...) {
    char *text = NULL;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vasprintf(&text, format, ap);
    va_end(ap);
    return n < 0 ? NULL : text;
}

/* A star stands for one or more labels, but not for none: "*.example.com" does not mean
 * example.com. */
bool str_host_matches(const char *patterns, const char *host, unsigned port,
                      unsigned standard_port) {
    size_t host_size = strlen(host);

    for (const char *p = patterns; p && *p;) {
        size_t n = strcspn(p, " \t,");
        size_t name = n;
        const char *colon = memchr(p, ':', n);

        if (colon)
            name = (size_t) (colon - p);
        if ((colon ? strtoul(colon + 1, NULL, 10) : standard_port) != port)
            name = 0;
        if (name > 2 && p[0] == '*' && p[1] == '.') {
            if (host_size > name - 1 &&
                strncasecmp(host + host_size - (name - 1), p + 1, name - 1) == 0)
                return true;
        } else if (name > 0 && name == host_size && strncasecmp(host, p, name) == 0)
            return true;
        p += n;
        p += strspn(p, " \t,");
    }
    return false;
}

/* The characters of the host are checked, so that neither a path nor a login comes in with it. */
bool str_split_address(const char *text, char ret_host[static STR_HOST_SIZE], unsigned *ret_port) {
    bool v6 = *text == '[';
    const char *host = text + v6, *end = host + strcspn(host, v6 ? "]" : ":");
    size_t size = (size_t) (end - host);
    unsigned port = 0;

    if (size == 0 || size >= STR_HOST_SIZE || (v6 && !memchr(host, ':', size)))
        return false;
    for (const char *p = host; p < end; p++)
        if (!isalnum((unsigned char) *p) && !strchr(v6 ? ":.%" : "-_.", *p))
            return false;
    end += v6 && *end == ']';
    if (*end != ':' || !isdigit((unsigned char) end[1]))
        return false;
    while (isdigit((unsigned char) *++end))
        if ((port = port * 10 + (unsigned) (*end - '0')) > 65535)
            return false;
    if (*end)
        return false;
    memcpy(ret_host, host, size);
    ret_host[size] = '\0';
    *ret_port = port;
    return true;
}
