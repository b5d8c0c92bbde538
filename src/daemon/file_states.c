/*
 * The states of the file, in the order of the flow: download, validate, scan, store.
 *
 * The file lies in the spool from the first byte of its download until it is stored, or the job goes another way
 * (task.c drops it then). What answers mean is in flow/download.c, validate.c and store.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/file_states.h"
#include "daemon/notes.h"
#include "flow/download.h"
#include "flow/object.h"
#include "flow/store.h"
#include "flow/validate.h"

#define SLICE_MAX (256 * 1024)
#define NO_ROOM_SAID_USEC (60 * USEC_PER_SEC) /* a wait for room is said again after such a pause */

/* --- the file ------------------------------------------------------------------------------ */

static JobEvent download(Task *t);

bool file_has_room(void *worker, void *task) {
    Worker *w = worker;
    const Task *t = task;
    uint64_t now = clock_now_usec();

    if (spool_has_room(w->spool, t->file, t->room_bytes))
        return true;
    if (w->no_room_usec == 0 || now >= w->no_room_usec + NO_ROOM_SAID_USEC)
        log_job(LOG_NOTICE, SPOOL_WAITS, t->job,
                "Downloads wait for space in [worker] spool_dir, job %s among them: %llu bytes are "
                "reserved for others, at most %u files at once",
                t->job->id, (unsigned long long) spool_used_bytes(w->spool), w->shares.files);
    w->no_room_usec = now;
    return false;
}

/* A length that is not told is guessed at its highest. Such a file is let in beside others only where
 * there is plenty of room. */
static int room_for(void *userdata, uint64_t size_bytes) {
    Task *t = userdata;

    t->room_bytes = size_bytes > 0 ? size_bytes : t->worker->config->asset_max_bytes;
    return spool_file_reserve(t->file, t->room_bytes, size_bytes == 0);
}

/* The spool refused the file. Beside others it waits for its turn, and where the file system was full though
 * it had shown room, until it is the only one. If it is that already, the next download would meet the same:
 * the lane is held. A file that is larger than all of the file system ends its job at last. */
static JobEvent no_room(Task *t, int error) {
    Job *j = t->job;
    Spool *spool = t->worker->spool;
    bool alone = spool_used_bytes(spool) == spool_file_bytes(t->file);

    t->file = spool_file_free(t->file);
    if (error == EAGAIN || (!alone && (error == ENOSPC || error == EDQUOT))) {
        if (error != EAGAIN)
            t->room_bytes = UINT64_MAX;
        task_unqueue(t);
        return task_queue(t, LANE_FILE, download);
    }
    lane_hold(task_lane(t, LANE_FILE), &j->fault);
    j->is_shortage = !spool_is_too_small(spool, t->room_bytes);
    return EV_WAIT;
}

/* All of the file is there: is it what was promised? The checksum of the file host is compared, where it promises one; ours is what the job's row
 * says later. */
static JobEvent verify(Task *t) {
    Job *j = t->job;
    JobEvent ev = download_verify(&t->download, hash_crc32c(t->hash), &j->fault);

    if (ev == EV_OK && hash_final(t->hash, j->sha256) < 0) {
        task_out_of_memory(t);
        ev = EV_RETRY;
    }
    if (ev == EV_OK) {
        lane_open(task_lane(t, LANE_FILE));
        j->size_bytes = t->download.size_bytes;
        spool_file_settle(t->file, j->size_bytes);
    }
    return ev;
}

/* A part of a file is kept when the rest may still come: the next request asks for the rest. */
static JobEvent downloaded(Task *t, HttpReply *reply) {
    Job *j = t->job;
    Download *d = &t->download;
    JobEvent ev = download_hear(t->worker->config, reply, d, &j->fault);

    if (reply->end == HTTP_SINK && j->fault.code == FAULT_SPOOL_FULL)
        return no_room(t, reply->local_errno);
    if (ev == EV_MORE) { /* a redirect that passed the check */
        d->redirects++;
        free(d->redirect);
        d->redirect = TAKE(reply->redirect);
        return download(t);
    }
    /* A file that comes in many parts gets further each time: none of its rests is in vain. */
    if (d->farther)
        j->tries = 0;
    if (ev == EV_OK)
        ev = verify(t);
    if (ev != EV_OK && (ev != EV_WAIT || d->size_bytes == 0))
        t->file = spool_file_free(t->file);
    /* The next attempt must buy anew, and not fetch the same again. */
    if (ev == EV_RETRY && j->fault.code == FAULT_OUTPUT_GONE) {
        job_purchase(j)->state = PURCHASE_ENDED;
        notes_settle(t, "succeeded", NULL, NULL, j->fault.detail, false);
    }
    return ev;
}

/* No file can be made at all: every other job would meet the same. */
static JobEvent no_file(Task *t, int error) {
    Job *j = t->job;

    fault_set(&j->fault, error == -ENOMEM ? FAULT_INTERNAL : FAULT_SPOOL_FULL, "spool: %s",
              strerror(-error));
    if (error != -ENOMEM)
        lane_hold(task_lane(t, LANE_FILE), &j->fault);
    j->is_shortage = true;
    return EV_WAIT;
}

