/* Any bytes as what Replicate, the file host or the store answers: no answer makes a stage say what
 * it must not. Byte 0 chooses the stage, byte 1 how the request ended, byte 2 the job it was for; the
 * rest is the body, or where a redirect leads. */
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/str.h"
#include "core/verdict.h"
#include "flow/audit.h"
#include "flow/complete.h"
#include "flow/download.h"
#include "flow/listing.h"
#include "flow/look.h"
#include "flow/poll.h"
#include "flow/predict.h"
#include "flow/replicate.h"
#include "flow/store.h"
#include "flow/supabase.h"
#include "fuzz.h"

#define NOW UINT64_C(1000000000000)
#define SECOND UINT64_C(1000000)
#define API "https://api.replicate.com/v1/"
#define STORE "https://p.supabase.co/storage/v1/"
#define MINE "mine0123456789abcdefghjkmn"          /* of another purchase of the job */
#define KEY "00000000-0000-7000-8000-000000000007" /* of a purchase that is looked for */
#define REFUSED "refused0123456789abcdefgh"        /* stands in another row */

static const struct {
    HttpEnd end;
    int code;
} ends[32] = {
    { HTTP_ANSWERED, 100 },  { HTTP_ANSWERED, 200 }, { HTTP_ANSWERED, 201 },
    { HTTP_ANSWERED, 202 },  { HTTP_ANSWERED, 204 }, { HTTP_ANSWERED, 206 },
    { HTTP_ANSWERED, 301 },  { HTTP_ANSWERED, 307 }, { HTTP_ANSWERED, 304 },
    { HTTP_ANSWERED, 400 },  { HTTP_ANSWERED, 401 }, { HTTP_ANSWERED, 402 },
    { HTTP_ANSWERED, 403 },  { HTTP_ANSWERED, 404 }, { HTTP_ANSWERED, 408 },
    { HTTP_ANSWERED, 409 },  { HTTP_ANSWERED, 410 }, { HTTP_ANSWERED, 413 },
    { HTTP_ANSWERED, 422 },  { HTTP_ANSWERED, 425 }, { HTTP_ANSWERED, 429 },
    { HTTP_SINK, 0 },        { HTTP_ANSWERED, 500 }, { HTTP_ANSWERED, 502 },
    { HTTP_ANSWERED, 503 },  { HTTP_ANSWERED, 540 }, { HTTP_ANSWERED, 999 },
    { HTTP_UNSENT, 0 },      { HTTP_NO_ANSWER, 0 },  { HTTP_NO_ANSWER, 200 },
    { HTTP_TOO_LARGE, 200 }, { HTTP_PRIVATE, 0 },
};

/* --- what every answer owes ------------------------------------------------------------------ */

