/* Commands that change something by hand: cancel, retry, pause, settings, drain; and the two that
 * show what was bought. Each is one call of a function in the database, which decides and answers
 * with a word; what the words mean to an operator stands here. */
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/say.h"
#include "base/str.h"
#include "core/config_value.h"
#include "ctl/ctl.h"
#include "ctl/doctor.h"

/* An answer of a function in SQL, and its sentence for the operator. */
typedef struct Word {
    const char *word;
    int status;
    const char *says;
} Word;

/* An answer for programs; takes the reference. */
static void answer(json_t *value) {
    say_json(value);
    json_decref(value);
}

/* As a number, however many digits it has. */
static void answer_count(const char *name, const char *n) {
    answer(json_pack("{s:I}", name, (json_int_t) strtoll(n, NULL, 10)));
}

/* An unknown word comes from a newer schema, and is shown as it is. */
static int say_word(const Ctl *c, const char *job, const char *word, const Word *words) {
    while (words->word && strcmp(words->word, word) != 0)
        words++;
    if (c->json)
        answer(json_pack("{s:s, s:s}", "job", job, "answer", word));
    else if (words->word)
        say(words->status == 0 ? stdout : stderr, "%sjob %s %s",
            words->status == 0 ? "" : "meshifyctl: ", job, words->says);
    else
        say(stderr, "meshifyctl: job %.100s: the database answers '%s'", job, word);
    return words->word ? words->status : CTL_REFUSED;
}

/* Jobs that an older program left running have no worker, so no lease that could run out. */
static int on_stuck(Ctl *c, const char *sql, const char *what) {
    int status = 0;
    _cleanup_free_ char *n = NULL;

    if (c->argc > 0)
        return ctl_usage("either a job or --stuck");
    if (!(n = ctl_value(c, sql, NULL, 0, &status)))
        return status;
    if (c->json)
        answer_count("jobs", n);
    else
        say(stdout, "%s jobs that an older program had left running %s", n, what);
    return 0;
}

/* For commands on one job: the id is checked here, since PostgreSQL's error for a bad UUID is
 * about types. */
static int on_job(Ctl *c, const char *sql, const Word *words) {
    const char *params[] = { c->argc == 1 ? c->argv[0] : NULL };
    int status = 0;
    _cleanup_free_ char *word = NULL;

    if (c->argc != 1 || !str_is_uuid(c->argv[0]))
        return ctl_usage("the id of one job is expected, or --stuck");
    if (!(word = ctl_value(c, sql, params, 1, &status)))
        return status;
    return say_word(c, c->argv[0], word, words);
}

/* A job that a worker has is only asked to end: that worker may be buying for it at this moment. */
int ctl_cancel(Ctl *c) {
    static const Word words[] = {
        { "canceled", 0, "is canceled" },
        { "asked", 0, "is being canceled: its worker cancels the purchase first" },
        { "ended", CTL_REFUSED, "has ended already" },
        { "gone", CTL_REFUSED, "does not exist" },
        { 0 },
    };

    return c->stuck ? on_stuck(c, "SELECT meshify.cancel_stuck()", "are canceled")
                    : on_job(c, "SELECT meshify.cancel($1)", words);
}

/* The credits are charged again in the same transaction, so that no retry is free. */
int ctl_retry(Ctl *c) {
    static const Word words[] = {
        { "ok", 0, "is in the queue again" },
        { "unfinished", CTL_REFUSED, "has not ended yet" },
        { "done", CTL_REFUSED, "has its mesh: there is nothing to try again" },
        { "credits", CTL_REFUSED,
          "had its credits given back, and the user has too few now to pay for it again" },
        { "no_asset", CTL_REFUSED, "has no asset any more" },
        { "gone", CTL_REFUSED, "does not exist" },
        { 0 },
    };

    return c->stuck ? on_stuck(c, "SELECT meshify.retry_stuck()", "are in the queue again")
                    : on_job(c, "SELECT meshify.retry($1)", words);
}

