/*
 * A lane serves its tickets in order, at its rate and width, while nothing holds it.
 *
 * How long a hold lasts is core/hold.c's, the rate core/retry.c's; who has to wait, and who says so, the callers'.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/lane.h"
#include "daemon/timer.h"

bool lane_is_held(const Lane *lane) {
    return hold_is_on(&lane->hold, clock_now_usec());
}

/* How long until `waiter`, the next one, may go: 0: now; UINT64_MAX: not before something happens. Takes a
 * token. */
static uint64_t next_in(Lane *lane, void *waiter) {
    uint64_t now = clock_now_usec(), wait = 0;

    if (lane->running >= lane->max || (lane->guard && !lane->guard(lane->guard_userdata, waiter)))
        return UINT64_MAX;
    if ((wait = hold_wait_usec(&lane->hold, now)) > 0)
        return wait;
    return bucket_take(&lane->bucket, now, &wait) ? 0 : wait;
}

/* After a hold one goes first, and the others when it was answered well. */
static void begin(Lane *lane, LaneTicket *ticket) {
    lane->running++;
    if ((ticket->probe = hold_wants_probe(&lane->hold)))
        hold_probe(&lane->hold, clock_now_usec());
}

/* In the order of the line: a ticket that may not go keeps back those behind it, which came
 * later. */
static void serve(Lane *lane) {
    LaneTicket *t;

    while ((t = TAILQ_FIRST(&lane->queue))) {
        uint64_t wait = next_in(lane, t->userdata);

        if (wait == UINT64_MAX)
            return;
        if (wait > 0) {
            timer_start(lane->timer, wait);
            return;
        }
        TAILQ_REMOVE(&lane->queue, t, link);
        t->waiting = false;
        t->waited_usec = clock_now_usec() - t->waited_from_usec;
        begin(lane, t);
        t->go(t->userdata);
    }
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    serve(userdata);
    return 0;
}

/* Not from within lane_leave(): its caller is in the middle of a move. */
static void serve_soon(Lane *lane) {
    if (!TAILQ_EMPTY(&lane->queue))
        timer_start(lane->timer, 0);
}

int lane_init(Lane *lane, sd_event *event, const char *name, unsigned max,
              void (*changed)(void *userdata), void *userdata) {
    *lane = (Lane){ .name = name, .max = max, .changed = changed, .userdata = userdata };
    TAILQ_INIT(&lane->queue);
    return timer_new(event, &lane->timer, 1, on_timer, lane);
}

void lane_done(Lane *lane) {
    lane->timer = sd_event_source_disable_unref(lane->timer);
}

/* The first may go past an empty line only: otherwise who waits would be overtaken for ever. */
static bool join(Lane *lane, LaneTicket *ticket, void (*go)(void *userdata), void *userdata,
                 bool first) {
    *ticket = (LaneTicket){ .lane = lane, .go = go, .userdata = userdata };
    if ((first || TAILQ_EMPTY(&lane->queue)) && next_in(lane, userdata) == 0) {
        begin(lane, ticket);
        return true;
    }
    ticket->waiting = true;
    ticket->waited_from_usec = clock_now_usec();
    if (first)
        TAILQ_INSERT_HEAD(&lane->queue, ticket, link);
    else
        TAILQ_INSERT_TAIL(&lane->queue, ticket, link);
    serve_soon(lane);
    return false;
}

bool lane_enter(Lane *lane, LaneTicket *ticket, void (*go)(void *userdata), void *userdata) {
    return join(lane, ticket, go, userdata, false);
}

bool lane_enter_first(Lane *lane, LaneTicket *ticket, void (*go)(void *userdata), void *userdata) {
    return join(lane, ticket, go, userdata, true);
}

uint64_t lane_waited_usec(const LaneTicket *ticket) {
    return ticket->waiting ? clock_now_usec() - ticket->waited_from_usec : ticket->waited_usec;
}

/* A probe that was not answered, well or badly, lets the next in line be one. */
void lane_leave(LaneTicket *ticket) {
    Lane *lane = ticket->lane;

    if (!lane)
        return;
    if (ticket->waiting)
        TAILQ_REMOVE(&lane->queue, ticket, link);
    else
        lane->running--;
    if (ticket->probe)
        hold_probe_over(&lane->hold);
    *ticket = (LaneTicket){ 0 };
    serve_soon(lane);
}

/* Said once for each kind of trouble; each new hold of the same kind is longer than the last. */
void lane_hold(Lane *lane, const Fault *fault) {
    uint64_t now = clock_now_usec();
    bool said = lane->hold.count > 0 && lane->hold.code == fault->code;

    hold_begin(&lane->hold, fault, now, clock_chance());
    str_clean(lane->held_detail, sizeof lane->held_detail, fault->detail);
    if (!said)
        log_line(
            LOG_WARNING, LANE_HELD, "Lane %s is held (%s): %s. %s%sTrying again in %llu s.",
            lane->name, fault_info(fault->code)->word, fault->detail, fault_advice(fault),
            *fault_advice(fault) ? " " : "",
            (unsigned long long) ((lane->hold.until_usec - now + USEC_PER_SEC - 1) / USEC_PER_SEC));
    serve_soon(lane);
    lane->changed(lane->userdata);
}

/* An answer that was under way when the hold began ends nothing: the hold has to run out first. */
void lane_open(Lane *lane) {
    lane->answers++;
    if (lane->hold.count > 0 && !lane_is_held(lane)) {
        log_line(LOG_NOTICE, LANE_OPEN, "Lane %s is open again.", lane->name);
        hold_end(&lane->hold);
        serve_soon(lane);
        lane->changed(lane->userdata);
    }
}

void lane_guard(Lane *lane, bool (*guard)(void *userdata, void *waiter), void *userdata) {
    lane->guard = guard;
    lane->guard_userdata = userdata;
}

void lane_look(Lane *lane) {
    serve_soon(lane);
}
