/* The commands that show jobs and workers, and the one that inserts a job. What they show is
 * answered by functions in the database (sql/), as rows or as one JSON document; here it becomes
 * lines, or JSON for programs. */
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/say.h"
#include "base/str.h"
#include "ctl/ctl.h"

/* A column as JSON. Numbers stay numbers, by the numbers that PostgreSQL's types have
 * (pg_type.dat), which never change. */
static json_t *column(const PGresult *res, int row, int i) {
    const char *text = PQgetvalue(res, row, i);
    json_t *number;

    if (PQgetisnull(res, row, i))
        return json_null();
    switch (PQftype(res, i)) {
    case 20: /* int8, int4, float4, float8, numeric */
    case 23:
    case 700:
    case 701:
    case 1700:
        /* PostgreSQL writes finite numbers as JSON has them. */
        if ((number = json_loads(text, JSON_DECODE_ANY, NULL)))
            return number;
        break; /* NaN, or more than a machine counts */
    default:
        break;
    }
    return json_string(text);
}

json_t *ctl_rows_as_json(const PGresult *res) {
    json_t *rows = json_array();

    for (int row = 0; row < PQntuples(res); row++) {
        json_t *object = json_object();

        for (int i = 0; i < PQnfields(res); i++)
            json_object_set_new(object, PQfname(res, i), column(res, row, i));
        json_array_append_new(rows, object);
    }
    return rows;
}

/* meshify.enqueue() inserts asset and job in one transaction, and charges the user unless --free is
 * given. */
int ctl_enqueue(Ctl *c) {
    /* Texts as they were typed: the function checks them, and says what is wrong with them. */
    const char *params[] = { c->user, c->project, c->prompt, c->image, c->free ? "t" : "f" };
    int status = 0;
    PGresult *res;

    /* Checked before the database is asked, since its errors name columns, not options. */
    if (!c->user || !c->project || (!c->prompt && !c->image))
        return ctl_usage("enqueue needs --user, --project and --prompt or --image");
    if (!str_is_uuid(c->user) || !str_is_uuid(c->project))
        return ctl_usage("--user and --project are UUIDs");
    res = ctl_query(c, "SELECT asset_id, job_id FROM meshify.enqueue($1, $2, $3, $4, $5)", params,
                    5, &status);
    if (!res)
        return status;
    if (c->json) {
        _cleanup_(json_unrefp) json_t *rows = ctl_rows_as_json(res);

        say_json(json_array_get(rows, 0));
    } else
        say(stdout, "job %s, asset %s", PQgetvalue(res, 0, 1), PQgetvalue(res, 0, 0));
    PQclear(res);
    return 0;
}

/* The words of jobs.status. Another word would find nothing, and look like a queue without
 * trouble. */
static bool is_status(const char *word) {
    static const char *const words[] = { "pending", "running", "done", "error", "canceled" };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i], word) == 0)
            return true;
    return false;
}

/* The newest first, and few of them: an operator looks for what just went wrong. */
int ctl_jobs(Ctl *c) {
    const char *params[] = { c->status, c->user, c->limit ? c->limit : "50" };
    int status = 0;
    PGresult *res;

    if (c->user && !str_is_uuid(c->user))
        return ctl_usage("--user is a UUID");
    if (c->status && !is_status(c->status))
        return ctl_usage("--status is pending, running, done, error or canceled");
    if (ctl_check_limit(c) != 0)
        return EX_USAGE;
    res = ctl_query(c,
                    "SELECT *, meshify.seconds_between(created_at, now()) AS age_seconds"
                    " FROM meshify.list_jobs($1, $2, $3)",
                    params, 3, &status);
    if (!res)
        return status;
    if (c->json) {
        _cleanup_(json_unrefp) json_t *rows = ctl_rows_as_json(res);

        say_json(rows);
    } else {
        /* Columns by their names, so that a newer function may answer more of them. */
        int state = PQfnumber(res, "status"), age = PQfnumber(res, "age_seconds"),
            progress = PQfnumber(res, "progress"), prompt = PQfnumber(res, "prompt"),
            error = PQfnumber(res, "error"), path = PQfnumber(res, "output_path");

        say(stdout, "%-36s  %-8s %8s %5s  %-30s  %s", "JOB", "STATUS", "AGE", "%", "PROMPT",
            "RESULT");
        for (int row = 0; row < PQntuples(res); row++) {
            const char *p = PQgetvalue(res, row, progress), *e = PQgetvalue(res, row, error);
            char old[16], percent[8] = "";

            if (*p)
                (void) snprintf(percent, sizeof percent, "%.0f", strtod(p, NULL) * 100);
            say_part(stdout, "%s  %-8s %8s %5s  ", PQgetvalue(res, row, 0),
                     PQgetvalue(res, row, state),
                     ctl_age(strtod(PQgetvalue(res, row, age), NULL), old), percent);
            say_cell(stdout, PQgetvalue(res, row, prompt), 30);
            fputs("  ", stdout);
            say_cell(stdout, *e ? e : PQgetvalue(res, row, path), 0);
            say_end(stdout);
        }
    }
    PQclear(res);
    return 0;
}

