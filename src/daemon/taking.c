/* Takes up claimed rows in slices: a hundred rows with long prompts would hold the loop for too long. What a row becomes
 * is claims.c's. */
#include "daemon/taking.h"
#include "base/clock.h"
#include "io/turns.h"

#define SLICE_USEC (2 * USEC_PER_MSEC)

bool taking_is_under_way(const Taking *t) {
    return t->res;
}

void taking_drop(Taking *t) {
    t->source = sd_event_source_disable_unref(t->source);
    PQclear(t->res);
    *t = (Taking){ 0 };
}

/* Takes rows for a slice's time, at least one: a row with a long prompt may take longer than a
 * slice. True: that was all. */
static bool take_some(Taking *t) {
    uint64_t end = clock_now_usec() + SLICE_USEC;

    while (t->row < PQntuples(t->res)) {
        t->events->row(t->userdata, t->res, t->row++);
        if (clock_now_usec() >= end)
            break;
    }
    return t->row >= PQntuples(t->res);
}

static void end(Taking *t) {
    Taking ended = *t;

    *t = (Taking){ 0 }; /* done() may begin the next */
    ended.events->done(ended.userdata, ended.res);
    taking_drop(&ended);
}

/* Other events of the loop come between two slices. */
static int on_turn(sd_event_source *source, uint64_t usec, void *userdata) {
    Taking *t = userdata;

    (void) usec;
    if (take_some(t))
        end(t);
    else
        (void) turn_take(source);
    return 0;
}

void taking_start(Taking *t, sd_event *event, const PGresult *res, const TakingEvents *events,
                  void *userdata) {
    *t = (Taking){ .events = events, .userdata = userdata, .row = 1 };
    if (PQntuples(res) <= 1) {
        events->done(userdata, res);
        return;
    }
    t->res = PQcopyResult(res, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES);
    if (!t->res || turn_new(event, &t->source, on_turn, t) < 0) {
        taking_drop(t); /* for want of memory they are taken all at once */
        for (int row = 1; row < PQntuples(res); row++)
            events->row(userdata, res, row);
        events->done(userdata, res);
    } else if (take_some(t))
        end(t);
    else
        (void) turn_take(t->source);
}
