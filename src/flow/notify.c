/* Reads notifications, and decides when the next claim is made. A notification is a hint only: it
 * may be lost, doubled, or sent by anybody who can connect, so the queue is polled as well, and a
 * flood of hints makes no more claims than a few a second. Listening itself is the daemon's. */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "flow/notify.h"
#include "flow/replicate.h"

#define PAYLOAD_MAX 1000
#define SPREAD_USEC 2000 /* a worker, so that many do not claim at the same moment */
#define SPREAD_MAX_USEC 50000
#define POLL_ALONE_USEC 1000000 /* without LISTEN */

/* The channel of jobs says nothing but "there is work": each worker claims, and the database
 * tells who gets it. */
Notify notify_read(const char *channel, const char *payload) {
    static const struct {
        const char *name;
        NotifyKind kind;
    } kinds[] = {
        { "cancel", NOTIFY_CANCEL },
        { "prediction", NOTIFY_PREDICTION },
        { "ping", NOTIFY_PING },
        { "drain", NOTIFY_DRAIN },
    };
    _cleanup_(json_unrefp) json_t *root = NULL;
    Notify n = { .kind = NOTIFY_OTHER };

    if (strcmp(channel, "meshify_jobs") == 0)
        return (Notify){ .kind = NOTIFY_WORK };
    if (strcmp(channel, "meshify_control") != 0 || strnlen(payload, PAYLOAD_MAX) == PAYLOAD_MAX)
        return n;
    /* Anybody who may connect may notify: the payload is data from outside. */
    root = json_parse(payload, strlen(payload));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const char *id = json_text(root, kinds[i].name);

        if (!id || !(kinds[i].kind == NOTIFY_PREDICTION ? replicate_is_id(id) : str_is_uuid(id)))
            continue;
        n.kind = kinds[i].kind;
        strncpy(n.id, id, sizeof n.id - 1);
        break;
    }
    return n;
}

/* Without LISTEN there are no hints at all, and a job would wait for half a minute. */
static uint64_t poll_usec(const Config *c, bool listening) {
    return listening || c->poll_interval_usec < POLL_ALONE_USEC ? c->poll_interval_usec
                                                                : POLL_ALONE_USEC;
}

/* A lease survives two lost heartbeats. Heartbeats bring cancels as well, so without LISTEN they
 * come as often as the queue is polled. */
uint64_t notify_beat_usec(const Config *c, bool listening) {
    uint64_t third = c->lease_usec / 3, poll = poll_usec(c, listening);

    return !listening && poll < third ? poll : third;
}

/* The earliest of three: the next poll, the time at which a waiting job comes due, and a hint.
 * Several workers spread their claims, which would otherwise meet at the same rows. */
uint64_t notify_when(const NotifyPlan *plan, const Config *c, bool listening, unsigned workers,
                     unsigned free_slots, double chance) {
    uint64_t spread = workers > 1 ? (uint64_t) (chance * (double) workers * SPREAD_USEC) : 0;
    uint64_t when, woken = plan->woken_usec;

    if (plan->claiming || free_slots == 0)
        return UINT64_MAX;
    if (spread > SPREAD_MAX_USEC)
        spread = SPREAD_MAX_USEC;
    when = plan->claimed_usec + poll_usec(c, listening);
    if (plan->due_usec < UINT64_MAX - spread && plan->due_usec + spread < when)
        when = plan->due_usec + spread;
    /* Anybody can notify, as often as he likes. What brought jobs is no false alarm. */
    if (plan->claimed_none && woken < plan->claimed_usec + NOTIFY_HINT_USEC)
        woken = plan->claimed_usec + NOTIFY_HINT_USEC;
    if (plan->woken && woken + spread < when)
        when = woken + spread;
    return when;
}
