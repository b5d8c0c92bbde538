/* A strict JSON reader that is fed piece by piece and reports each token as it is read, in fixed
 * memory whatever comes. It builds no values: sift.c keeps what a plan names, glb_json.c what a
 * mesh is checked by. Strict, because two readers that disagree about a document let one of them
 * be deceived. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "core/json_scan.h"

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

void json_scan_init(JsonScan *s, JsonScanTold told, void *userdata) {
    *s = (JsonScan){
        .told = told, .userdata = userdata, .state = IN_VALUE, .depth_max = JSON_SCAN_DEPTH_MAX
    };
}

void json_scan_done(JsonScan *s) {
    strbuf_done(&s->whole.text);
}

/* --- what is kept of a text -------------------------------------------------------------------- */

/* Keys and short values fit here; what more is wanted of a string goes to `whole`. */
static void keep(JsonScan *s, unsigned c) {
    if (s->size < sizeof s->text - 1)
        s->text[s->size++] = (char) c;
    else
        s->cut = true;
}

/* Of a tail the last `max` bytes stay, from the beginning of a character on: the end of a log
 * says what went wrong. */
static void cut_front(JsonScanWhole *w) {
    size_t from = w->text.size > w->max ? w->text.size - w->max : 0;

    while (from > 0 && from < w->text.size && ((unsigned char) w->text.text[from] & 0xc0) == 0x80)
        from++;
    if (from == 0)
        return;
    memmove(w->text.text, w->text.text + from, w->text.size - from + 1);
    w->text.size -= from;
    w->cut = true;
}

static int keep_whole(JsonScan *s, const void *bytes, size_t size) {
    JsonScanWhole *w = &s->whole;

    if (w->max == 0)
        return 0;
    if (!w->tail && size > w->max - w->text.size) {
        size = w->max - w->text.size;
        w->cut = true;
    }
    if (size > 0 && strbuf_add(&w->text, bytes, size) < 0)
        return -ENOMEM;
    if (w->tail && w->text.size >= 2 * w->max) /* not for each byte: moving costs */
        cut_front(w);
    return 0;
}

