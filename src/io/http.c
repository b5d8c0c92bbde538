/* Drives curl's multi interface by the event loop: admits requests while there are connections for them,
 * and tells each one's end once. What curl is told of a request is http_setup.c's, its way http_route.c's,
 * its bytes http_body.c's, and what its end means http_reply.c's. */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "io/http_op.h"
#include "io/http_route.h"
#include "io/turns.h"

#define HTTP_KEEP 64 /* idle connections kept */
/* A purchase leaves so soon or not at all: its intent was written down, and after a longer wait a late
 * look could find nothing and let it be bought again. */
#define HTTP_BUY_USEC (4 * USEC_PER_SEC)
#define TURN_USEC (5 * USEC_PER_MSEC) /* nothing keeps the loop longer */

static void admit_next(Http *http);

/* curl may call back while it lets go of a transfer: `dropped` makes it find nobody. A place that gets free goes to
 * the next request that waits. */
static void op_free(HttpOp *op) {
    Http *http = op->http;

    http->n_waiting -= op->waits;
    http->busy -= op->admitted;
    if (op->easy) {
        op->dropped = true;
        if (op->paused) /* or what curl keeps for it is lost, where others use the connection */
            (void) curl_easy_pause(op->easy, CURLPAUSE_CONT);
        (void) curl_multi_remove_handle(op->http->multi, op->easy);
        curl_easy_cleanup(op->easy);
    }
    http_route_free(op->route);
    curl_slist_free_all(op->headers);
    http_request_done(&op->request);
    http_reply_done(&op->reply);
    free(op);
    admit_next(http);
}

/* The transfer is over; on_defer() tells its owner, since curl may stand on the stack now, and its owner may cancel
 * other requests when it hears. */
static void end_op(HttpOp *op, CURLcode code) {
    op->code = code;
    op->finished = true;
    TAILQ_REMOVE(&op->http->running, op, link);
    TAILQ_INSERT_TAIL(&op->http->finished, op, link);
    (void) sd_event_source_set_enabled(op->http->defer, SD_EVENT_ONESHOT);
}

/* While a body is paused curl unpacks what it had read of it, 16 KiB, and gives up above 64 MiB: newer
 * versions by the first of these codes, older ones by the second. */
static bool is_too_much(CURLcode code) {
#if LIBCURL_VERSION_NUM >= 0x080600
    if (code == CURLE_TOO_LARGE)
        return true;
#endif
    return code == CURLE_OUT_OF_MEMORY;
}

/* The same codes also mean other things: a packed answer that was paused makes it this. */
static bool is_bomb(const HttpOp *op, CURLcode code) {
    struct curl_header *packed;

    return is_too_much(code) && op->paused &&
           curl_easy_header(op->easy, "Content-Encoding", 0, CURLH_HEADER, -1, &packed) ==
               CURLHE_OK;
}

/* What curl counts as finished moves to the list that the defer source empties. */
static void collect(Http *http) {
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(http->multi, &left))) {
        HttpOp *op = NULL;

        if (msg->msg != CURLMSG_DONE)
            continue;
        (void) curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **) &op);
        if (is_bomb(op, msg->data.result))
            (void) http_op_end_as(op, HTTP_TOO_LARGE, 0);
        end_op(op, msg->data.result);
    }
    /* What is not watched would never end: all that is under way ends now. To answer curl that it
     * can't be watched would spoil the handle for ever. */
    for (HttpOp *op; http->blind && (op = TAILQ_FIRST(&http->running));)
        end_op(op, CURLE_OUT_OF_MEMORY);
    http->blind = false;
}

