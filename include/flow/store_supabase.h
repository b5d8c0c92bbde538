/* How Supabase Storage is asked, and what its refusals mean. For the files of this stage. Pure. */
#pragma once
#include <jansson.h>

#include "base/fault.h"
#include "base/message.h"
#include "core/config.h"
#include "core/job.h"

/* BASE/storage/v1/KIND/BUCKET[/NAME], the name percent-encoded; NULL: no memory. */
char *store_url(const char *base, const char *kind, const char *bucket, const char *name);

/* A request to `kind` ("object/info") of the bucket, or of an object in it, with our key. */
int store_request(const Config *c, const char *method, const char *kind, const char *name,
                  HttpRequest *ret);

/* The fault of a reply that is no success, and its event. `missing`: what NoSuchKey stands for. A
 * refusal in other words than Storage's comes from a gateway before it, and waits. */
JobEvent store_refused(const HttpReply *reply, const json_t *root, FaultCode missing,
                       Fault *reterr);
