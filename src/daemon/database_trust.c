/*
 * Does a database URL make the server prove who it is?
 *
 * Asked of libpq, by its own reading of the URL, its environment and its service file; nothing is connected to. What
 * is said of it goes to whoever reads the configuration's warnings: the daemon, its -t, and the doctor.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <libpq-fe.h>
#include <limits.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/str.h"
#include "daemon/database_trust.h"

/* --- what is this machine -------------------------------------------------------------------- */

/* An address, IPv4 ones as IPv6 has them. */
static bool read_address(const char *text, struct in6_addr *ret) {
    struct in_addr v4;
    char name[INET6_ADDRSTRLEN + 1];
    size_t n = strcspn(text, "%"); /* a zone may follow */

    if (n >= sizeof name)
        return false;
    memcpy(name, text, n);
    name[n] = '\0';
    if (inet_pton(AF_INET, name, &v4) == 1) {
        *ret = (struct in6_addr){ .s6_addr = { [10] = 0xff, [11] = 0xff } };
        memcpy(ret->s6_addr + 12, &v4, sizeof v4);
        return true;
    }
    return inet_pton(AF_INET6, name, ret) == 1;
}

/* A server that listens on an address of this machine is reached without leaving it. */
static bool is_of_interface(const struct in6_addr *address) {
    struct ifaddrs *all = NULL;
    bool found = false;

    if (getifaddrs(&all) < 0)
        return false;
    for (const struct ifaddrs *a = all; a && !found; a = a->ifa_next)
        if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET6)
            found = memcmp(&((const struct sockaddr_in6 *) (const void *) a->ifa_addr)->sin6_addr,
                           address, sizeof *address) == 0;
        else if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET)
            found = IN6_IS_ADDR_V4MAPPED(address) &&
                    memcmp(&((const struct sockaddr_in *) (const void *) a->ifa_addr)->sin_addr,
                           address->s6_addr + 12, 4) == 0;
    freeifaddrs(all);
    return found;
}

/* The whole of 127.0.0.0/8 loops back. */
static bool is_our_address(const struct in6_addr *address) {
    return IN6_IS_ADDR_LOOPBACK(address) ||
           (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == 127) ||
           is_of_interface(address);
}

/* What name servers and /etc/hosts say is not asked: they may be silent, or somebody else's word. */
static bool is_our_name(const char *name) {
    char own[HOST_NAME_MAX + 1] = "";
    size_t n = strlen(name);

    (void) gethostname(own, sizeof own - 1);
    return strcasecmp(name, "localhost") == 0 || strcasecmp(name, own) == 0 ||
           (n > 10 && strcasecmp(name + n - 10, ".localhost") == 0); /* RFC 6761 */
}

/* A socket's directory, or none at all, is of this machine by itself. */
static bool is_local(const char *host, const char *hostaddr) {
    struct in6_addr address;

    if (*hostaddr) /* libpq connects there, whatever the host is called */
        return read_address(hostaddr, &address) && is_our_address(&address);
    if (!*host || *host == '/' || *host == '@')
        return true; /* a socket of this machine */
    return read_address(host, &address) ? is_our_address(&address) : is_our_name(host);
}

/* --- what libpq would do ---------------------------------------------------------------------- */

/* All options as they count in the end, from the URL, the environment and the service file. libpq tells them
 * of a connection only; so one is begun that it refuses before it resolves or opens anything. */
static PQconninfoOption *effective(const char *url, bool *ret_unknown) {
    const char *keys[] = { "dbname", "channel_binding", NULL };
    const char *values[] = { url ? url : "", "none, only asking", NULL };
    PGconn *conn = PQconnectStartParams(keys, values, 1);
    PQconninfoOption *options = PQconninfo(conn);

    *ret_unknown = conn && strstr(PQerrorMessage(conn), "service");
    PQfinish(conn);
    return options;
}

