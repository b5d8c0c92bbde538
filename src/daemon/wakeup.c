/* Listens for notifications on a connection of its own, and proves that it hears them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-id128.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/lease.h"
#include "daemon/stages.h"
#include "daemon/wakeup.h"

#define PING_EVERY_USEC (60 * USEC_PER_SEC)
#define PING_WAIT_USEC (5 * USEC_PER_SEC)
#define PING_FAILURES 2 /* in a row: polling replaces wake-ups until one comes back */

static void next_in(Worker *w, uint64_t usec) {
    (void) sd_event_source_set_time_relative(w->listening.timer, usec);
    (void) sd_event_source_set_enabled(w->listening.timer, SD_EVENT_ONESHOT);
}

/* --- hints --------------------------------------------------------------------------------- */

/* What is asked of us stands in rows, and hints only say when to read them: at the end of the turn, and ten
 * times a second at most, as anybody may send them. */
static void read_later(Worker *w) {
    uint64_t now = clock_now_usec(), due = w->listening.asked_usec + NOTIFY_HINT_USEC;
    int enabled = SD_EVENT_OFF;

    if (sd_event_source_get_enabled(w->listening.hint_timer, &enabled) < 0 ||
        enabled != SD_EVENT_OFF)
        return;
    (void) sd_event_source_set_time_relative(w->listening.hint_timer, due > now ? due - now : 0);
    (void) sd_event_source_set_enabled(w->listening.hint_timer, SD_EVENT_ONESHOT);
}

static void answered(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;

    w->listening.asking = false;
    if (w->listening.hinted)
        read_later(w);
    if (end != DB_OK || PQntuples(res) != 1) /* the next heartbeat asks too */
        return;
    worker_take_cancels(w, PQgetvalue(res, 0, 0));
    lease_compare(w, (unsigned) strtoul(PQgetvalue(res, 0, 2), NULL, 10));
    if (PQgetvalue(res, 0, 1)[0] == 't')
        worker_asked_to_stop(w);
}

void wakeup_ask(Worker *w) {
    DbRequest request = { .sql = "SELECT cancels, to_drain, held FROM meshify.news($1)" };

    if (w->listening.asking || !db_is_up(w->db) || !w->lease.registered)
        return;
    w->listening.hinted = false;
    if (db_request_add(&request, w->id) == 0 &&
        db_call(w->db, DB_ALONE | DB_ONCE, request.sql, (const char *const *) request.params,
                request.n_params, answered, w, NULL) == 0)
        w->listening.asking = true;
    db_request_done(&request);
}

static int by_id(const void *a, const void *b) {
    return strcmp(a, b);
}

static void poll_hinted(Worker *w) {
    Listening *l = &w->listening;
    Task *t;

    qsort(l->predictions, l->n_predictions, sizeof *l->predictions, by_id);
    TAILQ_FOREACH(t, &w->tasks, link) {
        const Purchase *p = job_purchase(t->job);

        if (p && p->prediction_id &&
            bsearch(p->prediction_id, l->predictions, l->n_predictions, sizeof *l->predictions,
                    by_id))
            stages_poll_now(t);
    }
    l->n_predictions = 0;
}

static int on_hint_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Worker *w = userdata;

    (void) source;
    (void) usec;
    w->listening.asked_usec = clock_now_usec();
    if (w->listening.hinted)
        wakeup_ask(w);
    if (w->listening.n_predictions > 0)
        poll_hinted(w);
    return 0;
}

/* Those that are too many are found by polling. */
static void note_prediction(Worker *w, const char *prediction_id) {
    Listening *l = &w->listening;

    if (l->n_predictions < HINTS_MAX)
        (void) snprintf(l->predictions[l->n_predictions++], sizeof *l->predictions, "%s",
                        prediction_id);
    read_later(w);
}

/* --- the proof that they arrive ------------------------------------------------------------ */

static void proven(Worker *w) {
    w->listening.waiting = false;
    w->listening.failures = 0;
    w->listening.said = false;
    if (!w->listening.works) {
        w->listening.works = true;
        log_line(LOG_INFO, LISTEN_UP, "Wake-ups by NOTIFY work");
        worker_wake(w);
        worker_changed(w);
    }
    next_in(w, PING_EVERY_USEC);
}

static void on_notified(void *userdata, const char *channel, const char *payload) {
    Worker *w = userdata;
    Notify n = notify_read(channel, payload);

    if (n.kind == NOTIFY_WORK) {
        if (!w->plan.woken)
            worker_wake(w);
    } else if (n.kind == NOTIFY_PREDICTION)
        note_prediction(w, n.id);
    else if (n.kind == NOTIFY_PING && w->listening.waiting && strcmp(n.id, w->listening.ping) == 0)
        proven(w);
    else if (n.kind == NOTIFY_CANCEL || (n.kind == NOTIFY_DRAIN && strcmp(n.id, w->id) == 0)) {
        w->listening.hinted = true;
        if (!w->listening.asking)
            read_later(w);
    }
}

static void listening(void *userdata, DbEnd end, const PGresult *res) {
    Worker *w = userdata;

    if (end == DB_FAILED)
        log_line(LOG_WARNING, LISTEN_DOWN, "LISTEN was refused: %s", PQresultErrorMessage(res));
    else if (end == DB_OK)
        wakeup_prove(w);
}

