/* Why a connection to the database does not come up, read from the words of PostgreSQL, libpq,
 * PgBouncer and Supavisor: there is no error code for most of it. Each cause has a sentence and
 * an advice for the operator, and says how soon to try again. Connecting and waiting is left to
 * io/. */
#include <stdio.h>
#include <string.h>

#include "base/db_failure.h"
#include "base/str.h"

/* clang-format off */
static const struct {
    const char *word, *advice;
    DbRetry retry;
/* In the order of the fields: what is told, what to do about it, and how soon it may be tried
 * again. RARELY is for causes that get this machine's address banned when they are repeated. */
} infos[_DB_FAILURE_MAX] = {
    [DB_FAILURE_NONE]        = { "it does not answer", "Check [database] url, or DATABASE_URL.", DB_RETRY_SOON },
    [DB_FAILURE_PASSWORD]    = { "the user or the password is wrong", "Check the user in [database] url, and put the right password there, percent-encoded; Supabase's dashboard can set a new one.", DB_RETRY_RARELY },
    [DB_FAILURE_ROLE]        = { "the user is refused", "Check the user in [database] url: it has to exist and be allowed to log in; behind Supabase's pooler it is USER.PROJECT.", DB_RETRY_RARELY },
    [DB_FAILURE_TENANT]      = { "the pooler does not know the project or the user", "Check user and host in [database] url: behind Supabase's pooler the user is USER.PROJECT, and the host that of the project's region; a paused project is not known either.", DB_RETRY_RARELY },
    [DB_FAILURE_BLOCKED]     = { "the pooler blocks logins after too many wrong passwords", "Stop every program with the wrong password, mend it in [database] url, and wait some minutes.", DB_RETRY_RARELY },
    [DB_FAILURE_DATABASE]    = { "there is no such database", "Check the name at the end of [database] url; Supabase's is postgres.", DB_RETRY_RARER },
    [DB_FAILURE_HBA]         = { "nobody is let in from this address", "Allow this machine in pg_hba.conf, or in the dashboard's network restrictions and bans.", DB_RETRY_RARER },
    [DB_FAILURE_TLS_NEEDED]  = { "it wants TLS", "Write sslmode=verify-full and sslrootcert=FILE into [database] url.", DB_RETRY_RARER },
    [DB_FAILURE_TLS_NONE]    = { "it has no TLS", "Turn ssl on in its configuration; or, if nobody can stand between, lower sslmode in [database] url.", DB_RETRY_SOON },
    [DB_FAILURE_TLS_CA]      = { "its certificate is of an unknown CA", "Set sslrootcert in [database] url to the certificate of its CA (Supabase: Database Settings, SSL Configuration).", DB_RETRY_SOON },
    [DB_FAILURE_TLS_NAME]    = { "its certificate is for another host", "Write the host's name in [database] url as the certificate has it.", DB_RETRY_SOON },
    [DB_FAILURE_TLS_FILE]    = { "the certificate of its CA can't be read here", "Set sslrootcert in [database] url to a file that is there and that the daemon's user may read (Supabase: Database Settings, SSL Configuration).", DB_RETRY_SOON },
    [DB_FAILURE_TLS]         = { "TLS to it fails", "Check that [database] url leads to a PostgreSQL server with TLS, not to a proxy or another port.", DB_RETRY_SOON },
    [DB_FAILURE_CROWDED]     = { "no connection is free", "Close other connections, raise the pool's size or max_connections, or run fewer instances: each needs two.", DB_RETRY_SOON },
    [DB_FAILURE_STARTING]    = { "it starts or stops", "Wait until it is up; see the server's log if that takes long.", DB_RETRY_SOON },
    [DB_FAILURE_READ_ONLY]   = { "the server is read-only", "Let [database] url lead to the primary, and see whether the database is read-only for want of room.", DB_RETRY_SOON },
    [DB_FAILURE_SERVICE]     = { "the service that its URL names is not defined", "Write it into the service file, and let PGSERVICEFILE name that.", DB_RETRY_SOON },
    [DB_FAILURE_URL]         = { "its URL can't be used", "Check [database] url, and PGHOST and its like in the environment: ports, counts of hosts, values.", DB_RETRY_RARER },
    [DB_FAILURE_NAME]        = { "its host can't be found", "Check the host in [database] url and this machine's name servers; Supabase's direct host is gone while the project is paused.", DB_RETRY_SOON },
    [DB_FAILURE_NO_ROUTE_V6] = { "its host has only IPv6, and no route leads there", "Use the URL of the session pooler (Supabase: Connect, Session pooler), which has IPv4, or buy the IPv4 add-on, or give this machine IPv6.", DB_RETRY_SOON },
    [DB_FAILURE_NO_ROUTE]    = { "no route leads there", "Check this machine's network.", DB_RETRY_SOON },
    [DB_FAILURE_LOST]        = { "the connection was closed", "See the server's log; what stands between may close connections as well.", DB_RETRY_SOON },
    [DB_FAILURE_SILENT]      = { "no answer in time", "Check host and port in [database] url, and firewalls between; a packet filter that drops looks like this.", DB_RETRY_SOON },
    [DB_FAILURE_CLOSED]      = { "the connection is refused, nothing listens there", "Check host and port in [database] url, and that the server runs; Supabase refuses addresses that it banned for wrong passwords.", DB_RETRY_SOON },
    [DB_FAILURE_STRANGE]     = { "what answers is no PostgreSQL server", "Check host and port in [database] url.", DB_RETRY_SOON },
    [DB_FAILURE_SOCKET]      = { "its socket is not there, or not ours to use", "Set host= in [database] url, and check that the server runs; without a host, or without a URL, a server on this machine is looked for.", DB_RETRY_SOON },
    [DB_FAILURE_TIMEOUT]     = { "a time-out of its own cuts off what begins each transaction", "ALTER ROLE ... RESET statement_timeout; for the login, and the same for the database (with 17, also transaction_timeout): each transaction sets its own.", DB_RETRY_SOON },
    [DB_FAILURE_LANGUAGE]    = { "the login may not use the language plpgsql", "As a superuser: GRANT USAGE ON LANGUAGE plpgsql TO the login's role.", DB_RETRY_RARER },
    [DB_FAILURE_MEMORY]      = { "memory is short on this side", "Give this program more memory (MemoryMax= in its unit, ulimit -v), or lower [worker] max_jobs.", DB_RETRY_SOON },
    [DB_FAILURE_REFUSED]     = { "it refuses the connection", "See what it says, and its log.", DB_RETRY_RARER },
    [DB_FAILURE_OTHER]       = { "it can't be reached", "Check [database] url, or DATABASE_URL.", DB_RETRY_SOON },
};

