/* Stage 3: a prediction is bought. First the intent is written down, then one request goes out, then
 * the id is written down. Pure. */
#pragma once
#include <libpq-fe.h>

#include "base/db_message.h"
#include "base/http_message.h"
#include "core/config.h"
#include "core/job.h"

/* After its intent was written down, the request that buys leaves within this time, or not at all: only so can a
 * worker that takes over tell when a purchase was surely not made. */
#define PREDICT_SENT_WITHIN_USEC (UINT64_C(5) * 1000000)

/* Finds the value of ${image} in the current step: the output of the step before, else the job's own
 * image as far as it is a URL. EV_OK with `image_url` set (or left NULL where no image is needed);
 * EV_MORE: the job's image is a path that must be signed (store_sign); EV_FINAL with a fault;
 * EV_RETRY: the step before has no output any more. */
JobEvent predict_image(Job *j, uint64_t now_usec, Fault *reterr);

/* Identifies a purchase of this job to the database, by all that is known of it: no key alone
 * says that a row is the one that is meant. The caller's; NULL: no memory. */
json_t *predict_identity(const Job *j, const Purchase *p);

/* The intent: fills j->input for the next purchase of this step, and the call that writes it down, under
 * j->next_key. 0, -E2BIG (so large that a look could not find it), -EINVAL, -ENOMEM. */
int predict_intend_ask(const Config *c, const char *worker, Job *j, DbRequest *ret);

/* EV_OK: the new purchase is the live one. EV_BOUGHT: the one to give up was bought meanwhile, and is
 * the live one. Or what the answer's word means (fence_hear). */
JobEvent predict_intend_hear(const Config *c, const char *worker, Job *j, const PGresult *res,
                             uint64_t sent_usec, Fault *reterr);

/* The one request that buys. */
int predict_ask(const Config *c, const Job *j, HttpRequest *ret);

/* EV_OK: j->prediction_id is set. EV_UNSURE: it may have been bought. EV_WAIT, EV_RETRY, EV_FINAL
 * with a fault: nothing was bought. */
JobEvent predict_hear(const HttpReply *reply, Job *j, Fault *reterr);

/* Writes the id down. */
int predict_record_ask(const char *worker, const Job *j, DbRequest *ret);

typedef enum Recorded {
    RECORDED,         /* and the job is still ours */
    RECORDED_TAKEN,   /* the id stands in another row: it is not ours */
    RECORDED_SURPLUS, /* given up, or without a row of its own: cancel it, the job is another's */
    RECORDED_CANCEL,  /* written; the job is to be canceled, or was ended under us */
    RECORDED_LOST,    /* written; the job is another's */
    RECORDED_GONE,    /* written; the job's row was deleted */
    RECORDED_BUSY,    /* not written: another session has locked the job's row */
} Recorded;

Recorded predict_record_hear(const PGresult *res);

/* Records the end of the live purchase; `usable`: its output serves. With prediction_id NULL in the
 * purchase: it was refused or never sent. */
int predict_settle_ask(const Job *j, const Purchase *p, const char *status, const json_t *output,
                       const json_t *metrics, const char *error, bool usable, DbRequest *ret);