static bool is_clean(const char *text, size_t room) {
    size_t n = strnlen(text, room);

    for (size_t i = 0; i < n; i++)
        if ((unsigned char) text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return n < room && str_is_utf8(text, n);
}

static void is_fault(const Fault *f) {
    if (f->code <= FAULT_NONE || f->code >= _FAULT_MAX || !is_clean(f->detail, sizeof f->detail))
        abort();
}

/* The event is the one that the fault's verdict stands for. */
static void is_verdict(JobEvent ev, const Fault *f) {
    is_fault(f);
    if (ev != verdict_event(f))
        abort();
}

/* --- jobs -------------------------------------------------------------------------------------- */

static char *copy(const char *text) {
    char *s = strdup(text);

    if (!s)
        abort();
    return s;
}

static void add_purchase(Job *j, unsigned number, PurchaseState state, const char *prediction) {
    json_t *input = json_pack("{s:s}", "prompt", "a chair");
    Purchase p = { .key = "00000000-0000-7000-8000-000000000001",
                   .step = copy(job_current_step(j)->name),
                   .number = number,
                   .state = state,
                   .prediction_id = prediction ? copy(prediction) : NULL,
                   .input_hash = calloc(1, HASH_HEX_SIZE),
                   .intent_usec = NOW,
                   .give_up_usec = NOW + 45 * SECOND,
                   .predict_time = -1 };

    if (!p.input_hash || pipeline_keys(input, &p.input_keys) < 0 ||
        pipeline_hash(input, p.input_keys, p.input_hash) < 0 || job_add_purchase(j, &p) < 0)
        abort();
    json_decref(input);
    j->purchase = j->n_purchases - 1;
    j->has_purchase = true;
}

/* At the first step, with a purchase given up before the live one. */
static Job *job(Pipeline *p, size_t step, const char *prediction) {
    static const char user[] = "22222222-2222-4222-8222-222222222222";
    Job *j = calloc(1, sizeof *j);

    if (!j || !(j->not_ours = calloc(1, sizeof *j->not_ours)))
        abort();
    j->not_ours[j->n_not_ours++] = copy(REFUSED);
    memcpy(j->user_id, user, sizeof user);
    j->prompt = copy("a chair");
    j->image = copy("22222222-2222-4222-8222-222222222222/chair.png");
    j->pipeline = pipeline_ref(p);
    j->step = step;
    add_purchase(j, 1, PURCHASE_SURPLUS, MINE);
    add_purchase(j, 2, prediction ? PURCHASE_BOUGHT : PURCHASE_INTENDED, prediction);
    return j;
}

/* --- stages ------------------------------------------------------------------------------------ */

/* Only what can't have bought anything may lead to another purchase. */
static void predict(const HttpReply *r, unsigned how) {
    Job *j = job(config()->text, how % 2, NULL);
    Fault f = { 0 };
    JobEvent ev = predict_hear(r, j, &f);
    bool answered = r->end == HTTP_ANSWERED;

    if (ev == EV_OK) {
        if (!answered || r->code / 100 != 2 || !replicate_is_id(j->prediction_id) ||
            f.code != FAULT_NONE)
            abort();
    } else {
        is_fault(&f);
        if (j->prediction_id)
            abort();
        if (ev != EV_UNSURE) {
            is_verdict(ev, &f);
            if (r->end != HTTP_UNSENT && !(answered && r->code / 100 == 4))
                abort();
        }
    }
    job_free(j);
}

/* Is a purchase like ours in the listing? Once more, and without hashes. */
static bool is_listed(const json_t *results, const char *only) {
    json_t *item;
    size_t i;

    json_array_foreach (results, i, item) {
        const char *id = json_text(item, "id"),
                   *prompt = json_text(json_object_get(item, "input"), "prompt");

        if (replicate_is_id(id) && prompt && strcmp(prompt, "a chair") == 0 &&
            strlen(prompt) ==
                json_string_length(json_object_get(json_object_get(item, "input"), "prompt")) &&
            strcmp(id, MINE) != 0 && strcmp(id, REFUSED) != 0 && (!only || strcmp(id, only) == 0))
            return true;
    }
    return false;
}

struct Looker {
    Wanted wanted; /* first */
    Job *job;
};

static void found(Wanted *w, const char *id) {
    (void) look_found(((struct Looker *) w)->job, id);
}

static int shown(void *userdata, const char *id, const json_t *input) {
    if (!replicate_is_id(id) || !json_is_object(input))
        abort();
    return wanted_show(userdata, id, input);
}

/* One page of the listing, in pieces; what it shows goes to `table`. */
static int page(const HttpReply *r, WantedTable *table, Fault *reterr) {
    static Listing l;
    HttpReply reply = *r;
    HttpRequest request;
    int rc;

    listing_begin(&l, (int64_t) (NOW / SECOND), shown, table);
    if (listing_ask(config(), &l, &request) < 0)
        abort();
    for (size_t i = 0; i < r->body_size; i += 9)
        if (request.sieve->feed(request.sieve, r->body + i,
                                r->body_size - i < 9 ? r->body_size - i : 9) < 0)
            abort();
    http_request_done(&request);
    reply.body = NULL;
    if (r->end == HTTP_ANSWERED && l.sieve.end(&l.sieve, &reply) < 0)
        abort();
    rc = listing_hear(&l, &reply, reterr);
    if (rc < 0)
        is_fault(reterr);
    else if (r->end != HTTP_ANSWERED || r->code != 200)
        abort();
    if (rc == 1 && (strpbrk(l.cursor, " &#\"\\\r\n") || strlen(l.cursor) > 4096))
        abort();
    free(reply.body);
    listing_done(&l);
    return rc;
}

static void look(const HttpReply *r, unsigned how) {
    Job *j = job(config()->text, 0, NULL);
    json_t *root =
               r->end == HTTP_ANSWERED && r->code == 200 ? json_parse(r->body, r->body_size) : NULL,
           *results = json_object_get(root, "results");
    uint64_t now = NOW + (how & 1 ? 50 : 10) * SECOND + (how & 2 ? 3600 * SECOND : 0);
    struct Looker looker = { .job = j };
    WantedTable table = { 0 };
    Fault f = { 0 };
    JobEvent ev = EV_OK;
    int rc;

    j->late_looks = how >> 2 & 1;
    if (wanted_add(&table, &looker.wanted, job_purchase(j)->input_hash, job_purchase(j)->input_keys,
                   found) < 0)
        abort();
    rc = page(r, &table, &f);
    wanted_remove(&table, &looker.wanted);
    if (rc < 0)
        look_forget(j);
    if (!look_take(j, now))
        ev = look_end(j, rc == 0, now, now, &f);
    if ((ev == EV_OK) != (j->prediction_id != NULL) || (ev == EV_NOT_BOUGHT) != (j->give_up != 0))
        abort();
    /* jansson refuses what is of no matter here: a number too large in what is not wanted */
    if (ev == EV_OK && root && !is_listed(results, j->prediction_id))
        abort();
    if (ev == EV_NOT_BOUGHT && (j->give_up != 2 || (root && is_listed(results, NULL)) ||
                                json_text(root, "next") || !(how & 1) || !(how & 4)))
        abort();
    if (ev == EV_FINAL && f.code != FAULT_PURCHASE_UNKNOWN)
        abort();
    if (ev != EV_OK && ev != EV_NOT_BOUGHT && ev != EV_FINAL && ev != EV_WAIT)
        abort();
    json_decref(root);
    job_free(j);
}

/* What the database is told of a purchase that is over. */
static void settle(const Job *j, const PollAnswer *a) {
    DbRequest q;
    json_t *output = NULL;

    if (predict_settle_ask(j, job_purchase(j), a->status, a->output, a->metrics, a->error,
                           a->usable, &q) < 0)
        abort();
    if (a->usable && (!q.params[3] || !(output = json_parse(q.params[3], strlen(q.params[3])))))
        abort();
    json_decref(output);
    db_request_done(&q);
}

static void poll(const HttpReply *r, unsigned how) {
    static Step steps[2];
    static Pipeline loose = { .n_refs = 1, .name = (char *) "loose", .steps = steps, .n_steps = 2 };
    Pipeline *strict = config()->text;
    Job *j;
    PollAnswer a;
    Fault f = { 0 };
    JobEvent ev;

    /* The built-in steps, but their outputs are found by themselves. */
    for (size_t i = 0; i < 2; i++) {
        steps[i] = strict->steps[i];
        steps[i].output = NULL;
    }
    j = job(how & 2 ? &loose : strict, how % 2, "polled0123456789abcdefghjk");
    ev = poll_hear(r, j, NOW + SECOND, &a, &f);
    if (!(j->progress >= 0 && j->progress <= 1) || (a.status && r->code != 200) ||
        a.usable != (ev == EV_OK || ev == EV_STEP) || a.terminal != job_purchase(j)->finished ||
        a.usable != job_purchase(j)->usable)
        abort();
    if (ev == EV_OK) {
        if (how % 2 == 0 || !j->output_url || strncasecmp(j->output_url, "http", 4) != 0)
            abort();
        (void) download_check(config(), j->output_url, &f);
    } else if (ev == EV_WAIT) {
        if (a.terminal || (!a.status) != (f.code != FAULT_NONE))
            abort();
    } else if (ev != EV_STEP)
        is_verdict(ev, &f);
    if (a.terminal) {
        settle(j, &a);
        if (!a.usable && job_purchase(j)->state != PURCHASE_ENDED)
            abort();
    }
    /* What was enough for a step is enough for the one after it. */
    if (ev == EV_STEP) {
        job_next_step(j);
        if (how % 2 != 0 || predict_image(j, NOW + SECOND, &f) != EV_OK || !j->image_url)
            abort();
    }
    json_decref(a.root);
    job_free(j);
}

static void service(const HttpReply *r, unsigned how) {
    Fault f = { 0 };

    (void) how;
    replicate_fault(r, &f);
    is_fault(&f);
    /* Replicate's limits are short, and our own ends are not in its text. */
    if (f.retry_after_usec > 3600 * SECOND && f.retry_after_usec != r->retry_after_usec)
        abort();
    if (r->end != HTTP_ANSWERED &&
        f.code != (r->end == HTTP_TOO_LARGE ? FAULT_SERVICE_REFUSED : FAULT_SERVICE_UNREACHED))
        abort();
    f = (Fault){ 0 };
    if (replicate_cancel_hear(r, &f) == EV_WAIT)
        is_fault(&f);
    else if (r->end != HTTP_ANSWERED || r->code >= 500)
        abort();
}

/* Each piece of work with the store ends, though every step of it gets the same answer; and with a fault, where
 * it does not go well. */
static void store_work(const HttpReply *r, Job *j) {
    const StoreDriver *driver = store_driver(config());
    JobEvent (*const begins[])(StoreWork *) = { driver->begin, driver->remove, driver->check,
                                                driver->sign };

    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        StoreWork w = { .config = config(), .job = j, .fd = 7, .object = j->object };
        JobEvent ev = begins[i](&w);

        for (int steps = 0; ev == EV_MORE; steps++) {
            StoreStep step;

            if (steps == 4 || driver->next(&w, &step) < 0 || step.what != STORE_SEND)
                abort();
            http_request_done(&step.request);
            ev = driver->hear(&w, &(StoreAnswer){ .reply = r });
        }
        if (ev == EV_OK ? r->end != HTTP_ANSWERED : w.fault.code == FAULT_NONE)
            abort();
        if ((begins[i] == driver->check) != (*w.finding.found != '\0') ||
            !is_clean(w.finding.found, sizeof w.finding.found))
            abort();
    }
}

