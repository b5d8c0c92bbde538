/* The bucket's limits: GET /bucket/NAME shows them (Supabase Storage 1.70). The doctor looks at them before anything is
 * bought, since a bucket that refuses meshes is noticed else only when the first one has been paid for. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "flow/bucket.h"
#include "flow/supabase.h"

#define GLB "model/gltf-binary"

/* Storage compares the whole text, in its case; TYPE with a star behind the slash takes all of that type.
 * An empty list is none. */
static bool takes_glb(const json_t *types) {
    size_t i;
    json_t *type;

    if (!json_is_array(types) || json_array_size(types) == 0)
        return true;
    json_array_foreach (types, i, type) {
        const char *text = json_is_string(type) ? json_string_value(type) : "";

        if (strcmp(text, GLB) == 0 || strcmp(text, "model/*") == 0 || strcmp(text, "*/*") == 0)
            return true;
    }
    return false;
}

JobEvent bucket_hear(const HttpReply *reply, Bucket *ret, Fault *reterr) {
    bool is_public;
    JobEvent ev = supabase_bucket_hear(reply, &is_public, reterr);
    _cleanup_(json_unrefp) json_t *root =
        ev == EV_OK ? json_parse(reply->body, reply->body_size) : NULL;
    /* A number, or null where only the project's own limit counts, which nobody tells. */
    json_int_t limit = json_integer_value(json_object_get(root, "file_size_limit"));

    if (ev != EV_OK)
        return ev;
    *ret = (Bucket){
        .is_public = is_public,
        .takes_glb = takes_glb(json_object_get(root, "allowed_mime_types")),
        .max_bytes = limit > 0 ? (uint64_t) limit : UINT64_MAX,
    };
    return EV_OK;
}

/* The first of what is wrong, the worst before the rest: one line is what the doctor says of a store. */
void bucket_find(const Config *c, const Bucket *b, StoreFinding *ret) {
    char *found = ret->found;
    size_t room = sizeof ret->found;

    *ret = (StoreFinding){ .grade = STORE_BAD };
    if (b->is_public) {
        ret->advice = "Make it private in the dashboard: everybody can read its files.";
        (void) snprintf(found, room, "bucket %s is public", c->bucket);
    } else if (!b->takes_glb) {
        ret->advice =
            "Add model/gltf-binary to the bucket's allowed MIME types: each mesh would be "
            "bought, and wait until then.";
        (void) snprintf(found, room, "bucket %s does not take model/gltf-binary", c->bucket);
    } else if (b->max_bytes < c->asset_max_bytes) {
        ret->grade = STORE_DOUBTFUL;
        ret->advice =
            "Raise the bucket's file size limit, or lower [asset] max_size to it: a larger "
            "mesh is bought and can't be stored.";
        (void) snprintf(
            found, room, "bucket %s takes files up to %.1f MiB, [asset] max_size is %.1f MiB",
            c->bucket, (double) b->max_bytes / (1 << 20), (double) c->asset_max_bytes / (1 << 20));
    } else {
        ret->grade = STORE_GOOD;
        (void) snprintf(found, room, "bucket %s is there, private, and the key is good", c->bucket);
    }
}
