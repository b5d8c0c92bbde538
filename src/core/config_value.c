/* One value of the configuration: whether a text is of the kind that its row of config_table.c asks for, and
 * what to tell the operator when it is not. Numbers with units are config_units.c's; a database URL is looked
 * into by database_url.c. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "core/config_value.h"
#include "core/database_url.h"

/* Not isalnum(), which asks the locale. */
#define ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static bool read_whole(const char *text, uint64_t *ret) {
    const char *end;

    return config_read_number(text, ret, &end) && *end == '\0';
}

/* on and off alone. yes, true and 1 would be easy to take as well, but what is `no` in one file
 * and `off` in another is searched for in vain. */
static bool read_switch(const char *text, uint64_t *ret) {
    *ret = strcmp(text, "on") == 0;
    return *ret || strcmp(text, "off") == 0;
}

/* The number of the word in the list, which is the value of the enum. */
static bool read_word(const char *words, const char *text, uint64_t *ret) {
    size_t size = strlen(text);

    for (uint64_t i = 0; *words; i++) {
        size_t n = strcspn(words, " ");

        if (n == size && strncmp(words, text, n) == 0) {
            *ret = i;
            return true;
        }
        words += n;
        words += *words == ' ';
    }
    return false;
}

/* --- texts ----------------------------------------------------------------------------------- */

static bool is_made_of(const char *text, const char *allowed, size_t max) {
    size_t n = strspn(text, allowed);

    return n > 0 && n <= max && text[n] == '\0';
}

/* "." and ".." are not names but ways through a file system, or a URL. */
static bool is_dots(const char *s, size_t n) {
    return (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.');
}

/* HOST or HOST:PORT of `n` bytes. 253 is the longest name that DNS has. */
static bool is_host(const char *s, size_t n) {
    const char *colon = memchr(s, ':', n);
    size_t name = colon ? (size_t) (colon - s) : n;
    unsigned port = 0;

    if (name == 0 || name > 253 || s[0] == '.' || s[0] == '-')
        return false;
    for (size_t i = 0; i < name; i++)
        if (!isalnum((unsigned char) s[i]) &&
            (!strchr("-_.", s[i]) || (s[i] == '.' && s[i - 1] == '.')))
            return false;
    if (!colon)
        return true;
    if (n - name < 2 || n - name > 6)
        return false;
    for (size_t i = name + 1; i < n; i++) {
        if (!isdigit((unsigned char) s[i]))
            return false;
        port = port * 10 + (unsigned) (s[i] - '0');
    }
    return port > 0 && port < 65536;
}

/* No login, query or fragment: what we put behind the URL would become a part of it. */
static bool is_url(const char *text) {
    const char *host = strncmp(text, "https://", 8) == 0  ? text + 8
                       : strncmp(text, "http://", 7) == 0 ? text + 7
                                                          : NULL;
    size_t size = host ? strcspn(host, "/") : 0;

    return host && is_host(host, size) && !strstr(host + size, "/..") &&
           (host[size] == '\0' || is_made_of(host + size, ALPHANUMERIC "/._~-", 1024));
}

/* Absolute, because systemd starts daemons in the root directory. */
static bool is_path(const char *text) {
    if (text[0] != '/' || strlen(text) > 1024)
        return false;
    for (const char *p = text; *p; p++)
        if (iscntrl((unsigned char) *p))
            return false;
    return true;
}

/* tidy_list() has made one blank of whatever stood between the words. */
static bool is_hosts(const char *text) {
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " ");
        size_t star = n > 2 && p[0] == '*' && p[1] == '.' ? 2 : 0;

        if (!is_host(p + star, n - star))
            return false;
        p += n;
        p += *p == ' ';
    }
    return true;
}

static bool is_address(const char *text) {
    char host[STR_HOST_SIZE];
    unsigned port;

    return str_split_address(text, host, &port);
}

/* The name goes into URLs as it is. Each placeholder becomes a UUID of 36 characters, and one of
 * them has to differ from job to job: else two jobs would write one object. */
static bool is_object(const char *text) {
    static const struct {
        const char *word;
        bool own; /* makes names of different jobs different */
    } placeholders[] = {
        { "{asset_id}", true },
        { "{job_id}", true },
        { "{user_id}", false },
        { "{project_id}", false },
    };
    /* Of the whole name, and of the element that is being read. */
    size_t size = 0, element = 0;
    bool own = false;

    for (const char *p = text; *p;) {
        size_t i, n = strcspn(p, "}") + 1;

        if (*p == '{') {
            for (i = 0; i < sizeof placeholders / sizeof *placeholders; i++)
                if (strlen(placeholders[i].word) == n && strncmp(p, placeholders[i].word, n) == 0)
                    break;
            if (i == sizeof placeholders / sizeof *placeholders)
                return false;
            own |= placeholders[i].own;
            size += 36;
            element += 36;
            p += n;
        } else if (*p == '/') {
            if (element == 0)
                return false;
            element = 0;
            size++;
            p++;
        } else {
            n = strcspn(p, "/");
            /* Elements "." and "..": leaving the user's folder, or a URL that means another. */
            if (element == 0 && is_dots(p, n))
                return false;
            if (!strchr(ALPHANUMERIC "._-", *p))
                return false;
            element++;
            size++;
            p++;
        }
        /* Room for a "_2" that a name may get, in an element of 255 bytes as file systems have it. */
        if (size > 500 || element > 240)
            return false;
    }
    return own && element > 0;
}

