/* The pages' HTTP server. A client that is slow, and many clients at once, can keep nobody else from the pages: a
 * request and its answer have ten seconds in all, and a client that comes when all places are taken gets that of the
 * oldest. What stands in the pages is daemon/pages.c's. */
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "io/httpd.h"
#include "io/resolve.h"
#include "io/turns.h"

#define HTTPD_AGAIN_USEC (10 * USEC_PER_SEC) /* the next try to listen */
#define HTTPD_SHORT_USEC (1 * USEC_PER_SEC)  /* no descriptor left: the next try to accept */
#define HTTPD_SILENCE_SECONDS 10u            /* of a connection: the library closes it then */
#define HTTPD_EXCHANGE_USEC \
    (10 * USEC_PER_SEC)       /* from a request's begin until its answer was taken */
#define HTTPD_BODY_MAX 65536u /* bytes of a body that nobody reads */
#define HTTPD_MEMORY 8192u    /* of a connection: its request's lines and the answer's */
#define HTTPD_BACKLOG 64      /* the kernel keeps so many that we have not accepted */
#define HTTPD_AT_ONCE 16      /* accepted in one turn of the loop */

typedef struct Client {
    int fd;              /* the library's: to be shut down, never closed */
    uint64_t begun_usec; /* it was accepted then, or its last answer was taken */
    size_t body_size;
    bool listed;
    TAILQ_ENTRY(Client) link;
} Client;

struct Httpd {
    sd_event *event;
    Resolver *resolver; /* borrowed */
    const HttpdEvents *events;
    void *userdata;
    char host[STR_HOST_SIZE];
    unsigned port;
    Resolve *resolve;
    unsigned max_clients, n_clients;
    TAILQ_HEAD(, Client) clients;    /* the oldest first */
    struct MHD_Daemon *daemon;       /* has no listening socket: we hand it what we accept */
    sd_event_source *work, *timeout; /* its epoll descriptor, and its own time-outs */
    sd_event_source *listening, *again;
};

/* --- clients --------------------------------------------------------------------------------- */

static void unlist(Httpd *h, Client *c) {
    if (!c->listed)
        return;
    TAILQ_REMOVE(&h->clients, c, link);
    h->n_clients--;
    c->listed = false;
}

/* A client begins its time anew with each answer that it took: one that reads on is kept before one that does not. */
static void list_last(Httpd *h, Client *c) {
    unlist(h, c);
    c->begun_usec = clock_now_usec();
    c->body_size = 0;
    TAILQ_INSERT_TAIL(&h->clients, c, link);
    h->n_clients++;
    c->listed = true;
}

/* The library finds the connection at its end, and closes it. */
static void let_go(Httpd *h, Client *c) {
    unlist(h, c);
    (void) shutdown(c->fd, SHUT_RDWR);
}

/* NULL also where there was no memory for it when it came: it is served, but not counted. */
static Client *client_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

static void on_client(void *userdata, struct MHD_Connection *connection, void **context,
                      enum MHD_ConnectionNotificationCode what) {
    Httpd *h = userdata;
    Client *c = *context;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

        if (!info || !(c = calloc(1, sizeof *c)))
            return;
        c->fd = info->connect_fd;
        list_last(h, c);
    } else if (c) {
        unlist(h, c);
        free(c);
        c = NULL;
    }
    *context = c;
}

static void on_answered(void *userdata, struct MHD_Connection *connection, void **seen,
                        enum MHD_RequestTerminationCode how) {
    Httpd *h = userdata;
    Client *c = client_of(connection);

    (void) seen;
    (void) how;
    if (c && c->listed)
        list_last(h, c);
}

/* Lets go whoever had its time. Answers when the next one will have had it; UINT64_MAX: there is none. */
static uint64_t let_go_slow(Httpd *h) {
    uint64_t now = clock_now_usec();
    Client *c;

    while ((c = TAILQ_FIRST(&h->clients)) && now >= c->begun_usec + HTTPD_EXCHANGE_USEC)
        let_go(h, c);
    return c ? c->begun_usec + HTTPD_EXCHANGE_USEC - now : UINT64_MAX;
}

/* --- pages ----------------------------------------------------------------------------------- */

static enum MHD_Result answer(struct MHD_Connection *connection, HttpdPage *page,
                              const char *header, const char *value) {
    struct MHD_Response *response;
    enum MHD_Result queued;

    response = MHD_create_response_from_buffer(page->size, page->body, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(page->body);
        return MHD_NO; /* the connection is closed */
    }
    if (page->type)
        (void) MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, page->type);
    (void) MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (header)
        (void) MHD_add_response_header(response, header, value);
    /* Nobody reads the body of a request that is refused: it must not be taken for the next one. */
    if (page->code == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void) MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    queued = MHD_queue_response(connection, page->code, response);
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned code,
                                   const char *text, const char *header, const char *value) {
    HttpdPage page = { .code = code, .type = "text/plain; charset=utf-8", .body = strdup(text) };

    if (!page.body)
        return MHD_NO;
    page.size = strlen(text);
    return answer(connection, &page, header, value);
}

