/* A prediction as JSON, in the shapes that the API has: in flight, from the database, in a
 * listing. They differ in what is null and what is left out, and the daemon has to read all of
 * them. */
#include <stdio.h>
#include <string.h>

#include "sim.h"

#define LOG_LINES 16 /* of a bar, at most */

/* Digits of a second come in any number, as in real answers. */
static void add_times(const char *key, Buf *b, const Prediction *p, int64_t usec, bool null) {
    uint64_t noise = text_mix(p->seed ^ text_seed(key));

    if (!usec && !null)
        return;
    buf_printf(b, ",\"%s\":", key);
    if (usec) {
        buf_add_text(b, "\"");
        text_add_time(b, usec, 2 + noise % 8, (unsigned) (noise >> 8 & 1023));
        buf_add_text(b, "\"");
    } else {
        buf_add_text(b, "null");
    }
}

/* One state of a tqdm bar, drawn in ASCII or in blocks. */
static void add_bar(Buf *b, const char *label, unsigned done, unsigned steps, bool ascii,
                    double seconds) {
    static const char *const eighths[] = { " ", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
    unsigned full = done * 10 / steps, rest = done * 10 % steps;
    double rate = seconds > 0 ? done / seconds : 0;

    buf_printf(b, "%s%s%3u%%|", label, *label ? ": " : "", done * 100 / steps);
    for (unsigned i = 0; i < full; i++)
        buf_add_text(b, ascii ? "#" : "█");
    if (full < 10 && ascii)
        buf_printf(b, "%c", rest * 10 / steps ? (char) ('0' + rest * 10 / steps) : ' ');
    else if (full < 10)
        buf_add_text(b, eighths[rest * 8 / steps]);
    for (unsigned i = full + 1; i < 10; i++)
        buf_add_text(b, " ");
    if (done)
        buf_printf(b, "| %u/%u [00:%02u<00:%02u, %5.2fit/s]", done, steps, (unsigned) seconds % 60,
                   (unsigned) (rate > 0 ? (steps - done) / rate : 0) % 60, rate);
    else
        buf_printf(b, "| 0/%u [00:00<?, ?it/s]", steps);
}

/* Logs as the models write them, with bars that grow with the prediction. */
static void make_logs(const Prediction *p, int64_t now, Buf *ret) {
    static const struct {
        const char *model, *first;
        struct {
            const char *label;
            unsigned steps;
        } stage[3];
    } models[] = {
        // clang-format off
        { "flux",            "running quantized prediction\n", { { "", 4 } } },
        { "trellis",         "Using seed: 7\n", { { "Sampling", 12 }, { "Sampling", 12 }, { "Rendering", 100 } } },
        { "hunyuan3d",       "", { { "Diffusion Sampling:", 50 }, { "Volume Decoding", 7134 } } },
        { "hunyuan-3d-3.1",  "Generating...\n", { { NULL, 0 } } },
        { "hyper3d",         "Generating...\n", { { NULL, 0 } } },
        { "",                "", { { "Sampling", 25 } } },
        // clang-format on
    };
    int64_t length = p->ended_usec - p->started_usec;
    double fraction = length > 0 ? (double) (now - p->started_usec) / (double) length : 1;
    unsigned n_stages = 0, model = 0;

    if (!p->started_usec || now < p->started_usec)
        return;
    if (fraction > 1)
        fraction = 1;
    if (p->end == STATUS_FAILED)
        fraction *= 0.6;
    while (!strstr(p->model, models[model].model))
        model++;
    buf_add_text(ret, models[model].first);
    while (n_stages < 3 && models[model].stage[n_stages].label)
        n_stages++;

    for (unsigned s = 0; s < n_stages; s++) {
        unsigned steps = models[model].stage[s].steps;
        double in_stage = fraction * n_stages - s;
        double seconds = (double) length / n_stages / 1e6;
        unsigned done, by = (steps + LOG_LINES - 1) / LOG_LINES;

        if (in_stage < 0)
            break;
        done = in_stage >= 1 ? steps : (unsigned) (in_stage * steps);
        for (unsigned at = 0; at <= done; at += by)
            buf_add_text(ret, at ? "\r" : ""),
                add_bar(ret, models[model].stage[s].label, at, steps, s != 1, seconds * at / steps);
        if (done == steps && steps % by) {
            buf_add_text(ret, "\r");
            add_bar(ret, models[model].stage[s].label, steps, steps, s != 1, seconds);
        }
        if (in_stage >= 1)
            buf_add_text(ret, "\n");
    }
    if (p->end == STATUS_FAILED && now >= p->ended_usec && p->error)
        buf_printf(ret, "\nTraceback (most recent call last):\n%s\n", p->error);
}

static void add_url(const Sim *sim, Buf *b, const Prediction *p, const char *name) {
    buf_printf(b, "\"%s/xezq/%s/%s\"", sim->set.files_url ? sim->set.files_url : sim->files_url,
               p->id, name);
}

/* The value where {files} and {id} are replaced. */
static void add_scripted(const Sim *sim, Buf *b, const Prediction *p) {
    _cleanup_free_ char *text = json_dumps(p->output, JSON_COMPACT | JSON_ENCODE_ANY);
    const char *files = sim->set.files_url ? sim->set.files_url : sim->files_url;

    for (const char *at = text; at && *at;) {
        const char *brace = strchr(at, '{');

        if (!brace)
            brace = at + strlen(at);
        buf_add(b, at, (size_t) (brace - at));
        if (strncmp(brace, "{files}", 7) == 0) {
            buf_add_text(b, files);
            brace += 7;
        } else if (strncmp(brace, "{id}", 4) == 0) {
            buf_add_text(b, p->id);
            brace += 4;
        } else if (*brace) {
            buf_add(b, brace++, 1);
        }
        at = brace;
    }
}

static bool input_is(const Prediction *p, const char *key, bool otherwise) {
    const json_t *value = json_object_get(p->input, key);

    return value ? json_is_true(value) : otherwise;
}

/* Each model has a form of its own for its output. */
static void add_output(const Sim *sim, Buf *b, const Prediction *p) {
    const json_t *format, *outputs;

    if (p->output) {
        add_scripted(sim, b, p);
    } else if (strstr(p->model, "flux")) {
        json_int_t n;
        char name[32];

        format = json_object_get(p->input, "output_format");
        outputs = json_object_get(p->input, "num_outputs");
        n = json_is_integer(outputs) ? json_integer_value(outputs) : 1;
        buf_add_text(b, "[");
        for (int i = 0; i < (n > 4 ? 4 : n); i++) {
            const char *ending = json_string_value(format);

            snprintf(name, sizeof name, "out-%d.%s", i,
                     ending && (strcmp(ending, "webp") == 0 || strcmp(ending, "jpg") == 0) ? ending
                                                                                           : "png");
            buf_add_text(b, i ? "," : "");
            add_url(sim, b, p, name);
        }
        buf_add_text(b, "]");
    } else if (strstr(p->model, "firtoz/trellis")) {
        buf_add_text(b, "{\"model_file\":");
        if (input_is(p, "generate_model", false)) /* the default makes, and bills, no mesh */
            add_url(sim, b, p, "output.glb");
        else
            buf_add_text(b, "null");
        buf_add_text(b, ",\"color_video\":");
        if (input_is(p, "generate_color", true))
            add_url(sim, b, p, "output_color.mp4");
        else
            buf_add_text(b, "null");
        buf_add_text(b, ",\"gaussian_ply\":null,\"normal_video\":null,\"combined_video\":null,"
                        "\"no_background_images\":null}");
    } else if (strstr(p->model, "trellis2")) {
        buf_add_text(b, "{\"model_file\":");
        add_url(sim, b, p, "output.glb");
        buf_add_text(b, ",\"video\":");
        add_url(sim, b, p, "output.mp4");
        buf_add_text(b, ",\"no_background_image\":null}");
    } else if (strstr(p->model, "hunyuan3d-2") && !strstr(p->model, "hunyuan3d-2mv")) {
        buf_printf(b, "{\"%s\":", strstr(p->model, "prunaai/") ? "mesh_paint" : "mesh");
        add_url(sim, b, p, "mesh.glb");
        buf_add_text(b, "}");
    } else {
        add_url(sim, b, p, "output.glb");
    }
}

static void add_metrics(Buf *b, const Prediction *p) {
    int64_t total = p->ended_usec > p->created_usec ? p->ended_usec - p->created_usec : 0;

    buf_add_text(b, "{");
    if (p->started_usec)
        buf_printf(b, "\"predict_time\":%.6f,", (double) (p->ended_usec - p->started_usec) / 1e6);
    if (strstr(p->model, "flux"))
        buf_add_text(b, "\"image_count\":1,");
    buf_printf(b, "\"total_time\":%.6f}", (double) total / 1e6);
}

void shape_add(const Sim *sim, Buf *b, const Prediction *p, int64_t now, ShapeKind kind) {
    Status status = prediction_status(p, now);
    bool ended = status >= STATUS_SUCCEEDED, flight = kind == SHAPE_FLIGHT;
    bool removed = prediction_data_removed(sim, p, now), bare = flight && sim->set.bare;
    bool started = p->started_usec && now >= p->started_usec;
    const char *api = sim->set.api_url ? sim->set.api_url : sim->api_url;
    Buf out = { 0 };

    buf_printf(&out, "{\"id\":\"%s\",\"model\":", p->id);
    buf_add_json(&out, p->model);
    buf_printf(&out, ",\"version\":\"%s\"", p->version);
    if (p->deployment) {
        buf_add_text(&out, ",\"deployment\":");
        buf_add_json(&out, p->deployment);
    }
    buf_add_text(&out, ",\"input\":");
    buf_add_text(&out, removed ? "{}" : p->input_text);
    if (kind != SHAPE_LIST) {
        _cleanup_(buf_done) Buf logs = { 0 };

        if (!removed)
            make_logs(p, now, &logs);
        buf_add_text(&out, ",\"logs\":");
        if (flight || (ended && status <= STATUS_FAILED && !removed))
            buf_add_json(&out, logs.text ? logs.text : "");
        else
            buf_add_text(&out, "null");
    }
    if (status == STATUS_SUCCEEDED && !removed) {
        buf_add_text(&out, ",\"output\":");
        add_output(sim, &out, p);
    } else if (!bare) {
        buf_add_text(&out, ",\"output\":null");
    }
    if (!bare)
        buf_printf(&out, ",\"data_removed\":%s,\"source\":\"api\"", removed ? "true" : "false");
    if (status == STATUS_FAILED || !bare) {
        buf_add_text(&out, ",\"error\":");
        buf_add_json(&out, status == STATUS_FAILED ? p->error : NULL);
    }
    buf_printf(&out, ",\"status\":\"%s\"", status_names[status]);
    add_times("created_at", &out, p, flight ? p->shown_usec : p->created_usec, false);
    add_times("started_at", &out, p, started ? p->started_usec : 0, !flight);
    add_times("completed_at", &out, p,
              !ended                            ? 0
              : p->ended_usec > p->created_usec ? p->ended_usec
                                                : p->created_usec,
              !flight);
    add_times("deadline", &out, p, p->deadline_usec, false);
    if (ended && (p->started_usec || status != STATUS_FAILED)) {
        buf_add_text(&out, ",\"metrics\":");
        add_metrics(&out, p);
    } else if (!flight) {
        buf_add_text(&out, ",\"metrics\":{}");
    }
    if (kind == SHAPE_DATABASE)
        buf_add_text(&out, ",\"webhook_completed\":null");
    buf_printf(
        &out,
        ",\"urls\":{\"cancel\":\"%s/v1/predictions/%s/cancel\",\"get\":\"%s/v1/predictions/%s\","
        "\"web\":\"https://replicate.com/p/%s\"}}",
        api, p->id, api, p->id, p->id);
    if (flight)
        buf_escape_html(&out);
    buf_add(b, out.text, out.size);
    if (out.failed)
        b->failed = true;
    buf_done(&out);
}

void shape_add_current(const Sim *sim, Buf *b, const Prediction *p, int64_t now) {
    Status status = prediction_status(p, now);
    bool settled = status >= STATUS_CANCELED ||
                   (status >= STATUS_SUCCEEDED && now - p->ended_usec >= sim->set.settle_usec);

    shape_add(sim, b, p, now, settled ? SHAPE_DATABASE : SHAPE_FLIGHT);
}
