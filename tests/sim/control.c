/* The control endpoint: tests set the simulator up here, and look at what it has seen. What it
 * counts is counted where it happens. */
#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "http.h"
#include "store.h"

const char *const endpoint_names[_EP_MAX] = { "create", "get",    "list",   "cancel", "account",
                                              "file",   "upload", "sign",   "info",   "bucket",
                                              "object", "other",  "control" };

static const char help[] =
    "The control endpoint of meshify-sim. Bodies and answers are JSON.\n"
    "\n"
    "GET    /_sim/config       the settings\n"
    "POST   /_sim/config       {\"name\": value, …}; the others stay\n"
    "GET    /_sim/faults       scripts of faults, with the times each was met\n"
    "POST   /_sim/faults       a script, or a list of them; in order, the first that fits is met\n"
    "DELETE /_sim/faults       forget all scripts\n"
    "GET    /_sim/stats        everything counted since the start or the last reset\n"
    "GET    /_sim/predictions  every prediction, oldest first\n"
    "GET    /_sim/objects      every object in the store\n"
    "POST   /_sim/reset        forget everything, settings too\n"
    "\n"
    "Settings: starting_ms and processing_ms are how long a prediction stays in each status, "
    "varied\n"
    "by jitter_percent; settle_ms after its end its JSON has the database's shape; keep_ms after "
    "it\n"
    "its data is removed. glb_bytes and model_bytes {\"owner/name\": n} are sizes of meshes.\n"
    "cancel_after_min_ms: a shorter Cancel-After is refused. shift_ms is added to the clock.\n"
    "create_rate, get_rate, other_rate {\"per_minute\": n, \"burst\": n} throttle; throttle is "
    "body,\n"
    "text or header: where a 429 says how long. bare: in-flight JSON without a null. api_token "
    "and\n"
    "storage_key are the only good ones, null takes any. api_url and files_url stand in answers.\n"
    "keep_bytes: a larger upload is counted and hashed, not kept. list_all: listings show also\n"
    "what late_list_ms keeps out of them.\n"
    "\n"
    "A script: {\"endpoint\": E, \"match\": TEXT, \"skip\": N, \"count\": N, \"do\": {…}}\n"
    "E is create, get, list, cancel, account, file, upload, sign, info, bucket, object or other.\n"
    "percent (100): met by chance, which --seed decides.\n"
    "match is looked for in the path and in the texts of the prediction's input, also when its\n"
    "image comes from an earlier prediction; skip lets the first N pass; count (1) is how often,\n"
    "below 0 for ever. In do, as many as make sense together:\n"
    "  status, body, headers  this answer; without body the usual one. done: but do what was "
    "asked\n"
    "  close                  close the connection, nothing done; close_on_reuse: only a reused "
    "one\n"
    "  lose_answer            do it, and close the connection instead of answering\n"
    "  stall_ms               wait before the answer, or after so many bytes of it (after)\n"
    "  arrive_ms              what was asked is done so late, though nobody may wait any more\n"
    "  cut                    close after so many bytes of the body\n"
    "  early                  answer before the body was read\n"
    "  redirect               302 to this place; {path} in it stands for the path asked for\n"
    "  for create: starting_ms, processing_ms, never_started, late_list_ms (missing in listings "
    "so\n"
    "              long), output (its JSON), final (succeeded, failed, canceled, aborted), error\n"
    "  for create and file: file (truncated, html, empty, not_glb, wrong_length, no_length,\n"
    "              bad_hash, changed, careless, no_ranges) is what the file host serves. changed: "
    "a "
    "good\n"
    "              file, but another; careless: other bytes for the right ones, and whatever "
    "If-Range\n"
    "              says; no_ranges: the whole, without ETag and date\n";

/* By endpoint and status, without the zeros. */
static json_t *requests(const Stats *stats) {
    json_t *all = json_object();

    for (int e = 0; e < _EP_MAX; e++) {
        json_t *codes = json_object();

        for (int c = 0; c < CODE_MAX; c++)
            if (stats->requests[e][c]) {
                char code[12];

                snprintf(code, sizeof code, "%d", c);
                json_object_set_new(codes, code, json_integer((json_int_t) stats->requests[e][c]));
            }
        json_object_set_new(all, endpoint_names[e], codes);
    }
    return all;
}

static json_t *received(const Stats *stats) {
    json_t *all = json_object();

    for (int e = 0; e < _EP_MAX; e++)
        json_object_set_new(all, endpoint_names[e], json_integer((json_int_t) stats->received[e]));
    return all;
}

static json_t *stats_json(const Stats *s) {
    return json_pack(
        "{s:o, s:o, s:{s:I, s:I}, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "received", received(s),
        "requests", requests(s), "connections", "api", (json_int_t) s->connections[0], "files",
        (json_int_t) s->connections[1], "reused", (json_int_t) s->reused, "file_authorizations",
        (json_int_t) s->file_authorizations, "prefer_headers", (json_int_t) s->prefer_headers,
        "throttled", (json_int_t) s->throttled, "faults", (json_int_t) s->faults, "file_bytes",
        (json_int_t) s->file_bytes, "upload_bytes", (json_int_t) s->upload_bytes);
}

