/* Carries out a piece of work with the store (flow/store.h), step after step, until it has ended. */
#pragma once
#include "flow/store.h"
#include "io/dir.h"
#include "io/http.h"

typedef struct StoreOp StoreOp;

/* What the steps are made with; all is borrowed, and must outlive the operation. */
typedef struct StoreEdges {
    sd_event *event;
    Http *http;
    Dir *dir;
    void (*counted)(void *userdata, const HttpReply *reply); /* is shown each answer of a store */
    void *userdata;
} StoreEdges;

/* Called once, from the loop and never from within store_op_start(), unless the operation was canceled; it is gone
 * then. `work` has the fault of an end that is not EV_OK; it is the callee's to read, not to keep. */
typedef void (*StoreDone)(void *userdata, JobEvent ev, const StoreWork *work);

/* Goes on with `work`, which was begun and answered EV_MORE. It is copied; what it points to must outlive the
 * operation. 0, -ENOMEM. */
int store_op_start(StoreOp **ret, const StoreEdges *edges, const StoreWork *work, StoreDone done,
                   void *userdata);

/* Ends it; its callback is not called any more. Takes NULL, returns NULL. */
StoreOp *store_op_cancel(StoreOp *op);
