/* Supabase Storage as a store: which request follows which answer. A mesh goes up by one POST, whose answer may be lost
 * or be somebody else's, a gateway's; then Storage is asked for the object, before the mesh is sent again and before
 * the job counts as done. How Storage is asked, and what its words mean, is in supabase.c and the files beside it. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "flow/bucket.h"
#include "flow/store.h"
#include "flow/supabase.h"

enum {
    LOOK_FIRST, /* an earlier upload went out whole, unanswered: is the object there? */
    UPLOAD,
    PROVE, /* an upload was answered in other words than Storage's: the same question */
    REMOVE,
    SIGN,
    SIGN_BUCKET, /* an image is missing: or is it the bucket? */
    CHECK,
};

static char *place(const Config *c) {
    return str_printf("supabase %s %s", c->storage_url, c->bucket);
}

static JobEvent go_on(StoreWork *w, unsigned phase) {
    w->phase = phase;
    return EV_MORE;
}

/* An upload that went out whole in an earlier try may have been stored: it is not sent twice unasked. */
static JobEvent begin(StoreWork *w) {
    return go_on(w, w->job->unproven ? LOOK_FIRST : UPLOAD);
}

static JobEvent begin_remove(StoreWork *w) {
    return go_on(w, REMOVE);
}

/* A path that is not the user's is refused before anybody is asked. */
static JobEvent begin_sign(StoreWork *w) {
    JobEvent ev = supabase_sign_check(w->config, w->job, &w->fault);

    return ev == EV_OK ? go_on(w, SIGN) : ev;
}

static JobEvent begin_check(StoreWork *w) {
    return go_on(w, CHECK);
}

static int next(StoreWork *w, StoreStep *ret) {
    const Config *c = w->config;

    *ret = (StoreStep){ .what = STORE_SEND };
    switch (w->phase) {
    case UPLOAD:
        return supabase_upload_ask(c, w->job, w->fd, &ret->request);
    case REMOVE:
        return supabase_remove_ask(c, w->object, &ret->request);
    case SIGN:
        return supabase_sign_ask(c, w->job, &ret->request);
    case SIGN_BUCKET:
    case CHECK:
        return supabase_bucket_ask(c, &ret->request);
    default:
        return supabase_info_ask(c, w->job, &ret->request);
    }
}

/* An upload whose answer was lost is looked for before it is sent again. */
static JobEvent hear_look(StoreWork *w, const HttpReply *reply) {
    JobEvent ev = supabase_info_hear(reply, w->job, false, &w->fault);

    if (ev != EV_MORE)
        return ev;
    w->job->unproven = false;
    return go_on(w, UPLOAD);
}

/* A success in other words than Storage's proves nothing, but the object may be there. */
static JobEvent hear_upload(StoreWork *w, const HttpReply *reply) {
    JobEvent ev = supabase_upload_hear(w->config, reply, w->job, &w->fault);

    return ev == EV_UNSURE ? go_on(w, PROVE) : ev;
}

static JobEvent hear_proof(StoreWork *w, const HttpReply *reply) {
    JobEvent ev = supabase_info_hear(reply, w->job, true, &w->fault);

    return ev == EV_MORE ? EV_WAIT : ev;
}

/* A refusal in the store's own words is about this object; the sweep goes on with the next then. */
static JobEvent hear_removal(StoreWork *w, const HttpReply *reply) {
    w->is_general = reply->end != HTTP_ANSWERED || reply->code == 429 || reply->code >= 500;
    return supabase_remove_hear(reply, &w->fault);
}

/* The list of signed URLs does not tell a missing image, which ends the job, from a bucket that our key does not see,
 * which an operator can mend. */
static JobEvent hear_sign(StoreWork *w, const HttpReply *reply) {
    JobEvent ev = supabase_sign_hear(w->config, reply, w->job, &w->fault);

    return ev == EV_MORE ? go_on(w, SIGN_BUCKET) : ev;
}

static JobEvent hear_check(StoreWork *w, const HttpReply *reply) {
    Bucket bucket;
    JobEvent ev = bucket_hear(reply, &bucket, &w->fault);

    if (ev == EV_OK)
        bucket_find(w->config, &bucket, &w->finding);
    else {
        w->finding = (StoreFinding){ .grade = STORE_BAD };
        (void) snprintf(w->finding.found, sizeof w->finding.found, "bucket %s: %s",
                        w->config->bucket, w->fault.detail);
    }
    return ev;
}

static JobEvent hear(StoreWork *w, const StoreAnswer *answer) {
    switch (w->phase) {
    case UPLOAD:
        return hear_upload(w, answer->reply);
    case PROVE:
        return hear_proof(w, answer->reply);
    case REMOVE:
        return hear_removal(w, answer->reply);
    case SIGN:
        return hear_sign(w, answer->reply);
    case SIGN_BUCKET:
        return supabase_sign_bucket_hear(answer->reply, &w->fault);
    case CHECK:
        return hear_check(w, answer->reply);
    default:
        return hear_look(w, answer->reply);
    }
}

const StoreDriver store_supabase = {
    .name = "supabase",
    .place = place,
    .begin = begin,
    .remove = begin_remove,
    .sign = begin_sign,
    .check = begin_check,
    .next = next,
    .hear = hear,
};
