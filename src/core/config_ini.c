/* The lines of an INI file, read by inih and guarded here. inih cuts what is too long, joins what
 * is indented and reports one error only; each of those would make another value of what was
 * written. What a key means is config.c's. */
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

/* A refused line is reported once and skipped; reading goes on, so that all errors of a file are
 * found. */
static void bad(Reader *r, const char *why) {
    if (r->error == 0)
        r->error = r->to->bad(r->userdata, r->line, why);
}

static bool is_blank(char c) {
    return isspace((unsigned char) c);
}

/* Where a comment within the line begins: at a semicolon behind a blank, as inih sees it. The
 * caller is told of it, since a JSON value may hold " ;" and would be cut. */
static size_t find_comment(const char *s, size_t size) {
    for (size_t i = 1; i < size; i++)
        if (s[i] == ';' && is_blank(s[i - 1]))
            return i;
    return size;
}

/* "[header]" and nothing behind it but a comment; its `size` bytes end in no blank. inih would
 * drop what stands behind the bracket, maybe a key. */
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

/* Decides whether inih sees this line. What it would cut or misread is refused here; what stands
 * in a section that is not wanted is skipped unread. */
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
    /* inih would cut the line, and read the rest as a line of its own: another key, with half of
     * a value. */
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

/* inih was given a line with a key and did not call back: it found none in it. */
static void settle(Reader *r) {
    if (r->expected) {
        r->expected = false;
        r->refused = true;
        bad(r, "is neither [section] nor KEY = VALUE");
    }
}

/* inih's source of lines. A line that it shall not see is handed over as a blank one, so that its
 * count of lines stays right. */
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
    /* A byte order mark, as editors of Windows write it. */
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

/* inih found a key, or an indented line behind one. The section's name that it passes is cut at
 * 49 bytes; take_section() has the whole one. */
static int take_key(void *userdata, const char *section, const char *name, const char *value) {
    Reader *r = userdata;

    (void) section;
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

/* ini_max_line is a variable of inih's that holds for the whole process. */
int config_ini_read(const ConfigText *text, const ConfigIni *to, void *userdata) {
    Reader r = { .to = to, .userdata = userdata, .next = text->text, .left = text->size };

    ini_max_line = CONFIG_LINE_MAX;
    ini_parse_stream(read_line, &r, take_key, &r);
    return r.error;
}
