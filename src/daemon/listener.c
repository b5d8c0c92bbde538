/*
 * Listens for notifications on a connection of its own, and proves that it hears them.
 *
 * A notification is only a hint: the rows that it is about are read then, and are called news. ListenerEvents tell
 * the owner, instance.c, who decides what they mean for jobs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-id128.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/listener.h"
#include "daemon/timer.h"
#include "flow/notify.h"

#define PING_EVERY_USEC (60 * USEC_PER_SEC)
#define PING_WAIT_USEC (5 * USEC_PER_SEC)
#define PING_FAILURES 2 /* in a row: then it is said that notifications do not arrive */

#define HINTS_MAX 200 /* predictions that were named and are not looked for yet */

struct Listener {
    Worker *worker;
    const ListenerEvents *events;
    void *userdata;
    Db *db;              /* NULL: [database] listen is off */
    bool said;           /* that it does not work */
    char why[160];       /* it was lost, or never there */
    unsigned failures;   /* pings in a row that did not come back */
    bool waiting;        /* for the ping */
    char ping[37];       /* what it says, another each time */
    bool hinted;         /* that something is asked of us: the rows are to be read */
    bool asking;         /* they are being read */
    uint64_t asked_usec; /* when they, and the predictions below, were last looked at */
    ListenerId predictions[HINTS_MAX];
    unsigned n_predictions;
    sd_event_source *timer, *hint_timer;
};

/* --- hints --------------------------------------------------------------------------------- */

/* Orders and cancels stand in rows, and hints only say when to read them: at the end of the turn, and ten
 * times a second at most, as anybody may send them. */
static void read_later(Listener *l) {
    uint64_t now = clock_now_usec(), due = l->asked_usec + NOTIFY_HINT_USEC;

    if (l->hint_timer && !timer_runs(l->hint_timer))
        timer_start(l->hint_timer, due > now ? due - now : 0);
}

/* The answer is also the proof that our count of jobs and the database's are the same. */
static void answered(void *userdata, DbEnd end, const PGresult *res) {
    Listener *l = userdata;
    ListenerNews news;

    l->asking = false;
    if (l->hinted)
        read_later(l);
    if (end != DB_OK || PQntuples(res) != 1) /* the next heartbeat asks too */
        return;
    news = (ListenerNews){ .cancels = PQgetvalue(res, 0, 0),
                           .to_drain = PQgetvalue(res, 0, 1)[0] == 't',
                           .held = (unsigned) strtoul(PQgetvalue(res, 0, 2), NULL, 10) };
    l->events->news(l->userdata, &news);
}

void listener_ask(Listener *l) {
    Worker *w = l->worker;
    DbRequest request = { .sql = "SELECT cancels, to_drain, held FROM meshify.news($1)" };

    if (l->asking || !db_is_up(w->db) || !w->registered)
        return;
    l->hinted = false;
    if (db_request_add(&request, w->id) == 0)
        l->asking = worker_ask(w, DB_ALONE | DB_ONCE, &request, answered, l) == 0;
    db_request_done(&request);
}

static int by_id(const void *a, const void *b) {
    return strcmp(a, b);
}

static int on_hint_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Listener *l = userdata;

    (void) source;
    (void) usec;
    l->asked_usec = clock_now_usec();
    if (l->hinted)
        listener_ask(l);
    if (l->n_predictions > 0) {
        qsort(l->predictions, l->n_predictions, sizeof *l->predictions, by_id);
        l->events->predictions(l->userdata, l->predictions, l->n_predictions);
        l->n_predictions = 0;
    }
    return 0;
}

/* They are told together: a project's webhook may name hundreds within a second. Those that are too many are found
 * by polling. */
static void note_prediction(Listener *l, const char *prediction_id) {
    if (l->n_predictions < HINTS_MAX)
        (void) snprintf(l->predictions[l->n_predictions++], sizeof *l->predictions, "%s",
                        prediction_id);
    read_later(l);
}

/* --- the proof that they arrive ------------------------------------------------------------ */

/* Only now wake-ups replace polling: before, we could miss one and not know it. */
static void proven(Listener *l) {
    l->waiting = false;
    l->failures = 0;
    l->said = false;
    if (!l->worker->listens) {
        l->worker->listens = true;
        log_line(LOG_INFO, LISTEN_UP, "Wake-ups by NOTIFY work");
        l->events->changed(l->userdata);
    }
    timer_start(l->timer, PING_EVERY_USEC);
}

/* Anybody who may connect may notify: nothing is done because of the text alone. */
static void on_notified(void *userdata, const char *channel, const char *payload) {
    Listener *l = userdata;
    Notify n = notify_read(channel, payload);

    if (n.kind == NOTIFY_WORK)
        l->events->work(l->userdata);
    else if (n.kind == NOTIFY_PREDICTION)
        note_prediction(l, n.id);
    else if (n.kind == NOTIFY_PING && l->waiting && strcmp(n.id, l->ping) == 0)
        proven(l);
    else if (n.kind == NOTIFY_CANCEL ||
             (n.kind == NOTIFY_DRAIN && strcmp(n.id, l->worker->id) == 0)) {
        l->hinted = true;
        if (!l->asking)
            read_later(l);
    }
}

/* Each of the two LISTENs asks for a proof; both are one transaction, so the first ping is heard by both. */
static void subscribed(void *userdata, DbEnd end, const PGresult *res) {
    Listener *l = userdata;

    if (end == DB_FAILED)
        log_line(LOG_WARNING, LISTEN_DOWN, "LISTEN was refused: %s", PQresultErrorMessage(res));
    else if (end == DB_OK)
        listener_prove(l);
}

