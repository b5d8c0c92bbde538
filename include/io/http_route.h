/* How a request gets to its host: through which proxy, to which addresses. */
#pragma once
#include <curl/curl.h>
#include <systemd/sd-event.h>

#include "base/http_message.h"
#include "base/proxy.h"
#include "io/resolve.h"

typedef struct HttpRoute HttpRoute;

/* Called once, from the loop and never from within http_route_new(); the route stays the owner's. */
typedef void (*HttpRouteDone)(void *userdata);

/* Looks for the way of `request`, of which nothing is kept. 1: it is known already, and `done` is not called;
 * 0: `done` follows, within ten seconds and the request's own time; -ENOMEM. `resolver` and `proxies` must
 * outlive it. */
int http_route_new(HttpRoute **ret, sd_event *event, Resolver *resolver, const Proxies *proxies,
                   const HttpRequest *request, HttpRouteDone done, void *userdata);

/* Tells libcurl of the way; the route must outlive the transfer. CURLE_OK; CURLE_COULDNT_RESOLVE_HOST with a
 * sentence in `reply->error`; CURLE_COULDNT_CONNECT with `reply->end` HTTP_PRIVATE; CURLE_OUT_OF_MEMORY. */
CURLcode http_route_apply(HttpRoute *route, CURL *easy, HttpReply *reply);

/* False: its connection is one to a proxy. */
bool http_route_is_direct(const HttpRoute *route);

/* After the transfer: did the proxy refuse to pass the request on? Then that stands in `reply->error`. */
bool http_route_refused(const HttpRoute *route, CURL *easy, HttpReply *reply);

/* Takes NULL, returns NULL; never waits. */
HttpRoute *http_route_free(HttpRoute *route);

/* After a transfer that failed: `why` to `reply->error`, and of whom, where no more than the proxy was tried. */
void http_route_explain(const HttpRoute *route, CURL *easy, const char *why, HttpReply *reply);
