/* One-shot timers. A source of sd-event that has fired stays, disabled; setting its time does not enable it again,
 * so that two calls are always needed, and stand here. */
#include "daemon/timer.h"

int timer_new(sd_event *event, sd_event_source **ret, uint64_t accuracy_usec,
              sd_event_time_handler_t handler, void *userdata) {
    int r = sd_event_add_time(event, ret, CLOCK_MONOTONIC, 0, accuracy_usec, handler, userdata);

    return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

void timer_start(sd_event_source *timer, uint64_t usec) {
    (void) sd_event_source_set_time_relative(timer, usec);
    (void) sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

void timer_stop(sd_event_source *timer) {
    (void) sd_event_source_set_enabled(timer, SD_EVENT_OFF);
}

bool timer_runs(sd_event_source *timer) {
    int enabled = SD_EVENT_OFF;

    return timer && sd_event_source_get_enabled(timer, &enabled) >= 0 && enabled != SD_EVENT_OFF;
}