static json_t *prediction_json(const Prediction *p, int64_t now_usec) {
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s?, s:O, s:s?, s:b, s:I, s:I, s:I, s:I, s:s, s:s}", "id", p->id,
        "status", status_names[prediction_status(p, now_usec)], "model", p->model, "version",
        p->version, "deployment", p->deployment, "input", p->input, "cancel_after", p->cancel_after,
        "cancel_answered", p->cancel_answered, "cancels", (json_int_t) p->cancels, "fetched",
        (json_int_t) p->fetched, "served", (json_int_t) p->served, "arrived_usec",
        (json_int_t) p->arrived_usec, "sha256", p->sha256, "file", bad_file_names[p->bad_file]);
}

static json_t *predictions_json(const Sim *sim) {
    json_t *all = json_array();

    for (size_t i = 0; i < sim->n_by_time; i++)
        json_array_append_new(all, prediction_json(sim->by_time[i], sim_now(sim)));
    return all;
}

static void refuse(Reply *reply, unsigned status, const char *why) {
    reply_json(reply, status, json_pack("{s:s}", "error", why));
}

static void set_config(Sim *sim, json_t *body, Reply *reply) {
    _cleanup_(buf_done) Buf why = { 0 };

    if (settings_set(sim, body, &why))
        reply_json(reply, 200, settings_list(&sim->set));
    else
        refuse(reply, 400, why.text ? why.text : "out of memory");
}

/* In order: of several scripts the first that fits is met. */
static void add_faults(Sim *sim, json_t *body, Reply *reply) {
    _cleanup_(buf_done) Buf why = { 0 };
    size_t n = json_is_array(body) ? json_array_size(body) : 1;

    for (size_t i = 0; i < n; i++)
        if (!fault_add(sim, json_is_array(body) ? json_array_get(body, i) : body, &why)) {
            refuse(reply, 400, why.text ? why.text : "out of memory");
            return;
        }
    reply_json(reply, 200, faults_list(sim));
}

/* Settings as well: a test begins from a known state. */
static void reset(Sim *sim, Reply *reply) {
    faults_clear(sim);
    predictions_done(sim);
    memset(&sim->stats, 0, sizeof sim->stats);
    if (settings_reset(sim) && store_reset(sim->store))
        reply_json(reply, 200, json_object());
    else
        refuse(reply, 500, "out of memory");
}

/* The methods a path knows, by bits. */
enum {
    GET = 1,
    POST = 2,
    DELETE = 4
};

/* A path that is not known is 404, a known one with another method 405, so that a mistyped test
 * fails at once. */
void control_route(Sim *sim, Request *r, Reply *reply) {
    static const struct {
        const char *name;
        unsigned methods;
    } paths[] = { { "", GET },      { "config", GET | POST }, { "faults", GET | POST | DELETE },
                  { "stats", GET }, { "predictions", GET },   { "objects", GET },
                  { "reset", POST } };
    const char *path = r->path + strlen("/_sim/");
    unsigned methods = 0, method = !strcmp(r->method, "GET")      ? GET
                                   : !strcmp(r->method, "POST")   ? POST
                                   : !strcmp(r->method, "DELETE") ? DELETE
                                                                  : 0;
    json_t *body = NULL;

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (strcmp(path, paths[i].name) == 0)
            methods = paths[i].methods;
    if (!methods) {
        refuse(reply, 404, "no such path; GET /_sim/ lists them");
        return;
    }
    if (!(methods & method)) {
        refuse(reply, 405, "not with this method; GET /_sim/ lists them");
        return;
    }
    if (method == POST && strcmp(path, "reset") != 0) {
        json_error_t error;

        if (!(body = json_loadb(r->body.text ? r->body.text : "", r->body.size, 0, &error))) {
            refuse(reply, 400, error.text);
            return;
        }
    }

    if (*path == '\0')
        reply_text(reply, 200, "text/plain; charset=utf-8", help);
    else if (body && strcmp(path, "config") == 0)
        set_config(sim, body, reply);
    else if (strcmp(path, "config") == 0)
        reply_json(reply, 200, settings_list(&sim->set));
    else if (body)
        add_faults(sim, body, reply);
    else if (strcmp(path, "faults") == 0) {
        if (method == DELETE)
            faults_clear(sim);
        reply_json(reply, 200, faults_list(sim));
    } else if (strcmp(path, "stats") == 0)
        reply_json(reply, 200, stats_json(&sim->stats));
    else if (strcmp(path, "predictions") == 0)
        reply_json(reply, 200, predictions_json(sim));
    else if (strcmp(path, "objects") == 0)
        reply_json(reply, 200, store_list(sim->store));
    else
        reset(sim, reply);
    json_decref(body);
}