/* Nothing is taken for stored, there or gone but in Storage's own words. */
static void store(const HttpReply *r, unsigned how) {
    bool good = r->end == HTTP_ANSWERED && r->code / 100 == 2, is_public;
    Job *j = job(config()->image, 0, NULL);
    Fault f = { 0 };
    JobEvent ev;

    if (!j->object && !(j->object = strdup("u/p/mesh.glb")))
        abort();
    j->size_bytes = 5;
    ev = supabase_upload_hear(config(), r, j, &f);
    if ((ev == EV_OK || ev == EV_UNSURE) && !good)
        abort();
    if (ev == EV_FINAL && f.code != FAULT_STORE_REFUSED && f.code != FAULT_STORE_TOO_LARGE)
        abort();
    if (ev != EV_OK && ev != EV_UNSURE)
        is_verdict(ev, &f);
    ev = supabase_info_hear(r, j, how % 2, &f);
    if (ev == EV_OK && !good)
        abort();
    if (ev == EV_FINAL && f.code != FAULT_STORE_REFUSED && f.code != FAULT_STORE_TOO_LARGE)
        abort();
    ev = supabase_remove_hear(r, &f);
    if (ev != EV_WAIT && (ev != EV_OK || r->end != HTTP_ANSWERED))
        abort();
    ev = supabase_bucket_hear(r, &is_public, &f);
    if (ev == EV_OK && !good)
        abort();
    ev = supabase_sign_bucket_hear(r, &f);
    if (ev == EV_OK)
        abort();
    store_work(r, j);
    job_free(j);
}