/* "" also where libpq would take a default. */
static const char *value_of(const PQconninfoOption *options, const char *keyword) {
    for (; options && options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val ? options->val : "";
    return "";
}

/* Element `i` of a list, "" past its end. */
static void element(const char *list, unsigned i, char *to, size_t room) {
    while (i > 0 && *list) {
        list += strcspn(list, ",");
        i -= *list == ',';
        list += *list == ',';
    }
    (void) snprintf(to, room, "%.*s", (int) strcspn(list, ","), i > 0 ? "" : list);
}

/* The first server that is not this machine. */
static bool find_remote(const PQconninfoOption *options, char *to, size_t room) {
    const char *hosts = value_of(options, "host"), *addresses = value_of(options, "hostaddr");
    const char *list = *addresses ? addresses : hosts;
    unsigned n = 1;

    for (const char *p = list; *p; p++)
        n += *p == ',';
    for (unsigned i = 0; i < n; i++) {
        char host[300], hostaddr[100];

        element(hosts, i, host, sizeof host);
        element(addresses, i, hostaddr, sizeof hostaddr);
        if (!is_local(host, hostaddr)) {
            str_clean(to, room, str_host(*host ? host : hostaddr));
            return true;
        }
    }
    return false;
}

/* Where libpq looks when no file is named. */
static void standard_ca(char *to, size_t room) {
    const char *home = getenv("HOME");
    const struct passwd *user = home && *home ? NULL : getpwuid(geteuid());

    (void) snprintf(to, room, "%s/.postgresql/root.crt",
                    home && *home          ? home
                    : user && user->pw_dir ? user->pw_dir
                                           : "");
}

/* With verify-full libpq refuses every server where the CA's certificate is missing. */
static void look_for_ca(const char *named, char *ret_why, size_t room) {
    char path[1000], shown[200];

    if (strcmp(named, "system") == 0) /* those of OpenSSL, since version 16 of libpq */
        return;
    if (*named)
        (void) snprintf(path, sizeof path, "%s", named);
    else
        standard_ca(path, sizeof path);
    if (access(path, R_OK) < 0)
        (void) snprintf(ret_why, room, "%s%s: %s",
                        *named ? "the file that sslrootcert names can't be read here, "
                               : "sslmode is verify-full and sslrootcert names no file; libpq then "
                                 "wants the CA's certificate in ",
                        str_clean(shown, sizeof shown, path), strerror(errno));
}

DatabaseTrust database_trust(const char *url, char *ret_why, size_t room) {
    bool unknown;
    PQconninfoOption *options = effective(url, &unknown);
    const char *mode = value_of(options, "sslmode"), *ca = value_of(options, "sslrootcert");
    DatabaseTrust trust = DATABASE_LOCAL;
    char host[100], shown[20];

    *ret_why = '\0';
    if (unknown) {
        (void) snprintf(ret_why, room, "names a service that no service file defines");
        trust = DATABASE_UNKNOWN;
    } else if (!find_remote(options, host, sizeof host))
        trust = DATABASE_LOCAL;
    else if (strcmp(mode, "verify-full") != 0) {
        (void) snprintf(ret_why, room,
                        "sslmode is %s: whoever stands between this machine and %s can ask for "
                        "the password and read everything",
                        str_clean(shown, sizeof shown, mode), host);
        trust = DATABASE_EXPOSED;
    } else {
        look_for_ca(ca, ret_why, room);
        trust = DATABASE_VERIFIED;
    }
    PQconninfoFree(options);
    return trust;
}

/* A value that libpq refuses when it connects, though it can read the URL: found by connecting to a socket
 * that is not there. Its message names the parameter, before a value that is not to be repeated. */
static bool find_invalid(const char *url, char *to, size_t room) {
    static const char invalid[] = "invalid ", value[] = " value:";
    const char *keys[] = { "dbname", "host", "hostaddr", "port", NULL };
    const char *values[] = { url ? url : "", "/nonexistent", "", "", NULL };
    PGconn *conn = PQconnectStartParams(keys, values, 1);
    const char *message = PQerrorMessage(conn), *name = message + strlen(invalid);
    size_t n = strncmp(message, invalid, strlen(invalid)) == 0
                   ? strspn(name, "abcdefghijklmnopqrstuvwxyz_")
                   : 0;
    bool found = n > 0 && strncmp(name + n, value, strlen(value)) == 0;

    if (found)
        (void) snprintf(to, room, "%.*s", (int) n, name);
    PQfinish(conn);
    return found;
}

/* What libpq takes for those of its parameters that are words. */
static const char *words_of(const char *name) {
    static const char *const words[][2] = {
        { "sslmode", "disable, allow, prefer, require, verify-ca or verify-full" },
        { "channel_binding", "disable, prefer or require" },
        { "gssencmode", "disable, prefer or require" },
        { "target_session_attrs",
          "any, read-write, read-only, primary, standby or prefer-standby" },
        { "ssl_min_protocol_version", "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3" },
        { "ssl_max_protocol_version", "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3" },
    };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i][0], name) == 0)
            return words[i][1];
    return "";
}

