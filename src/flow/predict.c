/* A purchase: the intent that is written down first, the one request that buys, its answer, and
 * what is written down of that. The order makes it safe: whoever finds an intent without an id
 * has to look whether it was bought (look.c) before anything is bought again. Sending is the
 * daemon's. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/redact.h"
#include "base/str.h"
#include "core/verdict.h"
#include "flow/fence.h"
#include "flow/listing.h"
#include "flow/look.h"
#include "flow/poll.h"
#include "flow/predict.h"
#include "flow/replicate.h"

/* A request that was sent arrives within this time, or never. */
#define DELIVERY_USEC (UINT64_C(10) * 1000000)

/* The newest purchase of this step whose output can still be fetched. */
static const Purchase *success_of(const Job *j, size_t step, uint64_t now_usec) {
    const Purchase *found = NULL;

    for (size_t i = 0; i < j->n_purchases; i++) {
        const Purchase *p = &j->purchases[i];

        if (job_serves(j, p, step) && purchase_output_lives(p, now_usec))
            found = p;
    }
    return found;
}

/* "data:", "file:" and the like; a path in the bucket has no colon that early. */
static bool has_scheme(const char *image) {
    size_t n = strspn(image, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");

    return n > 0 && image[n] == ':';
}

/* Does the text after "http://" name a host? A browser, and many a library, takes a backslash for
 * a slash: what follows one is a path. */
static bool has_host(const char *url) {
    const char *at = strstr(url, "://") + 3;
    size_t n = strcspn(at, "/?#\\");

    for (size_t i = n; i > 0; i--) /* what stands before the last @ is a user's name */
        if (at[i - 1] == '@') {
            at += i;
            n -= i;
            break;
        }
    if (*at != '[') /* an IPv6 address has colons of its own */
        n = strcspn(at, ":/?#\\");
    for (size_t i = 0; i < n; i++)
        if (isalnum((unsigned char) at[i]) || (unsigned char) at[i] >= 0x80)
            return true;
    return false;
}

static JobEvent use_image(Job *j, const char *url, Fault *reterr) {
    if ((j->image_url = strdup(url)))
        return EV_OK;
    fault_set(reterr, FAULT_INTERNAL, "out of memory");
    return EV_RETRY;
}

/* The first step gets the user's image, any other the image of the step before it. */
JobEvent predict_image(Job *j, uint64_t now_usec, Fault *reterr) {
    const Step *step = job_current_step(j);

    free(TAKE(j->image_url));
    if (!step->uses_image)
        return EV_OK;
    if (j->step > 0) {
        const Purchase *before = success_of(j, j->step - 1, now_usec);
        const Step *its = &j->pipeline->steps[j->step - 1];
        const char *url =
            before ? poll_output(before->output, poll_pointer(before, its), POLL_WANTS_IMAGE)
                   : NULL;

        if (!before) {
            fault_set(reterr, FAULT_OUTPUT_GONE, "step %s has no output any more", its->name);
            return EV_RETRY;
        }
        if (!url) {
            fault_set(reterr, FAULT_OUTPUT_MISSING, "step %s gave no image", its->name);
            return EV_FINAL;
        }
        return use_image(j, url, reterr);
    }
    if (!j->image) {
        fault_set(reterr, FAULT_IMAGE_MISSING, "step %s needs an image", step->name);
        return EV_FINAL;
    }
    if (strncasecmp(j->image, "https://", 8) == 0 || strncasecmp(j->image, "http://", 7) == 0) {
        if (strlen(j->image) > 8192 || !str_is_graphic(j->image) || !has_host(j->image)) {
            fault_set(reterr, FAULT_IMAGE_FORBIDDEN, "the image's URL is not one");
            return EV_FINAL;
        }
        return use_image(j, j->image, reterr);
    }
    if (has_scheme(j->image)) {
        fault_set(reterr, FAULT_IMAGE_FORBIDDEN,
                  "the image's URL has another scheme than http and https");
        return EV_FINAL;
    }
    return EV_MORE;
}

static const char *nonnull(const char *s) {
    return s ? s : "";
}

json_t *predict_identity(const Job *j, const Purchase *p) {
    return json_pack("{s:s, s:s, s:s, s:i, s:s?, s:s?}", "key", p->key, "job", j->id, "step",
                     p->step, "purchase", (int) p->number, "worker", p->buyer[0] ? p->buyer : NULL,
                     "hash", p->input_hash);
}

static int add_json(DbRequest *r, const json_t *value) {
    _cleanup_free_ char *text = value ? json_write(value) : NULL;

    return value && !text ? -ENOMEM : db_request_add(r, text);
}

/* All that tells this purchase from others goes to the database: a key alone could be another
 * job's by mistake. */
static int add_identity(DbRequest *r, const Job *j, const Purchase *p) {
    _cleanup_(json_unrefp) json_t *identity = predict_identity(j, p);

    return identity ? add_json(r, identity) : -ENOMEM;
}

/* The input is filled in here, hashed, and kept for the request: what is written down is what is
 * sent. An input that a listing could not show is refused before anything is paid. */
int predict_intend_ask(const Config *c, const char *worker, Job *j, DbRequest *ret) {
    const Step *step = job_current_step(j);
    unsigned number = job_next_number(j);
    TemplateVars vars = { .prompt = nonnull(j->prompt),
                          .image = nonnull(j->image_url),
                          .job_id = j->id,
                          .asset_id = j->asset_id,
                          .user_id = j->user_id,
                          .project_id = j->project_id,
                          .seed = pipeline_seed(j->id, step->name, number) };
    Purchase p = { .step = step->name, .number = number };
    _cleanup_(json_unrefp) json_t *keys = NULL;
    char hash[HASH_HEX_SIZE];
    int r;

    json_decref(TAKE(j->input));
    if ((r = pipeline_fill(step, &vars, &j->input)) < 0 ||
        (r = pipeline_keys(j->input, &keys)) < 0 || (r = pipeline_hash(j->input, keys, hash)) < 0)
        return r;
    if (!listing_can_show(j->input))
        return -E2BIG;
    (void) snprintf(p.key, sizeof p.key, "%s", j->next_key);
    (void) snprintf(p.buyer, sizeof p.buyer, "%s", worker);
    p.input_hash = hash;
    *ret = (DbRequest){
        .sql = "SELECT i.*, extract(epoch FROM now())::bigint "
               "FROM meshify.intend_purchase($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) i"
    };
    if (db_request_add(ret, worker) < 0 || add_identity(ret, j, &p) < 0 ||
        db_request_addf(ret, "%u", j->attempts) < 0 || db_request_add(ret, step->model) < 0 ||
        add_json(ret, keys) < 0 || db_request_add(ret, j->pipeline->name) < 0 ||
        db_request_add(ret, job_at_last_step(j) ? "t" : "f") < 0 ||
        db_request_add(ret, step->output) < 0 ||
        db_request_add_usec(ret, c->create_timeout_usec + PREDICT_SENT_WITHIN_USEC +
                                     DELIVERY_USEC) < 0 ||
        (j->give_up ? add_identity(ret, j, &j->purchases[j->give_up - 1])
                    : db_request_add(ret, NULL)) < 0) {
        db_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

/* The database answers that the purchase which was to be given up has an id by now: another
 * worker recorded it late. The job goes on with it, and nothing is bought. */
static JobEvent bought_meanwhile(Job *j, const char *key, const char *prediction_id,
                                 Fault *reterr) {
    Purchase *p = j->give_up ? &j->purchases[j->give_up - 1] : NULL;
    char *copy = replicate_is_id(prediction_id) ? strdup(prediction_id) : NULL;

    if (!p || strcmp(p->key, key) != 0 || !copy) {
        fault_set(reterr, FAULT_DATABASE,
                  "purchase %.36s was bought, but is not the one we gave up", key);
        free(copy);
        return EV_RETRY;
    }
    free(p->prediction_id);
    p->prediction_id = copy;
    p->state = PURCHASE_BOUGHT;
    job_use_purchase(j, p); /* the job may have gone back a step meanwhile */
    j->give_up = 0;
    j->log.prediction_id = p->prediction_id;
    return EV_BOUGHT;
}

/* The purchase keeps what the configuration says at this moment: a job may end under another
 * one. */
static int remember_step(const Job *j, Purchase *p) {
    const Step *step = job_current_step(j);

    p->is_last = job_at_last_step(j);
    return (p->step = strdup(step->name)) && (p->model = strdup(step->model)) &&
                   (p->pipeline = strdup(j->pipeline->name)) &&
                   (!step->output || (p->pointer = strdup(step->output)))
               ? 0
               : -ENOMEM;
}

/* From here on the purchase exists. It is added to the job before anything is sent, so that its
 * answer has a place; a shortage of memory leaves an intent that a look will find unsent. */
JobEvent predict_intend_hear(const Config *c, const char *worker, Job *j, const PGresult *res,
                             uint64_t sent_usec, Fault *reterr) {
    const char *answer = PQntuples(res) == 1 && PQnfields(res) == 4 ? PQgetvalue(res, 0, 0) : "";
    const char *key = *answer ? PQgetvalue(res, 0, 1) : "";
    Purchase p = { .number = job_next_number(j),
                   .state = PURCHASE_INTENDED,
                   .intent_usec = sent_usec,
                   .intent_epoch = *answer ? strtoll(PQgetvalue(res, 0, 3), NULL, 10) : 0,
                   .predict_time = -1 };
    char hash[HASH_HEX_SIZE];

    if (strcmp(answer, "bought") == 0)
        return bought_meanwhile(j, key, PQgetvalue(res, 0, 2), reterr);
    if (strcmp(answer, "ok") != 0)
        return fence_hear(answer, reterr);
    /* An answer to another call would give this purchase another one's row. */
    if (strcmp(key, j->next_key) != 0)
        return fence_hear("ok, with another key", reterr);
    (void) snprintf(p.key, sizeof p.key, "%s", key);
    (void) snprintf(p.buyer, sizeof p.buyer, "%s", worker);
    p.give_up_usec = sent_usec + c->create_timeout_usec + PREDICT_SENT_WITHIN_USEC + DELIVERY_USEC;
    if (remember_step(j, &p) < 0 || pipeline_keys(j->input, &p.input_keys) < 0 ||
        pipeline_hash(j->input, p.input_keys, hash) < 0 || !(p.input_hash = strdup(hash)) ||
        job_add_purchase(j, &p) < 0) {
        /* The row is written and nothing was sent; the next worker's look will find nothing. */
        purchase_done(&p);
        fault_set(reterr, FAULT_INTERNAL, "out of memory");
        return EV_RETRY;
    }
    if (j->give_up)
        j->purchases[j->give_up - 1].state = PURCHASE_GIVEN_UP;
    j->give_up = 0;
    /* The key is used up: the next purchase makes one of its own. */
    j->next_key[0] = '\0';
    j->late_looks = 0;
    j->looked_usec = 0;
    j->look_is_blind = false;
    look_forget(j);
    j->purchase = j->n_purchases - 1;
    j->has_purchase = true;
    return EV_OK;
}

/* `once`: libcurl may repeat a request on a connection that died under it, which could buy twice.
 * Cancel-After is our time limit on Replicate's side, should we be gone by then. */
int predict_ask(const Config *c, const Job *j, HttpRequest *ret) {
    const Step *step = job_current_step(j);
    _cleanup_(json_unrefp) json_t *body = json_object();
    uint64_t seconds = step->timeout_usec / 1000000;
    int r;

    if (!body || json_object_set(body, "input", j->input) < 0 ||
        (step->version && json_object_set_new(body, "version", json_string(step->version)) < 0))
        return -ENOMEM;
    if ((r = replicate_request(c, "POST", step->path, ret)) < 0)
        return r;
    ret->once = true;
    ret->timeout_usec = c->create_timeout_usec;
    ret->body = json_write(body);
    ret->body_size = ret->body ? strlen(ret->body) : 0;
    /* Replicate takes 5 s to 24 h. */
    if (seconds < 5)
        seconds = 5;
    if (seconds > 86400)
        seconds = 86400;
    if (!ret->body || http_request_add(ret, str_printf("Content-Type: application/json")) < 0 ||
        http_request_add(ret, str_printf("Cancel-After: %llu", (unsigned long long) seconds)) < 0) {
        http_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

/* UNSENT means surely not bought. After that, only an answer that says so means not bought;
 * everything else leads to a look. */
JobEvent predict_hear(const HttpReply *reply, Job *j, Fault *reterr) {
    _cleanup_(json_unrefp) json_t *root = NULL;
    const char *id;

    if (reply->end == HTTP_UNSENT) {
        replicate_fault(reply, reterr);
        return EV_WAIT;
    }
    root = reply->end == HTTP_ANSWERED ? json_parse(reply->body, reply->body_size) : NULL;
    id = json_text(root, "id");
    if (reply->end == HTTP_ANSWERED && reply->code / 100 == 2 && replicate_is_id(id)) {
        free(j->prediction_id);
        return (j->prediction_id = strdup(id)) ? EV_OK : EV_UNSURE;
    }
    replicate_fault(reply, reterr);
    /* A refusal in Replicate's own words is definite, and so is one that says "slower" or "smaller";
     * whatever else came may hide a purchase. */
    if (reply->end == HTTP_ANSWERED && reply->code >= 400 && reply->code < 500 &&
        reply->code != 408 && (reply->code == 429 || reply->code == 413 || json_is_object(root)))
        return verdict_event(reterr);
    return EV_UNSURE;
}

/* Not fenced: that it was bought is a fact, whoever holds the job by now. */
int predict_record_ask(const char *worker, const Job *j, DbRequest *ret) {
    bool answered = j->looked_usec == 0; /* else the listing showed it */

    *ret = (DbRequest){ .sql = "SELECT meshify.record_purchase($1, $2, $3, $4, $5)" };
    if (db_request_add(ret, worker) < 0 || add_identity(ret, j, job_purchase(j)) < 0 ||
        db_request_add(ret, j->prediction_id) < 0 || db_request_add(ret, "starting") < 0 ||
        db_request_add(ret, answered ? "t" : "f") < 0) {
        db_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

/* Any other answer is taken for a job that is no more ours; the id stands in the database
 * already. */
Recorded predict_record_hear(const PGresult *res) {
    static const struct {
        const char *word;
        Recorded recorded;
    } words[] = {
        { "ok", RECORDED },
        { "taken", RECORDED_TAKEN },
        { "surplus", RECORDED_SURPLUS },
        { "cancel", RECORDED_CANCEL },
        { "closed",
          RECORDED_CANCEL }, /* not by this worker, which was buying: its asset was deleted */
        { "gone", RECORDED_GONE },
        { "busy", RECORDED_BUSY },
    };
    const char *answer = PQntuples(res) == 1 ? PQgetvalue(res, 0, 0) : "";

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(answer, words[i].word) == 0)
            return words[i].recorded;
    return RECORDED_LOST;
}

/* The error goes into a row that users may read, so secrets are left out of it. */
int predict_settle_ask(const Job *j, const Purchase *p, const char *status, const json_t *output,
                       const json_t *metrics, const char *error, bool usable, DbRequest *ret) {
    char said[2048]; /* the row keeps 2000 characters */

    *ret = (DbRequest){ .sql = "SELECT meshify.settle_purchase($1, $2, $3, $4, $5, $6, $7)" };
    error = error ? redact_text(said, sizeof said, error) : NULL;
    if (add_identity(ret, j, p) < 0 || db_request_add(ret, p->prediction_id) < 0 ||
        db_request_add(ret, status) < 0 || add_json(ret, output) < 0 ||
        add_json(ret, metrics) < 0 || db_request_add(ret, error) < 0 ||
        db_request_add(ret, usable ? "t" : "f") < 0) {
        db_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}