/* Where a text holds several, the first row of this table counts: who guesses passwords has to stop, whatever
 * another server of the list says. ":  28P01: " is a code as PQERRORS_VERBOSE shows it. */
static const struct {
    const char *part;
    DbFailure failure;
} parts[] = {
    { "ircuit breaker",                      DB_FAILURE_BLOCKED }, /* Supavisor, also of old */
    { "(ECIRCUITBREAKER)",                   DB_FAILURE_BLOCKED },
    { "too many authentication",             DB_FAILURE_BLOCKED },
    { "Tenant or user not found",            DB_FAILURE_TENANT },
    { "(ENOTFOUND)",                         DB_FAILURE_TENANT },
    { "(ENOIDENTIFIER)",                     DB_FAILURE_TENANT },
    { "no tenant identifier",                DB_FAILURE_TENANT },
    { "(EMAXCON",                            DB_FAILURE_CROWDED },
    { "(ECHECKOUTTIMEOUT)",                  DB_FAILURE_CROWDED },
    { "axClientsInSessionMode",              DB_FAILURE_CROWDED },
    { "ax client connections",               DB_FAILURE_CROWDED },
    { "max clients reached",                 DB_FAILURE_CROWDED },
    { "too many clients",                    DB_FAILURE_CROWDED },
    { "too many connections",                DB_FAILURE_CROWDED },
    { "no more connections allowed",         DB_FAILURE_CROWDED }, /* PgBouncer */
    { "query_wait_timeout",                  DB_FAILURE_CROWDED },
    { "remaining connection slots",          DB_FAILURE_CROWDED },
    { ":  53",                               DB_FAILURE_CROWDED },
    { "uthentication failed",                DB_FAILURE_PASSWORD },
    { ":  28P01: ",                          DB_FAILURE_PASSWORD },
    { "no password supplied",                DB_FAILURE_PASSWORD },
    { "wrong password",                      DB_FAILURE_PASSWORD },
    { "SSL connection is required",          DB_FAILURE_TLS_NEEDED },
    { "SSL required",                        DB_FAILURE_TLS_NEEDED },
    { "no encryption",                       DB_FAILURE_TLS_NEEDED }, /* pg_hba.conf has a line for TLS, perhaps */
    { "SSL off",                             DB_FAILURE_TLS_NEEDED },
    { "pg_hba.conf",                         DB_FAILURE_HBA },
    { "no such user",                        DB_FAILURE_ROLE },
    { "permitted to log in",                 DB_FAILURE_ROLE },
    { ":  3D000: ",                          DB_FAILURE_DATABASE },
    { "no such database",                    DB_FAILURE_DATABASE },
    { "FATAL:  database \"",                 DB_FAILURE_DATABASE },
    { "FATAL:  role \"",                     DB_FAILURE_ROLE },
    { ":  28",                               DB_FAILURE_ROLE },
    { "ystem is starting up",                DB_FAILURE_STARTING },
    { "ystem is shutting down",              DB_FAILURE_STARTING },
    { "ystem is in recovery",                DB_FAILURE_STARTING },
    { "ystem is not yet accepting",          DB_FAILURE_STARTING },
    { "terminating connection due to admin", DB_FAILURE_STARTING },
    { ":  57P0",                             DB_FAILURE_STARTING },
    { "read-only",                           DB_FAILURE_READ_ONLY },
    { "hot standby",                         DB_FAILURE_READ_ONLY },
    { ":  25006: ",                          DB_FAILURE_READ_ONLY },
    { "due to statement timeout",            DB_FAILURE_TIMEOUT },
    { "due to transaction timeout",          DB_FAILURE_TIMEOUT },
    { ":  57014: ",                          DB_FAILURE_TIMEOUT },
    { ":  25P04: ",                          DB_FAILURE_TIMEOUT },
    { "denied for language",                 DB_FAILURE_LANGUAGE },
    { "certificate verify failed",           DB_FAILURE_TLS_CA },
    { "does not match host name",            DB_FAILURE_TLS_NAME },
    { "root certificate",                    DB_FAILURE_TLS_FILE },
    { "certificate file",                    DB_FAILURE_TLS_FILE },
    { "does not support SSL",                DB_FAILURE_TLS_NONE },
    { "out of memory",                       DB_FAILURE_MEMORY },
    { "allocate memory",                     DB_FAILURE_MEMORY },
    { "closed the connection",               DB_FAILURE_LOST },
    { "closed unexpectedly",                 DB_FAILURE_LOST },
    { "EOF detected",                        DB_FAILURE_LOST },
    { "Connection reset",                    DB_FAILURE_LOST },
    { "Broken pipe",                         DB_FAILURE_LOST },
    { ":  08",                               DB_FAILURE_REFUSED }, /* PgBouncer's code for nearly all */
    { "FATAL:",                              DB_FAILURE_REFUSED },
    { ":  XX",                               DB_FAILURE_REFUSED },
    { "SSL error",                           DB_FAILURE_TLS },
    { "SSL SYSCALL",                         DB_FAILURE_TLS },
    { "of service \"",                       DB_FAILURE_SERVICE },
    { "service file",                        DB_FAILURE_SERVICE },
    { "could not translate host name",       DB_FAILURE_NAME },
    { "ame or service not known",            DB_FAILURE_NAME },
    { "in name resolution",                  DB_FAILURE_NAME },
    { "o address associated",                DB_FAILURE_NAME },
    { "name is not found",                   DB_FAILURE_NAME }, /* ours */
    { "unreachable",                         DB_FAILURE_NO_ROUTE },
    { "No route to host",                    DB_FAILURE_NO_ROUTE },
    { "Cannot assign requested address",     DB_FAILURE_NO_ROUTE },
    { "Address family not supported",        DB_FAILURE_NO_ROUTE },
    { "timed out",                           DB_FAILURE_SILENT },
    { "no answer in time",                   DB_FAILURE_SILENT }, /* ours */
    { "timeout expired",                     DB_FAILURE_SILENT },
    { "took too long",                       DB_FAILURE_SILENT }, /* ours */
    { "is not answered",                     DB_FAILURE_SILENT }, /* ours */
    { "no socket to watch",                  DB_FAILURE_MEMORY }, /* ours */
    { "can't be looked up",                  DB_FAILURE_MEMORY }, /* ours */
    { "an answer is missing",                DB_FAILURE_STRANGE }, /* ours */
    { "Connection refused",                  DB_FAILURE_CLOSED },
    { "on socket",                           DB_FAILURE_SOCKET },
    { "received invalid response",           DB_FAILURE_STRANGE },
    { "expected authentication request",     DB_FAILURE_STRANGE },
    { "invalid value for parameter",         DB_FAILURE_REFUSED }, /* the server's words, not libpq's */
    { "invalid ",                            DB_FAILURE_URL },
    { "could not match",                     DB_FAILURE_URL },
    { "could not parse",                     DB_FAILURE_URL },
    { "missing ",                            DB_FAILURE_URL },
    { "unterminated",                        DB_FAILURE_URL },
    { "forbidden value",                     DB_FAILURE_URL },
    { "weak sslmode",                        DB_FAILURE_URL },
};
/* clang-format on */

