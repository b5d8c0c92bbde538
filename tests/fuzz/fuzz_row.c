/* Any text as input_data and purchases of a claimed row (a line's end parts them): a row that can be
 * read is a job that can be worked on, or one that fails; nothing in it makes a purchase that is
 * already there be made again. */
#include <errno.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "flow/claim.h"
#include "flow/poll.h"
#include "flow/predict.h"
#include "flow/replicate.h"
#include "flow/supabase.h"
#include "fuzz.h"

#define NOW UINT64_C(1000000000000)
#define JOB_ID "11111111-1111-4111-8111-111111111111"
#define USER_ID "22222222-2222-4222-8222-222222222222"

enum {
    COLUMNS = 15
};

/* As meshify.claimed: row 0 is about the queue, row 1 the job. */
static PGresult *row_of(const char *input, const char *purchases) {
    static const char *const names[COLUMNS] = { "job_id",    "user_id",      "project_id",
                                                "asset_id",  "owner_id",     "input_data",
                                                "attempts",  "crashes",      "worked_usec",
                                                "age_usec",  "cancel_asked", "purchases",
                                                "next_usec", "missing",      "gone" };
    const char *const values[COLUMNS] = { JOB_ID, USER_ID,   JOB_ID, USER_ID, USER_ID,
                                          input,  "1",       "0",    "0",     "10000",
                                          "f",    purchases, NULL,   NULL,    NULL };
    PGresAttDesc columns[COLUMNS] = { 0 };
    PGresult *res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);

    for (int i = 0; i < COLUMNS; i++)
        columns[i] = (PGresAttDesc){ .name = (char *) names[i], .typlen = -1 };
    if (!res || !PQsetResultAttrs(res, COLUMNS, columns))
        abort();
    for (int i = 0; i < COLUMNS; i++)
        if (!PQsetvalue(res, 0, i, NULL, -1) ||
            !PQsetvalue(res, 1, i, (char *) values[i], values[i] ? (int) strlen(values[i]) : -1))
            abort();
    return res;
}

/* The newest purchase of the step the job is at, by number; of equals the last. */
static const Purchase *newest(const Job *j, size_t step) {
    const Purchase *found = NULL;

    for (size_t i = 0; i < j->n_purchases; i++)
        if (strcmp(j->purchases[i].step, j->pipeline->steps[step].name) == 0 &&
            (!found || j->purchases[i].number >= found->number))
            found = &j->purchases[i];
    return found;
}

static void check_purchases(const Job *j) {
    for (size_t i = 0; i < j->n_purchases; i++) {
        const Purchase *p = &j->purchases[i];

        if (!p->step || !str_is_uuid(p->key) || p->number == 0 || p->state > PURCHASE_ENDED ||
            (p->state == PURCHASE_BOUGHT && !replicate_is_id(p->prediction_id)) ||
            (p->usable && !p->finished))
            abort();
    }
}

/* Where it begins is where the newest purchase of its step says. */
static void check_start(Job *j) {
    const Purchase *live = job_purchase(j), *p = newest(j, j->step);
    bool open = p && !p->finished && (p->state == PURCHASE_INTENDED || p->state == PURCHASE_BOUGHT);

    if (j->step >= j->pipeline->n_steps || (live && live != p))
        abort();
    if (j->fault.code != FAULT_NONE) {
        /* What may have been bought is stopped before the job fails. */
        if (j->at.state != (live ? JOB_STOPPING : JOB_FAILING) ||
            (live && j->at.resume != JOB_FAILING))
            abort();
        return;
    }
    switch (j->at.state) {
    case JOB_SIGNING:
        if (open || live)
            abort();
        break;
    case JOB_LOOKING:
        if (!live || live->state != PURCHASE_INTENDED)
            abort();
        break;
    case JOB_POLLING:
        if (!live || live->state != PURCHASE_BOUGHT)
            abort();
        break;
    default:
        abort();
    }
}

/* One object is asked for, and it is the user's. */
static void sign(const Job *j) {
    HttpRequest r;
    json_t *body, *paths;
    const char *path;

    if (supabase_sign_ask(config(), j, &r) < 0 || !(body = json_parse(r.body, r.body_size)) ||
        strcmp(r.url, "https://p.supabase.co/storage/v1/object/sign/user_assets") != 0)
        abort();
    paths = json_object_get(body, "paths");
    path = json_string_value(json_array_get(paths, 0));
    if (json_array_size(paths) != 1 || !path || strstr(path, "/../") ||
        strncmp(path, USER_ID "/", strlen(USER_ID "/")) != 0)
        abort();
    json_decref(body);
    http_request_done(&r);
}

/* The way to the next purchase: whatever the prompt says, it is only text in the input. */
static void buy(Job *j) {
    const Step *s = job_current_step(j);
    Fault f = { 0 };
    JobEvent ev = predict_image(j, NOW, &f);
    HttpRequest r;
    DbRequest q;
    json_t *body;

    if (ev == EV_MORE && (ev = supabase_sign_check(config(), j, &f)) == EV_OK)
        sign(j);
    if (ev == EV_OK) {
        if (predict_intend_ask(config(), "w", j, &q) < 0)
            abort();
        db_request_done(&q);
        if (!json_is_object(j->input) || json_object_size(j->input) != json_object_size(s->input) ||
            predict_ask(config(), j, &r) < 0)
            abort();
        body = json_parse(r.body, r.body_size);
        if (!json_equal(json_object_get(body, "input"), j->input))
            abort();
        json_decref(body);
        http_request_done(&r);
    } else if (f.code == FAULT_NONE)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    const uint8_t *end = size > 0 ? memchr(bytes, '\n', size) : NULL;
    size_t first = end ? (size_t) (end - bytes) : size;
    char *input = strndup((const char *) bytes, first);
    char *purchases = end ? strndup((const char *) end + 1, size - first - 1) : strdup("[]");
    PGresult *res;
    Job *j = NULL;
    int r;

    if (!input || !purchases)
        abort();
    res = row_of(input, purchases);
    r = claim_read(res, 1, config(), NOW, &j);
    if (r == 0) {
        if (!j || j->pipeline != (j->image ? config()->image : config()->text) ||
            (!j->prompt && !j->image && j->fault.code == FAULT_NONE) ||
            (j->prompt && !str_is_utf8(j->prompt, strlen(j->prompt))) ||
            j->fault.code == FAULT_INTERNAL)
            abort();
        check_purchases(j);
        check_start(j);
        if (j->at.state == JOB_SIGNING)
            buy(j);
        job_free(j);
    } else if (r != -EBADMSG || j)
        abort();
    PQclear(res);
    free(input);
    free(purchases);
    return 0;
}
