/* The name of a mesh in the store. It is written down before the first byte goes up, and the database has the last
 * word: it counts over all purchases and jobs of an asset. Pure. */
#pragma once
#include <libpq-fe.h>

#include "base/db_message.h"
#include "core/config.h"
#include "core/job.h"

/* What was written down is left alone for job_timeout and this after its writer's lease has ended. */
#define OBJECT_GRACE_USEC (UINT64_C(3600) * 1000000)

/* The name as [storage] path has it, which another purchase may have got already; the caller's to free. NULL: out of
 * memory. */
char *object_path(const Config *c, const Job *j);

/* Where objects lie, in words that change when the place does; the caller's to free. NULL: out of memory. */
char *object_place(const Config *c);

/* meshify.storing(): fenced. EV_OK: the file goes up as j->object; else as fence_hear() has it. */
int object_name_ask(const Config *c, const char *worker, const Job *j, DbRequest *ret);
JobEvent object_name_hear(const PGresult *res, Job *j, Fault *reterr);

/* meshify.unstoring(), before j->object is deleted. EV_OK: nobody needs it; EV_FINAL: it stays; EV_WAIT: somebody has
 * the job's row locked. */
int object_drop_ask(const char *worker, const Job *j, DbRequest *ret);
JobEvent object_drop_hear(const PGresult *res);
