#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/status.h"

#define READY_USEC (10 * USEC_PER_SEC)
#define SAY_USEC (250 * USEC_PER_MSEC)

struct Status {
    Worker *worker;
    sd_event_source *ready_timer, *say_timer;
    bool ready, stopping, due;
};

static bool is_ready(const Worker *w) {
    return w->lease.registered && w->schema_fits && db_is_up(w->db);
}

static void say(Status *s) {
    const Worker *w = s->worker;
    char held[160] = "";

    for (int i = 0; i < _LANE_MAX && !held[0]; i++)
        if (lane_is_held(&w->lanes[i]))
            (void) snprintf(held, sizeof held, "; lane %s held: %s", w->lanes[i].name,
                            w->lanes[i].held_detail);
    (void) sd_notifyf(0, "STATUS=%s%u jobs in flight, %llu done, %llu failed%s%s%s%s",
                      s->stopping ? "Stopping: " : "", w->n_tasks, w->done, w->failed,
                      w->trouble[0] ? "; not ready: " : "", w->trouble, held,
                      !w->trouble[0] && w->config->listen != CONFIG_LISTEN_OFF &&
                              !w->listening.works
                          ? "; polling"
                          : "");
}

static void say_ready(Status *s) {
    if (s->ready)
        return;
    s->ready = true;
    s->ready_timer = sd_event_source_disable_unref(s->ready_timer);
    say(s);
    (void) sd_notify(0, "READY=1");
    if (is_ready(s->worker))
        log_line(LOG_NOTICE, STARTED, "meshifyd " VERSION " is ready as %s",
                 s->worker->config->instance);
    else
        log_line(LOG_WARNING, STARTED, "meshifyd " VERSION " has started, but is not ready: %s",
                 s->worker->trouble[0] ? s->worker->trouble : "the database does not answer");
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
    say(s);
    return 0;
}

void status_changed(Status *s) {
    if (!s->ready && is_ready(s->worker))
        say_ready(s);
    if (s->due)
        return;
    s->due = true;
    (void) sd_event_source_set_time_relative(s->say_timer, SAY_USEC);
    (void) sd_event_source_set_enabled(s->say_timer, SD_EVENT_ONESHOT);
}

void status_stopping(Status *s) {
    s->stopping = true;
    (void) sd_notify(0, "STOPPING=1");
    say(s);
}

int status_new(Status **ret, Worker *w) {
    Status *s = calloc(1, sizeof *s);
    int r;

    if (!s)
        return -ENOMEM;
    s->worker = w;
    r = sd_event_add_time_relative(w->event, &s->ready_timer, CLOCK_MONOTONIC, READY_USEC, 0,
                                   on_ready_timer, s);
    if (r >= 0)
        r = sd_event_add_time(w->event, &s->say_timer, CLOCK_MONOTONIC, 0, 0, on_say_timer, s);
    if (r >= 0)
        r = sd_event_source_set_enabled(s->say_timer, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_set_watchdog(w->event, true);
    if (r < 0) {
        status_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

Status *status_free(Status *s) {
    if (s) {
        sd_event_source_disable_unref(s->ready_timer);
        sd_event_source_disable_unref(s->say_timer);
        free(s);
    }
    return NULL;
}
