/* Asks the database how long the queue is, for the metrics. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/db_message.h"
#include "base/log.h"
#include "daemon/worker.h"

#define EVERY_USEC (15 * USEC_PER_SEC)
#define AWAY_USEC USEC_PER_SEC /* until there is a database to be asked */

static void next_in(Worker *w, uint64_t usec) {
    (void) sd_event_source_set_time_relative(w->sample.timer, usec);
    (void) sd_event_source_set_enabled(w->sample.timer, SD_EVENT_ONESHOT);
}

static void sampled(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;
    Sample *s = &w->sample;

    s->valid = end == DB_OK && PQntuples(res) == 1;
    if (end == DB_FAILED)
        log_line(LOG_WARNING, DB_REFUSED, "The queue can't be measured: %s",
                 PQresultErrorMessage(res));
    if (!s->valid)
        return;
    s->ready = strtoull(PQgetvalue(res, 0, 0), NULL, 10);
    s->later = strtoull(PQgetvalue(res, 0, 1), NULL, 10);
    s->oldest_seconds = strtod(PQgetvalue(res, 0, 2), NULL);
    s->refunds = strtoull(PQgetvalue(res, 0, 3), NULL, 10);
    (void) snprintf(s->known, sizeof s->known, "%s", PQgetvalue(res, 0, 4));
    (void) snprintf(s->known_at, sizeof s->known_at, "%s", PQgetvalue(res, 0, 5));
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Worker *w = userdata;
    Sample *s = &w->sample;
    DbRequest request = { .sql = "SELECT * FROM meshify.queue_sample($1, $2, $3)" };

    (void) source;
    (void) usec;
    if (!w->lease.registered || !db_is_up(w->db)) {
        next_in(w, AWAY_USEC);
        s->valid = false;
        return 0;
    }
    next_in(w, EVERY_USEC);
    if (!w->draining && db_request_add(&request, w->id) == 0 &&
        db_request_add(&request, s->known) == 0 && db_request_add(&request, s->known_at) == 0)
        (void) db_call(w->db, DB_SLOW | DB_ONCE, request.sql, (const char *const *) request.params,
                       request.n_params, sampled, w, NULL);
    db_request_done(&request);
    return 0;
}

int sample_init(Worker *w) {
    if (!w->config->metrics_listen[0]) /* nobody would read it */
        return 0;
    (void) snprintf(w->sample.known, sizeof w->sample.known, "0");
    (void) snprintf(w->sample.known_at, sizeof w->sample.known_at, "-infinity");
    return sd_event_add_time_relative(w->event, &w->sample.timer, CLOCK_MONOTONIC, AWAY_USEC / 4,
                                      USEC_PER_SEC / 4, on_timer, w);
}

void sample_done(Worker *w) {
    w->sample.timer = sd_event_source_disable_unref(w->sample.timer);
}
