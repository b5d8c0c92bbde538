/* What is wrong with a database URL, said without any piece of it that may belong to the
 * password. libpq's own errors repeat such pieces, and it reads many a mistyped URL as something
 * else without an error. Connecting is left to io/; whether the server can be trusted is
 * daemon/database_trust.c's. */
#include <ctype.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/database_url.h"

#define ENCODE                                                            \
    "percent-encode @ / % # ? & and blanks in the user and the password " \
    "(%40 %2F %25 %23 %3F %26 %20)"
#define QUOTE                                                                              \
    "put a value with blanks or quotes into quotes, and a \\ before each ' and \\ in it: " \
    "password='...'"

/* Where the parts of a URI begin, in the order that libpq looks for them: the user ends at the
 * first @ before any slash, the hosts at / or ?, the database's name at ?. So a password with one
 * of those ends early, and the rest is taken for a host. */
typedef struct Parts {
    const char *user, *hosts, *path, *query;
} Parts;

static const char *skip_scheme(const char *url) {
    static const char *const schemes[] = { "postgresql://", "postgres://" };

    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strncmp(url, schemes[i], strlen(schemes[i])) == 0)
            return url + strlen(schemes[i]);
    return NULL;
}

static Parts split(const char *rest) {
    Parts p = { .user = rest, .hosts = rest };
    size_t n = strcspn(rest, "@/");

    if (rest[n] == '@')
        p.hosts = rest + n + 1;
    p.path = p.hosts + strcspn(p.hosts, "/?");
    p.query = p.path + strcspn(p.path, "?");
    return p;
}

static bool holds(const char *from, const char *to, char c) {
    return to > from && memchr(from, c, (size_t) (to - from)) != NULL;
}

/* --- parameters that libpq does not know ----------------------------------------------------- */

/* libpq is asked for its own list, which grows with its versions. */
static bool is_known(const char *name, size_t size) {
    PQconninfoOption *all = PQconninfoParse("", NULL);
    bool known = !all || (size == 3 && strncmp(name, "ssl", 3) == 0); /* ssl=true, as JDBC has it */

    for (const PQconninfoOption *o = all; o && o->keyword && !known; o++)
        known = strlen(o->keyword) == size && strncmp(o->keyword, name, size) == 0;
    PQconninfoFree(all);
    return known;
}

static bool is_secret(const char *name, size_t size) {
    return (size == 8 && strncmp(name, "password", 8) == 0) ||
           (size == 11 && strncmp(name, "sslpassword", 11) == 0);
}

/* May this name be repeated? Behind a password it may be a piece of the password. */
static bool is_speakable(const char *name, size_t size, bool behind_secret) {
    for (size_t i = 0; i < size; i++)
        if (name[i] != '_' && !isalnum((unsigned char) name[i]))
            return false;
    return !behind_secret && size > 0 && size <= 40;
}

/* `else_` is the advice for where the name can't be shown. */
static void say_unknown(const char *name, size_t size, bool behind_secret, const char *else_,
                        char *reterr, size_t room) {
    if (is_speakable(name, size, behind_secret))
        (void) snprintf(reterr, room,
                        "holds the unknown parameter '%.*s'; take it out, PostgreSQL's library "
                        "does not know it",
                        (int) size, name);
    else
        (void) snprintf(reterr, room, "holds an unknown parameter, which can't be shown; %s",
                        else_);
}

/* Finds the first parameter of a URI's query that libpq does not know. True: an error was
 * written. */
static bool find_in_query(const char *query, char *reterr, size_t room) {
    bool behind_secret = false;

    for (const char *p = *query ? query + 1 : query; *p;) {
        size_t pair = strcspn(p, "&"), name = strcspn(p, "=&");

        if (p[name] == '=' && !is_known(p, name)) {
            say_unknown(p, name, behind_secret, ENCODE, reterr, room);
            return true;
        }
        /* A second = shows that the value holds more parameters, maybe the password. */
        behind_secret |= is_secret(p, name) || (name < pair && holds(p + name + 1, p + pair, '='));
        p += pair;
        p += *p == '&';
    }
    return false;
}

/* Behind one "key = value" of a conninfo string; NULL when it ends in the middle of one. */
static const char *skip_value(const char *p) {
    p += strspn(p, " \t");
    if (*p != '\'') {
        for (; *p && !isspace((unsigned char) *p); p++)
            if (*p == '\\' && p[1])
                p++;
        return p;
    }
    for (p++; *p && *p != '\''; p++)
        if (*p == '\\' && p[1])
            p++;
    return *p ? p + 1 : NULL;
}

/* The same for "key = value" pairs. Where the string breaks off in the middle of a pair, libpq's
 * refusal says enough. */
static bool find_in_conninfo(const char *url, char *reterr, size_t room) {
    bool behind_secret = false;

    for (const char *p = url; p && *(p += strspn(p, " \t"));) {
        const char *name = p, *value;
        size_t size = strcspn(p, "= \t");

        p += size;
        p += strspn(p, " \t");
        if (*p != '=')
            return false;
        p++;
        if (!is_known(name, size)) {
            /* A blank in the password may have made a name of the rest of it. */
            say_unknown(name, size, behind_secret, QUOTE, reterr, room);
            return true;
        }
        value = p + strspn(p, " \t");
        p = skip_value(p);
        behind_secret |= *value != '\'' && (is_secret(name, size) || (p && holds(value, p, '=')));
    }
    return false;
}

