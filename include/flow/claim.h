/* Stage 2: jobs come from the queue. A row -> a Job. Pure. */
#pragma once
#include <libpq-fe.h>

#include "base/db_message.h"
#include "core/config.h"
#include "core/job.h"

/* Asks for up to `free` jobs; with `only_bought` only such as have a purchase or a cancel waiting. */
int claim_ask(const Config *c, const char *worker, unsigned free, bool only_bought, DbRequest *ret);

/* Asks which jobs are this worker's by the database but not among `known`, and the other way round. */
int claim_ask_compare(const char *worker, Job *const *known, size_t n, DbRequest *ret);

/* Row 0 of the answer is about the queue: µs until more comes due; UINT64_MAX: nothing waits. */
uint64_t claim_next_usec(const PGresult *res);

/* Is this job among the `missing` of row 0? */
bool claim_misses(const PGresult *res, const char *job_id);

/* Is it missing because its row was deleted? */
bool claim_is_gone(const PGresult *res, const char *job_id);

/* Row `row` (from 1) as a job, at its start. A job that can't be worked on starts at JOB_FAILING with
 * its fault. 0, -ENOMEM, or -EBADMSG when the row itself can't be read. */
int claim_read(const PGresult *res, int row, const Config *c, uint64_t now_usec, Job **ret);
