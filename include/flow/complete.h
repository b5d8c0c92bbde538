/* Stage 8: the job is closed, or handed back. Pure. */
#pragma once
#include <libpq-fe.h>

#include "base/db_message.h"
#include "core/config.h"
#include "core/job.h"

int complete_done_ask(const char *worker, const Job *j, DbRequest *ret);
int complete_fail_ask(const char *worker, const Job *j, DbRequest *ret);
int complete_canceled_ask(const char *worker, const Job *j, DbRequest *ret);

/* The object is stored: what its closing needs is written down before it is tried. */
int complete_stored_ask(const char *worker, const Job *j, DbRequest *ret);

/* The closing was refused, and any worker tries it again (meshify.finish): the job is no longer ours. */
bool complete_is_parked(const PGresult *res);

/* Did done() find that another job's row names an object of this name? Then it stays. */
bool complete_keeps(const PGresult *res);

/* Closing calls: EV_OK (also when closed already, or parked), EV_OVERTAKEN (done only: a cancel came first, or the
 * job is gone), EV_LOST; with a fault EV_FINAL (done only: the asset is another user's by now) and what
 * fence_hear() answers. */
JobEvent complete_hear(const PGresult *res, bool is_done, Fault *reterr);

/* How a job goes back: after a counted fault with back-off, else as soon as it makes sense. */
typedef struct Requeue {
    uint64_t delay_usec, worked_usec;
    bool counted;
    const char *reason;
} Requeue;

Requeue complete_requeue(const Config *c, const Job *j, uint64_t now_usec, double chance);
int complete_requeue_ask(const char *worker, const Job *j, const Requeue *how, DbRequest *ret);