/* --- what libpq takes, and does not mean what was meant -------------------------------------- */

static const char *value_of(const PQconninfoOption *options, const char *keyword) {
    for (; options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val ? options->val : "";
    return "";
}

/* Numbers from 1 to 65535 with commas between them; an empty one is the usual port. A password
 * behind a stray colon is found here: it is no number. */
static bool are_ports(const char *list) {
    for (const char *p = list; *p;) {
        unsigned port = 0;
        size_t n = strspn(p, "0123456789");

        if (n > 5 || (p[n] && p[n] != ','))
            return false;
        for (size_t i = 0; i < n; i++)
            port = port * 10 + (unsigned) (p[i] - '0');
        if (n > 0 && (port < 1 || port > 65535))
            return false;
        p += n;
        p += *p == ',';
    }
    return true;
}

/* Parameters with something between them that does not part them: ";password=", in any value.
 * libpq takes all of it as one value, and would show it as a host's name. */
static bool holds_parameter(const char *value) {
    for (const char *p = value; *(p += strcspn(p, ";,&"));) {
        const char *word = p + 1 + strspn(p + 1, " \t");
        size_t n = 0;

        p++;
        while (word[n] == '_' || isalnum((unsigned char) word[n]))
            n++;
        if (n > 0 && word[n + strspn(word + n, " \t")] == '=')
            return true;
    }
    return false;
}

/* Is this a list of hosts? In a directory's name an @ is nothing unusual; elsewhere it stands
 * behind a password. */
static bool are_hosts(const char *list) {
    for (const char *p = list; *p; p += *p == ',') {
        size_t n = strcspn(p, ","), first = *p == '@';

        if (strcspn(p, ";=& \t") < n || (*p != '/' && first + strcspn(p + first, "@") < n))
            return false;
        p += n;
    }
    return true;
}

/* Is no parameter's value two parameters? An unreachable host, a user or a database is shown in
 * errors as libpq read it, so none of them may hold a piece of the password. */
static bool are_apart(const PQconninfoOption *options) {
    for (const PQconninfoOption *o = options; o && o->keyword; o++)
        if (o->val && !is_secret(o->keyword, strlen(o->keyword)) && holds_parameter(o->val))
            return false;
    return !options ||
           (are_hosts(value_of(options, "host")) && are_hosts(value_of(options, "hostaddr")));
}

/* A URI that libpq refuses (`options` is NULL) is searched for the reason; one that it takes is
 * searched for what was not meant. */
static bool check_uri(const char *rest, const PQconninfoOption *options, char *reterr,
                      size_t room) {
    Parts p = split(rest);

    if (holds(p.hosts, p.query, '@') || holds(p.user, p.query, ' ') ||
        (!options && strchr(p.query, '@')))
        (void) snprintf(reterr, room, "can't be read as it was meant; %s", ENCODE);
    else if (!are_apart(options))
        (void) snprintf(reterr, room,
                        "can't be read as it was meant; write ? before its first parameter and & "
                        "before the others, and only hosts behind the @; %s",
                        ENCODE);
    else if (!options && find_in_query(p.query, reterr, room))
        return false;
    else if (!options)
        (void) snprintf(reterr, room, "can't be read; %s", ENCODE);
    else if (!are_ports(value_of(options, "port")))
        (void) snprintf(reterr, room,
                        "holds no port from 1 to 65535 behind the host's colon; if that colon "
                        "stands in front of the password, %s",
                        ENCODE);
    else
        return true;
    return false;
}

static bool check_conninfo(const char *url, const PQconninfoOption *options, char *reterr,
                           size_t room) {
    if (!options && find_in_conninfo(url, reterr, room))
        return false;
    if (!options)
        (void) snprintf(reterr, room, "can't be read; %s", QUOTE);
    else if (!are_apart(options))
        (void) snprintf(reterr, room,
                        "can't be read as it was meant; part its parameters with blanks, not with "
                        "; , or &");
    else if (!are_ports(value_of(options, "port")))
        (void) snprintf(reterr, room, "holds a port that is no number from 1 to 65535");
    else
        return true;
    return false;
}

bool database_url_check(const char *url, char *reterr, size_t room) {
    const char *rest = skip_scheme(url);
    PQconninfoOption *options;
    bool good;

    /* A shell takes quotation marks away; a unit's EnvironmentFile= and this file do not. */
    if (str_is_quoted(url)) {
        (void) snprintf(reterr, room, "is in quotes; take them off");
        return false;
    }
    /* Only whether it can be parsed is of use: libpq's message repeats parts of the URL. */
    options = PQconninfoParse(url, NULL);
    good =
        rest ? check_uri(rest, options, reterr, room) : check_conninfo(url, options, reterr, room);
    PQconninfoFree(options);
    return good;
}