/* Room for the number that a name gets when an object of that name is another job's; doctor
 * compares it with the columns that the name is written to. */
size_t config_object_size(const char *path) {
    size_t size = 0;

    for (const char *p = path; *p; p++) {
        size += *p == '{' ? 36 : 1;
        if (*p == '{')
            p += strcspn(p, "}");
    }
    return size + strlen("_99999");
}

static bool is_printable(const char *text, bool spaces) {
    for (; *text; text++)
        if (*text < (spaces ? ' ' : '!') || *text == 0x7f)
            return false;
    return true;
}

/* Does it look like a URL or a conninfo string at all? What is wrong in one is database_url.c's
 * to find. */
static bool is_database(const char *text) {
    const char *scheme = strstr(text, "://");
    /* "://" may also stand in a password of the other form, behind a blank. */
    bool uri = scheme && scheme == text + strspn(text, ALPHANUMERIC "+.-");

    if (strlen(text) > 8192 || !is_printable(text, true))
        return false;
    if (uri)
        return strncmp(text, "postgres://", 11) == 0 || strncmp(text, "postgresql://", 13) == 0;
    return strchr(text, '=') != NULL;
}

/* A value of another kind that holds a user and a password, as a proxy's URL may. It is no secret
 * to us, and must not be repeated either. */
static bool holds_login(const char *text) {
    const char *at = strchr(text, '@');

    return at && (strchr(text, ':') || strchr(text, '/'));
}

/* For kinds whose value is a text: is it one? */
static bool is_text(ConfigKind kind, const char *text) {
    char why[CONFIG_WHY_MAX];

    switch (kind) {
    case CONFIG_LABEL:
        return is_made_of(text, ALPHANUMERIC "._@-", 64);
    case CONFIG_BUCKET:
        return is_made_of(text, ALPHANUMERIC "._-", 100) && !is_dots(text, strlen(text));
    case CONFIG_PATH:
        return is_path(text);
    case CONFIG_URL:
        return is_url(text);
    case CONFIG_PLACE:
        return is_url(text) || is_path(text);
    case CONFIG_HOSTS:
        return is_hosts(text);
    case CONFIG_ADDRESS:
        return is_address(text);
    case CONFIG_OBJECT:
        return is_object(text);
    case CONFIG_DATABASE:
        return is_database(text) && database_url_check(text, why, sizeof why);
    case CONFIG_KEY:
        return strlen(text) <= 8192 && is_printable(text, false);
    default:
        return true;
    }
}

/* A list may be written with commas, tabs and any number of spaces; it is kept with one space
 * between its words. */
static void tidy_list(char *text) {
    char *to = text;

    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " \t\r\n,");

        if (n > 0 && to > text)
            *to++ = ' ';
        memmove(to, p, n);
        to += n;
        p += n;
        p += strspn(p, " \t\r\n,");
    }
    *to = '\0';
}

/* --- fields ---------------------------------------------------------------------------------- */

static void *field_of(const ConfigKey *key, Config *c) {
    return (char *) c + key->field;
}

/* The old value is freed only when the new one is good: an error leaves the earlier source's
 * value in place, and the checks of several rows go on with that. */
static int set_text(const ConfigKey *key, Config *c, const char *text) {
    char *copy = strdup(text);

    if (!copy)
        return -ENOMEM;
    if (key->kind == CONFIG_HOSTS)
        tidy_list(copy);
    if (!*copy || !is_text(key->kind, copy)) {
        /* A secret that was refused is a secret. */
        explicit_bzero(copy, strlen(copy));
        free(copy);
        return -EINVAL;
    }
    config_value_done(key, c);
    if (config_value_is_secret(key))
        ((Secret *) field_of(key, c))->text = copy;
    else
        *(char **) field_of(key, c) = copy;
    return 0;
}

