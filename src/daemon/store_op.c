/* Stands between the table of store drivers, which is pure, and the edges: makes each step that a driver names, and
 * lets the driver hear what came of it. It knows neither which store it is nor what its answers mean. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "daemon/store_op.h"
#include "io/turns.h"

struct StoreOp {
    StoreEdges edges;
    StoreWork work;
    StoreDone done;
    void *userdata;
    HttpOp *http; /* these two: the step under way */
    DirOp *dir;
    sd_event_source *turn; /* a step that is over already is heard in a turn of its own */
    int error;             /* what came of it */
};

StoreOp *store_op_cancel(StoreOp *op) {
    if (!op)
        return NULL;
    http_op_cancel(op->http);
    dir_op_cancel(op->dir);
    sd_event_source_disable_unref(op->turn);
    free(op);
    return NULL;
}
DEFINE_CLEANUP(StoreOp *, store_op_cancel)

static int take_step(StoreOp *op);

/* The operation is freed before its caller hears: the caller may begin the next one at once, or go. */
static void hear(StoreOp *op, const StoreAnswer *answer) {
    StoreDone done = op->done;
    void *userdata = op->userdata;
    StoreWork work;
    JobEvent ev = store_driver(op->work.config)->hear(&op->work, answer);

    if (ev == EV_MORE) {
        if (take_step(op) == 0)
            return;
        fault_set(&op->work.fault, FAULT_INTERNAL, "out of memory");
        ev = EV_RETRY;
    }
    work = op->work;
    store_op_cancel(op);
    done(userdata, ev, &work);
}

/* Each answer counts in the metrics, not only the last one. */
static void on_reply(void *userdata, HttpReply *reply) {
    StoreOp *op = userdata;

    op->http = NULL;
    if (op->edges.counted)
        op->edges.counted(op->edges.userdata, reply);
    hear(op, &(StoreAnswer){ .reply = reply });
}

static void on_put(void *userdata, int error) {
    StoreOp *op = userdata;

    op->dir = NULL;
    hear(op, &(StoreAnswer){ .error = error });
}

static int on_turn(sd_event_source *source, uint64_t usec, void *userdata) {
    StoreOp *op = userdata;

    (void) source;
    (void) usec;
    hear(op, &(StoreAnswer){ .error = op->error });
    return 0;
}

/* Its caller must not be called back from within store_op_start(). */
static int hear_later(StoreOp *op, int error) {
    op->error = error;
    return turn_take(op->turn) < 0 ? -ENOMEM : 0;
}

/* 0: the step is under way, or over and heard in the next turn; -ENOMEM. */
static int take_step(StoreOp *op) {
    StoreStep step;
    int r;

    if (store_driver(op->work.config)->next(&op->work, &step) < 0)
        return -ENOMEM;
    switch (step.what) {
    case STORE_SEND:
        return http_send(op->edges.http, &step.request, on_reply, op, &op->http);
    case STORE_PUT:
        r = dir_put(op->edges.dir, step.root, step.name, op->work.fd, op->work.job->size_bytes,
                    on_put, op, &op->dir);
        return r < 0 ? hear_later(op, r) : 0; /* what a disk refuses is the driver's to judge */
    case STORE_UNLINK:
        return hear_later(op, dir_remove(step.root, step.name));
    case STORE_LOOK:
        return hear_later(op, dir_look(step.root));
    }
    return hear_later(op, -ENOTSUP); /* no such kind */
}

int store_op_start(StoreOp **ret, const StoreEdges *edges, const StoreWork *work, StoreDone done,
                   void *userdata) {
    _cleanup_(store_op_cancelp) StoreOp *op = malloc(sizeof *op);

    if (!op)
        return -ENOMEM;
    *op = (StoreOp){ .edges = *edges, .work = *work, .done = done, .userdata = userdata };
    if (turn_new(edges->event, &op->turn, on_turn, op) < 0 || take_step(op) < 0)
        return -ENOMEM;
    *ret = TAKE(op);
    return 0;
}
