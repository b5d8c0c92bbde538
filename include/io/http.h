/* HTTP on the loop: a request goes in, a reply comes out. curl's multi socket interface; connections
 * are reused, HTTP/2 where it is offered. */
#pragma once
#include <systemd/sd-event.h>

#include "base/message.h"
#include "base/proxy.h"
#include "io/resolve.h"

typedef struct Http Http;
typedef struct HttpOp HttpOp;

/* Called exactly once, from the loop and never from within http_send(), unless the operation was
 * cancelled. The operation is gone when it is called; the reply is the callee's to read, not to keep. */
typedef void (*HttpDone)(void *userdata, HttpReply *reply);

/* `resolver` and `proxies` must outlive it. */
int http_new(Http **ret, sd_event *event, Resolver *resolver, const Proxies *proxies,
             const char *user_agent);

/* Cancels what is under way; no operation may be held any more. */
Http *http_free(Http *http);

/* Sends `request`, whose contents are taken over in any case. Redirects are not followed.
 * Returns 0 or -ENOMEM. */
int http_send(Http *http, HttpRequest *request, HttpDone done, void *userdata, HttpOp **ret);

/* Ends it; its callback is not called any more. Takes NULL, returns NULL. */
HttpOp *http_op_cancel(HttpOp *op);
