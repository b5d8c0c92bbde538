/* The table of states, and how each is left. */
#include "daemon/stages.h"
#include "daemon/lockline.h"
#include "daemon/stage.h"

/* clang-format off */
static int (*const enter[_JOB_STATE_MAX])(Task *t) = {
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
    [JOB_CANCELLING]  = enter_closing,
    [JOB_RELEASING]   = enter_closing,
};
/* clang-format on */

int stages_enter(Task *t) {
    return enter[t->job->at.state](t);
}

void stages_leave(Task *t) {
    t->http = http_op_cancel(t->http);
    t->db = db_op_cancel(t->db);
    t->dir = dir_op_cancel(t->dir);
    looking_leave(t);
    lockline_leave(t->worker, t);
    t->timer = sd_event_source_disable_unref(t->timer);
    t->glb = glb_free(t->glb);
    /* The place in the queue is kept from the intent to the purchase: one token, one purchase. */
    if (t->job->at.state != JOB_PREDICTING)
        stage_unqueue(t);
    switch (t->job->at.state) { /* the file is kept as long as it may still be stored */
    case JOB_DOWNLOADING:
    case JOB_VALIDATING:
    case JOB_SCANNING:
    case JOB_STORING:
    case JOB_RESTING:
        break;
    default:
        t->file = spool_file_free(t->file);
        t->hash = hash_free(t->hash);
        t->room_bytes = 0;
        download_done(&t->download);
    }
}
