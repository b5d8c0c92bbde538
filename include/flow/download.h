/* Stage 5: the mesh comes from the file host into the spool. Pure. */
#pragma once
#include "base/http_message.h"
#include "core/config.h"
#include "core/job.h"

#define DOWNLOAD_REDIRECTS_MAX 5
#define DOWNLOAD_RESUMES_MAX 100

/* How far a download has come. Zeroed: nothing is there. */
typedef struct Download {
    char *redirect; /* where the output's URL led this time; NULL: nowhere */
    unsigned redirects;
    uint64_t size_bytes;    /* so much of the file lies in the spool, ... */
    uint64_t total_bytes;   /* ... and so much is all of it; 0: unknown */
    unsigned parts;         /* answers that it was put together from */
    bool decoded;           /* it came with a Content-Encoding: nothing vouches for its length */
    char validator[128];    /* for If-Range; "": what is there can't be gone on with */
    char crc32c[12];        /* as promised for the whole; "": it is not */
    uint64_t reached_bytes; /* the most that ever was there */
    unsigned resumes;       /* times that a broken answer had brought more than that */
    bool farther;           /* the last answer did, and that is no wasted try */
} Download;

void download_done(Download *d);

/* May this URL be fetched? The scheme and host are checked; EV_OK or EV_FINAL with a fault. */
JobEvent download_check(const Config *c, const char *url, Fault *reterr);

/* Asks for `url`, or where it led, into the file `sink_fd`: for what is missing of it. No token goes to
 * the file host. */
int download_ask(const Config *c, const char *url, const Download *d, int sink_fd, Hash *hash,
                 HttpRequest *ret);

/* EV_OK: all of it is there. EV_MORE: a redirect to reply->redirect, which passed the check. EV_WAIT,
 * EV_RETRY, EV_FINAL with a fault. `d` says what is worth keeping: when size_bytes is 0, nothing is. */
JobEvent download_hear(const Config *c, const HttpReply *reply, Download *d, Fault *reterr);

/* Is what came what x-goog-hash promised? EV_OK, also where it promised nothing; EV_RETRY: fetched again,
 * and not bought again. */
JobEvent download_verify(const Download *d, uint32_t crc32c, Fault *reterr);
