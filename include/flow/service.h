/* What Replicate answers when it does not give what was asked for. Pure. */
#pragma once
#include "base/fault.h"
#include "base/message.h"
#include "core/config.h"
#include "core/job.h"

/* The fault that a reply other than a good 2xx stands for. */
void service_fault(const HttpReply *reply, Fault *reterr);

/* The event for a fault by its verdict: EV_WAIT, EV_RETRY or EV_FINAL. */
JobEvent service_event(const Fault *fault);

/* A request to a path below the API root ("predictions/…"), with the token. */
int service_request(const Config *c, const char *method, const char *path, HttpRequest *ret);

/* A request for one prediction as it is. */
int service_read_ask(const Config *c, const char *prediction_id, HttpRequest *ret);

/* POST …/cancel for a prediction; whether it is known to be over, or must be asked again (EV_WAIT). */
int service_cancel_ask(const Config *c, const char *prediction_id, HttpRequest *ret);
JobEvent service_cancel_hear(const HttpReply *reply, Fault *reterr);

/* A gateway that mixes answers up must not give one user what was made for another. An answer without an id
 * is not that. */
bool service_is_of_another(const json_t *root, const char *prediction_id);

/* The terminal status that this prediction has in a reply, a static word; NULL: none is shown. */
const char *service_terminal_status(const HttpReply *reply, const char *prediction_id);

/* True for what can be a prediction's id: it becomes part of a path. */
bool service_is_id(const char *id);
