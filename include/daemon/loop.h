/* Turns the event loop, measures each turn, and goes on with log lines that nobody took. */
#pragma once
#include <systemd/sd-event.h>

#include "daemon/metrics.h"

/* Until sd_event_exit(). Answers its code, or what libsystemd answers. */
int loop_run(sd_event *event, Metrics *metrics);
