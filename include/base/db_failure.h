/* Why a database can't be reached. libpq keeps no code of a connection that failed, only a text, and that text
 * repeats the URL, piece by piece; so it is read here, for a reason from a closed list, and not shown. Pure. */
#pragma once
#include <stddef.h>

typedef enum DbFailure {
    DB_FAILURE_NONE,
    DB_FAILURE_PASSWORD,    /* refused, or not given */
    DB_FAILURE_ROLE,        /* the login does not exist, or may not log in */
    DB_FAILURE_TENANT,      /* Supavisor does not know the project or the user */
    DB_FAILURE_BLOCKED,     /* Supavisor, after too many wrong passwords */
    DB_FAILURE_DATABASE,    /* no such database */
    DB_FAILURE_HBA,         /* pg_hba.conf lets nobody in from here */
    DB_FAILURE_TLS_NEEDED,  /* the server wants TLS */
    DB_FAILURE_TLS_NONE,    /* the server has none */
    DB_FAILURE_TLS_CA,      /* its certificate is of a CA that we do not know */
    DB_FAILURE_TLS_NAME,    /* its certificate is for another name */
    DB_FAILURE_TLS_FILE,    /* the CA's certificate can't be read here */
    DB_FAILURE_TLS,         /* TLS fails in another way */
    DB_FAILURE_CROWDED,     /* no connection is free */
    DB_FAILURE_STARTING,    /* it starts, stops or recovers */
    DB_FAILURE_READ_ONLY,   /* a standby, or read-only */
    DB_FAILURE_SERVICE,     /* libpq's service file */
    DB_FAILURE_URL,         /* libpq can't use the URL */
    DB_FAILURE_NAME,        /* the host's name has no address */
    DB_FAILURE_NO_ROUTE_V6, /* all addresses are IPv6, and none can be reached */
    DB_FAILURE_NO_ROUTE,
    DB_FAILURE_LOST,     /* it broke off */
    DB_FAILURE_SILENT,   /* nothing answers in time */
    DB_FAILURE_CLOSED,   /* nothing listens there */
    DB_FAILURE_STRANGE,  /* what answers is no PostgreSQL server */
    DB_FAILURE_SOCKET,   /* no unix socket there, or not for us */
    DB_FAILURE_TIMEOUT,  /* of the role or the database, shorter than what begins a transaction */
    DB_FAILURE_LANGUAGE, /* plpgsql is not for the login */
    DB_FAILURE_MEMORY,   /* ours: libpq gives a connection up for want of it */
    DB_FAILURE_REFUSED,  /* FATAL, for another reason */
    DB_FAILURE_OTHER,
    _DB_FAILURE_MAX
} DbFailure;

/* When it makes sense to try again. */
typedef enum DbRetry {
    DB_RETRY_SOON,  /* it may pass by itself, at any moment */
    DB_RETRY_RARER, /* a server that says no goes on saying so: wait longer each time */
    DB_RETRY_RARELY /* each try is counted against us: hosts ban addresses that guess passwords */
} DbRetry;

/* Reads the text of PQerrorMessage(), or one of our own for a connection that did not come up. NULL is for
 * want of memory. With PQERRORS_VERBOSE the server's codes count, in whatever language it speaks. */
DbFailure db_failure_read(const char *message);

/* The reason as a clause: "the password is wrong". */
const char *db_failure_word(DbFailure failure);
const char *db_failure_advice(DbFailure failure);
DbRetry db_failure_retry(DbFailure failure);

/* The reason, where (`host` may be NULL), and what the server itself said, if it did; cleaned, one line. */
const char *db_failure_text(const char *message, const char *host, const char *port, char *to,
                            size_t room);
