/*
 * Takes out of texts from outside what must not be seen.
 *
 * A service may echo the token it was sent, and a model names the signed URL of a picture in its error; both
 * open doors for whoever reads the log. Texts come raw, percent-encoded, or as JSON in JSON, so they are
 * read in units: a unit is what stands for one byte, in any of these forms.
 */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/redact.h"

#define LEFT_OUT "\xe2\x80\xa6" /* … */
#define SCAN_MIN \
    (64 * 1024) /* so much of a text is read, or four times its room: a turn has no more time */
#define SECRET_MIN 4  /* shorter ones are words of every text */
#define PART_MIN 12   /* a secret that was cut is known by so much of its beginning */
#define ESCAPES_MAX 8 /* times that something was encoded */
#define WORD_MAX 4096 /* of a user's name and password, and of a part of a token */
#define NAME_MAX 64   /* of a parameter in a query */

static char *secrets[REDACT_SECRETS_MAX];
static size_t n_secrets; /* that were ever added */

/* Earlier ones may still come back in an answer: the last few are kept. */
int redact_add(const char *secret) {
    size_t n = n_secrets < REDACT_SECRETS_MAX ? n_secrets : REDACT_SECRETS_MAX;
    char *copy;

    if (!secret || strlen(secret) < SECRET_MIN)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (strcmp(secrets[i], secret) == 0)
            return 0;
    if (!(copy = strdup(secret)))
        return -ENOMEM;
    free(secrets[n_secrets % REDACT_SECRETS_MAX]);
    secrets[n_secrets++ % REDACT_SECRETS_MAX] = copy;
    return 0;
}

void redact_done(void) {
    for (size_t i = 0; i < REDACT_SECRETS_MAX; i++) {
        if (secrets[i])
            explicit_bzero(secrets[i], strlen(secrets[i]));
        free(secrets[i]);
        secrets[i] = NULL;
    }
    n_secrets = 0;
}

/* --- units --------------------------------------------------------------------------------- */

/* The value of `n` hexadecimal digits; -1: they are none. */
static int hex(const char *s, int n) {
    int value = 0;

    for (; n > 0; n--, s++) {
        if (!isxdigit((unsigned char) *s))
            return -1;
        value = value * 16 + (isdigit((unsigned char) *s) ? *s - '0' : (*s | 0x20) - 'a' + 10);
    }
    return value;
}

/* The byte that stands at `s`, and how many bytes of text say so: "?", "%3F", "%253f", "\/", "\u003f",
 * and the escaped ones with several backslashes. `depth`: how often it may have been encoded. */
static unsigned char unit_of(const char *s, size_t depth, size_t *ret_n) {
    size_t n = 0;
    int value;

    if (*s == '%' && depth > 0) {
        for (n = 1; n < 2 * depth && s[n] == '2' && s[n + 1] == '5'; n += 2) {
        }
        if ((value = hex(s + n, 2)) <= 0 && n > 1)
            value = hex(s + (n -= 2), 2);
        if (value > 0) {
            *ret_n = n + 2;
            return (unsigned char) value;
        }
    } else if (*s == '\\' && depth > 0) {
        while (n < ESCAPES_MAX && s[n] == '\\')
            n++;
        if (s[n] == 'u' && (value = hex(s + n + 1, 4)) > 0 && value < 0x80) {
            *ret_n = n + 5;
            return (unsigned char) value;
        }
        if (s[n] == '/' || s[n] == '"') {
            *ret_n = n + 1;
            return (unsigned char) s[n];
        }
    }
    *ret_n = *s != '\0';
    return (unsigned char) *s;
}

/* How often a text was encoded is not known: a URL in JSON in a log line in JSON was, several
 * times. */
static unsigned char unit(const char *s, size_t *ret_n) {
    return unit_of(s, ESCAPES_MAX, ret_n);
}

/* Here a word ends that may be a URL. What is percent-encoded belongs to it. */
static bool ends_word(const char *s) {
    const char *p = s;

    if ((unsigned char) *s <= ' ' || *s == 0x7f || strchr("\"<>`", *s))
        return true;
    while (p < s + ESCAPES_MAX && *p == '\\')
        p++;
    return p > s && *p && strchr("\"nrt", *p);
}

/* Bytes up to the word's end, `most` or a few more. */
static size_t word_length(const char *s, size_t most) {
    size_t n = 0, k;

    for (; n < most && !ends_word(s + n); n += k)
        (void) unit(s + n, &k);
    return n;
}

/* --- secrets ------------------------------------------------------------------------------- */

/* How many units at `s` are the beginning of `plain`, and how many bytes they take. What stands for itself
 * may look encoded, so each reading of it is tried. */
static size_t same(const char *s, const char *plain, size_t *ret_n) {
    size_t n = 0, k = 0;

    while (plain[k] && s[n]) {
        size_t step = 0, depth = ESCAPES_MAX + 1;

        while (depth-- > 0)
            if (unit_of(s + n, depth, &step) == (unsigned char) plain[k])
                break;
        if (depth > ESCAPES_MAX)
            break;
        n += step;
        k++;
    }
    *ret_n = n;
    return k;
}

bool redact_finds(const char *text, const char *plain) {
    size_t n, size = strlen(plain);

    for (const char *s = text; *s && (size_t) (s - text) < SCAN_MIN; s++)
        if (same(s, plain, &n) == size)
            return true;
    return false;
}

