/* What systemd, or whoever else set $NOTIFY_SOCKET, is told: the protocol of sd_notify(3), but without
 * waiting, which sd_notify() does while nobody reads the socket. */
#pragma once
#include <systemd/sd-event.h>

typedef struct Supervisor Supervisor;

typedef enum SupervisorNews { /* what can't be told now is told later, the newest STATUS only */
    SUPERVISOR_STATUS = 1 << 0,
    SUPERVISOR_READY = 1 << 1,
    SUPERVISOR_STOPPING = 1 << 2,
    SUPERVISOR_ALIVE = 1 << 3,
} SupervisorNews;

/* Feeds the watchdog from then on, if there is one. 0, -ENOMEM or what libsystemd answers. */
int supervisor_new(Supervisor **ret, sd_event *event);
Supervisor *supervisor_free(Supervisor *s);

/* `status` is copied, cut where it is too long; NULL: as before. */
void supervisor_tell(Supervisor *s, SupervisorNews news, const char *status);
