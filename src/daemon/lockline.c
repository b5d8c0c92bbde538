/*
 * The connection on which one closing at a time waits for a row that others lock one after the other.
 *
 * It is opened when there is such a closing, and closed when there was none for a while. On the connection that all
 * calls share, heartbeats would wait behind it.
 */
#include "daemon/lockline.h"
#include "base/clock.h"

#define PAUSE_USEC (3 * USEC_PER_SEC) /* between two that wait */
#define IDLE_USEC (60 * USEC_PER_SEC)

static void on_up(void *userdata) {
    Worker *w = userdata;

    db_go(w->line.db);
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata) {
    LockLine *l = &((Worker *) userdata)->line;

    (void) source;
    (void) usec;
    if (db_pending(l->db) == 0) {
        l->idle = sd_event_source_disable_unref(l->idle);
        l->db = db_free(l->db);
    } else if (sd_event_source_set_time_relative(l->idle, IDLE_USEC) >= 0)
        (void) sd_event_source_set_enabled(l->idle, SD_EVENT_ONESHOT);
    return 0;
}

static void open_line(Worker *w) {
    static const DbEvents events = { .up = on_up };
    LockLine *l = &w->line;

    if (sd_event_add_time_relative(w->event, &l->idle, CLOCK_MONOTONIC, IDLE_USEC, USEC_PER_SEC,
                                   on_idle, w) < 0)
        return;
    if (db_new(&l->db, w->event, w->resolver, w->config->database_url.text, "meshifyd waits",
               &events, w) < 0)
        l->idle = sd_event_source_disable_unref(l->idle);
}

bool lockline_enter(Worker *w, const void *who) {
    LockLine *l = &w->line;
    uint64_t now = clock_now_usec();

    if (l->who || now < l->left_usec + PAUSE_USEC)
        return false;
    if (!l->db)
        open_line(w);
    /* While it can't be had, closings are tried as before. */
    if (!l->db || !db_is_up(l->db) || db_pending(l->db) > 0)
        return false;
    (void) sd_event_source_set_time_relative(l->idle, IDLE_USEC);
    l->who = who;
    return true;
}

void lockline_leave(Worker *w, const void *who) {
    if (w->line.who != who)
        return;
    w->line.who = NULL;
    w->line.left_usec = clock_now_usec();
}

void lockline_done(Worker *w) {
    w->line.idle = sd_event_source_disable_unref(w->line.idle);
    w->line.db = db_free(w->line.db);
}