static void on_up(void *userdata) {
    Listener *l = userdata;

    db_go(l->db);
    (void) db_call(l->db, DB_ONCE, &(DbRequest){ .sql = "LISTEN meshify_jobs" }, subscribed, l,
                   NULL);
    (void) db_call(l->db, DB_ONCE, &(DbRequest){ .sql = "LISTEN meshify_control" }, subscribed, l,
                   NULL);
}

/* What an operator can do about a listening connection that does not come up; it names listen_url where that is
 * set. What our own proof has ended is nobody's mistake
 * yet; the next proof shows that. */
static void advise(const Listener *l, char *to, size_t room) {
    static const char url[] = "[database] url";
    DbFailure failure = db_failure(l->db);
    const char *advice = failure == DB_FAILURE_OTHER
                             ? "See whether something between drops connections that are idle."
                             : db_failure_advice(failure);
    const char *at = l->worker->config->listen_url.text ? strstr(advice, url) : NULL;

    (void) snprintf(to, room, "%.*s%s%s", at ? (int) (at - advice) : 0, advice,
                    at ? "[database] listen_url" : "", at ? at + strlen(url) : advice);
}

static void on_down(void *userdata, const char *why, uint64_t retry_usec) {
    Listener *l = userdata;
    char advice[300];

    (void) retry_usec;
    (void) snprintf(l->why, sizeof l->why, "%s", why);
    advise(l, advice, sizeof advice);
    if (l->worker->listens)
        log_line(LOG_WARNING, LISTEN_DOWN,
                 "LISTEN connection lost: %s; polling until it is restored. %s", why, advice);
    l->worker->listens = l->waiting = false;
    l->events->changed(l->userdata);
}

static void pinged(void *userdata, DbEnd end, const PGresult *res) {
    (void) userdata;
    (void) end;
    (void) res; /* what counts is what the listening connection hears */
}

/* Another number each time: what was heard once may be sent by anybody. */
static int new_ping(Listener *l) {
    sd_id128_t id;
    int r = sd_id128_randomize(&id);

    if (r >= 0)
        (void) sd_id128_to_uuid_string(id, l->ping);
    return r;
}

/* Sent on the working connection: through a transaction pooler a notification that one sends to
 * oneself is heard, and proves nothing. */
void listener_prove(Listener *l) {
    Worker *w = l->worker;
    DbRequest request = { .sql = "SELECT pg_catalog.pg_notify('meshify_control', $1)" };

    if (!l->db || !db_is_up(l->db) || !db_is_up(w->db) || !w->registered || l->waiting)
        return;
    if (new_ping(l) >= 0 && db_request_addf(&request, "{\"ping\":\"%s\"}", l->ping) == 0 &&
        worker_ask(w, DB_ALONE | DB_ONCE, &request, pinged, l) == 0) {
        l->waiting = true;
        timer_start(l->timer, PING_WAIT_USEC);
    }
    db_request_done(&request);
}

/* Said once, and not before there was a first attempt to connect. */
static void say_no_connection(Listener *l) {
    const Worker *w = l->worker;
    char advice[300];

    if (l->said || !w->registered || !db_is_up(w->db) || db_is_up(l->db) || !l->why[0])
        return;
    advise(l, advice, sizeof advice);
    log_line(LOG_WARNING, LISTEN_DOWN,
             "No connection for LISTEN: %s; polling instead. %s Or set listen = off.", l->why,
             advice);
    l->said = true;
}

/* The ping did not come back. */
static void not_heard(Listener *l) {
    l->waiting = false;
    if (++l->failures >= PING_FAILURES) {
        if (!l->said)
            log_line(LOG_WARNING, LISTEN_DOWN,
                     "Notifications do not arrive: polling instead. If [database] url is a "
                     "transaction pooler, "
                     "set listen_url to a direct connection, or listen = off.");
        l->said = true;
    }
    db_reconnect(l->db, "a notification of our own did not arrive");
    timer_start(l->timer, l->said ? PING_EVERY_USEC : PING_WAIT_USEC);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Listener *l = userdata;

    (void) usec;
    if (l->waiting) {
        not_heard(l);
        return 0;
    }
    listener_prove(l);
    say_no_connection(l);
    timer_start(source, l->waiting ? PING_WAIT_USEC : PING_EVERY_USEC);
    return 0;
}

static int begin(Listener *l) {
    static const DbEvents events = { .up = on_up, .down = on_down, .notified = on_notified };
    Worker *w = l->worker;
    const Config *c = w->config;
    int r;

    if ((r = timer_new(w->event, &l->timer, USEC_PER_SEC / 10, on_timer, l)) < 0 ||
        (r = timer_new(w->event, &l->hint_timer, 1, on_hint_timer, l)) < 0)
        return r;
    timer_start(l->timer, PING_WAIT_USEC);
    return db_new(&l->db, w->event, w->resolver,
                  c->listen_url.text ? c->listen_url.text : c->database_url.text, "meshifyd listen",
                  &events, l);
}

int listener_new(Listener **ret, Worker *w, const ListenerEvents *events, void *userdata) {
    Listener *l = calloc(1, sizeof *l);
    int r = 0;

    if (!l)
        return -ENOMEM;
    *l = (Listener){ .worker = w, .events = events, .userdata = userdata };
    if (w->config->listen != CONFIG_LISTEN_OFF && (r = begin(l)) < 0) {
        listener_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

Listener *listener_free(Listener *l) {
    if (!l)
        return NULL;
    sd_event_source_disable_unref(l->timer);
    sd_event_source_disable_unref(l->hint_timer);
    db_free(l->db);
    free(l);
    return NULL;
}
