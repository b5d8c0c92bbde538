#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "flow/listing.h"
#include "flow/look.h"
#include "flow/service.h"

#define SECOND UINT64_C(1000000)
#define LOOK_FIRST_USEC SECOND       /* an answer that was lost: the listing knows soon */
#define LOOK_APART_USEC (5 * SECOND) /* between the two looks that may give up */

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
    int r = listing_ask(c, intent_epoch, j->look_cursor, ret);

    if (r == 0 && !j->look_cursor)
        j->look_asked_usec = now_usec;
    return r;
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

    return id && is_known(j, id) ? 0 : listing_matches(item, p->input_hash, p->input_keys);
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
        if (match < 0)
            free(TAKE(j->look_cursor));
        free(j->prediction_id);
        j->prediction_id = match > 0 ? strdup(json_text(item, "id")) : NULL;
        j->looked_usec = now_usec;
        return j->prediction_id ? EV_OK : EV_WAIT;
    }
    /* Inputs are removed after an hour: from then on nothing can be found. */
    if (now_usec > p->intent_usec + LISTING_WINDOW_USEC) {
        fault_set(reterr, FAULT_PURCHASE_UNKNOWN, "not found out within the hour");
        return EV_FINAL;
    }
    if (!json_is_array(results)) {
        service_fault(reply, reterr);
        free(TAKE(j->look_cursor));
        j->looked_usec = now_usec;
        return EV_WAIT;
    }
    if (listing_next(c, root, &j->look_cursor) < 0) {
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
    return EV_ELSE;
}

int look_refuse(Job *j) {
    char **all;

    if (!j->prediction_id)
        return 0;
    if (!(all = reallocarray(j->not_ours, j->n_not_ours + 1, sizeof *all))) {
        free(TAKE(j->look_cursor));
        return -ENOMEM;
    }
    j->not_ours = all;
    j->not_ours[j->n_not_ours++] = TAKE(j->prediction_id);
    j->looked_usec = 0; /* there may be many equal ones: this page is read again at once */
    return 0;
}
