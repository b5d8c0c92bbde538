#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/str.h"
#include "flow/look.h"
#include "flow/service.h"

#define SECOND UINT64_C(1000000)
#define LOOK_FIRST_USEC SECOND       /* an answer that was lost: the listing knows soon */
#define LOOK_APART_USEC (5 * SECOND) /* between the two looks that may give up */
#define LOOK_SKEW_SECONDS 300        /* Replicate's clock is not PostgreSQL's */
#define LOOK_WINDOW_USEC (3600 * SECOND)

uint64_t look_delay_usec(const Job *j, uint64_t now_usec, double chance) {
    const Purchase *p = job_purchase(j);
    uint64_t next;

    if (j->look_cursor)
        return 0;
    if (j->looked_usec == 0)
        next = p->intent_usec + LOOK_FIRST_USEC;
    else if (j->looked_usec >= p->give_up_usec)
        next = j->looked_usec + LOOK_APART_USEC;
    else {
        next = j->looked_usec + LOOK_APART_USEC + (uint64_t) (chance * 2 * (double) SECOND);
        if (next > p->give_up_usec && j->looked_usec + LOOK_FIRST_USEC < p->give_up_usec)
            next = p->give_up_usec;
    }
    return next > now_usec ? next - now_usec : 0;
}

int look_ask(const Config *c, Job *j, uint64_t now_usec, int64_t intent_epoch, HttpRequest *ret) {
    time_t from = (time_t) (intent_epoch - LOOK_SKEW_SECONDS);
    char when[32], path[80];
    struct tm tm;
    int r;

    gmtime_r(&from, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    (void) snprintf(path, sizeof path, "predictions?created_after=%s", when);
    if ((r = service_request(c, "GET", path, ret)) < 0)
        return r;
    if (!j->look_cursor)
        j->look_asked_usec = now_usec;
    else { /* one of their own URLs, checked when it came */
        char *url = strdup(j->look_cursor);

        if (!url) {
            http_request_done(ret);
            return -ENOMEM;
        }
        free(ret->url);
        ret->url = url;
    }
    return 0;
}

static bool is_known(const Job *j, const char *id) {
    for (size_t i = 0; i < j->n_not_ours; i++)
        if (strcmp(j->not_ours[i], id) == 0)
            return true;
    for (size_t i = 0; i < j->n_purchases; i++)
        if (j->purchases[i].prediction_id && strcmp(j->purchases[i].prediction_id, id) == 0)
            return true;
    return false;
}

/* 1: it is ours; 0: it is not; -ENOMEM: who knows? */
static int matches(const Job *j, const json_t *item) {
    const Purchase *p = job_purchase(j);
    const char *id = json_text(item, "id");
    const json_t *input = json_object_get(item, "input");
    char hash[HASH_HEX_SIZE];

    if (!p->input_hash || !service_is_id(id) || is_known(j, id) || !json_is_object(input))
        return 0;
    if (pipeline_hash(input, p->input_keys, hash) < 0)
        return -ENOMEM;
    return strcmp(hash, p->input_hash) == 0;
}

/* A page's `next` is a whole URL; the token follows it only to the API we are talking to. */
static int take_cursor(const Config *c, Job *j, const json_t *root) {
    _cleanup_free_ char *before = TAKE(j->look_cursor);
    const char *next = json_text(root, "next");
    size_t n = strlen(c->replicate_url);

    if (!next)
        return 0;
    if (before && strcmp(next, before) == 0)
        return -ELOOP;
    if (strncmp(next, c->replicate_url, n) != 0 ||
        (next[n] != '/' && c->replicate_url[n - 1] != '/') || strlen(next) > 4096)
        return -EBADMSG;
    return (j->look_cursor = strdup(next)) ? 0 : -ENOMEM;
}

JobEvent look_hear(const Config *c, const HttpReply *reply, Job *j, uint64_t now_usec,
                   Fault *reterr) {
    _cleanup_(json_unrefp) json_t *root = NULL;
    const Purchase *p = job_purchase(j);
    json_t *results, *item;
    size_t i;

    root = reply->end == HTTP_ANSWERED && reply->code == 200
               ? json_parse(reply->body, reply->body_size)
               : NULL;
    results = json_object_get(root, "results");
    json_array_foreach (results, i, item) {
        int match = matches(j, item);

        if (match == 0)
            continue;
        free(TAKE(j->look_cursor));
        free(j->prediction_id);
        j->prediction_id = match > 0 ? strdup(json_text(item, "id")) : NULL;
        j->looked_usec = now_usec;
        return j->prediction_id ? EV_OK : EV_WAIT;
    }
    /* Inputs are removed after an hour: from then on nothing can be found. */
    if (now_usec > p->intent_usec + LOOK_WINDOW_USEC) {
        fault_set(reterr, FAULT_PURCHASE_UNKNOWN, "not found out within the hour");
        return EV_FINAL;
    }
    if (!json_is_array(results)) {
        service_fault(reply, reterr);
        free(TAKE(j->look_cursor));
        j->looked_usec = now_usec;
        return EV_WAIT;
    }
    if (take_cursor(c, j, root) < 0) {
        fault_set(reterr, FAULT_SERVICE_UNREACHED, "the listing leads elsewhere");
        j->looked_usec = now_usec;
        return EV_WAIT;
    }
    if (j->look_cursor)
        return EV_WAIT;
    j->looked_usec = now_usec;
    /* What counts is when it was asked: an answer may be older than it looks. */
    if (j->look_asked_usec < p->give_up_usec || ++j->late_looks < 2)
        return EV_WAIT;
    if (job_given_up(j) + 1 >= c->max_attempts) {
        fault_set(reterr, FAULT_PURCHASE_UNKNOWN, "given up %u times", job_given_up(j) + 1);
        return EV_FINAL;
    }
    j->give_up = p->id;
    j->late_looks = 0;
    j->looked_usec = 0;
    return EV_ELSE;
}

int look_refuse(Job *j) {
    char **all;

    if (!j->prediction_id)
        return 0;
    if (!(all = reallocarray(j->not_ours, j->n_not_ours + 1, sizeof *all)))
        return -ENOMEM;
    j->not_ours = all;
    j->not_ours[j->n_not_ours++] = TAKE(j->prediction_id);
    return 0;
}
