/* The calls that close a job or hand it back to the queue, and what their answers mean. Each is
 * one transaction in the database that closes the job, its asset and the refund together, so none
 * of them is done without the others. When which call is made is core/job.c's and the daemon's. */
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "core/hold.h"
#include "core/retry.h"
#include "flow/complete.h"
#include "flow/fence.h"
#include "flow/predict.h"
#include "flow/replicate.h"

#define LOST_MAX 3
#define MIME "model/gltf-binary"

/* --- closing ------------------------------------------------------------------------------- */

/* The purchase whose result a step used: its newest success; of the last step, the live
 * purchase. */
static const Purchase *used_of(const Job *j, size_t step) {
    const Purchase *used = NULL;

    if (step + 1 == j->pipeline->n_steps)
        return job_purchase(j);
    for (size_t i = 0; i < j->n_purchases; i++) {
        const Purchase *p = &j->purchases[i];

        if (job_serves(j, p, step) && purchase_succeeded(p) && (!used || p->number > used->number))
            used = p;
    }
    return used;
}

/* The model that it was bought of; the configuration may name another one by now. */
static const char *model_of(const Purchase *p, const Step *s) {
    return p->model ? p->model : s->model;
}

/* Older frontends read the bare version of a model, where there is one. */
static const char *version_of(const char *model) {
    const char *colon = strchr(model, ':');

    return colon && strncmp(model, "deployment:", 11) != 0 ? colon + 1 : model;
}

/* Sets a member where there is a text. json_pack()'s "s*" would do the same, but takes want of
 * memory for want of a value. */
static int set_known(json_t *object, const char *key, const char *text) {
    return text ? json_object_set_new(object, key, json_string(text)) : 0;
}

/* The asset's record of how its mesh was made. The names of the members are those
 * that existing frontends read. */
static json_t *result_meta(const Job *j) {
    json_t *steps = json_array(), *urls = json_array(), *meta = NULL;
    int r = json_array_append_new(urls, json_string(j->output_url));
    double seconds = 0;

    for (size_t i = 0; i < j->pipeline->n_steps && r == 0; i++) {
        const Purchase *p = used_of(j, i);
        json_t *step;

        if (!p)
            continue;
        if (p->predict_time > 0)
            seconds += p->predict_time;
        step =
            json_pack("{s:s, s:s}", "step", p->step, "model", model_of(p, &j->pipeline->steps[i]));
        r = json_array_append_new(steps, step) < 0
                ? -1
                : set_known(step, "prediction_id", p->prediction_id);
    }
    if (r == 0)
        meta =
            json_pack("{s:s, s:f, s:O, s:s, s:O, s:I, s:I}", "model_version",
                      version_of(model_of(job_purchase(j), job_current_step(j))), "processing_time",
                      seconds, "output_urls", urls, "sha256", j->sha256, "steps", steps, "meshes",
                      (json_int_t) j->meshes, "triangles", (json_int_t) j->triangles);
    json_decref(steps);
    json_decref(urls);
    if (set_known(meta, "replicate_prediction_id", job_purchase(j)->prediction_id) == 0)
        return meta;
    json_decref(meta);
    return NULL;
}

/* Adds what the rows of a job that is done say of its mesh: the parameters that follow those that
 * name the job. */
static int add_mesh(const Job *j, DbRequest *ret) {
    _cleanup_(json_unrefp) json_t *meta = result_meta(j);
    _cleanup_(json_unrefp) json_t *data =
        json_pack("{s:s, s:I, s:s}", "storage_path", j->object, "file_size",
                  (json_int_t) j->size_bytes, "mesh_url", j->output_url);
    _cleanup_free_ char *meta_text = meta ? json_write(meta) : NULL;
    _cleanup_free_ char *data_text = data ? json_write(data) : NULL;

    return !meta_text || !data_text || db_request_add(ret, j->object) < 0 ||
                   db_request_addf(ret, "%llu", (unsigned long long) j->size_bytes) < 0 ||
                   db_request_add(ret, MIME) < 0 || db_request_add(ret, data_text) < 0 ||
                   db_request_add(ret, meta_text) < 0
               ? -ENOMEM
               : 0;
}

