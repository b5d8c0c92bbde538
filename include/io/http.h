/* HTTP on the loop: a request goes in, a reply comes out. curl's multi socket interface; connections
 * are reused, HTTP/2 where it is offered. */
#pragma once
#include <systemd/sd-event.h>

#include "base/http_message.h"
#include "base/proxy.h"
#include "io/resolve.h"

typedef struct Http Http;
typedef struct HttpOp HttpOp;

/* Called exactly once, from the loop and never from within http_send(), unless the operation was
 * canceled. The operation is gone when it is called; the reply is the callee's to read, not to keep. */
typedef void (*HttpDone)(void *userdata, HttpReply *reply);

/* `resolver` and `proxies` must outlive it. */
int http_new(Http **ret, sd_event *event, Resolver *resolver, const Proxies *proxies,
             const char *user_agent);

/* Cancels what is under way; no operation may be held any more. */
Http *http_free(Http *http);

/* At most so many connections at once, idle ones among them, which give way; requests that find none
 * wait for one, and those that buy go first. Without it there is no limit. */
void http_limit(Http *http, unsigned connections);

/* Sends `request`, whose contents are taken over in any case. Redirects are not followed.
 * Returns 0 or -ENOMEM. */
int http_send(Http *http, HttpRequest *request, HttpDone done, void *userdata, HttpOp **ret);

/* Ends it; its callback is not called any more. Takes NULL, returns NULL. */
HttpOp *http_op_cancel(HttpOp *op);
