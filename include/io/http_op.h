/* A transfer, as the files of io/http*.c share it; nobody else looks into it. */
#pragma once
#include <curl/curl.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "io/http.h"
#include "io/http_route.h"

struct HttpOp {
    Http *http;
    HttpRoute *route;
    uint64_t sent_usec; /* when http_send() was called */
    CURL *easy;
    struct curl_slist *headers;
    HttpRequest request;
    HttpReply reply;
    HttpDone done;
    void *userdata;
    size_t sent, body_room;
    off_t written;   /* in sink_fd, the next byte's place */
    bool body_asked; /* curl took bytes of the body: from here on it may have been sent */
    bool finished;
    bool waits;    /* for a connection that is allowed */
    bool admitted; /* counts in Http.busy */
    bool paused;   /* its body waits for the next turn */
    bool dropped;  /* nobody wants what is still to come */
    CURLcode code;
    TAILQ_ENTRY(HttpOp) link;
};

struct Http {
    sd_event *event;
    Resolver *resolver;     /* borrowed */
    const Proxies *proxies; /* borrowed */
    CURLM *multi;
    sd_event_source *timer, *defer, *resume;
    uint64_t turn_usec; /* when curl was called */
    char *user_agent;
    bool blind;                             /* something that curl wanted watched could not be */
    TAILQ_HEAD(, HttpOp) running, finished; /* what waits is in the former */
    unsigned max, busy, n_waiting;          /* max 0: no limit */
    bool closing;
};

/* Tells curl all of the request; 0 or -ENOMEM. The operation must not move any more. */
int http_op_setup(HttpOp *op);

/* The transfer is over, with op->code: fills op->reply. */
void http_op_conclude(HttpOp *op);

/* The status that came so far; 0: none. */
long http_op_status(const HttpOp *op);
bool http_op_is_page(const HttpOp *op); /* what came instead of what was asked for */

/* Ends the transfer, from within a function below. Answers 0: what curl takes for a write that failed. */
size_t http_op_end_as(HttpOp *op, HttpEnd end, int error);

/* What curl calls with the bytes of an answer, and for those of a request; `userdata` is the HttpOp. */
size_t http_body_in(char *bytes, size_t size, size_t n, void *userdata);
size_t http_body_out(char *room, size_t size, size_t n, void *userdata);
int http_body_rewind(void *userdata, curl_off_t offset, int origin);
