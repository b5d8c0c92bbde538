/* The calls of a connection, kept in order: the queue, what was sent and not answered, and what has to be sent again.
 * Which call is next, and which may be repeated, is decided here; sending, reading and the connection itself are
 * left to db.c, db_loss.c and db_connect.c. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "io/db_private.h"
#include "io/turns.h"

#define DB_LATE_USEC (10 * USEC_PER_SEC) /* a transaction lost after that was slow, not unlucky */

DbOp *db_op_free(DbOp *op) {
    op->db->n_pending--;
    db_request_done(&op->request);
    PQclear(op->res);
    free(op);
    return NULL;
}

void db_op_tell(DbOp *op, DbEnd end) {
    if (op->done)
        op->done(op->userdata, end, op->res);
    db_op_free(op);
}

DbBatch *db_batch_free(DbBatch *batch) {
    PQclear(batch->at_end);
    free(batch);
    return NULL;
}

void db_wake(Db *db) {
    (void) turn_take(db->send);
}

/* New calls and calls to be sent again take turns, so that neither waits for all of the others;
 * heartbeats go before both. */
DbOp *db_next_op(Db *db, unsigned n) {
    DbOp *op, *again = db->held ? NULL : TAILQ_FIRST(&db->again);

    TAILQ_FOREACH(op, &db->queue, link)
    if (!db->held || op->flags & DB_FIRST)
        break;
    /* One that travels alone neither joins a batch nor lets others join. */
    if (n > 0)
        return op && !(op->flags & DB_ALONE) && n < db->calls_max ? op : NULL;
    if (again && op && !(op->flags & DB_FIRST))
        db->turn = !db->turn;
    return again && (!op || (db->turn && !(op->flags & DB_FIRST))) ? again : op;
}

/* Calls that may wait or read much travel alone: in a batch the others would wait with them. */
int db_call(Db *db, unsigned flags, const DbRequest *request, DbDone done, void *userdata,
            DbOp **ret) {
    DbOp *op = calloc(1, sizeof *op);

    if (!op)
        return -ENOMEM;
    if (flags & (DB_WAIT | DB_SLOW))
        flags |= DB_ALONE;
    *op = (DbOp){
        .db = db, .flags = flags, .request.sql = request->sql, .done = done, .userdata = userdata
    };
    db->n_pending++;
    for (int i = 0; i < request->n_params; i++)
        if (db_request_add(&op->request, request->params[i]) < 0) {
            db_op_free(op);
            return -ENOMEM;
        }
    if (flags & DB_FIRST)
        TAILQ_INSERT_HEAD(&db->queue, op, link);
    else
        TAILQ_INSERT_TAIL(&db->queue, op, link);
    db_wake(db);
    if (ret)
        *ret = op;
    return 0;
}

DbOp *db_op_cancel(DbOp *op) {
    if (op)
        op->done = NULL; /* freed when its turn comes: what is on the wire can't be called back */
    return NULL;
}

unsigned db_pending(const Db *db) {
    return db->n_pending;
}

/* They keep their order, and each of them fails or succeeds by itself now. */
void db_replay_alone(Db *db, DbBatch *batch) {
    DbOp *op;

    TAILQ_FOREACH(op, &batch->ops, link) {
        PQclear(op->res);
        op->res = NULL;
        op->flags |= DB_ALONE;
        op->again = true;
    }
    TAILQ_CONCAT(&db->again, &batch->ops, link);
}

void db_part_late(Db *db) {
    DbBatch *batch = TAILQ_FIRST(&db->batches);
    DbOp *op;

    if (!batch || clock_now_usec() < db->began_usec + DB_LATE_USEC)
        return;
    db->calls_max = 1;
    TAILQ_FOREACH(op, &batch->ops, link)
    op->flags |= DB_ALONE;
}

void db_take_back(Db *db, DbOps *lost) {
    DbBatch *batch;
    DbOp *op;

    /* From the last to the first, each put at the head: so the queue has them in their order again. */
    while ((batch = TAILQ_LAST(&db->batches, DbBatches))) {
        TAILQ_REMOVE(&db->batches, batch, link);
        while ((op = TAILQ_LAST(&batch->ops, DbOps))) {
            TAILQ_REMOVE(&batch->ops, op, link);
            PQclear(op->res);
            op->res = NULL;
            op->again = !(op->flags & DB_ONCE) && op->flags & DB_ALONE;
            if (op->flags & DB_ONCE)
                TAILQ_INSERT_HEAD(lost, op, link);
            else
                TAILQ_INSERT_HEAD(op->again ? &db->again : &db->queue, op, link);
        }
        db_batch_free(batch);
    }
    db->n_batches = 0;
}