/* The allowed values are asked of the database, where the settings are defined. */
static int set(Ctl *c, const char *key, const char *value) {
    const char *params[] = { key, value };
    int status = 0;
    _cleanup_free_ char *word =
        ctl_value(c, "SELECT meshify.set_setting($1, $2)", params, 2, &status);

    if (!word)
        return status;
    if (strcmp(word, "ok") == 0) {
        if (c->json)
            answer(json_pack("{s:s}", key, value));
        else
            say(stdout, "%s = %s", key, value);
        return 0;
    }
    if (strcmp(word, "unknown") == 0) {
        say(stderr, "meshifyctl: %.500s is not a setting; `meshifyctl settings` lists them", key);
        return CTL_REFUSED;
    }
    /* Asked only when a value was refused, for the sentence about it. */
    _cleanup_free_ char *takes =
        ctl_value(c, "SELECT meshify.setting_takes($1)", params, 1, &status);

    if (takes)
        say(stderr, "meshifyctl: %.500s is not a value of %.500s: it takes %s", value, key, takes);
    return CTL_REFUSED;
}

/* Kept in the database, so that it holds for instances that start later, too. */
int ctl_pause(Ctl *c) {
    return set(c, "paused", "on");
}

int ctl_resume(Ctl *c) {
    return set(c, "paused", "off");
}

int ctl_settings(Ctl *c) {
    int status = 0;
    PGresult *res;

    if (c->argc == 2)
        return set(c, c->argv[0], c->argv[1]);
    /* One argument alone is a mistake: a key without its value would otherwise look like a
     * question for it. */
    if (c->argc != 0)
        return ctl_usage("settings takes nothing, or KEY VALUE");
    if (!(res = ctl_query(c, "SELECT key, value FROM meshify.list_settings()", NULL, 0, &status)))
        return status;
    if (c->json) {
        _cleanup_(json_unrefp) json_t *all = json_object();

        for (int i = 0; i < PQntuples(res); i++)
            json_object_set_new(all, PQgetvalue(res, i, 0), json_string(PQgetvalue(res, i, 1)));
        say_json(all);
    } else
        for (int i = 0; i < PQntuples(res); i++) {
            say_cell(stdout, PQgetvalue(res, i, 0), 16);
            say(stdout, " %s", PQgetvalue(res, i, 1));
        }
    PQclear(res);
    return 0;
}

/* By name, since an operator knows instances by the name in the status; several may have the same
 * one. */
int ctl_drain(Ctl *c) {
    const char *params[] = { c->argc == 1 ? c->argv[0] : NULL };
    int status = 0;
    _cleanup_free_ char *n = NULL;

    if (c->argc != 1)
        return ctl_usage("drain needs the name of one instance");
    if (!(n = ctl_value(c, "SELECT meshify.drain($1)", params, 1, &status)))
        return status;
    if (strcmp(n, "0") == 0) {
        say(stderr, "meshifyctl: no live instance is called %.500s; `meshifyctl status` lists them",
            c->argv[0]);
        return CTL_REFUSED;
    }
    if (c->json)
        answer_count("asked", n);
    else
        say(stdout, "%s asked to hand back its jobs and stop", c->argv[0]);
    return 0;
}

