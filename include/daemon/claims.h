/* Which jobs are ours: claims new ones when it is time to, and compares ours with what the database counts as ours. */
#pragma once
#include "daemon/lease.h"
#include "daemon/worker.h"

typedef struct Claims Claims;

/* `lease` must outlive it. 0, -ENOMEM or what libsystemd answers. */
int claims_new(Claims **ret, Worker *w, Lease *lease);
Claims *claims_free(Claims *c);

/* When the next claim is made may have changed. */
void claims_plan(Claims *c);

/* There may be work. */
void claims_wake(Claims *c);

/* A job of ours was requeued; nobody else tells us when it comes due. */
void claims_requeued(Claims *c, uint64_t due_usec);

/* A heartbeat was answered. */
void claims_heard(Claims *c, unsigned workers, bool is_paused);

/* Until the next comparison other calls are held: the connection is new. */
void claims_connected(Claims *c);
bool claims_is_rejoining(const Claims *c);

/* An answer whose rows are not all taken up counts as one that was lost: the next comparison brings them. */
void claims_drop_rows(Claims *c);
void claims_disconnected(Claims *c);

/* Asks which jobs are ours; drops those that are not, takes up those that we do not have. */
void claims_compare(Claims *c);

/* The same where the database counts another number. */
void claims_compare_held(Claims *c, unsigned held);

/* No answer is under way that may bring jobs. */
bool claims_is_idle(const Claims *c);