static void sign(const HttpReply *r, unsigned how) {
    Job *j = job(config()->image, 0, NULL);
    Fault f = { 0 };
    JobEvent ev;

    free(j->image);
    if (!(j->image = strdup("u/a +.png")))
        abort();
    ev = supabase_sign_hear(config(), r, j, &f);

    (void) how;
    if ((ev == EV_OK) != (j->image_url != NULL))
        abort();
    if (ev == EV_OK) {
        CURLU *u = curl_url();
        char *host = NULL;

        if (strncmp(j->image_url, STORE, strlen(STORE)) != 0 || strpbrk(j->image_url, " \t\r\n"))
            abort();
        if (curl_url_set(u, CURLUPART_URL, j->image_url, 0) == CURLUE_OK &&
            (curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
             strcmp(host, "p.supabase.co") != 0))
            abort();
        curl_free(host);
        curl_url_cleanup(u);
    } else if (ev != EV_MORE)
        is_verdict(ev, &f);
    else if (f.code != FAULT_IMAGE_MISSING)
        abort();
    job_free(j);
}

/* What passes as a URL to fetch leads where curl thinks it leads. */
static void is_fetchable(const char *url) {
    CURLU *u = curl_url();
    char *host = NULL, *scheme = NULL;

    if (!u)
        abort();
    if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK) {
        size_t n;

        if (curl_url_get(u, CURLUPART_HOST, &host, CURLU_URLDECODE) != CURLUE_OK ||
            curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
            strcmp(scheme, "https") != 0)
            abort();
        n = strlen(host);
        if (n < 18 || strcasecmp(host + n - 18, "replicate.delivery") != 0 ||
            (n > 18 && host[n - 19] != '.'))
            abort();
    }
    curl_free(host);
    curl_free(scheme);
    curl_url_cleanup(u);
}

/* The body's first lines as headers of a file. */
static void take_line(const char **at, char *to, size_t room) {
    size_t n = *at ? strcspn(*at, "\n") : 0;

    (void) snprintf(to, room, "%.*s", (int) n, *at ? *at : "");
    if (*at)
        *at += n + ((*at)[n] == '\n');
}