int complete_stored_ask(const char *worker, const Job *j, DbRequest *ret) {
    const Purchase *p = job_purchase(j);

    *ret = (DbRequest){ .sql = "SELECT meshify.stored($1, $2, $3, $4, $5, $6, $7, $8, $9)" };
    if (db_request_add(ret, worker) < 0 || db_request_add(ret, j->id) < 0 ||
        db_request_add(ret, p->step) < 0 || db_request_addf(ret, "%u", p->number) < 0 ||
        add_mesh(j, ret) < 0) {
        db_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

int complete_done_ask(const char *worker, const Job *j, DbRequest *ret) {
    *ret = (DbRequest){ .sql = "SELECT meshify.done($1, $2, $3, $4, $5, $6, $7)" };
    if (db_request_add(ret, worker) < 0 || db_request_add(ret, j->id) < 0 || add_mesh(j, ret) < 0) {
        db_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

/* Sentence and word only: what went wrong in detail is for the log, and may have names of
 * services in it. */
int complete_fail_ask(const char *worker, const Job *j, DbRequest *ret) {
    const FaultInfo *info =
        fault_info(j->fault.code == FAULT_NONE ? FAULT_INTERNAL : j->fault.code);

    *ret = (DbRequest){ .sql = "SELECT meshify.fail($1, $2, $3, $4)" };
    if (db_request_add(ret, worker) < 0 || db_request_add(ret, j->id) < 0 ||
        db_request_add(ret, info->sentence) < 0 || db_request_add(ret, info->word) < 0) {
        db_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

int complete_canceled_ask(const char *worker, const Job *j, DbRequest *ret) {
    *ret = (DbRequest){ .sql = "SELECT meshify.canceled($1, $2)" };
    if (db_request_add(ret, worker) < 0 || db_request_add(ret, j->id) < 0) {
        db_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

bool complete_keeps(const PGresult *res) {
    return PQntuples(res) == 1 && strcmp(PQgetvalue(res, 0, 0), "keep") == 0;
}

bool complete_is_parked(const PGresult *res) {
    return PQntuples(res) == 1 && strcmp(PQgetvalue(res, 0, 0), "parked") == 0;
}

/* Closing calls are repeated when their answer was lost, so "closed already" is a success. */
JobEvent complete_hear(const PGresult *res, bool is_done, Fault *reterr) {
    const char *answer = PQntuples(res) == 1 ? PQgetvalue(res, 0, 0) : "";

    /* Closed by us already: the answer of the first sending was lost. */
    if (strcmp(answer, "closed") == 0 || complete_is_parked(res))
        return EV_OK;
    /* A cancel came first, or the mesh's row is gone: what was stored has to be removed. */
    if (is_done &&
        (strcmp(answer, "cancel") == 0 || strcmp(answer, "gone") == 0 || complete_keeps(res)))
        return EV_OVERTAKEN;
    if (strcmp(answer, "gone") == 0)
        return EV_LOST;
    if (strcmp(answer, "refused") == 0) { /* its asset went to another user while it was made */
        fault_set(reterr, FAULT_ASSET_MISSING, "the mesh is not for this asset");
        return EV_FINAL;
    }
    return fence_hear(answer, reterr);
}

/* --- handing back -------------------------------------------------------------------------- */

/* Requests that the service lost before they bought anything. Each makes the next wait longer,
 * but only up to a bound: what is lost in an outage says nothing about the job. */
static unsigned lost_requests(const Job *j) {
    unsigned n = j->give_up && j->pipeline ? job_given_up(j) : 0;

    return n < LOST_MAX ? n : LOST_MAX;
}

/* Without a fault (a drain, a lane that is held) the job comes back as it is, at once and
 * uncounted. Waiting that the job did not cause is taken off the time that counts against its
 * limit. */
Requeue complete_requeue(const Config *c, const Job *j, uint64_t now_usec, double chance) {
    const FaultInfo *info = fault_info(j->fault.code);
    uint64_t worked = now_usec - j->claimed_usec;
    Requeue h = {
        .counted = j->fault.code != FAULT_NONE && info->verdict == VERDICT_RETRY,
        .worked_usec = worked > j->idle_usec ? worked - j->idle_usec : 0,
        .reason = info->word,
    };

    if (j->fault.code == FAULT_NONE)
        return h;
    h.delay_usec =
        retry_delay_usec(c->retry_base_usec, c->retry_max_usec,
                         h.counted ? j->attempts + info->later : 1 + lost_requests(j), chance);
    /* A service that asked for a longer wait than our back-off gets it, and a little more by
     * chance. */
    if (hold_asked_usec(&j->fault) > h.delay_usec)
        h.delay_usec =
            hold_asked_usec(&j->fault) + (uint64_t) (chance * (double) c->retry_base_usec);
    return h;
}

/* The purchases that the job goes back without: the one that surely was not made, or strays,
 * whose step the configuration does not have any more. `*ret` stays NULL when there are none. */
static int without_what(const Job *j, json_t **ret) {
    _cleanup_(json_unrefp) json_t *all = NULL;

    for (size_t i = 0; i < j->n_purchases; i++) {
        const Purchase *p = &j->purchases[i];
        json_t *of;

        if (j->fault.code == FAULT_STEP_GONE ? !job_is_stray(j, p) : i + 1 != j->give_up)
            continue;
        if (!(of = predict_identity(j, p)) ||
            json_object_set_new(of, "state",
                                json_string(p->state == PURCHASE_BOUGHT ? "bought" : "intended")) <
                0) {
            json_decref(of);
            return -ENOMEM;
        }
        if ((!all && !(all = json_array())) || json_array_append(all, of) < 0) {
            json_decref(of);
            return -ENOMEM;
        }
        json_decref(of);
    }
    *ret = TAKE(all);
    return 0;
}

/* Giving up a purchase and handing the job back is one call: in between, another worker could
 * buy. */
int complete_requeue_ask(const char *worker, const Job *j, const Requeue *how, DbRequest *ret) {
    _cleanup_(json_unrefp) json_t *without = NULL;
    _cleanup_free_ char *text = NULL;
    int r;

    *ret = (DbRequest){ .sql = "SELECT meshify.hand_back($1, $2, $3, $4, $5, $6)" };
    if ((r = without_what(j, &without)) < 0)
        return r;
    if (without) {
        ret->sql = "SELECT meshify.hand_back_without($1, $2, $3, $4, $5, $6, $7)";
        if (!(text = json_write(without)))
            return -ENOMEM;
    }
    if (db_request_add(ret, worker) < 0 || db_request_add(ret, j->id) < 0 ||
        db_request_add_usec(ret, how->delay_usec) < 0 ||
        db_request_add(ret, how->counted ? "t" : "f") < 0 ||
        db_request_add_usec(ret, how->worked_usec) < 0 || db_request_add(ret, how->reason) < 0 ||
        (text && db_request_add(ret, text) < 0)) {
        db_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}
