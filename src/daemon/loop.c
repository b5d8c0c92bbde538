/*
 * Turns the event loop as sd_event_loop() does it, with a clock beside each event that is dispatched, and with a timer
 * while the log is behind: without it the report of a loss would wait for the next line.
 */
#include <stdint.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/loop.h"

#define LOG_AGAIN_USEC (250 * USEC_PER_MSEC)

/* Until the log is taken again, or its queue is empty. */
static int on_log_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) usec;
    (void) userdata;
    (void) sd_event_source_set_time_relative(source, LOG_AGAIN_USEC);
    (void) sd_event_source_set_enabled(source, log_flush() ? SD_EVENT_OFF : SD_EVENT_ON);
    return 0;
}

/* Only while lines are waiting: an idle daemon does not wake up. */
static void watch_log(sd_event_source *timer) {
    int enabled = SD_EVENT_OFF;

    if (!log_is_behind() || sd_event_source_get_enabled(timer, &enabled) > 0)
        return;
    (void) sd_event_source_set_time_relative(timer, LOG_AGAIN_USEC);
    (void) sd_event_source_set_enabled(timer, SD_EVENT_ON);
}

/* One event a turn, so that a slow one can be seen by itself. */
static int turn(sd_event *event, Metrics *metrics) {
    uint64_t began_usec, began_cpu_usec;
    int r = sd_event_prepare(event);

    if (r == 0)
        r = sd_event_wait(event, UINT64_MAX);
    if (r <= 0)
        return r;
    began_usec = clock_now_usec();
    began_cpu_usec = clock_thread_usec();
    r = sd_event_dispatch(event);
    metrics_turn(metrics, clock_now_usec() - began_usec, clock_thread_usec() - began_cpu_usec);
    return r;
}

int loop_run(sd_event *event, Metrics *metrics) {
    sd_event_source *timer = NULL;
    int code = 0, r;

    r = sd_event_add_time(event, &timer, CLOCK_MONOTONIC, 0, 1, on_log_timer, NULL);
    if (r >= 0)
        r = sd_event_source_set_enabled(timer, SD_EVENT_OFF);
    while (r >= 0 && sd_event_get_state(event) != SD_EVENT_FINISHED) {
        watch_log(timer);
        r = turn(event, metrics);
    }
    sd_event_source_disable_unref(timer);
    if (r >= 0)
        (void) sd_event_get_exit_code(event, &code);
    return r < 0 ? r : code;
}