/* Members by a list of names: so their order is ours, and what is new in the database does not
 * come into old output. */
static void print_members(const json_t *object, const char *const *names) {
    for (; *names; names++) {
        json_t *value = json_object_get(object, *names);
        _cleanup_free_ char *text = NULL;

        if (!value || json_is_null(value))
            continue;
        text = json_is_string(value) ? strdup(json_string_value(value)) : json_write(value);
        say_part(stdout, "  %-15s ", *names);
        say_cell(stdout, text, 0);
        say_end(stdout);
    }
}

static void print_list(const json_t *list, const char *title, const char *const *names) {
    json_t *item;
    size_t i;

    if (json_array_size(list) == 0)
        return;
    say(stdout, "%s", title);
    json_array_foreach (list, i, item) {
        for (const char *const *n = names; *n; n++) {
            json_t *value = json_object_get(item, *n);
            _cleanup_free_ char *text = NULL;

            if (!value || json_is_null(value))
                continue;
            text = json_is_string(value) ? strdup(json_string_value(value)) : json_write(value);
            fputs("  ", stdout);
            say_cell(stdout, text, 0);
        }
        say_end(stdout);
    }
}

/* One JSON document from a function, or NULL with the exit status. */
static json_t *document(Ctl *c, const char *sql, const char *const *params, int n, int *ret_exit) {
    _cleanup_free_ char *text = ctl_value(c, sql, params, n, ret_exit);

    json_t *root = text ? json_parse(text, strlen(text)) : NULL;

    if (text && !root) {
        fputs("meshifyctl: the database's answer is not JSON that can be read\n", stderr);
        *ret_exit = EX_SOFTWARE;
    }
    return root;
}

int ctl_show(Ctl *c) {
    static const char *const job[] = { "id",           "status",     "user_id",
                                       "asset_id",     "attempts",   "crashes",
                                       "progress",     "created_at", "started_at",
                                       "completed_at", "worker_id",  "error",
                                       "input_data",   NULL };
    static const char *const asset[] = { "status",       "output_path", "size",
                                         "credits_cost", "result_meta", NULL };
    static const char *const purchases[] = { "step",   "purchase", "state", "prediction_id",
                                             "status", "model",    "error", NULL };
    static const char *const refunds[] = { "n", "at", "credits", NULL };
    static const char *const events[] = { "at", "event", "detail", NULL };
    int status = 0;

    if (c->argc != 1 || !str_is_uuid(c->argv[0]))
        return ctl_usage("show needs the id of one job");
    const char *params[] = { c->argv[0] };
    _cleanup_(json_unrefp) json_t *root =
        document(c, "SELECT meshify.show_job($1)", params, 1, &status);

    if (!root) {
        /* The function answers null for a job that does not exist; a refused query was reported
         * already. */
        if (status == CTL_REFUSED)
            say(stderr, "meshifyctl: there is no job %s", c->argv[0]);
        return status;
    }
    if (c->json) {
        say_json(root);
        return 0;
    }
    puts("job");
    print_members(json_object_get(root, "job"), job);
    puts("asset");
    print_members(json_object_get(root, "asset"), asset);
    /* In the order in which questions come up: what was bought, what was given back, what
     * happened. */
    print_list(json_object_get(root, "purchases"), "purchases", purchases);
    print_list(json_object_get(root, "refunds"), "refunds", refunds);
    print_list(json_object_get(root, "events"), "events", events);
    return 0;
}

