/* Asks the database how long the queue is, for the metrics. The database answers one worker at a time, so that a sum
 * over all instances counts nothing twice. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/db_message.h"
#include "base/log.h"
#include "daemon/sample.h"
#include "daemon/timer.h"

#define EVERY_USEC (15 * USEC_PER_SEC)
#define AWAY_USEC USEC_PER_SEC /* until there is a database to be asked */

struct Sample {
    Worker *worker;
    sd_event_source *timer;
    bool valid; /* we are the one who asks, and know */
    SampleQueue queue;
    char known[24],
        known_at[64]; /* refunds counted already, until then; as the database wrote them */
};

const SampleQueue *sample_queue(const Sample *s) {
    return s && s->valid ? &s->queue : NULL;
}

/* No row: another worker is the one who asks now, and shows the numbers. */
static void sampled(void *userdata, DbEnd end, const PGresult *res) {
    Sample *s = userdata;

    s->valid = end == DB_OK && PQntuples(res) == 1;
    if (end == DB_FAILED)
        log_line(LOG_WARNING, DB_REFUSED, "Could not sample the queue: %s",
                 PQresultErrorMessage(res));
    if (!s->valid)
        return;
    s->queue = (SampleQueue){ .ready = strtoull(PQgetvalue(res, 0, 0), NULL, 10),
                              .later = strtoull(PQgetvalue(res, 0, 1), NULL, 10),
                              .oldest_seconds = strtod(PQgetvalue(res, 0, 2), NULL),
                              .refunds = strtoull(PQgetvalue(res, 0, 3), NULL, 10) };
    (void) snprintf(s->known, sizeof s->known, "%s", PQgetvalue(res, 0, 4));
    (void) snprintf(s->known_at, sizeof s->known_at, "%s", PQgetvalue(res, 0, 5));
}

/* What it knows is told with the question, so that refunds are counted from there on. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Sample *s = userdata;
    Worker *w = s->worker;
    DbRequest request = { .sql = "SELECT * FROM meshify.queue_sample($1, $2, $3)" };

    (void) usec;
    if (!w->registered || !db_is_up(w->db)) {
        timer_start(source, AWAY_USEC);
        s->valid = false;
        return 0;
    }
    timer_start(source, EVERY_USEC);
    if (!w->draining && db_request_add(&request, w->id) == 0 &&
        db_request_add(&request, s->known) == 0 && db_request_add(&request, s->known_at) == 0)
        (void) worker_ask(w, DB_SLOW | DB_ONCE, &request, sampled, s);
    db_request_done(&request);
    return 0;
}

int sample_new(Sample **ret, Worker *w) {
    Sample *s;
    int r;

    if (!w->config->metrics_listen[0])
        return 0;
    if (!(s = calloc(1, sizeof *s)))
        return -ENOMEM;
    *s = (Sample){ .worker = w, .known = "0", .known_at = "-infinity" };
    r = timer_new(w->event, &s->timer, USEC_PER_SEC / 4, on_timer, s);
    if (r < 0) {
        sample_free(s);
        return r;
    }
    timer_start(s->timer, AWAY_USEC / 4);
    *ret = s;
    return 0;
}

Sample *sample_free(Sample *s) {
    if (s)
        sd_event_source_disable_unref(s->timer);
    free(s);
    return NULL;
}