static int refuse_of(const char *at, const char *key, const char *url, ConfigErrors *errors) {
    char name[64];

    if (!find_invalid(url, name, sizeof name))
        return 0;
    return config_errors_add(
        errors, "%s%s[database] %s: %s has a value that PostgreSQL's library does not take%s%s",
        at ? at : "", at ? ": " : "", key, name, *words_of(name) ? "; allowed is " : "",
        words_of(name));
}

/* Said before the daemon runs: libpq would refuse the value at each attempt to connect. */
int database_trust_check(const Config *c, ConfigErrors *errors) {
    int r = refuse_of(c->database_url_at, "url", c->database_url.text, errors);

    return r == 0 && c->listen_url_at
               ? refuse_of(c->listen_url_at, "listen_url", c->listen_url.text, errors)
               : r;
}

const char *database_trust_advice(DatabaseTrust trust) {
    static const char *const advice[] = {
        [DATABASE_LOCAL] = "",
        [DATABASE_EXPOSED] = DATABASE_TRUST_ADVICE,
        [DATABASE_VERIFIED] =
            "write the certificate of its CA into a file that the daemon's user may read "
            "(Supabase: Database Settings, SSL Configuration) and set "
            "sslrootcert=FILE",
        [DATABASE_UNKNOWN] =
            "write the service into the service file, and let PGSERVICEFILE name it",
    };

    return advice[trust];
}

/* A line that names the key, what is wrong, and what mends it. */
static int warn_of(const char *at, const char *key, const char *url, ConfigErrors *warnings) {
    char why[500];
    DatabaseTrust trust = database_trust(url, why, sizeof why);

    return *why ? config_errors_add(warnings, "%s%s[database] %s: %s; %s", at ? at : "",
                                    at ? ": " : "", key, why, database_trust_advice(trust))
                : 0;
}

/* libpq would take a server on this host, a database of our user's name: that can be meant, and hardly ever is. */
static int warn_if_unnamed(const char *url, ConfigErrors *warnings) {
    static const char *const names[] = { "PGHOST",     "PGHOSTADDR", "PGPORT",
                                         "PGDATABASE", "PGUSER",     "PGSERVICE" };

    if (url)
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);

        if (value && *value)
            return 0;
    }
    return config_errors_add(
        warnings, "[database] url: it is not set, nor is DATABASE_URL, nor PGHOST or its like in "
                  "the environment: a database of this user's name is looked for on this host; "
                  "set url = postgresql://meshifyd:PASSWORD@HOST:5432/postgres");
}

int database_trust_warn(const Config *c, ConfigErrors *warnings) {
    const char *url = c->database_url.text, *listen_url = c->listen_url.text;
    int r = warn_of(c->database_url_at, "url", url, warnings);

    if (r == 0)
        r = warn_if_unnamed(url, warnings);
    if (r == 0 && c->listen != CONFIG_LISTEN_OFF && listen_url &&
        (!url || strcmp(url, listen_url) != 0))
        r = warn_of(c->listen_url_at, "listen_url", listen_url, warnings);
    return r;
}
