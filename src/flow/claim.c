/* The claim: what is asked of the database, and how one of its rows becomes a job, with
 * everything that was bought for it before. A row that can't be read must not be lost, nor be
 * bought for: it becomes a job that fails with a fault. Where a job begins is core/job.c's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "flow/claim.h"
#include "flow/replicate.h"

enum { /* columns of meshify.claimed */
    COL_JOB,
    COL_USER,
    COL_PROJECT,
    COL_ASSET,
    COL_OWNER,
    COL_INPUT,
    COL_ATTEMPTS,
    COL_CRASHES,
    COL_WORKED,
    COL_AGE,
    COL_CANCEL,
    COL_PURCHASES,
    COL_NEXT, /* of a job: the size of its input, where that is too large to be answered */
    COL_MISSING,
    COL_GONE,
    COLUMNS,
};

/* Times that a job's worker died, or its end was refused. Such a job takes others of the same
 * worker with it, so it is given up. */
#define CRASHES_MAX 5

/* `only_bought`: while the lane of purchases is held, only jobs are worth claiming that need
 * none. */
int claim_ask(const Config *c, const char *worker, unsigned free_slots, bool only_bought,
              DbRequest *ret) {
    *ret = (DbRequest){ .sql = "SELECT * FROM meshify.claim($1, $2, $3, $4)" };
    if (db_request_add(ret, worker) < 0 || db_request_addf(ret, "%u", free_slots) < 0 ||
        db_request_addf(ret, "%u", c->max_jobs_per_user) < 0 ||
        db_request_add(ret, only_bought ? "t" : "f") < 0) {
        db_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

/* The worker tells which jobs it has; the answer has those that it should have as well, which it
 * claimed when the answer was lost. */
int claim_ask_compare(const char *worker, Job *const *known, size_t n, DbRequest *ret) {
    StrBuf ids = { 0 };
    int r = strbuf_add(&ids, "{", 1);

    for (size_t i = 0; i < n && r == 0; i++)
        r = strbuf_printf(&ids, "%s%s", i ? "," : "", known[i]->id);
    if (r == 0)
        r = strbuf_add(&ids, "}", 1);
    *ret = (DbRequest){ .sql = "SELECT * FROM meshify.compare($1, $2)" };
    if (r < 0 || db_request_add(ret, worker) < 0 || db_request_add(ret, ids.text) < 0) {
        db_request_done(ret);
        r = -ENOMEM;
    }
    strbuf_done(&ids);
    return r;
}

/* Another number of columns is another version's, which the check of the schema has refused. */
static bool readable(const PGresult *res, int row) {
    return res && PQnfields(res) == COLUMNS && row < PQntuples(res);
}

static const char *text(const PGresult *res, int row, int column) {
    return PQgetisnull(res, row, column) ? NULL : PQgetvalue(res, row, column);
}

static uint64_t number(const PGresult *res, int row, int column) {
    const char *s = text(res, row, column);
    long long n = s ? strtoll(s, NULL, 10) : 0;

    return n > 0 ? (uint64_t) n : 0;
}

/* Row 0 is about the queue, not about a job. */
uint64_t claim_next_usec(const PGresult *res) {
    return readable(res, 0) && text(res, 0, COL_NEXT) ? number(res, 0, COL_NEXT) : UINT64_MAX;
}

/* The lists are texts of ids, of 36 characters each, so none is a part of another. */
static bool names(const PGresult *res, int column, const char *job_id) {
    const char *ids = readable(res, 0) ? text(res, 0, column) : NULL;

    return ids && strstr(ids, job_id);
}

bool claim_misses(const PGresult *res, const char *job_id) {
    return names(res, COL_MISSING, job_id);
}

bool claim_is_gone(const PGresult *res, const char *job_id) {
    return names(res, COL_GONE, job_id);
}

/* Moves a moment that lies `ago` back onto our clock, which may be younger than that. */
static uint64_t before(uint64_t now_usec, int64_t ago_usec) {
    if (ago_usec < 0)
        return now_usec; /* transactions that cross see each other's future */
    return (uint64_t) ago_usec >= now_usec ? 0 : now_usec - (uint64_t) ago_usec;
}

/* A member's text, or NULL where it has none. 0, -ENOMEM. */
static int copy_text(const json_t *row, const char *name, char **ret) {
    const char *text_there = json_text(row, name);

    *ret = text_there ? strdup(text_there) : NULL;
    return text_there && !*ret ? -ENOMEM : 0;
}

/* One purchase out of the JSON that the claim brings. Ages are told, not times: the database's
 * clock and ours need not agree. What the rest of the job could not do without is checked here. */
static int read_purchase(const json_t *row, uint64_t now_usec, Purchase *ret) {
    static const char *const states[] = {
        [PURCHASE_INTENDED] = "intended", [PURCHASE_BOUGHT] = "bought",
        [PURCHASE_GIVEN_UP] = "given_up", [PURCHASE_SURPLUS] = "surplus",
        [PURCHASE_ENDED] = "ended",
    };
    const char *step = json_text(row, "step"), *state = json_text(row, "state"),
               *prediction = json_text(row, "prediction_id"), *status = json_text(row, "status"),
               *key = json_text(row, "key"), *buyer = json_text(row, "worker");
    int64_t left = json_whole(row, "give_up_in_usec", 0), number = json_whole(row, "purchase", 0);
    Purchase p = {
        .number = number > 0 && number <= INT32_MAX ? (unsigned) number : 0,
        .intent_usec = before(now_usec, json_whole(row, "intent_age_usec", 0)),
        .intent_epoch = json_whole(row, "intent_epoch", 0),
        .give_up_usec = left > 0 ? now_usec + (uint64_t) left : now_usec,
        .finished = json_is_true(json_object_get(row, "finished")),
        .finished_usec = before(now_usec, json_whole(row, "finished_age_usec", 0)),
        .predict_time = json_number(row, "predict_time", -1),
        .is_last = json_is_true(json_object_get(row, "last_step")),
    };
    json_t *output = json_object_get(row, "output");
    bool known = false;

    /* A state that is not known is another version's, and means that nothing may be bought. */
    for (size_t i = 0; state && i < sizeof states / sizeof *states; i++)
        if (strcmp(state, states[i]) == 0) {
            p.state = (PurchaseState) i;
            known = true;
        }
    if (!known || !step || !key || !str_is_uuid(key) || p.number == 0 ||
        (p.state == PURCHASE_BOUGHT && !replicate_is_id(prediction)))
        return -EBADMSG;
    p.succeeded = p.finished && status && strcmp(status, "succeeded") == 0;
    p.usable = p.state == PURCHASE_BOUGHT && p.succeeded;
    memcpy(p.key, key, sizeof p.key);
    if (buyer && str_is_uuid(buyer))
        memcpy(p.buyer, buyer, sizeof p.buyer);
    if (copy_text(row, "step", &p.step) < 0 ||
        copy_text(row, "prediction_id", &p.prediction_id) < 0 ||
        copy_text(row, "input_hash", &p.input_hash) < 0 || copy_text(row, "model", &p.model) < 0 ||
        copy_text(row, "pipeline", &p.pipeline) < 0 ||
        copy_text(row, "output_pointer", &p.pointer) < 0) {
        purchase_done(&p);
        return -ENOMEM;
    }
    p.input_keys = json_incref(json_object_get(row, "input_keys"));
    p.output = json_is_null(output) ? NULL : json_incref(output);
    *ret = p;
    return 0;
}

/* A row that can't be read was changed by hand. Its meaning is unknown, so nothing is bought
 * for this job any more; what the other rows name can still be canceled. */
static int read_purchases(Job *j, const char *rows, uint64_t now_usec) {
    _cleanup_(json_unrefp) json_t *all = rows ? json_parse(rows, strlen(rows)) : NULL;
    bool readable_all = json_is_array(all);
    size_t i;
    json_t *row;
    int r;

    json_array_foreach (all, i, row) {
        Purchase p;

        if ((r = read_purchase(row, now_usec, &p)) == -EBADMSG) {
            readable_all = false;
            continue;
        }
        if (r < 0)
            return r;
        if ((r = job_add_purchase(j, &p)) < 0) {
            purchase_done(&p);
            return r;
        }
    }
    if (!readable_all)
        fault_set(&j->fault, FAULT_PURCHASE_UNKNOWN, "a row of its purchases can't be read");
    return 0;
}

/* A member that is missing, null or blank is not there; one of another type than text is a fault. */
static int read_member(const json_t *input, const char *name, char **ret, Fault *fault) {
    json_t *value = json_object_get(input, name);

    if (!value || json_is_null(value) ||
        (json_is_string(value) && str_is_blank(json_string_value(value))))
        return 0;
    if (!json_is_string(value)) {
        fault_set(fault, FAULT_INPUT_INVALID, "input_data.%s is not text", name);
        return 0;
    }
    return (*ret = strdup(json_string_value(value))) ? 0 : -ENOMEM;
}

/* `too_large` is the input's size when the database did not send it for that; else 0. The limit
 * is the project's setting, so that one user's book of a prompt costs neither memory nor money. */
static int read_input(Job *j, const char *input_data, uint64_t too_large) {
    _cleanup_(json_unrefp) json_t *input =
        input_data ? json_parse(input_data, strlen(input_data)) : NULL;
    int r;

    if (too_large > 0) {
        fault_set(&j->fault, FAULT_INPUT_TOO_LARGE,
                  "the prompt, or input_data as a whole, has %llu bytes",
                  (unsigned long long) too_large);
        return 0;
    }
    if (!json_is_object(input)) {
        fault_set(&j->fault, FAULT_INPUT_INVALID, "input_data is not an object");
        return 0;
    }
    if ((r = read_member(input, "prompt", &j->prompt, &j->fault)) < 0 ||
        (r = read_member(input, "input_image_url", &j->image, &j->fault)) < 0)
        return r;
    if (!j->prompt && !j->image && j->fault.code == FAULT_NONE)
        fault_set(&j->fault, FAULT_PROMPT_MISSING,
                  "input_data has neither prompt nor input_image_url");
    return 0;
}

static int read_id(char to[37], const char *id) {
    if (!id || !str_is_uuid(id))
        return -EBADMSG;
    memcpy(to, id, 37);
    return 0;
}

/* Was anything bought for it, or may it have been? A job that is too old fails only where it was
 * not: what was paid for is fetched. */
static bool is_begun(const Job *j) {
    for (size_t i = 0; i < j->n_purchases; i++)
        if (j->purchases[i].prediction_id ||
            (j->purchases[i].state != PURCHASE_ENDED && j->purchases[i].state != PURCHASE_GIVEN_UP))
            return true;
    return false;
}

/* Reasons not to buy for a job, though its row can be read. The owner is compared
 * because a job row can name any asset: a user must not pay for, or replace, another one's mesh. */
static void check(Job *j, const Config *c, const PGresult *res, int row) {
    const char *owner = text(res, row, COL_OWNER);

    if (j->fault.code != FAULT_NONE)
        return;
    if (!owner || !j->has_asset)
        fault_set(&j->fault, FAULT_ASSET_MISSING, "the job's asset does not exist");
    else if (!j->user_id[0] || !j->project_id[0] || strcmp(owner, j->user_id) != 0)
        fault_set(&j->fault, FAULT_ASSET_MISSING, "the job's asset belongs to another user");
    else if (j->crashes >= CRASHES_MAX)
        fault_set(&j->fault, FAULT_CRASHED,
                  "taken over, or kept from ending, %u times without getting further", j->crashes);
    else if (c->max_age_usec && j->age_usec > c->max_age_usec && !is_begun(j))
        fault_set(&j->fault, FAULT_TOO_OLD, "older than max_age");
}

/* Every row becomes a job, with a fault where something is wrong; an error means that the row
 * stays for a later claim. */
int claim_read(const PGresult *res, int row, const Config *c, uint64_t now_usec, Job **ret) {
    _cleanup_(job_freep) Job *j = NULL;
    const char *cancel;
    int r;

    if (!readable(res, row) || row < 1)
        return -EBADMSG;
    if (!(j = calloc(1, sizeof *j)))
        return -ENOMEM;
    if ((r = read_id(j->id, text(res, row, COL_JOB))) < 0)
        return r;
    /* Null where there should be none leaves an empty id: such a job fails, but is not lost. */
    (void) read_id(j->user_id, text(res, row, COL_USER));
    (void) read_id(j->project_id, text(res, row, COL_PROJECT));
    j->has_asset = read_id(j->asset_id, text(res, row, COL_ASSET)) == 0;
    j->attempts = (unsigned) number(res, row, COL_ATTEMPTS);
    j->crashes = (unsigned) number(res, row, COL_CRASHES);
    j->worked_usec = number(res, row, COL_WORKED);
    j->age_usec = number(res, row, COL_AGE);
    cancel = text(res, row, COL_CANCEL);
    j->cancel_asked = cancel && cancel[0] == 't';
    j->claimed_usec = now_usec;
    j->log = (LogContext){
        .job_id = j->id, .asset_id = j->asset_id, .user_id = j->user_id, .attempt = j->attempts
    };
    if ((r = read_input(j, text(res, row, COL_INPUT), number(res, row, COL_NEXT))) < 0 ||
        (r = read_purchases(j, text(res, row, COL_PURCHASES), now_usec)) < 0)
        return r;
    check(j, c, res, row);
    j->pipeline = pipeline_ref(j->image ? c->image : c->text);
    job_start(j, c->max_attempts, now_usec);
    *ret = TAKE(j);
    return 0;
}