/* Lanes that a worker holds back at the moment: the reason why jobs do not go on. */
static void print_held(const json_t *held) {
    json_t *lane;
    size_t i;

    json_array_foreach (held, i, lane) {
        double left = json_number(lane, "seconds", 0);

        if (left <= 0)
            continue;
        fputs("    lane ", stdout);
        say_cell(stdout, json_text(lane, "lane"), 0);
        say_part(stdout, " held, tried again in %.0f s: ", left);
        say_cell(stdout, json_text(lane, "detail"), 0);
        say_end(stdout);
    }
}

/* Jobs that have waited for the same thing for longer than a minute. */
static void print_waits(const json_t *waits) {
    json_t *job;
    char age[16];
    size_t i;

    if (json_array_size(waits) > 0)
        say(stdout, "waiting  %zu", json_array_size(waits));
    json_array_foreach (waits, i, job) {
        fputs("  ", stdout);
        say_cell(stdout, json_text(job, "job"), 36);
        say_part(stdout, " %s, for ", ctl_age(json_number(job, "seconds", 0), age));
        say_cell(stdout, json_text(job, "for"), 0);
        say_end(stdout);
    }
}

/* A worker whose lease ran out is shown as such: its jobs are about to be taken over. */
int ctl_status(Ctl *c) {
    int status = 0;
    _cleanup_(json_unrefp) json_t *root = document(c, "SELECT meshify.status()", NULL, 0, &status);
    json_t *queue = json_object_get(root, "queue"), *worker;
    char age[16];
    size_t i;

    if (!root)
        return status;
    if (c->json) {
        say_json(root);
        return 0;
    }
    say_part(stdout, "queue    %.0f pending, %.0f running", json_number(queue, "pending", 0),
             json_number(queue, "running", 0));
    if (json_number(queue, "pending", 0) > 0)
        say_part(stdout, ", the oldest pending for %s",
                 ctl_age(json_number(queue, "oldest_pending_seconds", 0), age));
    say_end(stdout);
    /* Such jobs have no lease that could expire. `cancel --stuck` or `retry
     * --stuck` mends them. */
    if (json_number(queue, "running_without_worker", 0) > 0)
        say(stdout, "         %.0f running without a worker: left by another program",
            json_number(queue, "running_without_worker", 0));
    /* An hour shows whether it works now, a day whether that is usual. */
    say(stdout, "an hour  %.0f done, %.0f failed", json_number(queue, "done_hour", 0),
        json_number(queue, "error_hour", 0));
    say(stdout, "a day    %.0f done, %.0f failed, p50 %.1f s, p95 %.1f s",
        json_number(queue, "done_day", 0), json_number(queue, "error_day", 0),
        json_number(queue, "p50_seconds", 0), json_number(queue, "p95_seconds", 0));
    say(stdout, "workers  %zu", json_array_size(json_object_get(root, "workers")));
    json_array_foreach (json_object_get(root, "workers"), i, worker) {
        /* The first question of an operator is whether the worker is alive. A worker that drains is alive, and
         * takes no more jobs. */
        double left = json_number(worker, "lease_left_seconds", 0);
        const char *state = json_is_true(json_object_get(worker, "dead"))       ? "dead"
                            : left <= 0                                         ? "lease run out"
                            : json_is_true(json_object_get(worker, "draining")) ? "draining"
                                                                                : "alive";

        fputs("  ", stdout);
        say_cell(stdout, json_text(worker, "instance"), 24);
        say_part(stdout, " %-13s %5.0f of %.0f jobs, pid %.0f on ", state,
                 json_number(worker, "running", 0), json_number(worker, "max_jobs", 0),
                 json_number(worker, "pid", 0));
        say_cell(stdout, json_text(worker, "host"), 0);
        say_end(stdout);
        print_held(json_object_get(worker, "held"));
    }
    print_waits(json_object_get(root, "waits"));
    /* Said last, where it is seen: a paused queue looks like a broken one. */
    if (strcmp(json_text(json_object_get(root, "settings"), "paused")
                   ? json_text(json_object_get(root, "settings"), "paused")
                   : "",
               "on") == 0)
        puts("claims are paused");
    return 0;
}
