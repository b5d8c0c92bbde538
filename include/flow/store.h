/* Stage 7: the mesh goes into the bucket; and what else is asked of the bucket. Pure. */
#pragma once
#include "core/config.h"
#include "core/job.h"

/* The object's name for the mesh of the job's live purchase: a function of the purchase, so that
 * another worker can only write the same bytes under it. Sets j->object. */
int store_name(const Config *c, Job *j);

/* POST of `size` bytes of `fd` as j->object, over what may be there (storage: supabase). */
int store_ask(const Config *c, const Job *j, int fd, HttpRequest *ret);
JobEvent store_hear(const HttpReply *reply, Fault *reterr);

/* A signed URL for the job's image, which is a path in the bucket (a leading slash and the bucket's name
 * do not count). EV_OK: ask; EV_FINAL: not this
 * user's, or the driver can't sign. */
JobEvent store_sign_check(const Config *c, const Job *j, Fault *reterr);
int store_sign_ask(const Config *c, const Job *j, HttpRequest *ret);
/* EV_OK: j->image_url is set. */
JobEvent store_sign_hear(const Config *c, const HttpReply *reply, Job *j, Fault *reterr);

/* Does the bucket exist, does the key reach it, is it private? */
int store_bucket_ask(const Config *c, HttpRequest *ret);
JobEvent store_bucket_hear(const HttpReply *reply, bool *ret_public, Fault *reterr);

/* DELETE of j->object. */
int store_remove_ask(const Config *c, const Job *j, HttpRequest *ret);
