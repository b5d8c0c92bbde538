/* Predictions: their ids, what becomes of them and when. All of it is planned when one is
 * created, so a status is a comparison of times, and nothing has to run meanwhile. How one looks
 * as JSON is shape.c's. */
#include <stdio.h>
#include <string.h>

#include "fault.h"

const char *const status_names[_STATUS_MAX] = { "starting", "processing", "succeeded",
                                                "failed",   "canceled",   "aborted" };

/* Versions known by their first digits, as replicate.com shows them. */
static const struct {
    const char *prefix, *model;
} versions[] = {
    { "e8f6c452", "firtoz/trellis" },       { "b1b9449a", "tencent/hunyuan3d-2" },
    { "0602bae6", "ndreca/hunyuan3d-2" },   { "4ac0c7d1", "ndreca/hunyuan3d-2" },
    { "895e514f", "ndreca/hunyuan3d-2.1" }, { "71798fbc", "tencent/hunyuan3d-2mv" },
    { "6dd3e3e1", "prunaai/hunyuan3d-2" },  { "52e1ad68", "fishwowater/trellis2" },
    { "9492be06", "hyper3d/rodin" },        { "a2838628", "tencent/hunyuan-3d-3.1" },
};

const char *model_of_version(const char *version) {
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++)
        if (strncmp(version, versions[i].prefix, 8) == 0)
            return versions[i].model;
    return "someone/some-model";
}

static bool has_text(const json_t *input, const char *key) {
    const char *text = json_string_value(json_object_get(input, key));

    return text && *text;
}

/* What the models' own schemas require. */
bool model_missing_input(const char *model, const json_t *input, Buf *ret_what) {
    const char *missing = NULL;

    if (strstr(model, "flux") || strstr(model, "hyper3d/rodin")) {
        if (!has_text(input, "prompt"))
            missing = "prompt";
    } else if (strstr(model, "firtoz/trellis")) {
        const json_t *images = json_object_get(input, "images");

        if (images && !json_is_array(images)) {
            buf_add_text(ret_what, "images: Invalid type. Expected: array, given: other");
            return true;
        }
        if (!json_array_size(images))
            missing = "images";
    } else if (strstr(model, "hunyuan3d-2mv")) {
        if (!has_text(input, "front_image"))
            missing = "front_image";
    } else if (strstr(model, "hunyuan-3d-3.1")) {
        if (has_text(input, "prompt") == has_text(input, "image")) {
            buf_add_text(ret_what, "exactly one of prompt and image is required");
            return true;
        }
    }
    if (missing)
        buf_printf(ret_what, "%s is required", missing);
    return missing;
}

void text_of_json(Buf *b, const json_t *value) {
    const char *key;
    json_t *member, *list = (json_t *) value;
    size_t i;

    if (json_is_string(value)) {
        buf_add_text(b, json_string_value(value));
        buf_add_text(b, "\n");
    }
    json_object_foreach (list, key, member)
        text_of_json(b, member);
    json_array_foreach (list, i, member)
        text_of_json(b, member);
}

/* The prediction whose file stands in the input, if it is one of ours. */
static const Prediction *find_origin(const Sim *sim, const char *text) {
    const char *at = strstr(text, "/xezq/");
    char id[27] = "";

    if (!at || strlen(at) < strlen("/xezq/") + 26)
        return NULL;
    memcpy(id, at + strlen("/xezq/"), 26);
    return table_get(&sim->by_id, id);
}

/* The input's texts, and those of the prediction whose output it uses: so a fault can be meant
 * for both steps of one job. */
char *prediction_match_text(const Sim *sim, Buf *text) {
    const Prediction *origin = text->text ? find_origin(sim, text->text) : NULL;

    if (origin && origin->match_text)
        buf_printf(text, "\n%s", origin->match_text);
    return buf_take(text);
}

static void prediction_free(void *value) {
    Prediction *p = value;

    if (p) {
        free(p->model);
        free(p->version);
        free(p->deployment);
        json_decref(p->input);
        free(p->input_text);
        free(p->match_text);
        free(p->error);
        json_decref(p->output);
        free(p->cancel_after);
        free(p);
    }
}

static void *prediction_freev(Prediction *p) {
    prediction_free(p);
    return NULL;
}
DEFINE_CLEANUP(Prediction *, prediction_freev)

static int64_t vary(const Sim *sim, int64_t usec, uint64_t chance) {
    int64_t spread = usec * sim->set.jitter_percent / 100;

    return spread > 0 ? usec - spread + (int64_t) (chance % (uint64_t) (2 * spread + 1)) : usec;
}

/* When it starts, ends and how, with the fault that its creation met. Times of creation are
 * unique, since cursors of the listing are such times. */
