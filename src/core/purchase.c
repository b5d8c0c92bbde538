/* One purchase of a prediction: the one place that says what counts as a success. Which purchase a job goes on with
 * is job.c's. */
#include <stdlib.h>

#include "core/purchase.h"

void purchase_done(Purchase *p) {
    free(p->step);
    free(p->prediction_id);
    free(p->model);
    free(p->pipeline);
    free(p->pointer);
    free(p->input_hash);
    json_decref(p->input_keys);
    json_decref(p->output);
}

bool purchase_succeeded(const Purchase *p) {
    return p->state == PURCHASE_BOUGHT && p->finished && p->usable;
}

/* An hour by our own clock; the file host's answer has the last word. */
bool purchase_output_lives(const Purchase *p, uint64_t now_usec) {
    return purchase_succeeded(p) && p->output &&
           now_usec < p->finished_usec + PURCHASE_OUTPUT_LIVES_USEC;
}
