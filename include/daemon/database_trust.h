/* Whom a database URL trusts: whether the server behind it has to prove who it is before it is told the
 * password. Reads libpq's environment, its service file, and this machine's addresses; connects to nothing
 * and asks no name server. */
#pragma once

#include "core/config.h"

typedef enum DatabaseTrust {
    DATABASE_LOCAL,    /* all of its servers are this machine */
    DATABASE_VERIFIED, /* sslmode=verify-full */
    DATABASE_EXPOSED,  /* anything weaker: whoever stands between may ask for the password */
    DATABASE_UNKNOWN,  /* libpq can't say: no such service */
} DatabaseTrust;

/* `url` as [database] has it; NULL: libpq's own environment. `ret_why` (of `room` bytes) is the end of a
 * sentence that begins with the key, "" where there is nothing to say. */
DatabaseTrust database_trust(const char *url, char *ret_why, size_t room);

#define DATABASE_TRUST_ADVICE                                                               \
    "write sslmode=verify-full and sslrootcert=FILE, the certificate of its CA (Supabase: " \
    "Database Settings, SSL Configuration)"

/* What mends what there is to say, as the end of a sentence. */
const char *database_trust_advice(DatabaseTrust trust);

/* Adds a line for each URL of [database] with a value that libpq will refuse (sslmode=maybe). 0, -ENOMEM. */
int database_trust_check(const Config *c, ConfigErrors *errors);

/* Adds a line for each URL of [database] that there is something to say about. 0, -ENOMEM. */
int database_trust_warn(const Config *c, ConfigErrors *warnings);