/* Called once when the header is there, again for each part of a body and when all is there. */
static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *body, size_t *size, void **seen) {
    Httpd *h = userdata;
    HttpdPage page = { 0 };
    int r;

    (void) version;
    (void) body;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
                           "Only GET and HEAD are answered.\n", MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    if (!*seen) {
        *seen = h;
        return MHD_YES;
    }
    if (*size > 0) { /* of a GET with a body */
        Client *c = client_of(connection);

        if (!c || (c->body_size += *size) > HTTPD_BODY_MAX)
            return MHD_NO;
        *size = 0;
        return MHD_YES;
    }
    r = h->events->page(h->userdata, path, &page);
    if (r == -ENOENT)
        return answer_text(connection, MHD_HTTP_NOT_FOUND, "There is no such page.\n", NULL, NULL);
    if (r < 0)
        return answer_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR,
                           "The page can't be made at the moment.\n", NULL, NULL);
    return answer(connection, &page, NULL, NULL);
}

/* --- connections ----------------------------------------------------------------------------- */

/* The library works only when it is called: by its epoll descriptor, and when the nearest time-out is due, its own or
 * ours. */
static void serve(Httpd *h) {
    MHD_UNSIGNED_LONG_LONG msec;
    uint64_t next_usec = let_go_slow(h);

    (void) MHD_run(h->daemon);
    if (MHD_get_timeout(h->daemon, &msec) == MHD_YES && msec * USEC_PER_MSEC < next_usec)
        next_usec = msec * USEC_PER_MSEC;
    if (next_usec < UINT64_MAX)
        (void) sd_event_source_set_time_relative(h->timeout, next_usec);
    (void) sd_event_source_set_enabled(h->timeout,
                                       next_usec < UINT64_MAX ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static int on_work(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    (void) source;
    (void) fd;
    (void) events;
    serve(userdata);
    return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    serve(userdata);
    return 0;
}

static void again_in(Httpd *h, uint64_t usec) {
    (void) sd_event_source_set_time_relative(h->again, usec);
    (void) sd_event_source_set_enabled(h->again, SD_EVENT_ONESHOT);
}

/* Ours to accept, not the library's, which would turn the loop without end when descriptors are short. */
static int on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    Httpd *h = userdata;

    (void) events;
    for (int i = 0; i < HTTPD_AT_ONCE; i++) {
        struct sockaddr_storage peer;
        socklen_t size = sizeof peer;
        int c = accept4(fd, (struct sockaddr *) &peer, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (c < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            /* Who waits stays in the backlog; the loop must not turn for it meanwhile. */
            (void) sd_event_source_set_enabled(source, SD_EVENT_OFF);
            again_in(h, HTTPD_SHORT_USEC);
        }
        if (c < 0)
            break;
        if (h->n_clients >= h->max_clients && h->n_clients > 0)
            let_go(h, TAILQ_FIRST(&h->clients));
        /* Closes it in any case, at once where it can't be had. */
        (void) MHD_add_connection(h->daemon, c, (struct sockaddr *) &peer, size);
    }
    serve(h);
    return 0;
}

/* --- listening ------------------------------------------------------------------------------- */

/* The port too, since port 0 is any that is free. */
static void say_where(Httpd *h, int fd) {
    struct sockaddr_storage own;
    socklen_t size = sizeof own;
    char host[STR_HOST_SIZE] = "", port[8] = "", text[STR_HOST_SIZE + 16];

    if (getsockname(fd, (struct sockaddr *) &own, &size) == 0)
        (void) getnameinfo((struct sockaddr *) &own, size, host, sizeof host, port, sizeof port,
                           NI_NUMERICHOST | NI_NUMERICSERV);
    (void) snprintf(text, sizeof text, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    h->events->listens(h->userdata, text);
}

/* 0, or a negative errno. */
static int listen_at(Httpd *h, const char *host) {
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                              .ai_socktype = SOCK_STREAM };
    struct addrinfo *a = NULL;
    int fd, r = 0, yes = 1;
    char port[8];

    (void) snprintf(port, sizeof port, "%u", h->port);
    switch (getaddrinfo(host, port, &hints, &a)) { /* of a number: asks nobody */
    case 0:
        break;
    case EAI_MEMORY:
        return -ENOMEM;
    default:
        return -EADDRNOTAVAIL;
    }
    fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, HTTPD_BACKLOG) < 0)
        r = -errno;
    freeaddrinfo(a);
    if (r == 0)
        r = sd_event_add_io(h->event, &h->listening, fd, EPOLLIN, on_connection, h);
    if (r >= 0)
        r = sd_event_source_set_priority(h->listening, TURN_OF_OTHERS);
    if (r >= 0)
        r = sd_event_source_set_io_fd_own(h->listening, true);
    if (r >= 0) {
        say_where(h, fd);
        return 0;
    }
    h->listening = sd_event_source_disable_unref(h->listening);
    if (fd >= 0)
        close(fd);
    return r;
}