static void on_up(void *userdata) {
    Worker *w = userdata;

    db_go(w->listening.db);
    (void) db_call(w->listening.db, DB_ONCE, "LISTEN meshify_jobs", NULL, 0, listening, w, NULL);
    (void) db_call(w->listening.db, DB_ONCE, "LISTEN meshify_control", NULL, 0, listening, w, NULL);
}

/* As for the working connection, but it may have a URL of its own. What our own proof has ended is nobody's mistake
 * yet; the next proof shows that. */
static void advise(const Worker *w, char *to, size_t room) {
    static const char url[] = "[database] url";
    DbFailure failure = db_failure(w->listening.db);
    const char *advice = failure == DB_FAILURE_OTHER
                             ? "See whether something between drops connections that are idle."
                             : db_failure_advice(failure);
    const char *at = w->config->listen_url.text ? strstr(advice, url) : NULL;

    (void) snprintf(to, room, "%.*s%s%s", at ? (int) (at - advice) : 0, advice,
                    at ? "[database] listen_url" : "", at ? at + strlen(url) : advice);
}

static void on_down(void *userdata, const char *why, uint64_t retry_usec) {
    Worker *w = userdata;
    char advice[300];

    (void) retry_usec;
    (void) snprintf(w->listening.why, sizeof w->listening.why, "%s", why);
    advise(w, advice, sizeof advice);
    if (w->listening.works)
        log_line(LOG_WARNING, LISTEN_DOWN,
                 "The listening connection is lost: %s, polling until it is back. %s", why, advice);
    w->listening.works = w->listening.waiting = false;
    worker_plan(w);
    lease_plan(w);
}

static void pinged(void *userdata, DbEnd end, const PGresult *res) {
    (void) userdata;
    (void) end;
    (void) res; /* what counts is what the listening connection hears */
}

/* Another number each time: what was heard once may be sent by anybody. */
static int new_ping(Worker *w) {
    sd_id128_t id;
    int r = sd_id128_randomize(&id);

    if (r >= 0)
        (void) sd_id128_to_uuid_string(id, w->listening.ping);
    return r;
}

/* Sent on the working connection: through a transaction pooler a notification that one sends to
 * oneself is heard, and proves nothing. */
void wakeup_prove(Worker *w) {
    DbRequest request = { .sql = "SELECT pg_catalog.pg_notify('meshify_control', $1)" };

    if (!w->listening.db || !db_is_up(w->listening.db) || !db_is_up(w->db) ||
        !w->lease.registered || w->listening.waiting)
        return;
    if (new_ping(w) >= 0 &&
        db_request_addf(&request, "{\"ping\":\"%s\"}", w->listening.ping) == 0 &&
        db_call(w->db, DB_ALONE | DB_ONCE, request.sql, (const char *const *) request.params,
                request.n_params, pinged, w, NULL) == 0) {
        w->listening.waiting = true;
        next_in(w, PING_WAIT_USEC);
    }
    db_request_done(&request);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Worker *w = userdata;
    char advice[300];

    (void) source;
    (void) usec;
    if (!w->listening.waiting) {
        wakeup_prove(w);
        if (!w->listening.said && w->lease.registered && db_is_up(w->db) &&
            !db_is_up(w->listening.db) && w->listening.why[0]) {
            advise(w, advice, sizeof advice);
            log_line(
                LOG_WARNING, LISTEN_DOWN,
                "There is no connection for LISTEN: %s; polling instead. %s Or set listen = off.",
                w->listening.why, advice);
            w->listening.said = true;
        }
        next_in(w, w->listening.waiting ? PING_WAIT_USEC : PING_EVERY_USEC);
        return 0;
    }
    w->listening.waiting = false;
    if (++w->listening.failures >= PING_FAILURES) {
        if (!w->listening.said)
            log_line(LOG_WARNING, LISTEN_DOWN,
                     "Notifications do not arrive: polling instead. If [database] url is a "
                     "transaction pooler, "
                     "set listen_url to a direct connection, or listen = off.");
        w->listening.said = true;
    }
    db_reconnect(w->listening.db, "a notification of our own did not arrive");
    next_in(w, w->listening.said ? PING_EVERY_USEC : PING_WAIT_USEC);
    return 0;
}

int wakeup_init(Worker *w) {
    static const DbEvents events = { .up = on_up, .down = on_down, .notified = on_notified };
    const Config *c = w->config;
    int r;

    if (c->listen == CONFIG_LISTEN_OFF)
        return 0;
    r = sd_event_add_time(w->event, &w->listening.timer, CLOCK_MONOTONIC, 0, USEC_PER_SEC / 10,
                          on_timer, w);
    if (r < 0)
        return r;
    r = sd_event_add_time(w->event, &w->listening.hint_timer, CLOCK_MONOTONIC, 0, 1, on_hint_timer,
                          w);
    if (r < 0 || (r = sd_event_source_set_enabled(w->listening.hint_timer, SD_EVENT_OFF)) < 0)
        return r;
    next_in(w, PING_WAIT_USEC);
    return db_new(&w->listening.db, w->event, w->resolver,
                  c->listen_url.text ? c->listen_url.text : c->database_url.text, "meshifyd listen",
                  &events, w);
}

void wakeup_done(Worker *w) {
    w->listening.timer = sd_event_source_disable_unref(w->listening.timer);
    w->listening.hint_timer = sd_event_source_disable_unref(w->listening.hint_timer);
    w->listening.db = db_free(w->listening.db);
}