/* Writes a character in UTF-8, which an escape has named by its number. */
static int keep_character(JsonScan *s, unsigned c) {
    unsigned char b[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    b[0] = (unsigned char) (n == 1 ? c : (0xf00u >> n & 0xf0) | c >> (6 * (n - 1)));
    for (size_t i = 1; i < n; i++)
        b[i] = (unsigned char) (0x80 | (c >> (6 * (n - 1 - i)) & 0x3f));
    return keep_whole(s, b, n);
}

/* The second half of a character did not come: what came becomes U+FFFD, as jansson would refuse
 * all of the text for it. */
static int end_pair(JsonScan *s) {
    if (s->pair == 0)
        return 0;
    s->pair = 0;
    return keep_character(s, 0xfffd);
}

static int keep_both(JsonScan *s, unsigned char c) {
    int r = end_pair(s);

    keep(s, c);
    return r < 0 ? r : keep_whole(s, &c, 1);
}

/* The callback may end it all by a negative answer. */
static int tell(JsonScan *s, JsonScanToken token) {
    s->text[s->size] = '\0';
    s->size = 0;
    if (s->whole.tail)
        cut_front(&s->whole);
    return s->told(s->userdata, token, s->text);
}

/* A value is over. */
static void leave(JsonScan *s) {
    s->state = s->depth == 0 ? IN_NOTHING : IN_NEXT;
}

/* Is the innermost level an object? */
static bool in_object(const JsonScan *s) {
    return s->depth > 0 && (s->objects[(s->depth - 1) / 64] >> (s->depth - 1) % 64 & 1);
}

/* One bit a level says whether it is an object: depth costs no more memory than that. */
static int open_level(JsonScan *s, bool object) {
    uint64_t *word = &s->objects[s->depth / 64], bit = UINT64_C(1) << s->depth % 64;

    if (s->depth == s->depth_max)
        return -EBADMSG;
    *word = object ? *word | bit : *word & ~bit;
    s->depth++;
    s->state = object ? IN_FIRST_KEY : IN_FIRST_VALUE;
    return tell(s, object ? JSON_SCAN_OBJECT : JSON_SCAN_ARRAY);
}

/* A bracket that does not fit its opening one is an error. */
static int close_level(JsonScan *s, bool object) {
    if (in_object(s) != object)
        return -EBADMSG;
    s->depth--;
    leave(s);
    return tell(s, JSON_SCAN_END);
}

static void begin_text(JsonScan *s, int state, bool is_key) {
    s->state = state;
    s->is_key = is_key;
    s->size = 0;
    s->cut = s->whole.cut = false;
    s->whole.text.size = 0;
}

static size_t digits(const char *s) {
    return strspn(s, "0123456789");
}

/* RFC 8259: no plus sign, no leading zero, digits on both sides of the point. */
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

/* A number or a word ends only with what comes behind it, maybe in the next piece. */
static int end_bare(JsonScan *s) {
    bool number = s->state == IN_NUMBER;

    s->text[s->size] = '\0';
    if (s->cut && number && s->any_number) {
        leave(s);
        return tell(s, JSON_SCAN_NUMBER);
    }
    if (s->cut || (number ? !is_number(s->text)
                          : strcmp(s->text, "true") != 0 && strcmp(s->text, "false") != 0 &&
                                strcmp(s->text, "null") != 0))
        return -EBADMSG;
    leave(s);
    return tell(s, number ? JSON_SCAN_NUMBER : JSON_SCAN_WORD);
}

/* Any lower-case letter begins a word; end_bare() looks at which one it was. */
static int begin_value(JsonScan *s, unsigned char c) {
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

/* The first byte of a character beyond ASCII says how many follow, and narrows the second one, so
 * that there are no overlong forms and no surrogates (RFC 3629). */
static int begin_utf8(JsonScan *s, unsigned char c) {
    if (c < 0xc2 || c > 0xf4)
        return -EBADMSG;
    s->utf8_left = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    s->low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    s->high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    return keep_both(s, c);
}

/* One byte of a string. Control characters have to be escaped in JSON. */
static int in_string(JsonScan *s, unsigned char c) {
    int r;

    if (s->utf8_left > 0) {
        if (c < s->low || c > s->high)
            return -EBADMSG;
        s->low = 0x80;
        s->high = 0xbf;
        s->utf8_left--;
        return keep_both(s, c);
    } else if (c == '"') {
        if ((r = end_pair(s)) < 0)
            return r;
        if (s->is_key)
            s->state = IN_COLON;
        else
            leave(s);
        return tell(s, s->is_key ? JSON_SCAN_KEY : JSON_SCAN_STRING);
    } else if (c == '\\')
        s->state = IN_ESCAPE;
    else if (c < 0x20)
        return -EBADMSG;
    else if (c >= 0x80)
        return begin_utf8(s, c);
    else
        return keep_both(s, c);
    return 0;
}

/* The eight escapes of RFC 8259, and \u; nothing else may follow a backslash. */
static int in_escape(JsonScan *s, unsigned char c) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found = c ? strchr(from, c) : NULL;

    s->state = IN_STRING;
    if (c == 'u') {
        s->state = IN_HEX;
        s->hex = 0;
        s->hex_left = 4;
    } else if (found)
        return keep_both(s, (unsigned char) to[found - from]);
    else
        return -EBADMSG;
    return 0;
}

/* \uXXXX is a character, or half of one: what lies beyond U+FFFF comes as two of them. */
static int end_hex(JsonScan *s) {
    unsigned c = s->hex, first = s->pair;
    int r;

    keep(s, c > 0 && c < 0x80 ? c : '?');
    if (first && c >= 0xdc00 && c < 0xe000) {
        s->pair = 0;
        return keep_character(s, 0x10000 + ((first - 0xd800) << 10) + (c - 0xdc00));
    }
    if ((r = end_pair(s)) < 0)
        return r;
    if (c >= 0xd800 && c < 0xdc00) {
        s->pair = c;
        return 0;
    }
    return keep_character(s, c >= 0xdc00 && c < 0xe000 ? 0xfffd : c);
}

static int in_hex(JsonScan *s, unsigned char c) {
    if (!isxdigit(c))
        return -EBADMSG;
    s->hex = s->hex << 4 | (unsigned) (isdigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    if (--s->hex_left > 0)
        return 0;
    s->state = IN_STRING;
    return end_hex(s);
}

/* One byte, by the state that the bytes before it have left. Numbers and words end at a byte that
 * is looked at once more, as what comes behind them. */
static int take(JsonScan *s, unsigned char c) {
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
            s->state = in_object(s) ? IN_KEY : IN_VALUE;
            return 0;
        }
        return c == '}' || c == ']' ? close_level(s, c == '}') : -EBADMSG;
    }
    return -EBADMSG;
}

/* How many of the bytes stand for themselves in a string. Most of a large text does, and is
 * copied in one go, so that a turn of the loop stays short. */
static size_t plain(const unsigned char *p, size_t size) {
    size_t n = 0;

    while (n < size && p[n] >= 0x20 && p[n] < 0x80 && p[n] != '"' && p[n] != '\\')
        n++;
    return n;
}

static int take_plain(JsonScan *s, const unsigned char *p, size_t size) {
    size_t room = sizeof s->text - 1 - s->size, n = size < room ? size : room;
    int r = end_pair(s);

    memcpy(s->text + s->size, p, n);
    s->size += (unsigned) n;
    s->cut = s->cut || n < size;
    return r < 0 ? r : keep_whole(s, p, size);
}

/* The first error ends it: nothing that follows can be trusted to be where it seems. */
int json_scan_feed(JsonScan *s, const void *bytes, size_t size) {
    const unsigned char *p = bytes;
    int r = 0;

    for (size_t i = 0; i < size && r >= 0;) {
        size_t n = s->state == IN_STRING && s->utf8_left == 0 ? plain(p + i, size - i) : 0;

        r = n > 0 ? take_plain(s, p + i, n) : take(s, p[i]);
        i += n > 0 ? n : 1;
    }
    return r;
}

/* A number at the very end has nothing behind it that would end it. */
int json_scan_end(JsonScan *s) {
    int r = s->depth == 0 && (s->state == IN_NUMBER || s->state == IN_WORD) ? end_bare(s) : 0;

    return r < 0 ? r : s->state == IN_NOTHING ? 0 : -EBADMSG;
}