/* How many bytes at `s` are this secret, or as much of its beginning as was left when a text was cut. */
static size_t match(const char *s, const char *secret, bool after_word) {
    size_t n = 0, k = same(s, secret, &n), size = strlen(secret);

    if (k < size)
        return k >= PART_MIN ? n : 0;
    /* "postgres" is a password, and also a piece of many words. */
    return size >= PART_MIN || !(after_word || isalnum((unsigned char) s[n])) ? n : 0;
}

/* One secret may be the beginning of another: the longest match is left out. */
static size_t secret_at(const char *s, bool after_word) {
    size_t longest = 0;

    for (size_t i = 0; i < n_secrets && i < REDACT_SECRETS_MAX; i++) {
        size_t n = match(s, secrets[i], after_word);

        if (n > longest)
            longest = n;
    }
    return longest;
}

/* A JSON web token: three parts, of which the first two are JSON objects in base64. Supabase's keys, its
 * users' sessions and the signatures of its URLs are such. */
static size_t token_at(const char *s) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    size_t n;

    if (strncmp(s, "eyJ", 3) != 0 || (n = strspn(s, letters)) < 8 || s[n] != '.')
        return 0;
    n += 1 + strspn(s + n + 1, letters);
    return s[n] == '.' ? n + 1 + strspn(s + n + 1, letters) : n;
}

/* --- URLs ---------------------------------------------------------------------------------- */

/* "://", which a URL's authority follows. */
static size_t authority_at(const char *s) {
    size_t n = 0, k;

    for (const char *c = "://"; *c; c++, n += k)
        if (unit(s + n, &k) != (unsigned char) *c)
            return 0;
    return n;
}

/* The length of "user:password" at the beginning of an authority; 0: there is none. A password
 * may hold "/", "?" or "#", which end an authority, when it was not percent-encoded. So where
 * what follows the colon is no port, all up to the last "@" of the word counts as a password. */
static size_t user_length(const char *s) {
    size_t n = 0, k, end = word_length(s, WORD_MAX), last = 0, after = 0;
    bool inside = true, colon = false, odd = false;

    for (; n < end; n += k) {
        unsigned char c = unit(s + n, &k);

        inside = inside && c != '/' && c != '?' && c != '#';
        if (c == '@' && inside)
            last = n;
        if (c == '@')
            after = n;
        odd = odd || (inside && colon && c != '@' && !isdigit(c));
        colon = colon || (inside && c == ':');
    }
    return last > 0 ? last : odd ? after : 0;
}

/* Does "name=" follow, as in a query? */
static bool names_value(const char *s) {
    size_t n = 0, k;
    int length = 0;

    for (; length < NAME_MAX; n += k, length++) {
        unsigned char c = unit(s + n, &k);

        if (c == '=')
            return length > 0;
        if (!isalnum(c) && (c == '\0' || !strchr("_.-[]~+$", c)))
            return false;
    }
    return false;
}

/* The query, or a fragment that is one, that begins at `s` with its '?' or '#'. */
static size_t query_length(const char *s, bool in_url) {
    size_t k, n;
    unsigned char c = unit(s, &k);

    if (c != '?' && !(c == '#' && in_url))
        return 0;
    if (!names_value(s + k) && (c == '#' || !in_url))
        return 0;
    n = word_length(s + k, SIZE_MAX);
    return n > 0 ? k + n : 0;
}

/* --- copying ------------------------------------------------------------------------------- */

typedef struct Copy {
    char *to;
    size_t room, used;
} Copy;

/* Whole or not at all. False: there is no room left. */
static bool put(Copy *c, const char *text, size_t n) {
    if (n >= c->room - c->used)
        return false;
    memcpy(c->to + c->used, text, n);
    c->used += n;
    return true;
}

/* Writes an ellipsis in place of all but the first `keep` of `n` bytes. */
static bool leave_out(Copy *c, const char *text, size_t keep) {
    return put(c, text, keep) && put(c, LEFT_OUT, strlen(LEFT_OUT));
}

/* Bytes of the UTF-8 character at `s`, so that a cut does not come in its middle; a broken one
 * counts as single bytes. */
static size_t character(const char *s) {
    size_t n = 1;

    while (n < 4 && (s[0] & 0xc0) == 0xc0 && (s[n] & 0xc0) == 0x80)
        n++;
    return n;
}

/* One pass, in this order: what is a secret of ours is known by itself, tokens by their form, and
 * of a URL the login and the query are left out, whatever they hold. */
const char *redact_text(char *to, size_t room, const char *from) {
    const char *s = from ? from : "", *begin = s;
    size_t most = room > SCAN_MIN / 4 ? 4 * room : SCAN_MIN;
    Copy copy = { .to = to, .room = room };
    bool in_url = false, fits = room > 0;

    while (fits && *s && (size_t) (s - begin) < most) {
        size_t n, k;

        if ((n = secret_at(s, s > begin && isalnum((unsigned char) s[-1]))) > 0 ||
            (n = token_at(s)) > 0)
            fits = leave_out(&copy, s, 0);
        else if ((n = authority_at(s)) > 0) {
            in_url = true;
            fits = put(&copy, s, n);
            if (fits && (k = user_length(s + n)) > 0) {
                fits = leave_out(&copy, s, 0);
                n += k;
            }
        } else if ((n = query_length(s, in_url)) > 0) {
            (void) unit(s, &k);
            fits = leave_out(&copy, s, k);
        } else {
            in_url = in_url && !ends_word(s);
            n = character(s);
            fits = put(&copy, s, n);
        }
        s += n;
    }
    if (room > 0)
        to[copy.used] = '\0';
    return to;
}
