/* A purchase whose answer was lost: what was found of it, and when it was surely not made. Only
 * two whole listings, asked for after the request can have arrived at the latest, prove that
 * nothing was bought. The listing is read by listing.c, which serves all such jobs at once
 * (daemon/looking.c). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "flow/listing.h"
#include "flow/look.h"

#define SECOND UINT64_C(1000000)
#define LOOK_FIRST_USEC SECOND       /* an answer that was lost: the listing knows soon */
#define LOOK_APART_USEC (5 * SECOND) /* between the two looks that may give up */

/* The first look comes soon, since most lost answers are of purchases that were made. After that,
 * looks are aimed at the moment from which they may give up. */
uint64_t look_delay_usec(const Job *j, uint64_t now_usec, double chance) {
    const Purchase *p = job_purchase(j);
    uint64_t next;

    if (j->n_found > 0)
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

/* Another row of this job has the id, or the database said that it is another job's. */
static bool is_known(const Job *j, const char *id) {
    for (size_t i = 0; i < j->n_not_ours; i++)
        if (strcmp(j->not_ours[i], id) == 0)
            return true;
    for (size_t i = 0; i < j->n_purchases; i++)
        if (j->purchases[i].prediction_id && strcmp(j->purchases[i].prediction_id, id) == 0)
            return true;
    return false;
}

/* A list, since equal inputs may have been bought by several jobs: the ids are tried one after
 * the other. */
bool look_found(Job *j, const char *id) {
    char **all, *copy;

    for (size_t i = 0; i < j->n_found; i++)
        if (strcmp(j->found[i], id) == 0)
            return true;
    if (is_known(j, id) || j->n_found == LOOK_FOUND_MAX)
        return j->n_found > 0;
    all = reallocarray(j->found, j->n_found + 1, sizeof *all);
    if (all)
        j->found = all;
    if (!all || !(copy = strdup(id))) {
        j->look_is_blind = true;
        return j->n_found > 0;
    }
    j->found[j->n_found++] = copy;
    return true;
}

void look_forget(Job *j) {
    while (j->n_found > 0)
        free(j->found[--j->n_found]);
}

/* The id is not ours yet: the database decides when it is recorded. */
bool look_take(Job *j, uint64_t now_usec) {
    if (j->n_found == 0)
        return false;
    free(j->prediction_id);
    j->prediction_id = j->found[0];
    memmove(j->found, j->found + 1, --j->n_found * sizeof *j->found);
    j->looked_usec = now_usec;
    return true;
}

/* All that would lead to buying again is asked for here, and each doubt means another look. */
JobEvent look_end(Job *j, bool complete, uint64_t asked_usec, uint64_t now_usec, Fault *reterr) {
    const Purchase *p = job_purchase(j);
    bool is_blind = j->look_is_blind;

    j->look_is_blind = false;
    j->looked_usec = now_usec;
    /* Inputs are removed after an hour: from then on nothing can be found. */
    if (now_usec > p->intent_usec + LISTING_WINDOW_USEC) {
        fault_set(reterr, FAULT_PURCHASE_UNKNOWN, "not found out within the hour");
        return EV_FINAL;
    }
    if (!complete || is_blind)
        return EV_WAIT;
    /* The time of the request decides: an answer may be older than it looks. */
    if (asked_usec < p->give_up_usec || ++j->late_looks < 2)
        return EV_WAIT;
    if (job_given_up(j) + 1 >= LOOK_LOST_MAX) {
        fault_set(reterr, FAULT_PURCHASE_UNKNOWN, "given up %u times", job_given_up(j) + 1);
        return EV_FINAL;
    }
    /* It is given up by the next intent, in the transaction that writes that down: no worker can
     * see it given up and nothing intended. */
    j->give_up = j->purchase + 1;
    return EV_NOT_BOUGHT;
}

/* Another row has this id: it must not be tried again. */
int look_refuse(Job *j) {
    char **all;

    if (!j->prediction_id)
        return 0;
    if (!(all = reallocarray(j->not_ours, j->n_not_ours + 1, sizeof *all)))
        return -ENOMEM;
    j->not_ours = all;
    j->not_ours[j->n_not_ours++] = TAKE(j->prediction_id);
    j->looked_usec = 0; /* there may be many equal ones: the next look comes at once */
    return 0;
}
