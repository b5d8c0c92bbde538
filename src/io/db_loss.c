/* A connection that is lost, or does not come up: what was under way is put back in line, the owner is told once,
 * and the next attempt is timed by what the other side said. Connecting again is db_connect.c's, when the timer
 * of db.c rings. */

#include "base/clock.h"
#include "io/db_private.h"

/* Waits between two attempts. Ordinary failures pass soon; what looks like a wrong password is
 * repeated rarely. */
#define DB_RETRY_MAX (5 * USEC_PER_SEC)
#define DB_RETRY_AUTH (300 * USEC_PER_SEC)   /* hosts ban addresses that guess passwords */
#define DB_RETRY_REFUSED (10 * USEC_PER_SEC) /* then doubled each time, up to the former */

void db_set_timer(Db *db, uint64_t usec) {
    (void) sd_event_source_set_time_relative(db->timer, usec);
    (void) sd_event_source_set_enabled(db->timer, SD_EVENT_ONESHOT);
}

void db_disconnect(Db *db) {
    db->hosts = hosts_cancel(db->hosts);
    db->io = sd_event_source_disable_unref(db->io);
    (void) sd_event_source_set_enabled(db->timer, SD_EVENT_OFF);
    PQfinish(db->conn);
    db->conn = NULL;
    db->state = DB_AWAY;
}

/* A statement_timeout of a millisecond, say, ends the very statement that sets another one. A
 * session can be asked for that has none; where that is refused, a server that is warm may be
 * fast enough. */
static void plan_timing(Db *db, DbFailure failure, bool was_up) {
    if (db->untimed == DB_TIMED && failure == DB_FAILURE_TIMEOUT)
        db->untimed = DB_UNTIMED;
    else if (db->untimed == DB_UNTIMED && !was_up &&
             (failure == DB_FAILURE_TIMEOUT || failure == DB_FAILURE_REFUSED))
        db->untimed = DB_TIMED_FOREVER;
}

/* The owner is told once for each loss, and once more when the reason becomes one that waiting
 * does not mend. Calls that must not be sent twice are answered last, when the connection is in
 * order again: their owner may queue others. */
static void lose(Db *db, DbFailure failure, const char *why, uint64_t retry_usec) {
    DbOps lost = TAILQ_HEAD_INITIALIZER(lost);
    bool was_up = db->state == DB_UP, refused = false;
    DbOp *op;

    db->failure = failure;
    db->failures += !was_up;
    plan_timing(db, failure, was_up);
    /* Before anything is put back: it looks at the batch that was first. */
    db_part_late(db);
    db_disconnect(db);
    db_take_back(db, &lost);
    /* Half of the wait is chance: many instances lose a server at the same moment, and should not
     * come back at the same moment. */
    if (retry_usec == 0) {
        retry_usec = (uint64_t) ((double) db->retry_usec * (0.5 + clock_chance() / 2));
        db->retry_usec = db->retry_usec * 2 < DB_RETRY_MAX ? db->retry_usec * 2 : DB_RETRY_MAX;
    } else
        refused = !db->told_refused;
    db_set_timer(db, retry_usec);
    /* Once for each loss, not for each attempt: an outage of hours is one event. */
    if (was_up || !db->told_down || refused) {
        db->told_down = true;
        db->told_refused = db->told_refused || refused;
        if (db->events.down)
            db->events.down(db->userdata, why, retry_usec);
    }
    while ((op = TAILQ_FIRST(&lost))) {
        TAILQ_REMOVE(&lost, op, link);
        db_op_tell(op, DB_DISCONNECTED);
    }
}

void db_lose(Db *db, const char *why, uint64_t retry_usec) {
    lose(db, db_failure_read(why), why, retry_usec);
}

/* How soon it is tried again follows from the reason; refusals in a row wait longer each time. */
void db_lose_refused(Db *db, const char *message) {
    DbFailure failure = db_failure_read(message);
    DbRetry retry = db_failure_retry(failure);
    uint64_t retry_usec = 0;
    char why[500];

    db_failure_text(message, db->conn ? PQhost(db->conn) : NULL, db->conn ? PQport(db->conn) : NULL,
                    why, sizeof why);
    /* A wrong password that is repeated gets this machine's address banned. */
    if (retry == DB_RETRY_RARELY)
        retry_usec = DB_RETRY_AUTH;
    else if (retry == DB_RETRY_RARER && db->state != DB_UP && db->untimed != DB_UNTIMED) {
        retry_usec = DB_RETRY_REFUSED << db->refusals;
        if (retry_usec >= DB_RETRY_AUTH)
            retry_usec = DB_RETRY_AUTH;
        else
            db->refusals++;
    }
    lose(db, failure, why, retry_usec);
}

/* With its code, since servers speak many languages. */
void db_lose_answered(Db *db, const PGresult *error) {
    char *text = PQresultVerboseErrorMessage(error, PQERRORS_VERBOSE, PQSHOW_CONTEXT_NEVER);

    db_lose_refused(db, text ? text : PQresultErrorMessage(error));
    PQfreemem(text);
}
