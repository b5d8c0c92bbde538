/* A lane is what jobs queue for: how many at once, how many a minute, and whether it is held because
 * the other side said so (429, 402, 401) or is away. */
#pragma once
#include <stdbool.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/fault.h"
#include "core/hold.h"
#include "core/retry.h"

typedef struct Lane Lane;

typedef struct LaneTicket { /* lives in its owner; zeroed: not in a lane */
    Lane *lane;
    bool waiting;
    bool probe; /* it went first after a hold */
    void (*go)(void *userdata);
    void *userdata;
    uint64_t waited_from_usec, waited_usec; /* how long it stood in the queue */
    TAILQ_ENTRY(LaneTicket) link;
} LaneTicket;

struct Lane {
    const char *name;
    Bucket bucket;
    unsigned max, running;
    bool (*guard)(void *userdata, void *waiter); /* NULL: none; false: nothing begins */
    void *guard_userdata;
    Hold hold;
    unsigned long long answers; /* good ones, of all who went */
    char held_detail[120];
    sd_event_source *timer;
    void (*changed)(void *userdata); /* it is held, or open again */
    void *userdata;
    TAILQ_HEAD(, LaneTicket) queue;
};

/* `changed` may be called from within any of the functions below; it must not call them. */
int lane_init(Lane *lane, sd_event *event, const char *name, unsigned max,
              void (*changed)(void *userdata), void *userdata);
void lane_done(Lane *lane);

/* True: go on at once. False: `go` is called from the loop when it is the ticket's turn. */
bool lane_enter(Lane *lane, LaneTicket *ticket, void (*go)(void *userdata), void *userdata);

/* The same before all others: for a job that holds something others in the lane wait for. */
bool lane_enter_first(Lane *lane, LaneTicket *ticket, void (*go)(void *userdata), void *userdata);

/* How long the ticket stood in the queue, whether it still does or not; 0 once it has left. */
uint64_t lane_waited_usec(const LaneTicket *ticket);

/* The ticket is not needed any more, whether it waited or went. Harmless when it is in no lane. */
void lane_leave(LaneTicket *ticket);

/* Nobody goes for a while, as core/hold.h says; then one goes first, and the others when lane_open() is told.
 * Says so once. */
void lane_hold(Lane *lane, const Fault *fault);

/* The other side answered as it should, if only with a refusal: it is there. */
void lane_open(Lane *lane);

/* Nothing goes while `guard` says no of the first in line (`waiter` is its userdata), which is asked at the
 * moment of going. lane_look() tells that its answer may have changed. */
void lane_guard(Lane *lane, bool (*guard)(void *userdata, void *waiter), void *userdata);
void lane_look(Lane *lane);
bool lane_is_held(const Lane *lane);
