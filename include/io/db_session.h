/* The settings that each of our transactions begins with. A role, a database, a URL, the
 * environment or a pooler may have set anything: the isolation level, read-only, time-outs,
 * TimeZone, row_security, search_path. None of it is changed for the session, which may be a
 * transaction pooler's; all of it ends with the transaction. */
#pragma once
#include <libpq-fe.h>

#define DB_ZONE_SIZE 256 /* PostgreSQL's TZ_STRLEN_MAX, and its end */

/* Settings that differ between our programs. */
typedef struct DbSession {
    /* The time zone that others write in, where their columns have none; "": not known yet. */
    char zone[DB_ZONE_SIZE];
    const char *statement_timeout, *lock_timeout; /* as PostgreSQL reads them; "0": none */
    const char *transaction_timeout;              /* the same, of version 17; NULL: none */
    const char *
        sent_as; /* tells our functions in what company they are called, see meshify.sent_as(); NULL: does not */
} DbSession;

/* In pipeline mode: sends what the transaction that begins here has to set, DB_SESSION_OPENING statements,
 * before anything else of it. Answers 0 or -EIO. An error in one of their results means that this server is
 * not for us: a standby refuses them. There is no BEGIN: after an error in a block that a BEGIN has opened,
 * all that had been sent behind it would fail as well. */
#define DB_SESSION_OPENING 3
int db_session_open(PGconn *conn, const DbSession *session);

/* Sent to a new connection, in one transaction. The first finds the zone and takes it where the server knows
 * it, else the server's own or UTC, which it warns of. The answer to the second is one row. Column 0 is `t`
 * where the server may not be written to: its own configuration says so, as a host does when its disk is full.
 * (What a role, a database or a URL says of read-only is ours to decide.) Column 1 is the zone. */
extern const char db_session_zone[], db_session_question[];

/* Both in one text, for PQexec(). */
extern const char db_session_questions[];

/* Copies the zone of such an answer. */
void db_session_hear(DbSession *session, const PGresult *res);

/* For programs that wait: a transaction of the same kind, to be ended by COMMIT or ROLLBACK. NULL: it is open;
 * else what went wrong, which the caller clears. On a standby it is read-only. */
PGresult *db_session_begin(PGconn *conn, const DbSession *session);
