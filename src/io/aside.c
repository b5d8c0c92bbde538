/* Threads for calls that can't be told to give up, such as getaddrinfo(). The loop hears of their
 * ends through an eventfd, and waits for none of them, also not at exit: a name server that stays
 * silent must not delay a shutdown. What is called is the caller's; nothing here knows of names. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "io/aside.h"

#define STACK_BYTES (1024 * 1024) /* modules of the C library's name switch may want some of it */

typedef struct Shared Shared;

typedef struct Call {
    Shared *shared;
    AsideCall work, done;
    void *arg;
    STAILQ_ENTRY(Call) link;
} Call;

typedef STAILQ_HEAD(Calls, Call) Calls;

/* State shared by the threads and the loop; the last of them frees it. */
struct Shared {
    pthread_mutex_t lock;
    Calls over;  /* their `done` comes next */
    int wake_fd; /* eventfd */
    bool closed; /* the loop is gone */
    unsigned refs;
};

struct Aside {
    Shared *shared;
    sd_event_source *io;
    Calls waiting; /* for a thread */
    unsigned running, max;
};

static void shared_unref(Shared *s) {
    bool last;

    (void) pthread_mutex_lock(&s->lock);
    last = --s->refs == 0;
    (void) pthread_mutex_unlock(&s->lock);
    if (!last)
        return;
    (void) pthread_mutex_destroy(&s->lock);
    if (s->wake_fd >= 0)
        (void) close(s->wake_fd);
    free(s);
}

/* On the loop's thread as long as the loop is there. */
static void call_end(Call *c) {
    c->done(c->arg);
    free(c);
}

/* Nothing of the loop is touched without the lock. When the loop is gone, the thread cleans up
 * behind itself. */
static void *in_thread(void *arg) {
    Call *c = arg;
    Shared *s = c->shared;
    bool closed;

    c->work(c->arg);
    (void) pthread_mutex_lock(&s->lock);
    closed = s->closed;
    /* The loop is woken only while it is there to read it. */
    if (!closed) {
        STAILQ_INSERT_TAIL(&s->over, c, link);
        (void) eventfd_write(s->wake_fd, 1);
    }
    (void) pthread_mutex_unlock(&s->lock);
    if (closed)
        call_end(c);
    shared_unref(s);
    return NULL;
}

/* Starts a thread. It begins with all signals blocked: they are the loop's, which reads them
 * through a signalfd. */
static int begin(Aside *a, Call *c) {
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_t thread;
    int r;

    if (pthread_attr_init(&attr) != 0)
        return -ENOMEM;
    (void) pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void) pthread_attr_setstacksize(&attr, STACK_BYTES);
    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &before);
    (void) pthread_mutex_lock(&a->shared->lock);
    r = pthread_create(&thread, &attr, in_thread, c);
    a->shared->refs += r == 0;
    (void) pthread_mutex_unlock(&a->shared->lock);
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void) pthread_attr_destroy(&attr);
    a->running += r == 0;
    return r == 0 ? 0 : -EAGAIN;
}

/* Starts calls that waited. One that gets no thread waits for the next end; where no thread is
 * running, nothing would ever end, so its call is over without having been made. */
static void begin_waiting(Aside *a) {
    Call *c;

    while (a->running < a->max && (c = STAILQ_FIRST(&a->waiting))) {
        /* Before its thread begins, which may be over at once and put it into the other list. */
        STAILQ_REMOVE_HEAD(&a->waiting, link);
        if (begin(a, c) == 0)
            continue;
        if (a->running > 0) {
            STAILQ_INSERT_HEAD(&a->waiting, c, link);
            return;
        }
        call_end(c);
    }
}

/* The list is taken whole: a callback may start another call. */
static int on_over(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    Aside *a = userdata;
    Calls over = STAILQ_HEAD_INITIALIZER(over);
    eventfd_t n;
    Call *c;

    (void) source;
    (void) events;
    (void) eventfd_read(fd, &n);
    (void) pthread_mutex_lock(&a->shared->lock);
    STAILQ_CONCAT(&over, &a->shared->over);
    (void) pthread_mutex_unlock(&a->shared->lock);
    while ((c = STAILQ_FIRST(&over))) {
        STAILQ_REMOVE_HEAD(&over, link);
        a->running--;
        call_end(c);
    }
    begin_waiting(a);
    return 0;
}

int aside_start(Aside *a, AsideCall work, AsideCall done, void *arg) {
    Call *c = malloc(sizeof *c);
    int r = 0;

    if (!c)
        return -ENOMEM;
    *c = (Call){ .shared = a->shared, .work = work, .done = done, .arg = arg };
    /* No more threads than this: each may be stuck for as long as a name server is silent. */
    if (a->running >= a->max)
        STAILQ_INSERT_TAIL(&a->waiting, c, link);
    else if ((r = begin(a, c)) < 0)
        free(c);
    return r;
}

void aside_drop(Aside *a, const void *arg) {
    Call *c;

    STAILQ_FOREACH(c, &a->waiting, link)
    if (c->arg == arg)
        break;
    if (!c)
        return;
    STAILQ_REMOVE(&a->waiting, c, Call, link);
    call_end(c);
}

/* Half of the threads are kept free for calls that have no thread yet. */
bool aside_is_busy(const Aside *a) {
    return a->running >= a->max / 2;
}

int aside_new(Aside **ret, sd_event *event, unsigned threads_max) {
    Aside *a = calloc(1, sizeof *a);
    Shared *s = calloc(1, sizeof *s);
    int r;

    if (!a || !s || pthread_mutex_init(&s->lock, NULL) != 0) {
        free(a);
        free(s);
        return -ENOMEM;
    }
    s->refs = 1;
    STAILQ_INIT(&s->over);
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    *a = (Aside){ .shared = s, .max = threads_max };
    STAILQ_INIT(&a->waiting);
    r = s->wake_fd < 0 ? -errno : sd_event_add_io(event, &a->io, s->wake_fd, EPOLLIN, on_over, a);
    if (r < 0) {
        aside_free(a);
        return r;
    }
    *ret = a;
    return 0;
}

/* Calls that have not ended keep what they share alive; the last of them frees it. */
Aside *aside_free(Aside *a) {
    Calls ended = STAILQ_HEAD_INITIALIZER(ended);
    Call *c;

    if (!a)
        return NULL;
    sd_event_source_disable_unref(a->io);
    (void) pthread_mutex_lock(&a->shared->lock);
    a->shared->closed = true;
    STAILQ_CONCAT(&ended, &a->shared->over);
    (void) pthread_mutex_unlock(&a->shared->lock);
    STAILQ_CONCAT(&ended, &a->waiting);
    while ((c = STAILQ_FIRST(&ended))) {
        STAILQ_REMOVE_HEAD(&ended, link);
        call_end(c);
    }
    shared_unref(a->shared);
    free(a);
    return NULL;
}
