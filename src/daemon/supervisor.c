/*
 * Tells the supervisor what it wants to know, and never waits until it has read it.
 *
 * sd_notify(3) would block while nobody reads the socket. What is told, and when, is status.c's.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "daemon/supervisor.h"
#include "daemon/timer.h"

#define AGAIN_USEC (250 * USEC_PER_MSEC)

struct Supervisor {
    int fd; /* -1: there is none */
    struct sockaddr_un address;
    socklen_t address_size;
    unsigned owed; /* SupervisorNews */
    char status[1500];
    uint64_t alive_usec; /* the watchdog is fed so often */
    sd_event_source *again, *alive;
};

/* A path, or a name in the abstract namespace. Other kinds exist for virtual machines only. */
static bool find_socket(Supervisor *s) {
    const char *name = getenv("NOTIFY_SOCKET");
    size_t size = name ? strlen(name) : 0;

    if (size < 2 || size >= sizeof s->address.sun_path || (*name != '/' && *name != '@'))
        return false;
    s->address.sun_family = AF_UNIX;
    memcpy(s->address.sun_path, name, size);
    s->address_size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + size + (*name == '/'));
    if (*name == '@')
        s->address.sun_path[0] = '\0';
    return true;
}

/* What is owed goes as one datagram. A supervisor that does not read is tried again later; what is
 * owed does not pile up. */
static void tell(Supervisor *s) {
    char text[sizeof s->status + 100];
    ssize_t n;

    if (s->fd < 0 || s->owed == 0)
        return;
    (void) snprintf(text, sizeof text, "%s%s%s%s%s", s->owed & SUPERVISOR_READY ? "READY=1\n" : "",
                    s->owed & SUPERVISOR_STOPPING ? "STOPPING=1\n" : "",
                    s->owed & SUPERVISOR_ALIVE ? "WATCHDOG=1\n" : "",
                    s->owed & SUPERVISOR_STATUS ? "STATUS=" : "",
                    s->owed & SUPERVISOR_STATUS ? s->status : "");
    n = sendto(s->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
               (const struct sockaddr *) &s->address, s->address_size);
    if (n >= 0 || errno != EAGAIN) { /* it knows, or it is gone */
        s->owed = 0;
        return;
    }
    timer_start(s->again, AGAIN_USEC);
}

void supervisor_tell(Supervisor *s, SupervisorNews news, const char *status) {
    s->owed |= news;
    if (status)
        (void) str_clean(s->status, sizeof s->status, status);
    tell(s);
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    tell(userdata);
    return 0;
}

/* Three times within the watchdog's time: two may be lost. */
static int on_alive(sd_event_source *source, uint64_t usec, void *userdata) {
    Supervisor *s = userdata;

    (void) usec;
    supervisor_tell(s, SUPERVISOR_ALIVE, NULL);
    timer_start(source, s->alive_usec);
    return 0;
}

int supervisor_new(Supervisor **ret, sd_event *event) {
    Supervisor *s = calloc(1, sizeof *s);
    uint64_t watchdog_usec = 0;
    int r;

    if (!s)
        return -ENOMEM;
    s->fd = find_socket(s) ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    r = timer_new(event, &s->again, 1, on_again, s);
    if (r >= 0 && s->fd >= 0 && sd_watchdog_enabled(0, &watchdog_usec) > 0) {
        s->alive_usec = watchdog_usec / 3;
        r = timer_new(event, &s->alive, 1, on_alive, s);
        /* However much there is to do: it must not be killed for that. */
        if (r >= 0)
            r = sd_event_source_set_priority(s->alive, SD_EVENT_PRIORITY_IMPORTANT);
        timer_start(s->alive, 0);
    }
    if (r < 0) {
        supervisor_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

Supervisor *supervisor_free(Supervisor *s) {
    if (s) {
        sd_event_source_disable_unref(s->again);
        sd_event_source_disable_unref(s->alive);
        if (s->fd >= 0)
            close(s->fd);
        free(s);
    }
    return NULL;
}
