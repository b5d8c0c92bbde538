/* Values that can be read and are hardly what was meant: a placeholder of the sample that was
 * left in, a key of another kind or service. They are found before anything is sent to anybody,
 * and reported without any piece of a secret. Values that can't be read are config_value.c's
 * errors. */
#include <arpa/inet.h>
#include <ctype.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "core/config_doubts.h"

#define JWT_MAX 4096 /* bytes of a payload that is looked at */

/* --- placeholders ---------------------------------------------------------------------------- */

static bool begins(const char *text, const char *with) {
    return strncasecmp(text, with, strlen(with)) == 0;
}

static bool holds(const char *text, const char *word) {
    for (; *text; text++)
        if (begins(text, word))
            return true;
    return false;
}

/* "<your password>", "[YOUR-PASSWORD]", "${TOKEN}": brackets around words that a person wrote for
 * a person. Other words in brackets, and digits, may be a real password. */
static bool is_bracketed(const char *text) {
    static const char *const words[] = { "your", "password", "token", "secret", "key", "project" };
    size_t n = strlen(text), from = *text == '$' ? 1 : 0;
    const char *open = strchr("<[{", text[from] ? text[from] : 'x');

    if (n < from + 4 || !open || text[n - 1] != ">]}"[open - "<[{"])
        return false;
    for (size_t i = from + 1; i < n - 1; i++)
        if (!isalpha((unsigned char) text[i]) && !strchr(" _-", text[i]))
            return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (holds(text, words[i]))
            return true;
    return from == 1;
}

/* The words that the sample, the README, the manual and Supabase's dashboard write where a value
 * belongs. */
static bool is_placeholder(const char *text) {
    static const char *const words[] = { "PASSWORD", "TOKEN", "...", "\xe2\x80\xa6" };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return begins(text, "YOUR_") || begins(text, "YOUR-") || is_bracketed(text);
}

/* Is a label of this host name, or user name, a placeholder? The port and the path behind it are
 * left out. */
static bool holds_placeholder(const char *name) {
    static const char *const labels[] = { "PROJECT", "PROJECT-REF",  "HOST",
                                          "REGION",  "aws-0-REGION", "aws-1-REGION" };

    for (const char *p = name; *p; p += *p == '.') {
        size_t n = strcspn(p, ".:/");
        char label[64];

        (void) snprintf(label, sizeof label, "%.*s", (int) n, p);
        for (size_t i = 0; i < sizeof labels / sizeof *labels; i++)
            if (strcmp(label, labels[i]) == 0)
                return true;
        if (is_placeholder(label))
            return true;
        p += n;
        if (*p && *p != '.')
            break;
    }
    return false;
}

/* libpq reads the URL, so that we find its parts where libpq will find them. */
static const char *option(const PQconninfoOption *options, const char *keyword) {
    for (; options && options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val ? options->val : "";
    return "";
}

/* The part of a database URL that is a placeholder still; NULL: none is. */
static const char *database_placeholder(const char *url) {
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    const char *user = option(options, "user");
    const char *part = is_placeholder(option(options, "password"))            ? "password"
                       : strcmp(user, "USER") == 0 || holds_placeholder(user) ? "user"
                       : holds_placeholder(option(options, "host"))           ? "host"
                                                                              : NULL;

    PQconninfoFree(options);
    return part;
}

/* --- kinds of keys --------------------------------------------------------------------------- */

/* base64url, RFC 4648: "-" and "_" in place of "+" and "/", and no padding. */
static int sextet(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int) (at - digits) : -1;
}

/* Decodes `size` digits at `from`; false: they are no base64url, or more than there is room for. */
static bool decode(const char *from, size_t size, char *to, size_t room, size_t *ret_size) {
    unsigned bits = 0, n_bits = 0;
    size_t n = 0;

    for (size_t i = 0; i < size; i++) {
        int digit = sextet(from[i]);

        if (digit < 0 || n == room)
            return false;
        bits = bits << 6 | (unsigned) digit;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            to[n++] = (char) (bits >> n_bits & 0xff);
        }
    }
    *ret_size = n;
    return true;
}

/* The role that a JWT is for, "" where it names none; false: it is no JWT that can be read.
 * Supabase's old keys are JWTs, and the key for browsers differs from the service's in this role
 * alone. The signature can't be checked here, and need not be. */
static bool read_role(const char *jwt, char *to, size_t room) {
    const char *payload = strchr(jwt, '.'), *end = payload ? strchr(payload + 1, '.') : NULL;
    char text[JWT_MAX];
    size_t size;

    if (!end || !begins(jwt, "eyJ") ||
        !decode(payload + 1, (size_t) (end - payload - 1), text, sizeof text, &size))
        return false;
    _cleanup_(json_unrefp) json_t *root = json_parse(text, size);
    const char *role = json_text(root, "role");

    (void) snprintf(to, room, "%s", role ? role : "");
    /* The claims of a JWT are no secret, but this one is a key's. */
    explicit_bzero(text, sizeof text);
    return json_is_object(root);
}

