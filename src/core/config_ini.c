#include <ctype.h>
#include <ini.h>
#include <string.h>

#include "base/str.h"
#include "core/config_ini.h"

typedef struct Reader {
    const ConfigIni *to;
    void *userdata;
    const char *next; /* what has not been read */
    size_t left;
    unsigned line;
    bool in_section; /* there was a header */
    bool wanted;     /* and its lines are read */
    bool has_key;    /* an indented line would go on with its value */
    bool refused;    /* the line before was refused, and so is what goes on with it */
    bool indented, cut;
    bool expected; /* inih was given a line with a key, and has not called back yet */
    int error;
} Reader;

static void bad(Reader *r, const char *why) {
    if (r->error == 0)
        r->error = r->to->bad(r->userdata, r->line, why);
}

static bool is_blank(char c) {
    return isspace((unsigned char) c);
}

/* Where a comment within the line begins, as inih sees it: at a semicolon behind a blank. */
static size_t find_comment(const char *s, size_t size) {
    for (size_t i = 1; i < size; i++)
        if (s[i] == ';' && is_blank(s[i - 1]))
            return i;
    return size;
}

/* "[header]" and nothing else but a comment; its `size` bytes end in no blank. */
static void take_section(Reader *r, const char *s, size_t size) {
    const char *close = memchr(s, ']', size);
    char header[64];
    size_t n;

    r->in_section = true;
    r->wanted = r->has_key = false;
    if (!close) {
        bad(r, "the section's ] is missing");
        return;
    }
    for (n = (size_t) (close - s) + 1; n < size && is_blank(s[n]);)
        n++;
    if (n < size && s[n] != ';' && s[n] != '#') {
        bad(r, "something stands behind the section's ]; write it on a line of its own");
        return;
    }
    for (s++; s < close && is_blank(*s);)
        s++;
    for (n = (size_t) (close - s); n > 0 && is_blank(s[n - 1]);)
        n--;
    if (n == 0 || n >= sizeof header) {
        bad(r, "the section's name is empty or longer than 63 bytes");
        return;
    }
    memcpy(header, s, n);
    header[n] = '\0';
    if (r->error == 0)
        r->error = r->to->section(r->userdata, r->line, header, &r->wanted);
}

/* Should inih see this line? */
static bool take_line(Reader *r, const char *s, size_t size, size_t room) {
    size_t start = 0;

    while (size > 0 && is_blank(s[size - 1]))
        size--;
    while (start < size && is_blank(s[start]))
        start++;
    if (start == size || s[start] == ';' || s[start] == '#')
        return false;
    r->indented = start > 0 && (r->has_key || r->refused);
    if (s[start] == '[' && !r->indented) {
        r->refused = false;
        if (str_is_utf8(s, size))
            take_section(r, s + start, size - start);
        else
            bad(r, "is not UTF-8 text");
        return r->wanted;
    }
    if (!r->wanted && r->in_section)
        return false;
    if (r->indented && r->refused)
        return false;
    r->refused = true;
    if (size + 3 > room)
        bad(r, "the line is too long; at most 16381 bytes");
    else if (!str_is_utf8(s, size))
        bad(r, "is not UTF-8 text");
    else if (!r->in_section)
        bad(r, "stands before the first [section]");
    else {
        r->refused = false;
        r->cut = find_comment(s, size) < size;
        r->expected = true;
        return true;
    }
    return false;
}

/* inih had a line with a key and did not find one in it. */
static void settle(Reader *r) {
    if (r->expected) {
        r->expected = false;
        r->refused = true;
        bad(r, "is neither [section] nor KEY = VALUE");
    }
}

/* inih's source of lines: what it shall not see is a blank line to it. */
static char *read_line(char *to, int room, void *userdata) {
    Reader *r = userdata;
    const char *s = r->next, *end;
    size_t size;

    settle(r);
    if (r->left == 0 || r->error < 0)
        return NULL;
    end = memchr(s, '\n', r->left);
    size = end ? (size_t) (end - s) : r->left;
    r->next += size + (end != NULL);
    r->left -= size + (end != NULL);
    if (r->line++ == 0 && size >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0) {
        s += 3;
        size -= 3;
    }
    if (!take_line(r, s, size, (size_t) room))
        size = 0;
    else if (r->indented)
        size = find_comment(s, size); /* inih leaves it in such lines */
    while (size > 0 && is_blank(s[size - 1]))
        size--;
    memcpy(to, s, size);
    memcpy(to + size, "\n", 2);
    return to;
}

static int take_key(void *userdata, const char *section, const char *name, const char *value) {
    Reader *r = userdata;

    (void) section; /* cut at 49 bytes; ours is whole */
    r->expected = false;
    if (!r->indented && !*name) {
        r->refused = true;
        bad(r, "no key stands before the =");
    } else if (r->error == 0) {
        r->error = r->indented ? r->to->more(r->userdata, r->line, value, r->cut)
                               : r->to->key(r->userdata, r->line, name, value, r->cut);
        r->has_key = true;
    }
    return 1;
}

int config_ini_read(const ConfigText *text, const ConfigIni *to, void *userdata) {
    Reader r = { .to = to, .userdata = userdata, .next = text->text, .left = text->size };

    ini_max_line = CONFIG_LINE_MAX;
    ini_parse_stream(read_line, &r, take_key, &r);
    return r.error;
}
