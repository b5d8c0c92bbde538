/* How Supabase Storage is asked, and what its words mean, one exchange at a time; which follows which is
 * store_supabase.c's. Pure. */
#pragma once
#include <jansson.h>

#include "base/http_message.h"
#include "core/config.h"
#include "core/job.h"

/* BASE/storage/v1/KIND/BUCKET[/NAME], the name percent-encoded; NULL: no memory. */
char *supabase_url(const char *base, const char *kind, const char *bucket, const char *name);

/* A request to `kind` ("object/info") of the bucket, or of an object in it, with our key. */
int supabase_request(const Config *c, const char *method, const char *kind, const char *name,
                     HttpRequest *ret);

/* The fault of a reply that is no success, and its event. `missing`: what NoSuchKey stands for. A
 * refusal in other words than Storage's comes from a gateway before it, and waits. */
JobEvent supabase_refused(const HttpReply *reply, const json_t *root, FaultCode missing,
                          Fault *reterr);

/* POST of j->size_bytes of `fd` as j->object, over what may be there. The object carries x-metadata:
 * sha256, job and prediction. */
int supabase_upload_ask(const Config *c, const Job *j, int fd, HttpRequest *ret);

/* EV_OK: stored, in Storage's own words. EV_UNSURE: a success in other words: ask for the object.
 * Else what the fault says; j->unproven: the object may be there all the same. */
JobEvent supabase_upload_hear(const Config *c, const HttpReply *reply, Job *j, Fault *reterr);

/* GET of what Storage knows of j->object. EV_OK: it is the mesh of this job; `sent`: our upload was
 * answered, so its size proves it where its metadata does not tell the sha256. EV_MORE: it is not there,
 * or another. EV_WAIT and so on: nobody could say. The fault is set but for EV_OK. */
int supabase_info_ask(const Config *c, const Job *j, HttpRequest *ret);
JobEvent supabase_info_hear(const HttpReply *reply, Job *j, bool sent, Fault *reterr);

/* A signed URL for the job's image, which is a path in the bucket (a leading slash and the bucket's name
 * do not count). EV_OK: ask; EV_FINAL: not this user's. */
JobEvent supabase_sign_check(const Config *c, const Job *j, Fault *reterr);
int supabase_sign_ask(const Config *c, const Job *j, HttpRequest *ret);

/* EV_OK: j->image_url is set. EV_MORE: the image is not there, if there is a bucket that the key may
 * see, which this answer does not tell: ask with supabase_bucket_ask(). EV_RETRY: of this image alone. */
JobEvent supabase_sign_hear(const Config *c, const HttpReply *reply, Job *j, Fault *reterr);

/* The answer to that: EV_FINAL, with `reterr` as it is, or what keeps the bucket away. */
JobEvent supabase_sign_bucket_hear(const HttpReply *reply, Fault *reterr);

/* Does the bucket exist, does the key reach it, is it private? */
int supabase_bucket_ask(const Config *c, HttpRequest *ret);
JobEvent supabase_bucket_hear(const HttpReply *reply, bool *ret_public, Fault *reterr);

/* DELETE of an object. EV_OK: it is not there any more; else EV_WAIT. */
int supabase_remove_ask(const Config *c, const char *object, HttpRequest *ret);
JobEvent supabase_remove_hear(const HttpReply *reply, Fault *reterr);
