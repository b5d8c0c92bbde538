/*
 * The connection on which one closing at a time waits for a row that others lock one after the other.
 *
 * It is opened when there is such a closing, and closed when there was none for a while. On the connection that all
 * calls share, heartbeats would wait behind it.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "daemon/lockline.h"
#include "daemon/timer.h"

#define PAUSE_USEC (3 * USEC_PER_SEC) /* between two that wait */
#define IDLE_USEC (60 * USEC_PER_SEC)

struct LockLine {
    Worker *worker;
    Db *db;             /* NULL: not needed now */
    const void *who;    /* waits for a lock; NULL: nobody */
    uint64_t left_usec; /* when one last did */
    sd_event_source *idle;
};

static void on_up(void *userdata) {
    LockLine *l = userdata;

    db_go(l->db);
}

/* A session that is not needed counts against the server's limit. */
static int on_idle(sd_event_source *source, uint64_t usec, void *userdata) {
    LockLine *l = userdata;

    (void) usec;
    if (db_pending(l->db) == 0) {
        l->idle = sd_event_source_disable_unref(l->idle);
        l->db = db_free(l->db);
    } else
        timer_start(source, IDLE_USEC);
    return 0;
}

/* Its first caller goes on without it: connecting takes time. */
static void open_line(LockLine *l) {
    static const DbEvents events = { .up = on_up };
    Worker *w = l->worker;

    if (timer_new(w->event, &l->idle, USEC_PER_SEC, on_idle, l) < 0 ||
        db_new(&l->db, w->event, w->resolver, w->config->database_url.text, "meshifyd waits",
               &events, l) < 0)
        l->idle = sd_event_source_disable_unref(l->idle);
    else
        timer_start(l->idle, IDLE_USEC);
}

bool lockline_enter(LockLine *l, const void *who) {
    uint64_t now = clock_now_usec();

    if (l->who || now < l->left_usec + PAUSE_USEC)
        return false;
    if (!l->db)
        open_line(l);
    /* While the connection can't be had, closings are tried as before. */
    if (!l->db || !db_is_up(l->db) || db_pending(l->db) > 0)
        return false;
    timer_start(l->idle, IDLE_USEC);
    l->who = who;
    return true;
}

bool lockline_has(const LockLine *l, const void *who) {
    return l->who == who;
}

Db *lockline_db(LockLine *l) {
    return l->db;
}

void lockline_leave(LockLine *l, const void *who) {
    if (l->who != who)
        return;
    l->who = NULL;
    l->left_usec = clock_now_usec();
}

int lockline_new(LockLine **ret, Worker *w) {
    LockLine *l = calloc(1, sizeof *l);

    if (!l)
        return -ENOMEM;
    l->worker = w;
    *ret = l;
    return 0;
}

LockLine *lockline_free(LockLine *l) {
    if (l) {
        sd_event_source_disable_unref(l->idle);
        db_free(l->db);
    }
    free(l);
    return NULL;
}