/* Each request goes on where the last one ended, if the server still has the same file. */
static JobEvent download(Task *t) {
    HttpRequest request;
    int r;

    if (t->download.size_bytes == 0)
        t->hash = hash_free(t->hash);
    if (!t->file && (r = spool_open(t->worker->spool, &t->file)) < 0)
        return no_file(t, r);
    if ((!t->hash && (r = hash_new(&t->hash)) < 0) ||
        (r = download_ask(t->worker->config, t->job->output_url, &t->download,
                          spool_file_fd(t->file), t->hash, &request)) < 0)
        return task_give_up(t, r);
    request.sink_room = room_for;
    request.sink_userdata = t;
    r = task_send_http(t, &request, downloaded);
    return r < 0 ? task_give_up(t, r) : EV_NONE;
}

JobEvent enter_downloading(Task *t) {
    JobEvent ev = download_check(t->worker->config, t->job->output_url, &t->job->fault);

    /* Where the URL leads is asked anew: such places are signed for a short time. */
    t->download.redirects = 0;
    free(TAKE(t->download.redirect));
    if (ev != EV_OK)
        return ev;
    if (t->file) /* others may wait for the room that it holds */
        return task_queue_first(t, LANE_FILE, download);
    return task_queue(t, LANE_FILE, download);
}

/* --- validating and scanning --------------------------------------------------------------- */

/* Parts may be of different files, and a packed file that was cut short looks whole: such a file is fetched anew
 * before the model is blamed. */
static JobEvent whose_fault(Task *t, JobEvent ev) {
    if (ev != EV_FINAL || (t->download.parts <= 1 && !t->download.decoded))
        return ev;
    t->job->fault.code = FAULT_OUTPUT_DAMAGED;
    return EV_RETRY;
}

/* A mesh of hundreds of megabytes is read in slices, so that the loop turns in between; a cut
 * or crafted file ends early. */
static JobEvent slice(Task *t) {
    _cleanup_free_ char *bytes = NULL;
    uint64_t offset = 0;
    size_t size = 0;
    ssize_t n = 0;
    JobEvent ev;

    if (glb_wants(t->glb, &offset, &size)) {
        if (size > SLICE_MAX)
            size = SLICE_MAX;
        if (!(bytes = malloc(size))) {
            task_out_of_memory(t);
            return EV_RETRY;
        }
        n = pread(spool_file_fd(t->file), bytes, size, (off_t) offset);
        if (n != (ssize_t) size) {
            fault_set(&t->job->fault, FAULT_INTERNAL, "spool: cannot be read back");
            return EV_RETRY;
        }
    }
    ev = validate_slice(t->glb, bytes, (size_t) n, t->job, &t->job->fault);
    return ev == EV_MORE ? task_pause(t, 0, slice) : whose_fault(t, ev);
}

/* Only the bytes that the check asks for are read, not all of the file. */
JobEvent enter_validating(Task *t) {
    int r = validate_begin(t->worker->config, t->job->size_bytes, &t->glb);

    return r < 0 ? task_begin_later(t, r) : task_pause(t, 0, slice);
}

JobEvent enter_scanning(Task *t) {
    (void) t;
    return EV_OK; /* there is no scanner: nothing to wait for */
}

/* --- storing ------------------------------------------------------------------------------- */

static JobEvent stored(Task *t, JobEvent ev, const StoreWork *work) {
    Job *j = t->job;

    if (ev == EV_OK) {
        lane_open(task_lane(t, LANE_STORE));
        t->worker->metrics.stored_bytes += j->size_bytes;
        log_job(LOG_INFO, JOB_STORED, j, "Job %s: %s, %llu bytes", j->id, j->object,
                (unsigned long long) j->size_bytes);
        return ev;
    }
    j->fault = work->fault;
    j->is_shortage = j->fault.code == FAULT_INTERNAL;
    if (ev == EV_WAIT) /* the file is kept until the store is back */
        patience_trouble(&t->patience, task_lane(t, LANE_STORE), &j->fault);
    return ev;
}

/* Its name is written down: from here on something may be there, whatever becomes of the job. */
static JobEvent send_file(Task *t) {
    const Config *c = t->worker->config;
    StoreWork work = { .config = c, .job = t->job, .fd = spool_file_fd(t->file) };

    t->job->stored = true;
    return task_store(t, store_driver(c)->begin(&work), &work, stored);
}

/* A refusal is not the mesh's fault: another attempt may fare better. */
static JobEvent named(Task *t, DbEnd end, const PGresult *res) {
    JobEvent ev;

    if (!task_db_refused(t, end, res, &ev, &t->job->fault))
        ev = object_name_hear(res, t->job, &t->job->fault);
    t->worker->metrics.zombies += ev == EV_LOST;
    if (ev == EV_OK)
        return send_file(t);
    return ev == EV_FINAL ? EV_RETRY : ev;
}

/* A name that was written down once in this claim is kept: an upload that is tried again goes
 * to the same place. */
static JobEvent store(Task *t) {
    DbRequest request;

    if (t->job->object)
        return send_file(t);
    if (object_name_ask(t->worker->config, t->worker->id, t->job, &request) < 0 ||
        task_send_db(t, task_db_flags(t), &request, named) < 0)
        return task_give_up(t, -ENOMEM);
    return EV_NONE;
}

/* Not before the lane lets it: a store that is away holds the lane, and the file waits in the
 * spool. */
JobEvent enter_storing(Task *t) {
    return task_queue(t, LANE_STORE, store);
}