/* libpq names each address that it tried. Where all of them were IPv6, the cause is Supabase's
 * direct host, which has no IPv4 address, seen from a machine without an IPv6 route. */
static bool is_all_v6(const char *message) {
    static const char at[] = "server at \"";
    bool any = false;

    for (const char *p = message; (p = strstr(p, at)); any = true) {
        const char *end = strstr(p, ", port"), *colon;

        p += strlen(at);
        colon = strchr(p, ':');
        if (!end || !colon || colon > end)
            return false;
    }
    return any;
}

/* The first row of the table that fits decides, so the order of its rows matters. */
DbFailure db_failure_read(const char *message) {
    for (size_t i = 0; message && i < sizeof parts / sizeof *parts; i++)
        if (strstr(message, parts[i].part))
            return parts[i].failure == DB_FAILURE_NO_ROUTE && is_all_v6(message)
                       ? DB_FAILURE_NO_ROUTE_V6
                       : parts[i].failure;
    return DB_FAILURE_OTHER;
}

const char *db_failure_word(DbFailure failure) {
    return infos[failure].word;
}

const char *db_failure_advice(DbFailure failure) {
    return infos[failure].advice;
}

DbRetry db_failure_retry(DbFailure failure) {
    return infos[failure].retry;
}

/* What the server itself said, which libpq puts behind a severity and two blanks; "": it said
 * nothing. Only this part is passed on: libpq's own words repeat pieces of the URL, and a
 * mistyped URL has the password anywhere. The server's words name at most the user and the
 * database. */
static void server_words(const char *message, char *to, size_t room) {
    const char *p = message ? strstr(message, ":  ") : NULL;
    size_t n;

    *to = '\0';
    if (!p)
        return;
    p += 3;
    n = strspn(p, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (n == 5 && p[5] == ':' && p[6] == ' ')
        p += 7; /* its code */
    n = strcspn(p, "\r\n");
    while (n > 0 && strchr(" .", p[n - 1]))
        n--;
    (void) snprintf(to, room, "%.*s", (int) (n < 300 ? n : 300), p);
}

/* The host and the port are shown as libpq understood them, which is how a mistake in the URL is
 * found. */
const char *db_failure_text(const char *message, const char *host, const char *port, char *to,
                            size_t room) {
    const char *word = db_failure_word(db_failure_read(message));
    char said[301], text[600];
    bool named = host && *host;

    server_words(message, said, sizeof said);
    (void) snprintf(text, sizeof text, "%s%s%.100s%s%.10s%s%s%s", word, named ? " (" : "",
                    named ? str_host(host) : "", named && port && *port ? " port " : "",
                    named && port ? str_host(port) : "", named ? ")" : "", *said ? ": " : "", said);
    return str_clean(to, room, text);
}
