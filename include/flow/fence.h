/* Fenced calls: the database carries them out only for the worker that holds the job's lease. Pure. */
#pragma once
#include "base/fault.h"
#include "core/job.h"

/* The event for the answer of a fenced call: EV_OK for "ok"; EV_LOST for "lost" and
 * "closed"; EV_CANCEL for "cancel" and "gone"; EV_WAIT with a fault for "busy": another session has locked one of its
 * rows; EV_RETRY with a fault for what is none of them. */
JobEvent fence_hear(const char *answer, Fault *reterr);
