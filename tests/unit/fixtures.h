/* What stages hear, made by hand: answers of the database and of HTTP, and jobs as they are claimed. */
#pragma once
#include "parse.h"

#include <libpq-fe.h>
#include <strings.h>

#include "base/http_message.h"
#include "base/json.h"
#include "base/str.h"
#include "flow/claim.h"

#define NOW UINT64_C(1000000000000)
#define SEC UINT64_C(1000000)
#define JOB_ID "11111111-1111-4111-8111-111111111111"
#define USER_ID "22222222-2222-4222-8222-222222222222"
#define PROJECT_ID "33333333-3333-4333-8333-333333333333"
#define ASSET_ID "44444444-4444-4444-8444-444444444444"
#define KEY "77777777-7777-7777-8777-777777777777" /* of a purchase */
#define BUYER "66666666-6666-4666-8666-666666666666"
#define PREDICTION "abcdefghjkmnpqrstvwxyz0123"

/* A result of `n_rows` rows, their values one after the other; NULL is SQL's NULL. */
static PGresult *rows_of(int n_columns, const char *const *names, int n_rows,
                         const char *const *values) {
    PGresult *res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc *columns = calloc((size_t) n_columns, sizeof *columns);

    assert_non_null(res);
    assert_non_null(columns);
    for (int i = 0; i < n_columns; i++)
        columns[i] = (PGresAttDesc){ .name = (char *) names[i], .typlen = -1 };
    assert_true(PQsetResultAttrs(res, n_columns, columns));
    free(columns);
    for (int i = 0; i < n_rows * n_columns; i++)
        assert_true(PQsetvalue(res, i / n_columns, i % n_columns, (char *) values[i],
                               values[i] ? (int) strlen(values[i]) : -1));
    return res;
}

/* One row of one column: what most functions answer. */
__attribute__((unused)) static PGresult *answer_of(const char *value) {
    static const char *const names[] = { "answer" };

    return rows_of(1, names, 1, &value);
}

enum {
    CLAIM_COLUMNS = 15
};

/* The columns of meshify.claimed; `claimed_row` holds a good row to change. */
static const char *const claim_names[CLAIM_COLUMNS] = { "job_id",    "user_id",      "project_id",
                                                        "asset_id",  "owner_id",     "input_data",
                                                        "attempts",  "crashes",      "worked_usec",
                                                        "age_usec",  "cancel_asked", "purchases",
                                                        "next_usec", "missing",      "gone" };

typedef struct ClaimedRow {
    const char *job, *user, *project, *asset, *owner, *input, *attempts, *crashes, *worked, *age,
        *cancel, *purchases, *next, *missing, *gone;
} ClaimedRow;

static const ClaimedRow claimed_row = {
    .job = JOB_ID,
    .user = USER_ID,
    .project = PROJECT_ID,
    .asset = ASSET_ID,
    .owner = USER_ID,
    .input = "{\"prompt\": \"a chair\"}",
    .attempts = "1",
    .crashes = "0",
    .worked = "0",
    .age = "1000000",
    .cancel = "f",
    .purchases = "[]",
};

/* The answer of a claim: row 0 about the queue, row 1 the job. */
__attribute__((unused)) static PGresult *claim_of(const ClaimedRow *row) {
    const char *values[2 * CLAIM_COLUMNS] = { 0 };

    memcpy(values + CLAIM_COLUMNS, row, sizeof *row);
    values[12] = row->next;
    values[13] = row->missing;
    values[14] = row->gone;
    values[CLAIM_COLUMNS + 12] = values[CLAIM_COLUMNS + 13] = values[CLAIM_COLUMNS + 14] = NULL;
    return rows_of(CLAIM_COLUMNS, claim_names, 2, values);
}

/* The job of such a row, as the daemon would get it. */
__attribute__((unused)) static Job *job_of(const Config *c, const ClaimedRow *row) {
    PGresult *res = claim_of(row);
    Job *j = NULL;

    assert_int_equal(claim_read(res, 1, c, NOW, &j), 0);
    PQclear(res);
    return j;
}

/* One purchase in the words of meshify.claimed; ages in seconds. */
#define PURCHASE(step, number, state, prediction, more)                                 \
    "{\"id\":" #number ",\"key\":\"" KEY "\",\"worker\":\"" BUYER "\",\"step\":\"" step \
    "\",\"purchase\":" #number ",\"state\":\"" state "\",\"prediction_id\":" prediction \
    ",\"input_hash\":\"00\",\"input_keys\":[\"prompt\"],\"intent_age_usec\":2000000,"   \
    "\"give_up_in_usec\":100000000" more "}"

/* `more` of a purchase that says what it was bought with. */
#define OF_t "true"
#define OF_f "false"
#define OF(last, pointer) \
    ",\"pipeline\":\"text\",\"last_step\":" OF_##last ",\"output_pointer\":" pointer

/* What HTTP brought. The body is the reply's own; http_reply_done() frees it. */
__attribute__((unused)) static HttpReply reply_of(int code, const char *body) {
    HttpReply r = { .end = HTTP_ANSWERED, .code = code };

    if (body) {
        r.body = strdup(body);
        r.body_size = strlen(body);
    }
    return r;
}

__attribute__((unused)) static HttpReply no_reply(HttpEnd end) {
    HttpReply r = { .end = end };

    (void) snprintf(r.error, sizeof r.error, "scripted");
    return r;
}

/* The value of a request's header, NULL when it has none of that name. */
__attribute__((unused)) static const char *header_of(const HttpRequest *r, const char *name) {
    size_t n = strlen(name);

    for (size_t i = 0; i < r->n_headers; i++)
        if (strncasecmp(r->headers[i], name, n) == 0 && strncmp(r->headers[i] + n, ": ", 2) == 0)
            return r->headers[i] + n + 2;
    return NULL;
}
