#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/stage.h"
#include "flow/download.h"
#include "flow/store.h"
#include "flow/validate.h"

#define SLICE_MAX (256 * 1024)

/* --- the file ------------------------------------------------------------------------------ */

static void download(void *userdata);

static void downloaded(void *userdata, HttpReply *reply) {
    Task *t = userdata;
    Job *j = t->job;
    Download *d = &t->download;
    JobEvent ev = download_hear(t->worker->config, reply, d, &j->fault);

    t->http = NULL;
    if (ev == EV_ELSE) { /* a redirect that passed the check */
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
    if (ev == EV_WAIT && j->fault.code == FAULT_SPOOL_FULL)
        lane_hold(stage_lane(t, LANE_FILE), &j->fault);
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
    worker_tell_fault(t, ev);
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
                  r == -EAGAIN ? "spool_max is reached" : strerror(-r));
        if (r != -EAGAIN && r != -ENOMEM)
            lane_hold(stage_lane(t, LANE_FILE), &j->fault);
        worker_tell(t, EV_WAIT);
        return;
    }
    if ((!t->hash && (r = hash_new(&t->hash)) < 0) ||
        (r = download_ask(t->worker->config, j->output_url, &t->download, spool_file_fd(t->file),
                          t->hash, &request)) < 0 ||
        (r = stage_send_http(t, &request, downloaded)) < 0)
        stage_give_up(t, r);
}

int enter_downloading(Task *t) {
    JobEvent ev = download_check(t->worker->config, t->job->output_url, &t->job->fault);

    /* Where the URL leads is asked anew: such places are signed for a short time. */
    t->download.redirects = 0;
    free(TAKE(t->download.redirect));
    if (ev == EV_OK)
        stage_queue(t, LANE_FILE, download);
    else
        worker_tell_fault(t, ev);
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
            worker_tell_fault(t, EV_RETRY);
            return 0;
        }
        n = pread(spool_file_fd(t->file), bytes, size, (off_t) offset);
        if (n != (ssize_t) size) {
            fault_set(&t->job->fault, FAULT_INTERNAL, "spool: cannot be read back");
            worker_tell_fault(t, EV_RETRY);
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
        worker_tell_fault(t, ev);
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
        j->stored = true;
        t->worker->metrics.stored_bytes += j->size_bytes;
        log_job(LOG_INFO, JOB_STORED, j, "Job %s: %s, %llu bytes", j->id, j->object,
                (unsigned long long) j->size_bytes);
    } else if (ev == EV_WAIT)
        lane_hold(stage_lane(t, LANE_STORE),
                  &j->fault); /* the file is kept until the store is back */
    worker_tell_fault(t, ev);
}

static void stored_http(void *userdata, HttpReply *reply) {
    Task *t = userdata;

    t->http = NULL;
    metrics_storage(&t->worker->metrics, reply);
    store_ended(t, store_hear(reply, &t->job->fault));
}

static void stored_dir(void *userdata, int error) {
    Task *t = userdata;

    t->dir = NULL;
    if (error < 0)
        fault_set(&t->job->fault, FAULT_STORE_UNREACHED, "storage: %s", strerror(-error));
    store_ended(t, error < 0 ? EV_WAIT : EV_OK);
}

static void store(void *userdata) {
    Task *t = userdata;
    const Config *c = t->worker->config;
    HttpRequest request;
    int r = store_name(c, t->job), fd = spool_file_fd(t->file);

    if (r < 0) {
        stage_give_up(t, r);
        return;
    }
    if (c->storage_driver == STORAGE_DIR) {
        r = dir_put(t->worker->event, c->storage_url, t->job->object, fd, t->job->size_bytes,
                    stored_dir, t, &t->dir);
        if (r < 0)
            stored_dir(t, r);
        return;
    }
    if ((r = store_ask(c, t->job, fd, &request)) < 0 ||
        (r = stage_send_http(t, &request, stored_http)) < 0)
        stage_give_up(t, r);
}

int enter_storing(Task *t) {
    stage_queue(t, LANE_STORE, store);
    return 0;
}