static void download(const HttpReply *r, unsigned how) {
    HttpReply fetched = *r;
    Download d = { .redirects = how % 8 }, before;
    const char *lines = r->body;
    HttpRequest request;
    Fault f = { 0 };
    JobEvent ev;

    /* A body goes into the spool; what is left of it here is where a redirect leads. */
    fetched.redirect =
        r->code / 100 == 3 && r->body && !memchr(r->body, 0, r->body_size) ? r->body : NULL;
    fetched.body = NULL;
    take_line(&lines, fetched.etag, sizeof fetched.etag);
    take_line(&lines, fetched.modified, sizeof fetched.modified);
    take_line(&lines, fetched.range, sizeof fetched.range);
    take_line(&lines, fetched.crc32c, sizeof fetched.crc32c);
    fetched.length = how & 64 ? 2 * r->body_size : 0;
    if (how & 128) { /* a part is there already */
        d = (Download){ .redirects = how % 8, .size_bytes = 100, .parts = 1, .validator = "\"v\"" };
        d.total_bytes = how & 8 ? 1000 : 0;
    }
    before = d;
    ev = download_hear(config(), &fetched, &d, &f);
    /* What is kept has a name that can stand in a header; a part goes where it belongs. */
    if (d.size_bytes > 0 && ev == EV_WAIT) {
        if (!is_clean(d.validator, sizeof d.validator) || !d.validator[0] ||
            download_ask(config(), "https://replicate.delivery/x", &d, 7, NULL, &request) < 0)
            abort();
        http_request_done(&request);
    }
    if (d.parts > 1 &&
        (before.size_bytes != 100 ||
         (r->body_size > 0 && d.size_bytes > 0 && d.size_bytes != 100 + r->body_size) ||
         (before.total_bytes && d.size_bytes && d.total_bytes != before.total_bytes) ||
         (d.size_bytes > 0 && strcmp(fetched.etag, before.validator) != 0)))
        abort();
    if (ev == EV_OK) {
        if ((r->code != 200 && r->code != 206) || r->body_size == 0 || d.size_bytes == 0 ||
            (r->end != HTTP_ANSWERED && d.size_bytes != d.total_bytes))
            abort();
    } else if (ev == EV_MORE) {
        if (r->code / 100 != 3 || how % 8 >= DOWNLOAD_REDIRECTS_MAX)
            abort();
        is_fetchable(fetched.redirect);
    } else
        is_verdict(ev, &f);
}

/* Whatever a listing shows: what is written down of it is pairs of purchases and ids. */
static void audit(const HttpReply *r, unsigned how) {
    json_t *input = json_pack("{s:s}", "prompt", "a chair");
    AuditList list = { .rows = calloc(1, sizeof *list.rows), .n = 1 };
    WantedTable table = { 0 };
    DbRequest wrote;
    Fault f = { 0 };
    int rc;

    (void) how;
    if (!list.rows || pipeline_keys(input, &list.rows->keys) < 0 ||
        pipeline_hash(input, list.rows->keys, list.rows->hash) < 0)
        abort();
    strcpy(list.rows->key, KEY);
    list.rows->list = &list;
    json_decref(input);
    if (wanted_add(&table, &list.rows->wanted, list.rows->hash, list.rows->keys, audit_found) < 0)
        abort();
    rc = page(r, &table, &f);
    audit_page(&list, rc >= 0);
    if (audit_surplus_ask("w", &list, &wrote) < 0 || (rc < 0 && wrote.sql))
        abort();
    if (wrote.sql && (strncmp(wrote.params[1], "{" KEY, strlen("{" KEY)) != 0 ||
                      strpbrk(wrote.params[2], "\"\\ '()")))
        abort();
    db_request_done(&wrote);
    wanted_remove(&table, &list.rows->wanted);
    audit_list_done(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static void (*const stages[])(const HttpReply *, unsigned) = {
        predict, look, poll, service, store, sign, download, audit,
    };
    HttpReply r = { .error = "scripted" };
    size_t n;

    if (size < 3)
        return 0;
    n = size - 3;
    r.end = ends[bytes[1] % 32].end;
    r.code = ends[bytes[1] % 32].code;
    r.retry_after_usec = bytes[2] & 16 ? 7 * SECOND : 0;
    /* Memory of its own, so that reading beyond it is seen; an answer may also have no body. */
    if (!(bytes[2] & 32) && !(r.body = calloc(1, n + 1)))
        abort();
    if (r.body) {
        memcpy(r.body, bytes + 3, n);
        r.body_size = n;
    }
    stages[(uint8_t) (bytes[0] - '0') % 8](&r, bytes[2]);
    http_reply_done(&r);
    return 0;
}
