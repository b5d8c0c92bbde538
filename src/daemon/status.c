/*
 * Composes STATUS and the readiness of this instance, in the words of an operator.
 *
 * supervisor.c carries it to systemd, pages.c to probes; held lanes are told to the database too, for `meshifyctl`.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/status.h"
#include "daemon/supervisor.h"
#include "daemon/timer.h"

#define READY_USEC (10 * USEC_PER_SEC)
#define SAY_USEC (250 * USEC_PER_MSEC)

/* READY is said once; STATUS whenever it changes, and the lanes' part of it also to the
 * database. */
struct Status {
    Worker *worker;
    Supervisor *supervisor;
    sd_event_source *ready_timer, *say_timer;
    bool ready, stopping, due;
    uint64_t
        told[_LANE_MAX]; /* what operators read of each lane: it is held until then; 0: it is not */
};

/* Able to take jobs: that jobs wait, or a lane is held, is another matter. */
bool status_is_ready(const Worker *w) {
    return w->registered && w->schema_fits && db_is_up(w->db) && !w->not_ready_reason[0];
}

static const char *not_ready_reason(const Worker *w) {
    return w->not_ready_reason[0] ? w->not_ready_reason : "the database does not answer";
}

const char *status_word(const Worker *w, char *to, size_t room) {
    static const char *const words[_NOT_READY_MAX] = {
        [NOT_READY_YET] = "the database does not answer",
        [NOT_READY_REFUSED] = "the database refuses a call",
        [NOT_READY_GRANT] = "the login role may not use the schema: GRANT meshify_worker TO it",
        [NOT_READY_NO_SCHEMA] = "the database has no meshify schema: run meshifyctl migrate",
        [NOT_READY_OLD_SCHEMA] = "the schema is older than this program: run meshifyctl migrate",
        [NOT_READY_NEW_SCHEMA] = "the schema is made for newer programs: upgrade meshifyd",
    };
    DbFailure failure = db_failure(w->db);

    if (!db_is_up(w->db) && failure != DB_FAILURE_NONE)
        (void) snprintf(to, room, "no database connection: %s", db_failure_word(failure));
    else
        (void) snprintf(to, room, "%s", words[w->not_ready]);
    return to;
}

/* "; lane create held until 12:03:05: HTTP 402: …" for each lane that is held. */
static void list_held(const Worker *w, char *to, size_t room) {
    size_t n = 0;

    to[0] = '\0';
    for (int i = 0; i < _LANE_MAX && n < room; i++) {
        const Lane *lane = &w->lanes[i];
        time_t until = time(NULL);
        char clock[16] = "";
        struct tm tm;
        int k;

        if (!lane_is_held(lane))
            continue;
        until += (time_t) ((lane->hold.until_usec - clock_now_usec()) / USEC_PER_SEC) + 1;
        if (localtime_r(&until, &tm))
            (void) strftime(clock, sizeof clock, "%H:%M:%S", &tm);
        k = snprintf(to + n, room - n, "; lane %s held until %s: %s", lane->name, clock,
                     lane->held_detail);
        n += k > 0 ? (size_t) k : 0;
    }
}

/* The same for `meshifyctl status`, in our row of meshify.workers; only what is news. */
static void tell_held(Status *s) {
    Worker *w = s->worker;
    DbRequest request = { .sql = "SELECT meshify.lanes($1, $2)" };
    _cleanup_(json_unrefp) json_t *held = json_array();
    _cleanup_free_ char *text = NULL;
    uint64_t until[_LANE_MAX];

    for (int i = 0; i < _LANE_MAX; i++) {
        const Lane *lane = &w->lanes[i];

        until[i] = lane_is_held(lane) ? lane->hold.until_usec : 0;
        if (until[i])
            json_array_append_new(held, json_pack("{s:s, s:s, s:s, s:I}", "lane", lane->name,
                                                  "reason", fault_info(lane->hold.code)->word,
                                                  "detail", lane->held_detail, "wait_usec",
                                                  (json_int_t) (until[i] - clock_now_usec())));
    }
    if (memcmp(until, s->told, sizeof until) == 0 || !w->registered || !db_is_up(w->db))
        return;
    if ((text = json_write(held)) && db_request_add(&request, w->id) == 0 &&
        db_request_add(&request, text) == 0) {
        memcpy(s->told, until, sizeof until);
        worker_call(w, &request, "tell which lanes are held");
    }
    db_request_done(&request);
}

/* What systemctl shows, in one line: counts, then whatever an operator should know. `more`: what
 * else is news. */
static void say(Status *s, unsigned more) {
    const Worker *w = s->worker;
    char text[1500], held[1000]; /* all lanes: text is never cut within a character */

    list_held(w, held, sizeof held);
    tell_held(s);
    (void) snprintf(text, sizeof text, "%s%u jobs in flight, %llu done, %llu failed%s%s%s%s%s%s",
                    s->stopping ? "Stopping: " : "", w->n_tasks, w->metrics.done, w->metrics.failed,
                    w->not_ready_reason[0] ? "; not ready: " : "", w->not_ready_reason, held,
                    !w->not_ready_reason[0] && w->config->listen != CONFIG_LISTEN_OFF && !w->listens
                        ? "; polling"
                        : "",
                    w->pages[0] ? "; " : "", w->pages);
    supervisor_tell(s->supervisor, SUPERVISOR_STATUS | more, text);
}

/* A daemon that is not ready for want of a database has started all the same: it connects by
 * itself, and units that wait for it go on. */
static void say_ready(Status *s) {
    if (s->ready)
        return;
    s->ready = true;
    s->ready_timer = sd_event_source_disable_unref(s->ready_timer);
    say(s, SUPERVISOR_READY);
    if (status_is_ready(s->worker))
        log_line(LOG_NOTICE, STARTED, "meshifyd " VERSION " is ready as %s",
                 s->worker->config->instance);
    else
        log_line(LOG_WARNING, STARTED, "meshifyd " VERSION " has started, but is not ready: %s",
                 not_ready_reason(s->worker));
}

static int on_ready_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    say_ready(userdata);
    return 0;
}

static int on_say_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Status *s = userdata;

    (void) source;
    (void) usec;
    s->due = false;
    say(s, 0);
    return 0;
}

/* Changes come in bursts; the last one of a burst is said too. */
void status_changed(Status *s) {
    if (!s->ready && status_is_ready(s->worker))
        say_ready(s);
    if (s->due)
        return;
    s->due = true;
    timer_start(s->say_timer, SAY_USEC);
}

void status_stopping(Status *s) {
    s->stopping = true;
    say(s, SUPERVISOR_STOPPING);
}

int status_new(Status **ret, Worker *w) {
    Status *s = calloc(1, sizeof *s);
    int r;

    if (!s)
        return -ENOMEM;
    s->worker = w;
    if ((r = timer_new(w->event, &s->ready_timer, 0, on_ready_timer, s)) < 0 ||
        (r = timer_new(w->event, &s->say_timer, 0, on_say_timer, s)) < 0 ||
        (r = supervisor_new(&s->supervisor, w->event)) < 0) {
        status_free(s);
        return r;
    }
    timer_start(s->ready_timer, READY_USEC);
    *ret = s;
    return 0;
}

Status *status_free(Status *s) {
    if (s) {
        sd_event_source_disable_unref(s->ready_timer);
        sd_event_source_disable_unref(s->say_timer);
        s->supervisor = supervisor_free(s->supervisor);
        free(s);
    }
    return NULL;
}
