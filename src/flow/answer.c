/* An answer about one prediction, kept small as it comes: a prediction can hold logs of
 * megabytes, and an answer from elsewhere whatever it likes. What a stage reads becomes the
 * reply's body; what was too large is named in it. What the members mean is told by predict.c,
 * poll.c and replicate.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "core/sift.h"
#include "flow/answer.h"

#define TEXT_MAX (16 * 1024)
#define WORD_MAX 256
#define TOO_LARGE "too_large" /* not in the plan: nobody but us can write it */

static const SiftPlan plan = { .members = {
                                   { "id", WORD_MAX, false },
                                   { "status", WORD_MAX, false },
                                   { "output", ANSWER_OUTPUT_MAX, false },
                                   { "error", TEXT_MAX, true },
                                   { "metrics", TEXT_MAX, false },
                                   { "logs", TEXT_MAX, true },
                                   { "data_removed", WORD_MAX, false },
                                   { "detail", TEXT_MAX, true },
                                   { "title", TEXT_MAX, true },
                                   { "retry_after", WORD_MAX, false },
                                   { "invalid_fields", TEXT_MAX, false },
                               } };

typedef struct Answer {
    HttpSieve sieve; /* first: it is what the edge knows */
    Sift sift;
    bool is_bad; /* not JSON: the rest of it is let go */
} Answer;

/* A body that is not JSON does not end the transfer: the status still tells the reason. */
static int feed(HttpSieve *s, const char *bytes, size_t size) {
    Answer *a = (Answer *) s;
    int r = a->is_bad ? 0 : sift_feed(&a->sift, bytes, size);

    a->is_bad = a->is_bad || r == -EBADMSG;
    return r == -EBADMSG ? 0 : r;
}

/* A stage can tell "no output" from "an output that is too large", which is another fault. */
static int name_too_large(const Sift *sift) {
    json_t *names = json_array();

    if (!names || json_object_set_new_nocheck(sift->root, TOO_LARGE, names) < 0)
        return -ENOMEM;
    for (unsigned i = 0; i < SIFT_MEMBERS; i++)
        if (sift->root_large & 1u << i &&
            json_array_append_new(names, json_string(plan.members[i].name)) < 0)
            return -ENOMEM;
    return 0;
}

static int end(HttpSieve *s, HttpReply *reply) {
    Answer *a = (Answer *) s;
    int r = a->is_bad ? -EBADMSG : sift_end(&a->sift);

    reply->body_size = 0;
    /* No object came: the reply has no body then, whatever its status. */
    if (r == -EBADMSG || !a->sift.root)
        return 0;
    if (r == 0 && a->sift.root_large)
        r = name_too_large(&a->sift);
    if (r < 0 || !(reply->body = json_write(a->sift.root)))
        return -ENOMEM;
    reply->body_size = strlen(reply->body);
    return 0;
}

static void done(HttpSieve *s) {
    Answer *a = (Answer *) s;

    sift_done(&a->sift);
    free(a);
}

int answer_sieve(HttpSieve **ret) {
    Answer *a = calloc(1, sizeof *a);

    if (!a)
        return -ENOMEM;
    a->sieve = (HttpSieve){ .feed = feed, .end = end, .free = done };
    sift_init(&a->sift, &plan, NULL, NULL);
    *ret = &a->sieve;
    return 0;
}
