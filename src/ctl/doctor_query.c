/* How the doctor asks the database: each question in a transaction set up as those of the daemon are, so that the
 * doctor meets what the daemon would meet. What is asked, and what the answers mean, is told in doctor_db.c,
 * doctor_schema.c and doctor_users.c. */
#include "ctl/doctor_query.h"
#include "base/db_failure.h"
#include "ctl/login.h"

static bool is_good(const PGresult *res) {
    return PQresultStatus(res) == PGRES_TUPLES_OK || PQresultStatus(res) == PGRES_COMMAND_OK;
}

/* One program, one session: what db_session_hear() learned counts for all questions after it. */
static DbSession session = { .statement_timeout = "20s", .lock_timeout = "3s" };

/* As in ctl.c: an error at the COMMIT means that nothing of it holds. */
PGresult *doctor_run_sql(PGconn *conn, const char *sql) {
    PGresult *res = db_session_begin(conn, &session), *end;

    if (!res)
        res = PQexec(conn, sql);
    /* Nothing that the doctor asks is to be kept, but a COMMIT shows errors that come only then. */
    end = PQexec(conn, is_good(res) ? "COMMIT" : "ROLLBACK");
    if (is_good(res) && !is_good(end)) {
        PQclear(res);
        return end;
    }
    PQclear(end);
    return res;
}

/* For the usual causes there is an advice; otherwise the database's message has to do. */
PGresult *doctor_ask(Doctor *d, PGconn *conn, const char *check, const char *sql) {
    PGresult *res = doctor_run_sql(conn, sql);
    const char *message = res ? PQresultErrorMessage(res) : "out of memory";
    DbFailure failure = db_failure_read(message);

    if (PQresultStatus(res) == PGRES_TUPLES_OK)
        return res;
    doctor_say(d, GRADE_FAIL, check,
               (failure == DB_FAILURE_TIMEOUT && ctl_has_short_timeout(conn)) ||
                       failure == DB_FAILURE_LANGUAGE
                   ? db_failure_advice(failure)
                   : "See the message of the database.",
               "%s", message);
    PQclear(res);
    return NULL;
}

const char *doctor_text(const PGresult *res, int row, int column) {
    return row < PQntuples(res) && column < PQnfields(res) ? PQgetvalue(res, row, column) : "";
}

bool doctor_is_true(const PGresult *res, int row, int column) {
    return doctor_text(res, row, column)[0] == 't';
}

void doctor_learn_session(PGconn *conn) {
    PGresult *res = doctor_run_sql(conn, db_session_questions);

    if (PQresultStatus(res) == PGRES_TUPLES_OK)
        db_session_hear(&session, res);
    PQclear(res);
}

const char *doctor_zone(void) {
    return session.zone;
}
