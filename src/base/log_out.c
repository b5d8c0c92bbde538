/* Writes log records to stderr or to the journal without ever waiting for a reader.
 *
 * O_NONBLOCK may not be set on a stderr that we were given: it belongs to the open file description,
 * which a shell, or a sibling, uses too. So each kind of stderr has its own way; see choose(). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log_out.h"

#define QUEUE_SIZE ((size_t) 256 * 1024) /* a burst: the state of some hundred jobs */
#define SEND_BUFFER (4 * 1024 * 1024)    /* the kernel gives what it allows */
#define PATIENCE_NSEC 5000000L           /* that a write may take that can't be told not to wait */
#define LAST_WAIT_NSEC 10000000L
#define LAST_TRIES 20
#define JOURNAL "/run/systemd/journal/socket"

typedef enum Way {
    WAY_WRITE,     /* it does not wait: non-blocking, or a file */
    WAY_SEND,      /* a socket: MSG_DONTWAIT */
    WAY_INTERRUPT, /* it may wait: interrupted by a timer */
    WAY_JOURNAL,   /* a datagram a record */
} Way;

/* Records have different sizes, and a queue may be wrapped at any of them. */
typedef struct Head { /* before each record in the queue */
    uint32_t size;
} Head;

static struct {
    Way way;
    int fd;
    timer_t timer;           /* of WAY_INTERRUPT */
    size_t begin, end;       /* of what is queued */
    size_t written;          /* of the first record: a stream may take a part */
    unsigned long long lost; /* not yet reported */
    unsigned long long lost_all;
    char queue[QUEUE_SIZE];
} out = { .way = WAY_WRITE, .fd = STDERR_FILENO };

/* --- choosing a way -------------------------------------------------------------------------- */

static void on_alarm(int number) {
    (void) number; /* it has interrupted the write: that is all */
}

/* The timer's signal goes to this thread alone, and has no SA_RESTART: a write that waits ends with
 * EINTR, or with the part that was written. */
static bool make_timer(void) {
    struct sigaction action = { .sa_handler = on_alarm };
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };

    event._sigev_un._tid = (pid_t) syscall(SYS_gettid);
    return sigaction(SIGALRM, &action, NULL) == 0 &&
           timer_create(CLOCK_MONOTONIC, &event, &out.timer) == 0;
}

/* A socket can be asked not to wait by each call. A write to a file waits for a disk at most, and a
 * second opening of a file would have an offset of its own. Anything else (a pipe, a terminal) is
 * opened a second time, non-blocking. Who may not do that, as after a change of the user, writes
 * with a timer that interrupts. */
static void choose(void) {
    struct stat st;
    int flags = fcntl(STDERR_FILENO, F_GETFL), fd;

    out.fd = STDERR_FILENO;
    out.way = WAY_WRITE;
    if (flags < 0 || fstat(STDERR_FILENO, &st) < 0 || S_ISREG(st.st_mode) || (flags & O_NONBLOCK))
        return;
    if (S_ISSOCK(st.st_mode)) {
        out.way = WAY_SEND;
        return;
    }
    fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        out.fd = fd;
    else if (make_timer())
        out.way = WAY_INTERRUPT;
}

void log_out_open(bool journal) {
    int fd = journal ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;

    if (fd < 0) {
        choose();
        return;
    }
    (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ SEND_BUFFER }, sizeof(int));
    out.fd = fd;
    out.way = WAY_JOURNAL;
}

/* --- writing without waiting ----------------------------------------------------------------- */

/* The reader of our stderr may stop reading: the timer interrupts a write that would wait. */
static ssize_t write_interrupted(const char *bytes, size_t size) {
    /* The signal may come before the write has begun to wait: so it comes again. */
    const struct itimerspec on = { .it_value.tv_nsec = PATIENCE_NSEC,
                                   .it_interval.tv_nsec = PATIENCE_NSEC };
    const struct itimerspec off = { 0 };
    struct pollfd p = { .fd = out.fd, .events = POLLOUT };
    ssize_t n;
    int error;

    if (poll(&p, 1, 0) == 0) {
        errno = EAGAIN;
        return -1;
    }
    (void) timer_settime(out.timer, 0, &on, NULL);
    n = write(out.fd, bytes, size);
    error = errno;
    (void) timer_settime(out.timer, 0, &off, NULL);
    errno = n < 0 && error == EINTR ? EAGAIN : error;
    return n;
}