static void plan(const Sim *sim, Prediction *p, const Creation *c, int64_t now) {
    const Fault *f = c->fault;
    int64_t starting = f && f->starting_usec >= 0
                           ? f->starting_usec
                           : vary(sim, sim->set.starting_usec, text_mix(p->seed + 1));
    int64_t processing = f && f->processing_usec >= 0
                             ? f->processing_usec
                             : vary(sim, sim->set.processing_usec, text_mix(p->seed + 2));
    int64_t last = sim->n_by_time ? sim->by_time[sim->n_by_time - 1]->created_usec : 0;

    p->shown_usec = now + (int64_t) (text_mix(p->seed + 3) % 30000);
    p->created_usec = now + 35000 > last ? now + 35000 : last + 1;
    p->started_usec = now + starting;
    p->ended_usec = p->started_usec + processing;
    p->listed_usec = f && f->late_list_usec > 0 ? now + f->late_list_usec : 0;
    p->end = STATUS_SUCCEEDED;

    if (strstr(p->model, "hunyuan3d-2") && !strstr(p->model, "hunyuan3d-2mv") &&
        !has_text(p->input, "image") && !has_text(p->input, "image_path")) {
        p->end = STATUS_FAILED; /* optional in its schema, needed by its code */
        p->error = strdup("Image must be provided");
    }
    if (f && f->final >= 0) {
        free(p->error);
        p->end = (Status) f->final;
        p->error = p->end == STATUS_FAILED && f->error ? strdup(f->error) : NULL;
    }
    if (f && (f->never_started || p->end == STATUS_ABORTED))
        p->started_usec = 0;

    if (c->cancel_after_usec) {
        p->deadline_usec = p->created_usec + c->cancel_after_usec;
        if (p->deadline_usec < p->ended_usec) {
            bool before = !p->started_usec || p->deadline_usec < p->started_usec;

            p->end = before ? STATUS_ABORTED : STATUS_CANCELED;
            p->ended_usec = p->deadline_usec;
            if (before)
                p->started_usec = 0;
        }
    }
}

/* From the seed and a serial number: ids are the same in each run. */
static void make_id(Sim *sim, Prediction *p) {
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz"; /* Crockford's, as theirs */
    uint64_t n = p->seed = text_mix(sim->seed ^ text_mix(++sim->serial));

    for (unsigned i = 0; i < 26; i++) {
        if (i % 12 == 0)
            n = text_mix(n + i);
        p->id[i] = digits[n & 31];
        n >>= 5;
    }
}

Prediction *prediction_create(Sim *sim, const Creation *c) {
    _cleanup_(prediction_freevp) Prediction *p = calloc(1, sizeof *p);
    _cleanup_(buf_done) Buf text = { 0 };
    const json_t *bytes;

    if (!p)
        return NULL;
    do
        make_id(sim, p);
    while (table_get(&sim->by_id, p->id));
    p->official = !c->version && !c->deployment;
    p->model = strdup(c->model);
    p->version = strdup(c->version ? c->version : "hidden");
    p->deployment = c->deployment ? strdup(c->deployment) : NULL;
    p->input = json_incref(c->input);
    p->input_text = json_dumps(c->input, JSON_COMPACT);
    p->cancel_after = c->cancel_after ? strdup(c->cancel_after) : NULL;
    p->arrived_usec = c->arrived_usec;
    if (!p->model || !p->version || !p->input_text)
        return NULL;

    text_of_json(&text, c->input);
    buf_add_text(&text, c->model);
    p->match_text = prediction_match_text(sim, &text);

    bytes = json_object_get(sim->set.model_bytes, c->model);
    p->glb_bytes = (uint64_t) (bytes ? json_integer_value(bytes) : sim->set.glb_bytes);
    if (c->fault) {
        p->output = json_incref(c->fault->output);
        p->bad_file = c->fault->file;
    }
    plan(sim, p, c, sim_now(sim));

    if (sim->n_by_time == sim->room_by_time) {
        size_t room = sim->room_by_time ? sim->room_by_time * 2 : 256;
        Prediction **more = realloc(sim->by_time, room * sizeof *more);

        if (!more)
            return NULL;
        sim->by_time = more;
        sim->room_by_time = room;
    }
    if (!table_set(&sim->by_id, p->id, p))
        return NULL;
    return sim->by_time[sim->n_by_time++] = TAKE(p);
}

Prediction *prediction_find(const Sim *sim, const char *id) {
    return table_get(&sim->by_id, id);
}

Status prediction_status(const Prediction *p, int64_t now_usec) {
    return now_usec >= p->ended_usec                        ? p->end
           : p->started_usec && now_usec >= p->started_usec ? STATUS_PROCESSING
                                                            : STATUS_STARTING;
}

/* One that has ended stays as it is, as at Replicate. */
void prediction_cancel(Prediction *p, int64_t now_usec) {
    p->cancels++;
    if (now_usec >= p->ended_usec)
        return;
    if (p->started_usec > now_usec)
        p->started_usec = 0;
    p->ended_usec = now_usec;
    p->end = STATUS_CANCELED;
    free(p->error);
    p->error = NULL;
}

bool prediction_data_removed(const Sim *sim, const Prediction *p, int64_t now_usec) {
    return now_usec >= p->ended_usec && now_usec - p->ended_usec >= sim->set.keep_usec;
}

void predictions_done(Sim *sim) {
    table_done(&sim->by_id, prediction_free);
    free(sim->by_time);
    sim->by_time = NULL;
    sim->n_by_time = sim->room_by_time = 0;
}