/* The field's type follows from the kind; the table's offsets are into Config. */
int config_value_set(const ConfigKey *key, Config *c, const char *text) {
    uint64_t n = 0;
    bool good;

    switch (key->kind) {
    case CONFIG_UINT:
        good = read_whole(text, &n);
        break;
    case CONFIG_DURATION:
        good = config_read_duration(text, &n);
        break;
    case CONFIG_SIZE:
        good = config_read_size(text, &n);
        break;
    case CONFIG_RATE:
        good = config_read_rate(text, &n);
        break;
    case CONFIG_SWITCH:
        if (!read_switch(text, &n))
            return -EINVAL;
        *(bool *) field_of(key, c) = n;
        return 0;
    case CONFIG_WORD:
        if (!read_word(key->words, text, &n))
            return -EINVAL;
        *(int *) field_of(key, c) = (int) (key->min + n);
        return 0;
    default:
        return set_text(key, c, text);
    }
    if (!good || n < key->min || n > key->max)
        return -EINVAL;
    if (key->kind == CONFIG_UINT || key->kind == CONFIG_RATE)
        *(unsigned *) field_of(key, c) = (unsigned) n;
    else
        *(uint64_t *) field_of(key, c) = n;
    return 0;
}

void config_value_done(const ConfigKey *key, Config *c) {
    if (config_value_is_secret(key))
        secret_done(field_of(key, c));
    else if (key->kind >= CONFIG_LABEL) {
        free(*(char **) field_of(key, c));
        *(char **) field_of(key, c) = NULL;
    }
}

bool config_value_is_secret(const ConfigKey *key) {
    return key->kind == CONFIG_DATABASE || key->kind == CONFIG_KEY;
}

/* "a duration from 1s to 1h …": what can be written. The same words stand in errors and in the
 * manual, whose lint compares them. */
static void say_allowed(const ConfigKey *key, char *to, size_t room) {
    static const char *const texts[] = {
        [CONFIG_SWITCH] = "on or off",
        [CONFIG_LABEL] = "1 to 64 letters, digits and the characters . _ @ -",
        [CONFIG_BUCKET] = "1 to 100 letters, digits and the characters . _ -",
        [CONFIG_PATH] = "an absolute path",
        [CONFIG_URL] = "http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]",
        [CONFIG_PLACE] = "https://HOST[:PORT], or with driver = dir an absolute path",
        [CONFIG_HOSTS] = "HOST, HOST:PORT or *.DOMAIN, with spaces between them",
        [CONFIG_ADDRESS] = "HOST:PORT or [IPV6]:PORT, e.g. 127.0.0.1:9464, or nothing",
        [CONFIG_OBJECT] =
            "letters, digits and . _ - / with {user_id}, {project_id}, {asset_id} and "
            "{job_id}; one of the last two is needed; no empty, . or .. elements; "
            "500 characters once filled in",
        [CONFIG_TEXT] = "a text",
        [CONFIG_DATABASE] = "postgresql://USER@HOST:PORT/NAME or host=HOST dbname=NAME ...",
        [CONFIG_KEY] = "printable ASCII without spaces",
    };
    char low[32], high[32];

    switch (key->kind) {
    case CONFIG_UINT:
        snprintf(to, room, "a whole number from %llu to %llu", (unsigned long long) key->min,
                 (unsigned long long) key->max);
        break;
    case CONFIG_RATE:
        snprintf(to, room, "a rate from %llu/min to %llu/min (units: /min, /s)",
                 (unsigned long long) key->min, (unsigned long long) key->max);
        break;
    case CONFIG_DURATION:
        snprintf(to, room, "a duration from %s to %s (units: ms, s, min, h, d)",
                 config_write_duration(key->min, low, sizeof low),
                 config_write_duration(key->max, high, sizeof high));
        break;
    case CONFIG_SIZE:
        snprintf(to, room, "a size from %s to %s (units: B, KiB, MiB, GiB, TiB)",
                 config_write_size(key->min, low, sizeof low),
                 config_write_size(key->max, high, sizeof high));
        break;
    case CONFIG_WORD:
        snprintf(to, room, "one of: %s", key->words);
        break;
    default:
        snprintf(to, room, "%s", texts[key->kind]);
        break;
    }
}

/* The mistakes that are often made have sentences of their own. The value is repeated only where
 * it can't be a secret. */
const char *config_value_refusal(const ConfigKey *key, const char *text, char *to, size_t room) {
    char allowed[256], shown[64];

    say_allowed(key, allowed, sizeof allowed);
    if (!*text)
        snprintf(to, room, "is empty; allowed is %s", allowed);
    else if (str_is_quoted(text))
        snprintf(to, room, "is in quotes; take them off");
    else if (key->kind == CONFIG_DATABASE && is_database(text))
        (void) database_url_check(text, to, room);
    else if (key->kind == CONFIG_DATABASE && !is_printable(text, true))
        snprintf(to, room,
                 "holds what is no printable ASCII; percent-encode each such byte: %%C3%%A4");
    else if (config_value_is_secret(key))
        snprintf(to, room, "is not what it should be; allowed is %s", allowed);
    else if (holds_login(text))
        snprintf(to, room, "holds a user or a password, which can't be given here; allowed is %s",
                 allowed);
    else {
        str_clean(shown, sizeof shown, text);
        if (strstr(shown, "://"))
            shown[strcspn(shown, "?#")] = '\0'; /* there may be a token behind it */
        snprintf(to, room, "'%s' is not possible; allowed is %s", shown, allowed);
    }
    return to;
}
