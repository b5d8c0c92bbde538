/* Deletes old events, once an hour, a batch at a time: short locks, and others' calls get in between. Which are old is
 * [database] event_retention's; every worker asks, and the later ones find nothing. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/db_message.h"
#include "base/log.h"
#include "daemon/prune.h"
#include "daemon/timer.h"

#define FIRST_USEC (10 * USEC_PER_SEC)
#define EVERY_USEC (3600 * USEC_PER_SEC)
#define AGAIN_USEC USEC_PER_SEC
#define BATCH 1000 /* rows that one call deletes */

struct Prune {
    Worker *worker;
    sd_event_source *timer;
};

/* A full batch means that there may be more. */
static void pruned(void *userdata, DbEnd end, const PGresult *res) {
    Prune *p = userdata;

    if (end == DB_FAILED)
        log_line(LOG_WARNING, DB_REFUSED, "Could not delete old events: %s",
                 PQresultErrorMessage(res));
    else if (end == DB_OK && strtol(PQgetvalue(res, 0, 0), NULL, 10) >= BATCH)
        timer_start(p->timer, AGAIN_USEC);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Prune *p = userdata;
    Worker *w = p->worker;
    DbRequest request = { .sql = "SELECT meshify.prune($1, $2)" };

    (void) usec;
    timer_start(source, EVERY_USEC);
    if (w->registered && db_is_up(w->db) &&
        db_request_add_usec(&request, w->config->event_retention_usec) == 0 &&
        db_request_addf(&request, "%d", BATCH) == 0)
        (void) worker_ask(w, DB_SLOW | DB_ONCE, &request, pruned, p);
    db_request_done(&request);
    return 0;
}

int prune_new(Prune **ret, Worker *w) {
    Prune *p = calloc(1, sizeof *p);
    int r;

    if (!p)
        return -ENOMEM;
    p->worker = w;
    if ((r = timer_new(w->event, &p->timer, USEC_PER_SEC, on_timer, p)) < 0) {
        prune_free(p);
        return r;
    }
    timer_start(p->timer, FIRST_USEC);
    *ret = p;
    return 0;
}

Prune *prune_free(Prune *p) {
    if (p)
        sd_event_source_disable_unref(p->timer);
    free(p);
    return NULL;
}
