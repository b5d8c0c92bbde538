/* What the bucket takes, by its own description: asked before anything is bought. Pure. */
#pragma once
#include "base/http_message.h"
#include "flow/store.h"

typedef struct Bucket {
    bool is_public;
    bool takes_glb;     /* allowed_mime_types lets model/gltf-binary through */
    uint64_t max_bytes; /* file_size_limit; UINT64_MAX: none of its own */
} Bucket;

/* The answer to supabase_bucket_ask(). EV_OK sets `ret`; else `reterr` says why. */
JobEvent bucket_hear(const HttpReply *reply, Bucket *ret, Fault *reterr);

/* Would it take the meshes of this configuration, and keep them for their users alone? */
void bucket_find(const Config *c, const Bucket *b, StoreFinding *ret);
