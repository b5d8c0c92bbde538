/* From the verdict of a fault to the event for its job. The faults and their verdicts are a table
 * in base/fault.c; where an event leads is the grid's in core/job.c. */
#include "core/verdict.h"

/* Waiting costs nothing, trying again costs one of the attempts, and what is final ends the job. */
JobEvent verdict_event(const Fault *fault) {
    static const JobEvent events[] = {
        [VERDICT_WAIT] = EV_WAIT,
        [VERDICT_RETRY] = EV_RETRY,
        [VERDICT_FINAL] = EV_FINAL,
    };

    return events[fault_info(fault->code)->verdict];
}