/* Hundreds of answers may come at once: after some milliseconds the loop turns, so that heartbeats are sent in time. */
static int on_defer(sd_event_source *source, void *userdata) {
    Http *http = userdata;
    uint64_t began = clock_now_usec();
    HttpOp *op;

    while ((op = TAILQ_FIRST(&http->finished)) && clock_now_usec() < began + TURN_USEC) {
        TAILQ_REMOVE(&http->finished, op, link);
        http_op_conclude(op);
        op->done(op->userdata, &op->reply);
        op_free(op);
    }
    if (op)
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

/* All that curl does, it does in here. What its callbacks write and read is timed from here on, see must_pause(). */
static void act(Http *http, curl_socket_t fd, int what) {
    int running;

    http->turn_usec = clock_now_usec();
    (void) curl_multi_socket_action(http->multi, fd, what, &running);
    collect(http);
}

static int on_socket(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    Http *http = userdata;
    int what = (events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
               (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               (events & EPOLLERR ? CURL_CSELECT_ERR : 0);

    (void) source;
    act(http, fd, what);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    (void) source;
    (void) usec;
    act(userdata, CURL_SOCKET_TIMEOUT, 0);
    return 0;
}

/* One of the bodies that had to wait goes on; the others wait for turns of their own. */
static int on_resume(sd_event_source *source, uint64_t usec, void *userdata) {
    Http *http = userdata;
    HttpOp *op;
    CURLcode code;

    (void) source;
    (void) usec;
    TAILQ_FOREACH(op, &http->running, link)
    if (op->paused)
        break;
    if (!op)
        return 0;
    (void) turn_take(http->resume);
    TAILQ_REMOVE(&http->running, op, link); /* its turn comes again after the others' */
    TAILQ_INSERT_TAIL(&http->running, op, link);
    op->paused = false;
    http->turn_usec = clock_now_usec();
    if ((code = curl_easy_pause(op->easy, CURLPAUSE_CONT)) != CURLE_OK) {
        /* A piece was refused; curl would go on with the next one. */
        (void) curl_multi_remove_handle(http->multi, op->easy);
        end_op(op, code);
    }
    act(http, CURL_SOCKET_TIMEOUT, 0);
    return 0;
}

/* curl tells which sockets it wants watched; `per_socket` is our event source. */
static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *userdata, void *per_socket) {
    Http *http = userdata;
    sd_event_source *source = per_socket;
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);

    (void) easy;
    if (what ==
        CURL_POLL_REMOVE) { /* may come for a socket never announced: `source` is NULL then */
        (void) curl_multi_assign(http->multi, fd, NULL);
        sd_event_source_disable_unref(source);
        return 0;
    }
    if (source) {
        http->blind = http->blind || sd_event_source_set_io_events(source, events) < 0;
        return 0;
    }
    if (sd_event_add_io(http->event, &source, fd, events, on_socket, http) < 0 ||
        sd_event_source_set_priority(source, TURN_OF_OTHERS) < 0 ||
        curl_multi_assign(http->multi, fd, source) != CURLM_OK) {
        sd_event_source_disable_unref(source);
        http->blind = true;
    }
    return 0;
}

/* curl tells when it wants to be called next, -1: not before something happens. */
static int timer_wanted(CURLM *multi, long msec, void *userdata) {
    Http *http = userdata;

    (void) multi;
    if (msec >= 0)
        (void) sd_event_source_set_time_relative(http->timer, (uint64_t) msec * USEC_PER_MSEC);
    (void) sd_event_source_set_enabled(http->timer, msec < 0 ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
    return 0; /* a source that is there can be set */
}

/* The way is known, or is known not to be. What it took to find it counts. */
static void begin(HttpOp *op) {
    uint64_t limit = op->request.timeout_usec, spent = clock_now_usec() - op->sent_usec;
    CURLcode r = http_route_apply(op->route, op->easy, &op->reply);

    if (r == CURLE_OK && limit > 0)
        r = curl_easy_setopt(op->easy, CURLOPT_TIMEOUT_MS,
                             limit > spent ? (long) ((limit - spent) / USEC_PER_MSEC) + 1 : 1L);
    if (r == CURLE_OK && curl_multi_add_handle(op->http->multi, op->easy) != CURLM_OK)
        r = CURLE_OUT_OF_MEMORY;
    if (r != CURLE_OK)
        end_op(op, r);
}

static void admit(HttpOp *op) {
    op->admitted = true;
    op->http->busy++;
    begin(op);
}

/* curl has a limit of connections too, but lets requests wait in the order of their coming: a purchase could wait
 * behind downloads until it may not be sent any more. */
static void start(HttpOp *op) {
    Http *http = op->http;

    if (http->max == 0 || http->busy < http->max) {
        admit(op);
        return;
    }
    op->waits = true;
    http->n_waiting++;
}

/* A place is free. Its wait is nobody's fault and takes nothing from its time-out. */
static void admit_next(Http *http) {
    while (http->n_waiting > 0 && http->busy < http->max && !http->closing) {
        uint64_t now = clock_now_usec();
        HttpOp *op, *next = NULL;

        TAILQ_FOREACH(op, &http->running, link)
        if (op->waits && (!next || (op->request.once && !next->request.once)))
            next = op;
        if (!next)
            return;
        next->waits = false;
        http->n_waiting--;
        if (next->request.once && now > next->sent_usec + HTTP_BUY_USEC) {
            (void) snprintf(next->reply.error, sizeof next->reply.error,
                            "no connection was free in time: raise the limit of descriptors");
            end_op(next, CURLE_COULDNT_CONNECT);
            continue;
        }
        next->sent_usec = now;
        admit(next);
    }
}

void http_limit(Http *http, unsigned connections) {
    http->max = connections;
    (void) curl_multi_setopt(http->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) connections);
    (void) curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS,
                             (long) (connections < HTTP_KEEP ? connections : HTTP_KEEP));
}

