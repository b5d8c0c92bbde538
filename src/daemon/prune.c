/* Deletes old events, a batch at a time. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/db_message.h"
#include "base/log.h"
#include "daemon/prune.h"

#define FIRST_USEC (10 * USEC_PER_SEC)
#define EVERY_USEC (3600 * USEC_PER_SEC)
#define AGAIN_USEC USEC_PER_SEC
#define BATCH 1000 /* rows one call deletes: short locks, and others' calls get in between */

static void next_in(Worker *w, uint64_t usec) {
    (void) sd_event_source_set_time_relative(w->prune_timer, usec);
    (void) sd_event_source_set_enabled(w->prune_timer, SD_EVENT_ONESHOT);
}

static void pruned(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;

    if (end == DB_FAILED)
        log_line(LOG_WARNING, DB_REFUSED, "Old events can't be deleted: %s",
                 PQresultErrorMessage(res));
    else if (end == DB_OK && strtol(PQgetvalue(res, 0, 0), NULL, 10) >= BATCH)
        next_in(w, AGAIN_USEC);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Worker *w = userdata;
    DbRequest request = { .sql = "SELECT meshify.prune($1, $2)" };

    (void) source;
    (void) usec;
    next_in(w, EVERY_USEC);
    if (w->lease.registered && db_is_up(w->db) &&
        db_request_add_usec(&request, w->config->event_retention_usec) == 0 &&
        db_request_addf(&request, "%d", BATCH) == 0)
        (void) db_call(w->db, DB_SLOW | DB_ONCE, request.sql, (const char *const *) request.params,
                       request.n_params, pruned, w, NULL);
    db_request_done(&request);
    return 0;
}

int prune_init(Worker *w) {
    return sd_event_add_time_relative(w->event, &w->prune_timer, CLOCK_MONOTONIC, FIRST_USEC,
                                      USEC_PER_SEC, on_timer, w);
}

void prune_done(Worker *w) {
    w->prune_timer = sd_event_source_disable_unref(w->prune_timer);
}
