/* Requests and answers. http.c, reply.c and timers.c are the only files that know libmicrohttpd. */
#pragma once
#include <microhttpd.h>
#include <netinet/in.h>

#include "sim.h"

typedef enum ListenerKind {
    LISTENER_API,
    LISTENER_FILES
} ListenerKind;

/* An answer in the making. What it points to is its own. */
struct Reply {
    unsigned status; /* 0: close the connection without a byte */
    Buf body;
    Glb *glb;        /* instead of the body: these bytes … */
    uint64_t offset; /* … from here on, */
    uint64_t size;   /* so many */
    struct {
        char name[32];
        char *value;
    } headers[16];
    unsigned n_headers;
    uint64_t promised; /* Content-Length is larger by this */
    bool chunked;      /* no Content-Length */
    bool flipped;      /* other bytes: all their bits are turned */
    uint64_t cut;      /* close after so many bytes of the body; UINT64_MAX: don't */
    uint64_t stall_at; /* rest before this byte of the body; UINT64_MAX: before the answer */
    int64_t stall_usec;
};

struct Request {
    Sim *sim;
    ListenerKind listener;
    struct MHD_Connection *connection;
    int64_t arrived_usec;
    char *method;
    char *uri, *path;       /* as sent; decoded, without the query; NULL: broken escapes */
    char *query;            /* inside uri, or NULL */
    unsigned on_connection; /* 1: the first on its connection */
    bool begun, answered, oversized;
    bool refused;    /* an upload, by its headers: the reply is there, the body counts no more */
    bool sent_early; /* and went out before the body came */
    bool unread;     /* nor is more of it read than some megabytes */
    uint64_t unread_size; /* how much came of it */
    Endpoint endpoint;
    Buf body;
    Upload *upload;
    json_t *json;     /* of a create, when it parses */
    char *match_text; /* what a fault's "match" is looked for in, besides the uri */
    char *part[5];    /* of the path, as a route needs it; inside part_text */
    char *part_text;
    Fault *fault;
    Reply reply;
    uint64_t due_usec; /* stalled until, CLOCK_MONOTONIC */
    bool stalled;      /* waited already */
    bool arrived;      /* its fault is met; what may hold it back has passed */
    Request *next_stalled;
};

typedef struct Listener {
    Sim *sim;
    ListenerKind kind;
    struct MHD_Daemon *daemon;
    char url[64];
} Listener;

int listener_start(Listener *l, Sim *sim, ListenerKind kind, const struct sockaddr *address,
                   socklen_t size); /* 0 or -errno */
void listener_stop(Listener *l);

/* Stalled answers. timers_fd() is readable when timers_run() has something to do. */
struct Timers *timers_new(void);
struct Timers *timers_free(struct Timers *t);
int timers_fd(const struct Timers *t);
void timers_run(struct Timers *t);
void timers_stop(struct Timers *t); /* all become due, none is taken any more */
void request_stall(Request *r);     /* for reply.stall_usec; the handler is called again after it */

const char *request_header(const Request *r, const char *name);
char *request_query(const Request *r, const char *name); /* decoded, allocated; NULL: not there */
unsigned request_split(Request *r, const char *prefix,
                       unsigned max); /* parts, the last takes all */

void reply_header(Reply *reply, const char *name, const char *value);
void reply_text(Reply *reply, unsigned status, const char *type, const char *text);
void reply_json(Reply *reply, unsigned status, json_t *value); /* takes the value */
void reply_reset(Reply *reply);
uint64_t reply_size(const Reply *reply); /* bytes of its body */

/* Cuts the answer to what a Range header asks for: status 200, 206 or 416. No `etag`: whatever If-Range says. */
void reply_range(Reply *reply, const Request *r, uint64_t total, const char *etag);