/* Also told to an operation that ended meanwhile, of a blind loop. */
static void on_route(void *userdata) {
    HttpOp *op = userdata;

    if (!op->finished)
        start(op);
}

int http_send(Http *http, HttpRequest *request, HttpDone done, void *userdata, HttpOp **ret) {
    HttpOp *op = calloc(1, sizeof *op);
    int known;

    if (!op) {
        http_request_done(request);
        return -ENOMEM;
    }
    *op = (HttpOp){ .http = http, .request = *request, .done = done, .userdata = userdata };
    *request = (HttpRequest){ 0 };
    op->sent_usec = clock_now_usec();
    if (!(op->easy = curl_easy_init()) || http_op_setup(op) < 0 ||
        (known = http_route_new(&op->route, http->event, http->resolver, http->proxies,
                                &op->request, on_route, op)) < 0) {
        op_free(op);
        return -ENOMEM;
    }
    TAILQ_INSERT_TAIL(&http->running, op, link);
    if (known)
        start(op);
    *ret = op;
    return 0;
}

HttpOp *http_op_cancel(HttpOp *op) {
    if (!op)
        return NULL;
    if (op->finished)
        TAILQ_REMOVE(&op->http->finished, op, link);
    else
        TAILQ_REMOVE(&op->http->running, op, link);
    op_free(op);
    return NULL;
}

int http_new(Http **ret, sd_event *event, Resolver *resolver, const Proxies *proxies,
             const char *user_agent) {
    _cleanup_free_ char *agent = strdup(user_agent);
    Http *http = calloc(1, sizeof *http);

    if (!http || !agent) {
        free(http);
        return -ENOMEM;
    }
    TAILQ_INIT(&http->running);
    TAILQ_INIT(&http->finished);
    http->user_agent = TAKE(agent);
    http->event = sd_event_ref(event);
    http->resolver = resolver;
    http->proxies = proxies;
    http->multi = curl_multi_init();
    if (!http->multi ||
        sd_event_add_time(event, &http->timer, CLOCK_MONOTONIC, UINT64_MAX, 1, on_timer, http) <
            0 ||
        sd_event_source_set_priority(http->timer, TURN_OF_OTHERS) < 0 ||
        sd_event_source_set_enabled(http->timer, SD_EVENT_OFF) < 0 ||
        sd_event_add_defer(event, &http->defer, on_defer, http) < 0 ||
        sd_event_source_set_priority(http->defer, TURN_OF_OTHERS) < 0 ||
        sd_event_source_set_enabled(http->defer, SD_EVENT_OFF) < 0 ||
        turn_new(event, &http->resume, on_resume, http) < 0) {
        http_free(http);
        return -ENOMEM;
    }
    (void) curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    (void) curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    (void) curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    (void) curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    (void) curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long) HTTP_KEEP);
    *ret = http;
    return 0;
}

Http *http_free(Http *http) {
    HttpOp *op;

    if (!http)
        return NULL;
    http->closing = true;
    /* One after the other, since each takes its place in the list away; curl itself goes last. */
    while ((op = TAILQ_FIRST(&http->running)))
        http_op_cancel(op);
    while ((op = TAILQ_FIRST(&http->finished)))
        http_op_cancel(op);
    if (http->multi)
        curl_multi_cleanup(http->multi);
    sd_event_source_disable_unref(http->timer);
    sd_event_source_disable_unref(http->defer);
    sd_event_source_disable_unref(http->resume);
    sd_event_unref(http->event);
    free(http->user_agent);
    free(http);
    return NULL;
}
