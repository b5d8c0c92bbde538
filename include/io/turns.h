/* Whose turn it is in the loop. The database's answers and timers come first, at SD_EVENT_PRIORITY_NORMAL. */
#pragma once

#include <systemd/sd-event.h>

/* For what others can cause without end (bytes, notifications, questions), and for what must have its turn
 * beside that: among these, the one that has waited longest. */
#define TURN_OF_OTHERS (SD_EVENT_PRIORITY_NORMAL + 10)

/* A source that waits for no more than its turn. Not a deferred event: sd-event counts one that comes again as
 * the oldest, so that it would go before all others each time. Returns what sd-event does. */
int turn_new(sd_event *event, sd_event_source **ret, sd_event_time_handler_t handler,
             void *userdata);

/* Waits in line once, behind all that wait already; keeps its place if it is in line. Returns what sd-event does. */
int turn_take(sd_event_source *source);
