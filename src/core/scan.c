#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "core/scan.h"

enum {
    IN_VALUE,       /* a value must come */
    IN_FIRST_VALUE, /* a value or ] */
    IN_KEY,         /* a key must come */
    IN_FIRST_KEY,   /* a key or } */
    IN_COLON,
    IN_NEXT, /* a comma, ] or } */
    IN_STRING,
    IN_ESCAPE,
    IN_HEX,
    IN_NUMBER,
    IN_WORD,
    IN_NOTHING, /* only blanks */
};

void scan_init(Scan *s, ScanTold told, void *userdata) {
    *s = (Scan){ .told = told, .userdata = userdata, .state = IN_VALUE };
}

static void keep(Scan *s, unsigned c) {
    if (s->size < sizeof s->text - 1)
        s->text[s->size++] = (char) c;
    else
        s->cut = true;
}

static int tell(Scan *s, ScanToken token) {
    s->text[s->size] = '\0';
    s->size = 0;
    return s->told(s->userdata, token, s->text);
}

/* A value is over. */
static void leave(Scan *s) {
    s->state = s->depth == 0 ? IN_NOTHING : IN_NEXT;
}

static int open_level(Scan *s, bool object) {
    if (s->depth == SCAN_DEPTH_MAX)
        return -EBADMSG;
    s->objects = (s->objects << 1) | object;
    s->depth++;
    s->state = object ? IN_FIRST_KEY : IN_FIRST_VALUE;
    return tell(s, object ? SCAN_OBJECT : SCAN_ARRAY);
}

static int close_level(Scan *s, bool object) {
    if ((s->objects & 1) != object)
        return -EBADMSG;
    s->objects >>= 1;
    s->depth--;
    leave(s);
    return tell(s, SCAN_END);
}

static void begin_text(Scan *s, int state, bool is_key) {
    s->state = state;
    s->is_key = is_key;
    s->size = 0;
    s->cut = false;
}

static size_t digits(const char *s) {
    return strspn(s, "0123456789");
}

static bool is_number(const char *s) {
    s += *s == '-';
    if (digits(s) == 0 || (*s == '0' && digits(s) > 1))
        return false;
    s += digits(s);
    if (*s == '.') {
        if (digits(++s) == 0)
            return false;
        s += digits(s);
    }
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '+' || *s == '-';
        if (digits(s) == 0)
            return false;
        s += digits(s);
    }
    return *s == '\0';
}

/* A number or word ends only with what comes behind it. */
static int end_bare(Scan *s) {
    bool number = s->state == IN_NUMBER;

    s->text[s->size] = '\0';
    if (s->cut || (number ? !is_number(s->text)
                          : strcmp(s->text, "true") != 0 && strcmp(s->text, "false") != 0 &&
                                strcmp(s->text, "null") != 0))
        return -EBADMSG;
    leave(s);
    return tell(s, number ? SCAN_NUMBER : SCAN_WORD);
}

static int begin_value(Scan *s, unsigned char c) {
    if (c == '{' || c == '[')
        return open_level(s, c == '{');
    if (c == '"') {
        begin_text(s, IN_STRING, false);
        return 0;
    }
    if (c != '-' && !isdigit(c) && !islower(c))
        return -EBADMSG;
    begin_text(s, islower(c) ? IN_WORD : IN_NUMBER, false);
    keep(s, c);
    return 0;
}

/* The first byte of a character beyond ASCII says how many follow (RFC 3629). */
static int begin_utf8(Scan *s, unsigned char c) {
    if (c < 0xc2 || c > 0xf4)
        return -EBADMSG;
    s->utf8_left = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    s->low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    s->high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    keep(s, c);
    return 0;
}

static int in_string(Scan *s, unsigned char c) {
    if (s->utf8_left > 0) {
        if (c < s->low || c > s->high)
            return -EBADMSG;
        s->low = 0x80;
        s->high = 0xbf;
        s->utf8_left--;
        keep(s, c);
    } else if (c == '"') {
        if (s->is_key)
            s->state = IN_COLON;
        else
            leave(s);
        return tell(s, s->is_key ? SCAN_KEY : SCAN_STRING);
    } else if (c == '\\')
        s->state = IN_ESCAPE;
    else if (c < 0x20)
        return -EBADMSG;
    else if (c >= 0x80)
        return begin_utf8(s, c);
    else
        keep(s, c);
    return 0;
}

static int in_escape(Scan *s, unsigned char c) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found = c ? strchr(from, c) : NULL;

    s->state = IN_STRING;
    if (c == 'u') {
        s->state = IN_HEX;
        s->hex = 0;
        s->hex_left = 4;
    } else if (found)
        keep(s, (unsigned char) to[found - from]);
    else
        return -EBADMSG;
    return 0;
}

static int in_hex(Scan *s, unsigned char c) {
    if (!isxdigit(c))
        return -EBADMSG;
    s->hex = s->hex << 4 | (unsigned) (isdigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    if (--s->hex_left == 0) {
        s->state = IN_STRING;
        keep(s, s->hex > 0 && s->hex < 0x80 ? s->hex : '?');
    }
    return 0;
}

static int take(Scan *s, unsigned char c) {
    int r;

    switch (s->state) {
    case IN_STRING:
        return in_string(s, c);
    case IN_ESCAPE:
        return in_escape(s, c);
    case IN_HEX:
        return in_hex(s, c);
    case IN_NUMBER:
    case IN_WORD:
        if (isalnum(c) || c == '+' || c == '-' || c == '.') {
            keep(s, c);
            return 0;
        }
        if ((r = end_bare(s)) < 0)
            return r;
        break;
    }
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
        return 0;
    switch (s->state) {
    case IN_FIRST_VALUE:
        return c == ']' ? close_level(s, false) : begin_value(s, c);
    case IN_VALUE:
        return begin_value(s, c);
    case IN_FIRST_KEY:
        if (c == '}')
            return close_level(s, true);
        /* fall through */
    case IN_KEY:
        if (c != '"')
            return -EBADMSG;
        begin_text(s, IN_STRING, true);
        return 0;
    case IN_COLON:
        s->state = IN_VALUE;
        return c == ':' ? 0 : -EBADMSG;
    case IN_NEXT:
        if (c == ',') {
            s->state = s->objects & 1 ? IN_KEY : IN_VALUE;
            return 0;
        }
        return c == '}' || c == ']' ? close_level(s, c == '}') : -EBADMSG;
    }
    return -EBADMSG;
}

int scan_feed(Scan *s, const void *bytes, size_t size) {
    const unsigned char *p = bytes;
    int r = 0;

    for (size_t i = 0; i < size && r >= 0; i++)
        r = take(s, p[i]);
    return r;
}

int scan_end(Scan *s) {
    int r = s->depth == 0 && (s->state == IN_NUMBER || s->state == IN_WORD) ? end_bare(s) : 0;

    return r < 0 ? r : s->state == IN_NOTHING ? 0 : -EBADMSG;
}
