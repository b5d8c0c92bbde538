/* A loop to test the daemon's parts with: its clock stands until a test lets time pass, and its timers are sd-event's
 * by name only. What is logged is kept by its message's id. */
#pragma once
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/log.h"
#include "fixtures.h"

struct sd_event_source {
    bool is_enabled, is_freed;
    uint64_t due_usec;
    sd_event_time_handler_t handler;
    void *userdata;
    struct sd_event_source *next;
};

static uint64_t fake_now = NOW;
static sd_event_source *fake_timers;
static char fake_log[32][33]; /* ids of what was logged, as far as there is room */
static unsigned fake_logged;

uint64_t clock_now_usec(void) {
    return fake_now;
}

double clock_chance(void) {
    return 0.5;
}

bool log_wanted(int level) {
    return level < LOG_DEBUG;
}

void log_event(int level, const char *id, const LogContext *ctx, const char *file, int line,
               const char *func, const char *message, ...) {
    (void) level;
    (void) ctx;
    (void) file;
    (void) line;
    (void) func;
    (void) message;
    if (fake_logged < sizeof fake_log / sizeof *fake_log)
        memcpy(fake_log[fake_logged++], id, sizeof *fake_log);
}

/* How often was this logged? */
__attribute__((unused)) static unsigned logged(const char *id) {
    unsigned n = 0;

    for (unsigned i = 0; i < fake_logged; i++)
        n += strcmp(fake_log[i], id) == 0;
    return n;
}

int sd_event_add_time(sd_event *event, sd_event_source **ret, clockid_t clock, uint64_t usec,
                      uint64_t accuracy, sd_event_time_handler_t handler, void *userdata) {
    sd_event_source *s = calloc(1, sizeof *s);

    (void) event;
    (void) clock;
    (void) accuracy;
    assert_non_null(s);
    *s = (sd_event_source){ .is_enabled = true,
                            .due_usec = usec,
                            .handler = handler,
                            .userdata = userdata,
                            .next = fake_timers };
    fake_timers = *ret = s;
    return 0;
}

int sd_event_add_time_relative(sd_event *event, sd_event_source **ret, clockid_t clock,
                               uint64_t usec, uint64_t accuracy, sd_event_time_handler_t handler,
                               void *userdata) {
    return sd_event_add_time(event, ret, clock, fake_now + usec, accuracy, handler, userdata);
}

int sd_event_source_set_time(sd_event_source *s, uint64_t usec) {
    s->due_usec = usec;
    return 0;
}

int sd_event_source_set_time_relative(sd_event_source *s, uint64_t usec) {
    return sd_event_source_set_time(s, fake_now + usec);
}

int sd_event_source_set_enabled(sd_event_source *s, int enabled) {
    s->is_enabled = enabled != SD_EVENT_OFF;
    return 0;
}

int sd_event_source_get_enabled(sd_event_source *s, int *ret) {
    *ret = s->is_enabled ? SD_EVENT_ONESHOT : SD_EVENT_OFF;
    return s->is_enabled;
}

int sd_event_source_set_priority(sd_event_source *s, int64_t priority) {
    (void) s;
    (void) priority;
    return 0;
}

sd_event_source *sd_event_source_disable_unref(sd_event_source *s) {
    if (s)
        s->is_enabled = false, s->is_freed = true;
    return NULL;
}

/* Lets time pass: what comes due meanwhile is called, the earliest first. */
__attribute__((unused)) static void pass(uint64_t usec) {
    uint64_t until = fake_now + usec;

    for (;;) {
        sd_event_source *first = NULL;

        for (sd_event_source *s = fake_timers; s; s = s->next)
            if (s->is_enabled && s->due_usec <= until && (!first || s->due_usec < first->due_usec))
                first = s;
        if (!first)
            break;
        first->is_enabled = false;
        if (first->due_usec > fake_now)
            fake_now = first->due_usec;
        assert_int_equal(first->handler(first, fake_now, first->userdata), 0);
    }
    fake_now = until;
}

/* At a test's end: everything was let go of. */
__attribute__((unused)) static void end_loop(void) {
    for (sd_event_source *s; (s = fake_timers);) {
        fake_timers = s->next;
        assert_true(s->is_freed);
        free(s);
    }
    fake_logged = 0;
    fake_now = NOW;
}
