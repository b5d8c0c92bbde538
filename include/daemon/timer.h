/* Most timers of the daemon: made once, started for a time from now, fired once. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* A timer that does not run yet; `accuracy_usec` 0: sd-event's own, 250 ms. 0, -ENOMEM or what libsystemd answers; *ret may be set all the same. */
int timer_new(sd_event *event, sd_event_source **ret, uint64_t accuracy_usec,
              sd_event_time_handler_t handler, void *userdata);

/* Fires once, `usec` from now, whatever was set before. */
void timer_start(sd_event_source *timer, uint64_t usec);
void timer_stop(sd_event_source *timer);
bool timer_runs(sd_event_source *timer);