/* How much was taken, or -1 and errno. A datagram is taken whole or not at all. */
static ssize_t hand_over(const char *bytes, size_t size) {
    /* Sent by name each time: a journal that was started anew has a new socket. Records are so small
     * that the protocol's other form, a descriptor of a file in memory, is never needed. */
    static const struct sockaddr_un journal = { .sun_family = AF_UNIX, .sun_path = JOURNAL };
    ssize_t n;

    do {
        n = out.way == WAY_JOURNAL     ? sendto(out.fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL,
                                                (const struct sockaddr *) &journal, sizeof journal)
            : out.way == WAY_SEND      ? send(out.fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL)
            : out.way == WAY_INTERRUPT ? write_interrupted(bytes, size)
                                       : write(out.fd, bytes, size);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* --- the queue ------------------------------------------------------------------------------- */

/* Counted twice: what is yet to be reported in the log, and all of it, for the metrics. */
static void lose(void) {
    out.lost++;
    out.lost_all++;
}

/* A queue of fixed size: a reader that stopped for hours must not cost memory. What does not fit
 * is lost, and counted. */
static bool enqueue(const char *record, size_t size, size_t written) {
    const Head head = { .size = (uint32_t) size };

    if (out.end - out.begin + sizeof head + size > QUEUE_SIZE)
        return false;
    if (out.end + sizeof head + size > QUEUE_SIZE) {
        memmove(out.queue, out.queue + out.begin, out.end - out.begin);
        out.end -= out.begin;
        out.begin = 0;
    }
    if (out.begin == out.end)
        out.written = written;
    memcpy(out.queue + out.end, &head, sizeof head);
    memcpy(out.queue + out.end + sizeof head, record, size);
    out.end += sizeof head + size;
    return true;
}

/* Sends what is queued, in order. False: the reader takes no more at the moment. */
static bool drain(void) {
    while (out.begin < out.end) {
        Head head;
        ssize_t n;

        memcpy(&head, out.queue + out.begin, sizeof head);
        n = hand_over(out.queue + out.begin + sizeof head + out.written, head.size - out.written);
        if (n < 0)
            return false;
        out.written += (size_t) n;
        if (out.written < head.size)
            continue;
        out.begin += sizeof head + head.size;
        out.written = 0;
    }
    out.begin = out.end = 0;
    return true;
}

void log_out_put(const char *record, size_t size) {
    ssize_t n;

    /* After a loss nothing is taken before the loss was reported, so that it is where it belongs. */
    if (size > LOG_OUT_RECORD_MAX || out.lost > 0) {
        lose();
        return;
    }
    n = drain() ? hand_over(record, size) : -1;
    if (n < (ssize_t) size && !enqueue(record, size, n > 0 ? (size_t) n : 0))
        lose();
}

bool log_out_flush(void) {
    return drain() && out.lost == 0;
}

bool log_out_is_behind(void) {
    return out.begin < out.end || out.lost > 0;
}

unsigned long long log_out_take_lost(void) {
    unsigned long long n = out.lost;

    if (n == 0 || !drain())
        return 0;
    out.lost = 0;
    return n;
}

unsigned long long log_out_lost(void) {
    return out.lost_all;
}

/* The last lines say why a program ends. They get a fifth of a second, not more: systemd waits
 * for the end. */
void log_out_close(void) {
    for (int i = 0; i < LAST_TRIES && !drain(); i++)
        (void) nanosleep(&(struct timespec){ .tv_nsec = LAST_WAIT_NSEC }, NULL);
}

/* For what is said before the log is open, or while it is being closed: one line, and never
 * waits. */
void log_out_stderr(const char *text) {
    struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

    if (send(STDERR_FILENO, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
        errno == ENOTSOCK && poll(&p, 1, 0) == 1)
        (void) !write(STDERR_FILENO, text, strlen(text)); /* so little fits where anything does */
}