/* A key that may not write lets every job fail at its end, when the mesh is paid for. The
 * prefixes are those of Supabase's and Replicate's own consoles. */
static bool doubt_store_key(const char *key, char *ret_why, size_t room) {
    char role[64], shown[64];

    if (begins(key, "sb_publishable_"))
        (void) snprintf(
            ret_why, room,
            "is the publishable key, which may store nothing; take the secret key or the "
            "service_role key (Supabase: Project Settings, API Keys)");
    else if (begins(key, "r8_"))
        (void) snprintf(ret_why, room,
                        "looks like Replicate's token; it wants Supabase's service_role key");
    else if (begins(key, "sbp_") || begins(key, "postgres"))
        (void) snprintf(ret_why, room,
                        "is no key of the project's API; take the service_role key "
                        "(Supabase: Project Settings, API Keys)");
    else if (read_role(key, role, sizeof role) && strcmp(role, "service_role") != 0)
        (void) snprintf(
            ret_why, room,
            "is the key of the role '%s', which may hardly store anything; take the service_role "
            "key (Supabase: Project Settings, API Keys)",
            str_clean(shown, sizeof shown, role));
    else
        return false;
    return true;
}

/* The two secrets of one file are easily mixed up. */
static bool doubt_token(const char *token, char *ret_why, size_t room) {
    if (!begins(token, "eyJ") && !begins(token, "sb_") && !begins(token, "sbp_"))
        return false;
    (void) snprintf(ret_why, room,
                    "looks like a key of Supabase; it wants Replicate's API token (replicate.com, "
                    "Account settings, API tokens)");
    return true;
}

/* --- what is sent in clear ------------------------------------------------------------------- */

/* This machine, or an address of a private network. Names are not looked up here: this file is
 * pure. */
static bool is_near(const char *host) {
    struct sockaddr_in a = { .sin_family = AF_INET };
    size_t n = strlen(host);

    return strcasecmp(host, "localhost") == 0 ||
           (n > 10 && strcasecmp(host + n - 10, ".localhost") == 0) ||
           (inet_pton(AF_INET, host, &a.sin_addr) == 1 &&
            address_is_private((const struct sockaddr *) &a));
}

/* A warning only: a store on a network of one's own may well be without TLS. */
static bool doubt_store_url(const char *url, char *ret_why, size_t room) {
    char host[STR_HOST_SIZE];

    if (strncmp(url, "http://", 7) != 0)
        return false;
    (void) snprintf(host, sizeof host, "%.*s", (int) strcspn(url + 7, ":/"), url + 7);
    if (is_near(host))
        return false;
    (void) snprintf(ret_why, room,
                    "http shows the service role key to whoever stands between this machine and "
                    "%s; take https, unless that is on a network of your own",
                    host);
    return true;
}

/* --- all of them ----------------------------------------------------------------------------- */

/* A placeholder surely does not work, and is an error; everything else may be meant. */
static ConfigDoubt doubt_secret(const ConfigKey *key, const Config *c, const char *text,
                                char *ret_why, size_t room) {
    if (is_placeholder(text)) {
        (void) snprintf(ret_why, room, "still holds a placeholder; write the real value");
        return CONFIG_DOUBT_ERROR;
    }
    if (str_is_quoted(text)) {
        (void) snprintf(ret_why, room, "is in quotes, which are sent with it; take them off");
        return CONFIG_DOUBT_WARNING;
    }
    return (key->field == offsetof(Config, storage_key) && c->storage_driver == STORAGE_SUPABASE &&
            doubt_store_key(text, ret_why, room)) ||
                   (key->field == offsetof(Config, replicate_token) &&
                    doubt_token(text, ret_why, room))
               ? CONFIG_DOUBT_WARNING
               : CONFIG_DOUBT_NONE;
}

/* Which doubts there are depends on the kind of the key; most kinds have none. */
ConfigDoubt config_doubt(const ConfigKey *key, const Config *c, char *ret_why, size_t room) {
    const void *field = (const char *) c + key->field;
    const char *part = NULL, *text;

    if (config_value_is_secret(key)) {
        text = ((const Secret *) field)->text;
        if (text && key->kind == CONFIG_KEY)
            return doubt_secret(key, c, text, ret_why, room);
        part = text ? database_placeholder(text) : NULL;
    } else if (key->kind == CONFIG_URL || key->kind == CONFIG_PLACE) {
        text = *(char *const *) field;
        part = text && strstr(text, "://") && holds_placeholder(strstr(text, "://") + 3) ? "host"
                                                                                         : NULL;
        if (!part && text && key->field == offsetof(Config, storage_url) &&
            c->storage_driver == STORAGE_SUPABASE && doubt_store_url(text, ret_why, room))
            return CONFIG_DOUBT_WARNING;
    }
    if (!part)
        return CONFIG_DOUBT_NONE;
    (void) snprintf(ret_why, room, "still holds a placeholder for the %s; write the real one",
                    part);
    return CONFIG_DOUBT_ERROR;
}
