#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "io/resolve.h"

#define LOOK_USEC (10 * USEC_PER_MSEC)

struct Resolve {
    struct gaicb request;
    bool started;
    struct addrinfo hints;
    char *name;
    sd_event_source *timer;
    ResolveDone done; /* NULL: nobody waits for it any more */
    void *userdata;
};

/* A look-up that a thread of the C library is in the middle of can't be called back, and may take as
 * long as a resolver that does not answer: its timer frees it when it is over. */
Resolve *resolve_cancel(Resolve *r) {
    if (!r)
        return NULL;
    r->done = NULL;
    if (r->started && gai_cancel(&r->request) == EAI_NOTCANCELED &&
        gai_error(&r->request) == EAI_INPROGRESS)
        return NULL;
    sd_event_source_disable_unref(r->timer);
    if (r->request.ar_result)
        freeaddrinfo(r->request.ar_result);
    free(r->name);
    free(r);
    return NULL;
}
DEFINE_CLEANUP(Resolve *, resolve_cancel)

/* getaddrinfo_a() works in a thread of the C library; whether it has ended is asked for. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    Resolve *r = userdata;
    int error = gai_error(&r->request);
    char texts[RESOLVE_MAX][64];
    const char *addresses[RESOLVE_MAX];
    ResolveDone done = r->done;
    void *user = r->userdata;
    unsigned n = 0;

    (void) usec;
    if (error == EAI_INPROGRESS) {
        (void) sd_event_source_set_time_relative(source, LOOK_USEC);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
    }
    for (struct addrinfo *a = error == 0 ? r->request.ar_result : NULL; a && n < RESOLVE_MAX;
         a = a->ai_next)
        if (getnameinfo(a->ai_addr, a->ai_addrlen, texts[n], sizeof texts[n], NULL, 0,
                        NI_NUMERICHOST) == 0) {
            addresses[n] = texts[n];
            n++;
        }
    resolve_cancel(r);
    if (done)
        done(user, addresses, n, error ? gai_strerror(error) : "no address");
    return 0;
}

int resolve_start(sd_event *event, const char *name, ResolveDone done, void *userdata,
                  Resolve **ret) {
    _cleanup_(resolve_cancelp) Resolve *r = calloc(1, sizeof *r);
    int error;

    if (!r || !(r->name = strdup(name)))
        return -ENOMEM;
    r->done = done;
    r->userdata = userdata;
    r->hints = (struct addrinfo){ .ai_socktype = SOCK_STREAM }; /* else each comes three times */
    r->request.ar_name = r->name;
    r->request.ar_request = &r->hints;
    if ((error = sd_event_add_time_relative(event, &r->timer, CLOCK_MONOTONIC, LOOK_USEC, 1,
                                            on_timer, r)) < 0)
        return error;
    if (getaddrinfo_a(GAI_NOWAIT, (struct gaicb *[]){ &r->request }, 1, NULL) != 0)
        return -EAGAIN;
    r->started = true;
    *ret = TAKE(r);
    return 0;
}
