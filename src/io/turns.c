/* Turns in the loop, for what has to be done soon but not before what waits already: a timer that
 * is due at once, at a lower priority than sockets. A defer source would run before anything
 * else, each time. */
#include "io/turns.h"

int turn_new(sd_event *event, sd_event_source **ret, sd_event_time_handler_t handler,
             void *userdata) {
    int r = sd_event_add_time_relative(event, ret, CLOCK_MONOTONIC, 0, 1, handler, userdata);

    if (r >= 0)
        r = sd_event_source_set_priority(*ret, TURN_OF_OTHERS);
    return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

/* Taken twice before it came, a turn comes once. */
int turn_take(sd_event_source *source) {
    int r = sd_event_source_get_enabled(source, NULL);

    if (r != 0)
        return r < 0 ? r : 0;
    r = sd_event_source_set_time_relative(source, 0);
    return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}
