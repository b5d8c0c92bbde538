/* The states of the file: download, validate, scan, store. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/patience.h"
#include "daemon/stage.h"
#include "flow/download.h"
#include "flow/object.h"
#include "flow/store.h"
#include "flow/validate.h"

#define SLICE_MAX (256 * 1024)
#define NO_ROOM_SAID_USEC (60 * USEC_PER_SEC) /* a wait for room is said again after such a pause */

/* --- the file ------------------------------------------------------------------------------ */

static void download(void *userdata);

bool stage_room_guard(void *worker, void *task) {
    Worker *w = worker;
    const Task *t = task;
    uint64_t now = clock_now_usec();

    if (spool_has_room(w->spool, t->file, t->room_bytes))
        return true;
    if (w->no_room_usec == 0 || now >= w->no_room_usec + NO_ROOM_SAID_USEC)
        log_job(LOG_NOTICE, SPOOL_WAITS, t->job,
                "Downloads wait for room in [worker] spool_dir, job %s among them: %llu bytes are "
                "set aside for others, at most %u files lie there at once",
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
static void no_room(Task *t, int error) {
    Job *j = t->job;
    Spool *spool = t->worker->spool;
    bool alone = spool_used_bytes(spool) == spool_file_bytes(t->file);

    t->file = spool_file_free(t->file);
    if (error == EAGAIN || (!alone && (error == ENOSPC || error == EDQUOT))) {
        if (error != EAGAIN)
            t->room_bytes = UINT64_MAX;
        stage_unqueue(t);
        stage_queue(t, LANE_FILE, download);
        return;
    }
    lane_hold(stage_lane(t, LANE_FILE), &j->fault);
    j->is_shortage = !spool_is_too_small(spool, t->room_bytes);
    worker_tell(t, EV_WAIT);
}

static void downloaded(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    Job *j = t->job;
    Download *d = &t->download;
    JobEvent ev = download_hear(t->worker->config, reply, d, &j->fault);

    t->http = NULL;
    if (reply->end == HTTP_SINK && j->fault.code == FAULT_SPOOL_FULL) {
        no_room(t, reply->local_errno);
        return;
    }
    if (ev == EV_MORE) { /* a redirect that passed the check */
        d->redirects++;
        free(d->redirect);
        d->redirect = TAKE(reply->redirect);
        download(t);
        return;
    }
    if (d->farther)
        j->tries = 0;
    if (ev == EV_OK)
        ev = download_verify(d, hash_crc32c(t->hash), &j->fault);
    if (ev == EV_OK && hash_final(t->hash, j->sha256) < 0) {
        stage_out_of_memory(t);
        ev = EV_RETRY;
    }
    if (ev == EV_OK) {
        lane_open(stage_lane(t, LANE_FILE));
        j->size_bytes = d->size_bytes;
        spool_file_settle(t->file, j->size_bytes);
    } else if (ev != EV_WAIT || d->size_bytes == 0)
        t->file = spool_file_free(t->file);
    if (ev == EV_RETRY && j->fault.code == FAULT_OUTPUT_GONE) {
        job_purchase(j)->state = PURCHASE_ENDED;
        stage_settle(t, "succeeded", NULL, NULL, j->fault.detail, false);
    }
    worker_tell(t, ev);
}

static void download(void *userdata) {
    Task *t = userdata;
    Job *j = t->job;
    HttpRequest request;
    int r;

    if (t->download.size_bytes == 0)
        t->hash = hash_free(t->hash);
    if (!t->file && (r = spool_open(t->worker->spool, &t->file)) < 0) {
        fault_set(&j->fault, r == -ENOMEM ? FAULT_INTERNAL : FAULT_SPOOL_FULL, "spool: %s",
                  strerror(-r));
        if (r != -ENOMEM)
            lane_hold(stage_lane(t, LANE_FILE), &j->fault);
        j->is_shortage = true;
        worker_tell(t, EV_WAIT);
        return;
    }
    if ((!t->hash && (r = hash_new(&t->hash)) < 0) ||
        (r = download_ask(t->worker->config, j->output_url, &t->download, spool_file_fd(t->file),
                          t->hash, &request)) < 0) {
        stage_give_up(t, r);
        return;
    }
    request.sink_room = room_for;
    request.sink_userdata = t;
    if ((r = stage_send_http(t, &request, downloaded)) < 0)
        stage_give_up(t, r);
}

int enter_downloading(Task *t) {
    JobEvent ev = download_check(t->worker->config, t->job->output_url, &t->job->fault);

    /* Where the URL leads is asked anew: such places are signed for a short time. */
    t->download.redirects = 0;
    free(TAKE(t->download.redirect));
    if (ev != EV_OK)
        worker_tell(t, ev);
    else if (t->file) /* others may wait for the room that it holds */
        stage_queue_first(t, LANE_FILE, download);
    else
        stage_queue(t, LANE_FILE, download);
    return 0;
}

static int on_slice(sd_event_source *source, uint64_t usec, void *userdata) {
    Task *t = userdata;
    _cleanup_free_ char *bytes = NULL;
    uint64_t offset = 0;
    size_t size = 0;
    ssize_t n = 0;
    JobEvent ev;

    (void) source;
    (void) usec;
    if (glb_wants(t->glb, &offset, &size)) {
        if (size > SLICE_MAX)
            size = SLICE_MAX;
        if (!(bytes = malloc(size))) {
            stage_out_of_memory(t);
            worker_tell(t, EV_RETRY);
            return 0;
        }
        n = pread(spool_file_fd(t->file), bytes, size, (off_t) offset);
        if (n != (ssize_t) size) {
            fault_set(&t->job->fault, FAULT_INTERNAL, "spool: cannot be read back");
            worker_tell(t, EV_RETRY);
            return 0;
        }
    }
    ev = validate_slice(t->glb, bytes, (size_t) n, t->job, &t->job->fault);
    /* Parts may be of different files, and a packed file that was cut short looks whole: what is no
     * mesh then is fetched anew before the model is blamed. */
    if (ev == EV_FINAL && (t->download.parts > 1 || t->download.decoded)) {
        t->job->fault.code = FAULT_OUTPUT_DAMAGED;
        ev = EV_RETRY;
    }
    if (ev == EV_WAIT)
        (void) stage_pause_for(t, 0, on_slice);
    else
        worker_tell(t, ev);
    return 0;
}

int enter_validating(Task *t) {
    int r = validate_begin(t->worker->config, t->job->size_bytes, &t->glb);

    return r < 0 ? r : stage_pause_for(t, 0, on_slice);
}

int enter_scanning(Task *t) {
    worker_tell(t, EV_OK); /* there is no scanner: nothing to wait for */
    return 0;
}

/* --- storing ------------------------------------------------------------------------------- */

static void store_ended(Task *t, JobEvent ev) {
    Job *j = t->job;

    if (ev == EV_OK) {
        lane_open(stage_lane(t, LANE_STORE));
        t->worker->metrics.stored_bytes += j->size_bytes;
        log_job(LOG_INFO, JOB_STORED, j, "Job %s: %s, %llu bytes", j->id, j->object,
                (unsigned long long) j->size_bytes);
    } else if (ev == EV_WAIT)
        patience_trouble(t, LANE_STORE); /* the file is kept until the store is back */
    worker_tell(t, ev);
}

static void upload(Task *t);

/* A success in other words than Storage's proves nothing, but the object may be there. */
static void proved(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    JobEvent ev = store_info_hear(reply, t->job, true, &t->job->fault);

    t->http = NULL;
    metrics_storage(&t->worker->metrics, reply);
    store_ended(t, ev == EV_ELSE ? EV_WAIT : ev);
}

static void stored_http(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    JobEvent ev = store_hear(t->worker->config, reply, t->job, &t->job->fault);
    HttpRequest request;

    t->http = NULL;
    metrics_storage(&t->worker->metrics, reply);
    if (ev != EV_UNSURE)
        store_ended(t, ev);
    else if (store_info_ask(t->worker->config, t->job, &request) < 0 ||
             stage_send_http(t, &request, proved) < 0)
        store_ended(t, EV_WAIT);
}

/* An upload whose answer was lost is asked for before it is sent again. */
static void found(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    JobEvent ev = store_info_hear(reply, t->job, false, &t->job->fault);

    t->http = NULL;
    metrics_storage(&t->worker->metrics, reply);
    if (ev != EV_ELSE) {
        store_ended(t, ev);
        return;
    }
    t->job->unproven = false;
    upload(t);
}

static void stored_dir(void *userdata, int error) {
    Task *t = userdata;

    t->dir = NULL;
    if (error < 0)
        fault_set(&t->job->fault, FAULT_STORE_UNREACHED, "storage: %s", strerror(-error));
    store_ended(t, error < 0 ? EV_WAIT : EV_OK);
}

static void upload(Task *t) {
    HttpRequest request;
    int r = store_ask(t->worker->config, t->job, spool_file_fd(t->file), &request);

    if (r < 0 || (r = stage_send_http(t, &request, stored_http)) < 0)
        stage_give_up(t, r);
}

/* Its name is written down: from here on something may be there, whatever becomes of the job. */
static void send_file(Task *t) {
    const Config *c = t->worker->config;
    HttpRequest request;
    int r;

    t->job->stored = true;
    if (c->storage_driver == STORAGE_DIR) {
        r = dir_put(t->worker->event, c->storage_url, t->job->object, spool_file_fd(t->file),
                    t->job->size_bytes, stored_dir, t, &t->dir);
        if (r < 0)
            stored_dir(t, r);
        return;
    }
    if (!t->job->unproven)
        upload(t);
    else if ((r = store_info_ask(c, t->job, &request)) < 0 ||
             (r = stage_send_http(t, &request, found)) < 0)
        stage_give_up(t, r);
}

static void named(void *userdata, DbEnd end, const PGresult *res) {
    Task *t = userdata;
    JobEvent ev;

    if (!stage_db_refused(t, end, res, &ev, &t->job->fault))
        ev = object_name_hear(res, t->job, &t->job->fault);
    if (ev == EV_LOST)
        t->worker->zombies++;
    if (ev == EV_OK)
        send_file(t);
    else if (ev == EV_RETRY || ev == EV_FINAL)
        worker_tell(t, EV_RETRY);
    else
        worker_tell(t, ev);
}

static void store(void *userdata) {
    Task *t = userdata;
    DbRequest request;

    if (t->job->object)
        send_file(t);
    else if (object_name_ask(t->worker->config, t->worker->id, t->job, &request) < 0 ||
             stage_send_db(t, &request, named) < 0)
        stage_give_up(t, -ENOMEM);
}

int enter_storing(Task *t) {
    stage_queue(t, LANE_STORE, store);
    return 0;
}
