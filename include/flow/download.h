/* Stage 5: the mesh comes from the file host into the spool. Pure. */
#pragma once
#include "core/config.h"
#include "core/job.h"

#define DOWNLOAD_REDIRECTS_MAX 5

/* May this URL be fetched? The scheme and host are checked; EV_OK or EV_FINAL with a fault. */
JobEvent download_check(const Config *c, const char *url, Fault *reterr);

/* Asks for `url` into the file `sink_fd`; no token goes to the file host. */
int download_ask(const Config *c, const char *url, int sink_fd, Hash *hash, HttpRequest *ret);

/* EV_OK: all of it is there. EV_ELSE: a redirect to reply->redirect, which passed the check. EV_WAIT,
 * EV_RETRY, EV_FINAL with a fault. */
JobEvent download_hear(const Config *c, const HttpReply *reply, unsigned redirects, Fault *reterr);

/* Is what came what x-goog-hash promised? EV_OK, also where it promised nothing; EV_RETRY: fetched again,
 * and not bought again. */
JobEvent download_verify(const HttpReply *reply, uint32_t crc32c, Fault *reterr);
