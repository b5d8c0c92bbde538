#include "fault.h"
#include "http.h"
#include <string.h>
const char control_help[] = "";
bool settings_init(Sim *sim) {
    sim->set = (Settings){ .starting_usec = 300 * MSEC_USEC,
                           .processing_usec = 1500 * MSEC_USEC,
                           .settle_usec = 5 * SEC_USEC,
                           .keep_usec = HOUR_USEC,
                           .cancel_after_min_usec = 5 * SEC_USEC,
                           .jitter_percent = 20,
                           .glb_bytes = 20000,
                           .keep_bytes = 1 << 20,
                           .api_url = strdup(sim->api_url),
                           .files_url = strdup(sim->files_url) };
    sim->set.throttle = strdup("body");
    return true;
}
void settings_done(Settings *set) {
    free(set->throttle);
    free(set->api_token);
    free(set->storage_key);
    free(set->api_url);
    free(set->files_url);
    json_decref(set->model_bytes);
}
void control_route(Sim *sim, Request *r, Reply *reply) {
    const char *p = r->path + 6;
    json_t *in = r->body.size ? json_loadb(r->body.text, r->body.size, 0, NULL) : NULL;
    if (!strcmp(p, "config")) {
        const char *k;
        json_t *v;
        json_object_foreach (in, k, v) {
            int64_t n = (int64_t) json_number_value(v);
            if (!strcmp(k, "starting_ms"))
                sim->set.starting_usec = n * 1000;
            else if (!strcmp(k, "processing_ms"))
                sim->set.processing_usec = n * 1000;
            else if (!strcmp(k, "glb_bytes"))
                sim->set.glb_bytes = n;
        }
        reply_json(reply, 200, json_object());
    } else if (!strcmp(p, "faults") && !strcmp(r->method, "POST")) {
        Buf why = { 0 };
        if (fault_add(sim, in, &why))
            reply_json(reply, 200, json_object());
        else
            reply_text(reply, 400, "text/plain", why.text);
        buf_done(&why);
    } else if (!strcmp(p, "faults") && !strcmp(r->method, "DELETE")) {
        faults_clear(sim);
        reply_json(reply, 200, json_object());
    } else if (!strcmp(p, "stats")) {
        json_t *rec = json_object();
        for (int e = 0; e < _EP_MAX; e++)
            json_object_set_new(rec, endpoint_names[e],
                                json_integer((json_int_t) sim->stats.received[e]));
        reply_json(reply, 200,
                   json_pack("{s:o,s:I}", "received", rec, "file_authorizations",
                             (json_int_t) sim->stats.file_authorizations));
    } else if (!strcmp(p, "objects"))
        reply_json(reply, 200, store_list(sim->store));
    else if (!strcmp(p, "predictions")) {
        json_t *all = json_array();
        int64_t now = sim_now(sim);
        for (size_t i = 0; i < sim->n_by_time; i++) {
            Prediction *q = sim->by_time[i];
            json_array_append_new(all, json_pack("{s:s,s:s,s:O,s:s,s:I,s:I}", "id", q->id, "status",
                                                 status_names[prediction_status(q, now)], "input",
                                                 q->input, "sha256", q->sha256, "arrived_usec",
                                                 (json_int_t) q->arrived_usec, "cancels",
                                                 (json_int_t) q->cancels));
        }
        reply_json(reply, 200, all);
    } else
        reply_text(reply, 404, "text/plain", "?");
    json_decref(in);
}
const char *const endpoint_names[_EP_MAX] = { "create", "get",    "list",   "cancel", "account",
                                              "file",   "upload", "sign",   "info",   "bucket",
                                              "object", "other",  "control" };
