/* The doctor's look at the project's tables as jobs will meet them: columns, triggers, prices, and another worker
 * on the same queue. Functions of the schema meshify find it (sql/); here their answers become lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_value.h"
#include "ctl/doctor_query.h"

/* Charges that can't be given back as they were taken, when a job fails. */
static void check_charges(Doctor *d, PGconn *conn) {
    PGresult *res =
        doctor_ask(d, conn, "price",
                   "SELECT price, other, other_cost, by_users, jobless FROM meshify.odd_charges()");
    char advice[200];

    /* Three findings of one question; each has a cause and a remedy of its own. */
    if (res && PQntuples(res) == 1 && strcmp(doctor_text(res, 0, 1), "0") != 0) {
        (void) snprintf(advice, sizeof advice,
                        "If that is what the edge function takes: meshifyctl settings price %s",
                        doctor_text(res, 0, 2));
        doctor_say(d, GRADE_WARN, "price", advice,
                   "%s assets of the last week cost something else than the price, %s, most often "
                   "%s: of what they cost, at most the price is given back",
                   doctor_text(res, 0, 1), doctor_text(res, 0, 0), doctor_text(res, 0, 2));
    }
    if (res && PQntuples(res) == 1 && strcmp(doctor_text(res, 0, 3), "0") != 0)
        doctor_say(d, GRADE_WARN, "price",
                   "If they were paid for, let the edge function insert them with the service role "
                   "key.",
                   "%s assets of the last week were inserted by users themselves (the role "
                   "authenticated or anon): nothing is given back for them",
                   doctor_text(res, 0, 3));
    if (res && PQntuples(res) == 1 && strcmp(doctor_text(res, 0, 4), "0") != 0)
        doctor_say(d, GRADE_WARN, "price",
                   "SELECT * FROM public.mesh_assets a WHERE status IN ('pending', 'running') AND "
                   "NOT EXISTS (SELECT FROM public.jobs j WHERE j.asset_id = a.id); insert their "
                   "jobs, or give the credits back. meshify.enqueue() does all in one.",
                   "%s assets of the last week were paid for and have no job: the edge function "
                   "was broken off before it inserted one",
                   doctor_text(res, 0, 4));
    PQclear(res);
}

/* A column without a time zone works, but by a guess. */
static void check_columns(Doctor *d, PGconn *conn) {
    PGresult *res = doctor_ask(d, conn, "columns", "SELECT col, mend FROM meshify.zoneless()");

    for (int i = 0; res && i < PQntuples(res); i++)
        doctor_say(d, GRADE_WARN, "columns", doctor_text(res, i, 1),
                   "%s has no time zone: its times are taken as those of %s",
                   doctor_text(res, i, 0), doctor_zone());
    if (res && PQntuples(res) == 0)
        doctor_say(d, GRADE_OK, "columns", NULL, "times have a time zone");
    PQclear(res);
}

/* A column that is too short fails the job when its mesh is there and paid for. */
static void check_room(Doctor *d, PGconn *conn) {
    char sql[300];
    PGresult *res;

    /* Three functions, one answer: columns that are missing, of the wrong type, or too short for
     * what will be written. */
    (void) snprintf(sql, sizeof sql,
                    "SELECT true, m.* FROM meshify.misfit_columns() m"
                    " UNION ALL SELECT true, o.* FROM meshify.lost_owner() o"
                    " UNION ALL SELECT grave, col, why, mend FROM meshify.unfit_columns(%zu)",
                    config_object_size(d->config->storage_path));
    res = doctor_ask(d, conn, "columns", sql);
    for (int i = 0; res && i < PQntuples(res); i++)
        doctor_say(d, doctor_is_true(res, i, 0) ? GRADE_FAIL : GRADE_WARN, "columns",
                   doctor_text(res, i, 3), "%s %s", doctor_text(res, i, 1), doctor_text(res, i, 2));
    if (res && PQntuples(res) == 0)
        doctor_say(d, GRADE_OK, "columns", NULL, "what a job ends with can be written");
    PQclear(res);
}

/* A trigger that somebody disabled leaves its table unwatched: a cancel would never reach its
 * worker, say. */
static void check_triggers(Doctor *d, PGconn *conn) {
    PGresult *res =
        doctor_ask(d, conn, "triggers", "SELECT what, mend FROM meshify.idle_triggers()");

    for (int i = 0; res && i < PQntuples(res); i++)
        doctor_say(d, GRADE_FAIL, "triggers", doctor_text(res, i, 1), "%s", doctor_text(res, i, 0));
    if (res && PQntuples(res) == 0)
        doctor_say(d, GRADE_OK, "triggers", NULL, "all of ours are at work");
    PQclear(res);
}

/* Another worker on the same queue would buy a second mesh for each job. */
static void check_others(Doctor *d, PGconn *conn) {
    PGresult *res = doctor_ask(d, conn, "others", "SELECT stuck, busy FROM meshify.others()");
    int left, recent;

    if (!res)
        return;
    /* Running jobs without a lease: recent ones have another worker, old ones have none. */
    left = PQntuples(res) > 0 ? (int) strtol(doctor_text(res, 0, 0), NULL, 10) : 0;
    recent = PQntuples(res) > 0 ? (int) strtol(doctor_text(res, 0, 1), NULL, 10) : 0;
    PQclear(res);
    if (recent > 0)
        doctor_say(d, GRADE_FAIL, "others", "Stop the old worker before meshifyd is started.",
                   "%d running jobs of another worker changed within ten minutes", recent);
    else if (left > 0)
        doctor_say(
            d, GRADE_WARN, "others",
            "meshifyctl retry --stuck puts them back into the queue, cancel --stuck ends them.",
            "%d jobs were left running by an older program", left);
    else
        doctor_say(d, GRADE_OK, "others", NULL, "no other worker is at work on the queue");
}

void doctor_schema(Doctor *d, PGconn *conn) {
    check_triggers(d, conn);
    check_others(d, conn);
    check_columns(d, conn);
    check_charges(d, conn);
    check_room(d, conn);
}
