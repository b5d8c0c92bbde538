/* Requests to Replicate's API, and what it answers when it does not give what was asked for. Pure. */
#pragma once
#include "base/fault.h"
#include "base/http_message.h"
#include "core/config.h"
#include "core/job.h"

/* The fault that a reply other than a good 2xx stands for. */
void replicate_fault(const HttpReply *reply, Fault *reterr);

/* A request to a path below the API root ("predictions/…"), with the token. */
int replicate_request(const Config *c, const char *method, const char *path, HttpRequest *ret);

/* A request for one prediction as it is. */
int replicate_read_ask(const Config *c, const char *prediction_id, HttpRequest *ret);

/* POST …/cancel for a prediction; whether it is known to be over, or must be asked again (EV_WAIT). */
int replicate_cancel_ask(const Config *c, const char *prediction_id, HttpRequest *ret);
JobEvent replicate_cancel_hear(const HttpReply *reply, Fault *reterr);

/* A gateway that mixes answers up must not give one user what was made for another. An answer without an id
 * is not that. */
bool replicate_is_of_another(const json_t *root, const char *prediction_id);

/* The terminal status that this prediction has in a reply, a static word; NULL: none is shown. */
const char *replicate_terminal_status(const HttpReply *reply, const char *prediction_id);

/* True for what can be a prediction's id: it becomes part of a path. */
bool replicate_is_id(const char *id);