/* Columns are found by name: a newer function may answer more of them. */
int ctl_purchases(Ctl *c) {
    const char *params[] = { c->surplus ? "t" : "f", c->limit ? c->limit : "50" };
    int status = 0;
    PGresult *res;

    if (ctl_check_limit(c) != 0)
        return EX_USAGE;
    res = ctl_query(c, "SELECT * FROM meshify.list_purchases($1, $2)", params, 2, &status);
    if (!res)
        return status;
    if (c->json) {
        _cleanup_(json_unrefp) json_t *rows = ctl_rows_as_json(res);

        say_json(rows);
    } else {
        /* The model is last, since it may be of any length; all other columns are bounded. */
        say(stdout, "%-36s  %-10s %1s %-8s  %-26s %-10s %s", "JOB", "STEP", "#", "STATE",
            "PREDICTION", "STATUS", "MODEL");
        for (int i = 0; i < PQntuples(res); i++) {
            say_part(stdout, "%s  ", PQgetvalue(res, i, PQfnumber(res, "job_id")));
            say_cell(stdout, PQgetvalue(res, i, PQfnumber(res, "step")), 10);
            say_part(stdout, " %s %-8s  ", PQgetvalue(res, i, PQfnumber(res, "purchase")),
                     PQgetvalue(res, i, PQfnumber(res, "state")));
            say_cell(stdout, PQgetvalue(res, i, PQfnumber(res, "prediction_id")), 26);
            fputs(" ", stdout);
            say_cell(stdout, PQgetvalue(res, i, PQfnumber(res, "status")), 10);
            fputs(" ", stdout);
            say_cell(stdout, PQgetvalue(res, i, PQfnumber(res, "model")), 0);
            say_end(stdout);
        }
    }
    PQclear(res);
    return 0;
}

/* A number that is missing counts as 0: an empty queue has no median. */
static double seconds(const json_t *object, const char *name) {
    return json_number(object, name, 0);
}

/* The time is sent in seconds, as PostgreSQL before 15 reads no more than 35 minutes in
 * microseconds. */
int ctl_stats(Ctl *c) {
    const char *params[] = { c->since ? c->since : "24h" };
    uint64_t usec;
    char interval[40], age[16];
    const char *reason;
    int status = 0;
    json_t *jobs, *item;
    size_t i;

    if (!config_read_duration(params[0], &usec) || usec == 0)
        return ctl_usage("--since is a duration in ms, s, min, h or d, as 90min or 7d");
    (void) snprintf(interval, sizeof interval, "%llu.%06llu seconds", /* as db_request_add_usec() */
                    (unsigned long long) usec / 1000000, (unsigned long long) usec % 1000000);
    params[0] = interval;
    _cleanup_free_ char *text = ctl_value(c, "SELECT meshify.summary($1)", params, 1, &status);
    _cleanup_(json_unrefp) json_t *root = text ? json_parse(text, strlen(text)) : NULL;

    if (!root)
        return text ? EX_SOFTWARE : status;
    if (c->json) {
        say_json(root);
        return 0;
    }
    jobs = json_object_get(root, "jobs");
    say(stdout, "jobs      %.0f done, %.0f failed, %.0f canceled", json_number(jobs, "done", 0),
        json_number(jobs, "failed", 0), json_number(jobs, "canceled", 0));
    say_part(stdout, "time      p50 %s", ctl_age(seconds(jobs, "p50_seconds"), age));
    say(stdout, ", p95 %s", ctl_age(seconds(jobs, "p95_seconds"), age));
    /* By the word of the fault, which the manual explains. */
    json_object_foreach (json_object_get(root, "failures"), reason, item) {
        fputs("failed    ", stdout);
        say_cell(stdout, reason, 24);
        say(stdout, " %.0f", json_number_value(item));
    }
    /* By model, as Replicate's invoice has them. */
    json_array_foreach (json_object_get(root, "models"), i, item) {
        fputs("model     ", stdout);
        say_cell(stdout, json_text(item, "model"), 40);
        say(stdout, " %.0f predictions, %.0f succeeded, %.0f surplus, %.0f s",
            json_number(item, "predictions", 0), json_number(item, "succeeded", 0),
            json_number(item, "surplus", 0), json_number(item, "predict_seconds", 0));
    }
    /* An owner that is null has left the project; the files are still there. */
    json_array_foreach (json_object_get(root, "storage"), i, item)
        say(stdout, "storage   %s %.0f files, %.1f MiB",
            json_text(item, "owner") ? json_text(item, "owner") : "nobody",
            json_number(item, "count", 0), json_number(item, "bytes", 0) / 1048576);
    return 0;
}

int ctl_doctor(Ctl *c) {
    return doctor_run(c->config);
}