/* The address may come later, as that of an interface does: the daemon runs meanwhile. */
static void failed(Httpd *h, int error, const char *why) {
    again_in(h, HTTPD_AGAIN_USEC);
    h->events->fails(h->userdata, error, why);
}

/* The first of a name's addresses that can be had. */
static void resolved(void *userdata, const char *const *addresses, unsigned n, const char *error) {
    Httpd *h = userdata;
    int r = 0;

    h->resolve = NULL;
    for (unsigned i = 0; i < n; i++)
        if ((r = listen_at(h, addresses[i])) == 0)
            return;
    failed(h, r, n > 0 ? strerror(-r) : error);
}

/* A number needs no lookup, which could hang. */
static bool is_number(const char *host) {
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
    struct addrinfo *a = NULL;
    bool yes = getaddrinfo(host, NULL, &hints, &a) == 0;

    if (yes)
        freeaddrinfo(a);
    return yes;
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata) {
    Httpd *h = userdata;
    int r;

    (void) source;
    (void) usec;
    if (h->listening) /* descriptors were short */
        (void) sd_event_source_set_enabled(h->listening, SD_EVENT_ON);
    else if (!is_number(h->host)) {
        if ((r = resolve_start(h->resolver, h->host, resolved, h, &h->resolve)) < 0)
            failed(h, r, strerror(-r));
    } else if ((r = listen_at(h, h->host)) < 0)
        failed(h, r, strerror(-r));
    return 0;
}

int httpd_new(Httpd **ret, sd_event *event, Resolver *resolver, const char *address,
              unsigned clients, const HttpdEvents *events, void *userdata) {
    Httpd *h = calloc(1, sizeof *h);
    const union MHD_DaemonInfo *info;
    int r;

    if (!h)
        return -ENOMEM;
    *h = (Httpd){
        .event = sd_event_ref(event), .resolver = resolver, .events = events, .userdata = userdata
    };
    h->max_clients = clients;
    TAILQ_INIT(&h->clients);
    if (!str_split_address(address, h->host, &h->port)) {
        httpd_free(h);
        return -EINVAL;
    }
    /* Our list is the limit. The library has one of its own, which also counts those that were let go and are not
     * closed yet and refuses what comes above it: it is set so high that ours is met first. */
    h->daemon =
        MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, on_request, h,
                         MHD_OPTION_CONNECTION_LIMIT, 4 * clients + HTTPD_AT_ONCE,
                         MHD_OPTION_NOTIFY_CONNECTION, on_client, h, MHD_OPTION_NOTIFY_COMPLETED,
                         on_answered, h, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) HTTPD_MEMORY,
                         MHD_OPTION_CONNECTION_TIMEOUT, HTTPD_SILENCE_SECONDS, MHD_OPTION_END);
    info = h->daemon ? MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info || info->epoll_fd < 0) {
        httpd_free(h);
        return -ENOMEM;
    }
    /* Whoever asks may ask without end: jobs have their turns beside that, and the database before it. */
    if ((r = sd_event_add_io(event, &h->work, info->epoll_fd, EPOLLIN, on_work, h)) < 0 ||
        (r = sd_event_source_set_priority(h->work, TURN_OF_OTHERS)) < 0 ||
        (r = sd_event_add_time(event, &h->timeout, CLOCK_MONOTONIC, 0, 1, on_timeout, h)) < 0 ||
        (r = sd_event_source_set_priority(h->timeout, TURN_OF_OTHERS)) < 0 ||
        (r = sd_event_source_set_enabled(h->timeout, SD_EVENT_OFF)) < 0 ||
        (r = sd_event_add_time_relative(event, &h->again, CLOCK_MONOTONIC, 0, 1, on_again, h)) <
            0) {
        httpd_free(h);
        return r;
    }
    *ret = h;
    return 0;
}

Httpd *httpd_free(Httpd *h) {
    if (!h)
        return NULL;
    h->resolve = resolve_cancel(h->resolve);
    sd_event_source_disable_unref(h->listening);
    sd_event_source_disable_unref(h->again);
    sd_event_source_disable_unref(h->timeout);
    sd_event_source_disable_unref(h->work);
    if (h->daemon)
        MHD_stop_daemon(h->daemon);
    sd_event_unref(h->event);
    free(h);
    return NULL;
}
