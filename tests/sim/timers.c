/* Answers that wait. A connection is suspended, and resumed by the main thread when it is time. */
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "http.h"

struct Timers {
    pthread_mutex_t lock;
    int fd;
    bool stopping;
    Request *first; /* soonest first */
};

static uint64_t monotonic_usec(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

struct Timers *timers_free(struct Timers *t) {
    if (t) {
        close(t->fd);
        pthread_mutex_destroy(&t->lock);
        free(t);
    }
    return NULL;
}

struct Timers *timers_new(void) {
    struct Timers *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    pthread_mutex_init(&t->lock, NULL);
    if ((t->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) < 0) {
        free(t);
        return NULL;
    }
    return t;
}

int timers_fd(const struct Timers *t) {
    return t->fd;
}

/* One timer for the soonest; the others follow when it has rung. */
static void arm(struct Timers *t) {
    struct itimerspec when = { 0 };

    if (t->first) {
        when.it_value.tv_sec = (time_t) (t->first->due_usec / 1000000);
        when.it_value.tv_nsec = (long) (t->first->due_usec % 1000000 * 1000);
    }
    (void) timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Our lock is never held while libmicrohttpd is called: it has locks of its own. */
void request_stall(Request *r) {
    struct Timers *t = r->sim->timers;
    Request **at;
    bool stopping;

    r->stalled = true;
    r->due_usec = monotonic_usec() + (uint64_t) r->reply.stall_usec;
    MHD_suspend_connection(r->connection);
    pthread_mutex_lock(&t->lock);
    if (!(stopping = t->stopping)) {
        for (at = &t->first; *at && (*at)->due_usec <= r->due_usec; at = &(*at)->next_stalled)
            ;
        r->next_stalled = *at;
        *at = r;
        arm(t);
    }
    pthread_mutex_unlock(&t->lock);
    if (stopping)
        MHD_resume_connection(r->connection);
}

static void resume_all(Request *r) {
    for (Request *next; r; r = next) {
        next = r->next_stalled; /* once resumed it may be gone */
        MHD_resume_connection(r->connection);
    }
}

void timers_run(struct Timers *t) {
    Request *due = NULL, **end = &due;
    uint64_t expired, now = monotonic_usec();

    (void) !read(t->fd, &expired, sizeof expired);
    pthread_mutex_lock(&t->lock);
    while (t->first && t->first->due_usec <= now) {
        *end = t->first;
        t->first = t->first->next_stalled;
        end = &(*end)->next_stalled;
    }
    *end = NULL;
    arm(t);
    pthread_mutex_unlock(&t->lock);
    resume_all(due);
}

/* libmicrohttpd can't be stopped while a connection is suspended. */
void timers_stop(struct Timers *t) {
    Request *all;

    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    all = TAKE(t->first);
    pthread_mutex_unlock(&t->lock);
    resume_all(all);
}
