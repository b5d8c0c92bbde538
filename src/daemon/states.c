/* Each state and the function that begins what is done in it, in the order of the flow. Where a job goes from there is
 * the grid's, in core/job.c. */
#include "daemon/states.h"
#include "daemon/closing_states.h"
#include "daemon/file_states.h"
#include "daemon/purchase_states.h"

/* clang-format off */
JobEvent (*const states[_JOB_STATE_MAX])(Task *t) = {
    [JOB_SIGNING]     = enter_signing,
    [JOB_INTENDING]   = enter_intending,
    [JOB_PREDICTING]  = enter_predicting,
    [JOB_LOOKING]     = enter_looking,
    [JOB_RECORDING]   = enter_recording,
    [JOB_POLLING]     = enter_polling,
    [JOB_DOWNLOADING] = enter_downloading,
    [JOB_VALIDATING]  = enter_validating,
    [JOB_SCANNING]    = enter_scanning,
    [JOB_STORING]     = enter_storing,
    [JOB_COMPLETING]  = enter_closing,
    [JOB_RESTING]     = enter_resting,
    [JOB_STOPPING]    = enter_stopping,
    [JOB_FAILING]     = enter_closing,
    [JOB_CLOSING_CANCELED]  = enter_closing,
    [JOB_REQUEUEING]   = enter_closing,
};
/* clang-format on */
