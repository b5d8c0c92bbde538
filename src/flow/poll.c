/* How often a prediction is asked for, and what the answer means for its job: which URL is the
 * mesh, which words of an error mean that trying again may help. A read costs nothing, a purchase
 * does; so a read is repeated as long as it takes, and a purchase only for errors that are known
 * to pass. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/redact.h"
#include "core/json_pointer.h"
#include "core/verdict.h"
#include "flow/answer.h"
#include "flow/poll.h"
#include "flow/replicate.h"

#define URL_MAX 8192

/* A tenth of the prediction's age: a model that takes ten minutes is not asked each second.
 * Chance keeps many jobs from asking in step. */
uint64_t poll_delay_usec(const Config *c, uint64_t age_usec, double chance) {
    uint64_t d = age_usec / 10;

    if (d < c->poll_min_usec)
        d = c->poll_min_usec;
    if (d > c->poll_max_usec)
        d = c->poll_max_usec;
    d = (uint64_t) ((double) d * (0.9 + chance / 5));
    return d < c->poll_min_usec ? c->poll_min_usec : d > c->poll_max_usec ? c->poll_max_usec : d;
}

int poll_ask(const Config *c, const Job *j, HttpRequest *ret) {
    return replicate_read_ask(c, job_purchase(j)->prediction_id, ret);
}

/* --- outputs ------------------------------------------------------------------------------- */

/* A data: URI is no URL here: the mesh would be in the database. */
static const char *url_of(const json_t *value) {
    const char *s = json_string_value(value);

    return s && strlen(s) <= URL_MAX &&
                   (strncasecmp(s, "https://", 8) == 0 || strncasecmp(s, "http://", 7) == 0)
               ? s
               : NULL;
}

/* The name's ending, without the query that signed URLs have. */
static bool ends_in(const char *url, const char *const *endings) {
    size_t n = strcspn(url, "?#");

    for (; *endings; endings++) {
        size_t k = strlen(*endings);

        if (n > k && strncasecmp(url + n - k, *endings, k) == 0)
            return true;
    }
    return false;
}

/* Goes through an output, `depth` levels deep, for the first URL with one of these endings (NULL:
 * any). */
static const char *find(const json_t *value, const char *const *endings, int depth) {
    const char *url = url_of(value), *key;
    json_t *v;
    size_t i;

    if (url)
        return !endings || ends_in(url, endings) ? url : NULL;
    if (depth == 0)
        return NULL;
    if (json_is_array(value))
        json_array_foreach (value, i, v)
            if ((url = find(v, endings, depth - 1)))
                return url;
    if (json_is_object(value))
        json_object_foreach ((json_t *) value, key, v)
            if ((url = find(v, endings, depth - 1)))
                return url;
    return NULL;
}

/* The pointer that was recorded with the purchase overrides the configuration, which may have changed
 * since. */
const char *poll_pointer(const Purchase *p, const Step *now) {
    return p->pipeline ? p->pointer : now->output;
}

/* Without a pointer: the members by which the usual models name their mesh, then the first .glb,
 * then a lone URL. */
const char *poll_output(const json_t *output, const char *pointer, PollWants wants) {
    static const char *const members[] = { "model_file", "mesh", "mesh_paint", "glb", "model" };
    static const char *const glb[] = { ".glb", NULL };
    static const char *const images[] = { ".png", ".jpg", ".jpeg", ".webp", NULL };
    const char *url = NULL;

    if (pointer) {
        json_t *value = json_pointer_get(output, pointer);

        return json_is_array(value) ? url_of(json_array_get(value, 0)) : url_of(value);
    }
    if (wants == POLL_WANTS_IMAGE) {
        if (!(url = find(output, images, 3)))
            url = find(output, NULL, 3);
        return url;
    }
    for (size_t i = 0; i < sizeof members / sizeof *members && !url; i++)
        url = url_of(json_object_get(output, members[i]));
    if (!url)
        url = find(output, glb, 3);
    /* A lone string needs no ending: the bytes decide. */
    if (!url)
        url = json_is_array(output) && json_array_size(output) == 1
                  ? url_of(json_array_get(output, 0))
                  : url_of(output);
    return url;
}

/* --- progress ------------------------------------------------------------------------------ */

/* One line of a log, for the bar that tqdm draws: "…LABEL: 42%|####2 | 5/12 […". -1: there is
 * none. */
static double line_progress(const char *line, size_t size) {
    const char *end = line + size, *percent = line, *p;

    for (; (percent = memchr(percent, '%', (size_t) (end - percent))); percent++) {
        long n;

        for (p = percent; p > line && isdigit((unsigned char) p[-1]);)
            p--;
        if (p == percent || percent - p > 3 || (n = strtol(p, NULL, 10)) > 100)
            continue;
        for (p = percent + 1; p < end && *p == ' ';)
            p++;
        if (p < end && *p == '|')
            return (double) n / 100;
    }
    return -1;
}

double poll_progress(const char *logs) {
    size_t end = logs ? strlen(logs) : 0;

    /* From the end, and not further than a screen: logs grow without limit. */
    for (int lines = 0; end > 0 && lines < 50; lines++) {
        size_t start = end;
        double p;

        while (start > 0 && logs[start - 1] != '\n' && logs[start - 1] != '\r')
            start--;
        if ((p = line_progress(logs + start, end - start)) >= 0)
            return p;
        end = start > 0 ? start - 1 : 0;
    }
    return -1;
}

/* --- answers ------------------------------------------------------------------------------- */

/* Are these words in the text, as words of their own? "E005" is no part of "tmp7ae005k". */
static bool any_in(const char *text, const char *const *words) {
    for (; *words; words++)
        for (const char *at = text; (at = strcasestr(at, *words)); at++)
            if ((at == text || !isalnum((unsigned char) at[-1])) &&
                !isalnum((unsigned char) at[strlen(*words)]))
                return true;
    return false;
}

/* One of Replicate's own codes, which have four digits: "(E6716)". They are errors of the
 * platform, not of the input. */
static bool has_platform_code(const char *text) {
    for (const char *at = text; (at = strchr(at, 'E')); at++)
        if ((at == text || !isalnum((unsigned char) at[-1])) && strspn(at + 1, "0123456789") == 4 &&
            !isalnum((unsigned char) at[5]))
            return true;
    return false;
}

/* From Replicate's error text to a fault; the first row that fits decides. A failed prediction may have been
 * billed, so what will fail again is not bought again: unknown words are final. */
static FaultCode failure_of(const char *error) {
    /* clang-format off */
    static const struct {
        FaultCode code;
        const char *words[8];
    } kinds[] = {
        { FAULT_MODEL_CONTENT, { "NSFW", "flagged as sensitive", "E005" } },
        { FAULT_MODEL_OVERLOADED, { "E003", "E004", "E6716", "E8765", "high demand", "temporarily unavailable" } },
        { FAULT_MODEL_BUSY, { "(code: PA)", "E1000", "E8367", "E9825", "E9828" } },
        { FAULT_MODEL_ERROR, { "E4875" } },
        { FAULT_MODEL_FAILED, { "E1001", "E9243", "CUDA", "out of memory" } },
    };
    /* clang-format on */

    if (!error || !*error)
        return FAULT_MODEL_FAILED;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (any_in(error, kinds[i].words))
            return kinds[i].code;
    return has_platform_code(error) ? FAULT_MODEL_FAILED : FAULT_MODEL_ERROR;
}

/* Is it what a service says that has trouble, rather than one that refuses? A 4xx other than 429
 * would come again. */
static bool says_trouble(const char *text) {
    static const char *const words[] = { "timeout",     "time-out",   "timed",
                                         "reset",       "refused",    "unreachable",
                                         "unavailable", "gateway",    "disconnect",
                                         "aborted",     "resolution", "IncompleteRead",
                                         "too many" };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasestr(text, words[i]))
            return true;
    for (const char *at = text; (at = strpbrk(at, "45")); at++)
        if ((at == text || !isalnum((unsigned char) at[-1])) && strspn(at, "0123456789") == 3 &&
            !isalnum((unsigned char) at[3]) && (*at == '5' || strncmp(at, "429", 3) == 0))
            return true;
    return false;
}

/* Did the model only fail to fetch the picture that we gave it (one that we signed, or a step's
 * output)? Then another try may help, where a user's own dead link would not. The URL itself is
 * left out of the search for numbers, since a URL may hold any. */
static bool image_did_not_come(const Job *j, const char *error) {
    bool theirs = j->step == 0 && (!j->image || strstr(j->image, "://"));
    const char *given = j->image_url && !theirs ? j->image_url : "";
    _cleanup_free_ char *url = strndup(given, strcspn(given, "?#"));
    char rest[1024] = "";
    bool named = false;
    size_t n, used = 0;

    for (; url && *error && used + 2 < sizeof rest; error += n) {
        char word[1024];

        if ((n = strcspn(error, " \t\r\n\"'<>()")) == 0) {
            rest[used++] = ' ';
            n = 1;
            continue;
        }
        (void) snprintf(word, sizeof word, "%.*s", (int) (n < sizeof word ? n : sizeof word),
                        error);
        if ((!theirs && redact_finds(word, "/object/sign/")) || (*url && redact_finds(word, url)))
            named = true;
        else
            used += (size_t) snprintf(rest + used, sizeof rest - used, "%.*s",
                                      (int) (sizeof rest - used - 2), word);
    }
    return named && says_trouble(rest);
}

/* Is there a file written into the answer itself? */
static bool holds_data(const json_t *value, int depth) {
    const char *s = json_string_value(value), *key;
    json_t *v;
    size_t i;

    if (s || depth == 0)
        return s && strncasecmp(s, "data:", 5) == 0;
    json_array_foreach (value, i, v)
        if (holds_data(v, depth - 1))
            return true;
    json_object_foreach ((json_t *) value, key, v)
        if (holds_data(v, depth - 1))
            return true;
    return false;
}

/* answer.c names there what it did not keep. */
static bool is_too_large(const json_t *root, const char *name) {
    json_t *value;
    size_t i;

    json_array_foreach (json_object_get(root, "too_large"), i, value)
        if (json_is_string(value) && strcmp(json_string_value(value), name) == 0)
            return true;
    return false;
}

/* A mesh that was paid for and has no URL is final: the same step would give the same again. */
static JobEvent succeeded(Job *j, PollAnswer *a, Fault *reterr) {
    bool last = job_at_last_step(j);
    const char *url = poll_output(a->output, poll_pointer(job_purchase(j), job_current_step(j)),
                                  last ? POLL_WANTS_MESH : POLL_WANTS_IMAGE);

    /* Replicate removes data an hour after the end; the mesh that was billed can't be fetched any
     * more. */
    if (json_is_true(json_object_get(a->root, "data_removed")) && !url) {
        fault_set(reterr, FAULT_OUTPUT_GONE, "the prediction's data was removed");
        return EV_RETRY;
    }
    if (!a->output && is_too_large(a->root, "output")) {
        fault_set(reterr, FAULT_OUTPUT_MISSING,
                  "succeeded with an output of more than %d KiB, where a file's URL is wanted",
                  ANSWER_OUTPUT_MAX / 1024);
        return EV_FINAL;
    }
    if (!url) {
        fault_set(reterr, FAULT_OUTPUT_MISSING, "succeeded without a usable output%s",
                  holds_data(a->output, 3) ? ": it is a data: URI, and only http(s) is fetched"
                                           : "");
        return EV_FINAL;
    }
    a->usable = true;
    if (!last)
        return EV_STEP;
    free(j->output_url);
    if (!(j->output_url = strdup(url))) {
        fault_set(reterr, FAULT_INTERNAL, "out of memory");
        return EV_RETRY;
    }
    return EV_OK;
}

/* The purchase keeps what the answer said: steps after it need its output, and the closing its
 * model and time. */
static void remember(Job *j, const PollAnswer *a, uint64_t now_usec) {
    Purchase *p = job_purchase(j);

    p->finished = true;
    p->finished_usec = now_usec;
    p->succeeded = strcmp(a->status, "succeeded") == 0;
    p->usable = a->usable;
    p->predict_time = json_number(a->metrics, "predict_time", -1);
    json_decref(p->output);
    p->output = json_incref(a->output);
    if (!a->usable)
        p->state = PURCHASE_ENDED;
}

/* Usually a string, but the API does not promise that: models written in other frameworks give an object or
 * a list. */
static const char *error_text(const json_t *error) {
    if (json_is_array(error))
        error = json_array_get(error, 0);
    if (json_is_object(error) && json_text(error, "message"))
        return json_text(error, "message");
    return json_is_object(error) ? json_text(error, "detail") : json_string_value(error);
}

/* Something came instead of the prediction. A read costs nothing, so it is asked again; but an id that stays
 * unknown belongs to a prediction that was deleted. A 404 counts in Replicate's own words only: a gateway that
 * has lost its way answers in HTML. */
static JobEvent no_prediction(const HttpReply *reply, Job *j, uint64_t now_usec, Fault *reterr) {
    bool unknown = reply->end == HTTP_ANSWERED && (reply->code == 404 || reply->code == 410);
    _cleanup_(json_unrefp) json_t *root =
        unknown ? json_parse(reply->body, reply->body_size) : NULL;

    replicate_fault(reply, reterr);
    if (!unknown || !json_is_object(root))
        return EV_WAIT;
    if (j->missing_reads++ == 0)
        j->missing_since_usec = now_usec;
    if (j->missing_reads < POLL_GONE_READS || now_usec < j->missing_since_usec + POLL_GONE_USEC)
        return EV_WAIT;
    fault_set(reterr, FAULT_PREDICTION_GONE, "HTTP %d, %u times in %u s", reply->code,
              j->missing_reads, (unsigned) ((now_usec - j->missing_since_usec) / 1000000));
    j->missing_reads = 0;
    job_purchase(j)->state = PURCHASE_ENDED;
    return EV_RETRY;
}

/* An unknown status is taken for one that goes on, since new ones appear without notice; the time
 * limit of a job bounds it. */
JobEvent poll_hear(const HttpReply *reply, Job *j, uint64_t now_usec, PollAnswer *ret,
                   Fault *reterr) {
    const Purchase *p = job_purchase(j);
    PollAnswer a = { 0 };
    JobEvent ev;
    json_t *error;

    if (reply->end == HTTP_ANSWERED && reply->code == 200)
        a.root = json_parse(reply->body, reply->body_size);
    a.of_another = p && replicate_is_of_another(a.root, p->prediction_id);
    a.status = a.of_another ? NULL : json_text(a.root, "status");
    *ret = a;
    if (!a.status)
        return no_prediction(reply, j, now_usec, reterr);
    j->missing_reads = 0;
    a.output = json_object_get(a.root, "output");
    a.metrics = json_object_get(a.root, "metrics");
    error = json_object_get(a.root, "error");
    a.error = error_text(error);
    a.terminal = true;
    if (strcmp(a.status, "succeeded") == 0)
        ev = succeeded(j, &a, reterr);
    else if (strcmp(a.status, "failed") == 0) {
        FaultCode code = failure_of(a.error);

        if (a.error && image_did_not_come(j, a.error))
            code = FAULT_IMAGE_UNREACHED;
        fault_set(reterr, code, "prediction failed: %s",
                  a.error && *a.error ? a.error : "without a word");
        ev = verdict_event(reterr);
    } else if (strcmp(a.status, "canceled") == 0 || strcmp(a.status, "aborted") == 0) {
        bool ran = a.status[0] == 'c'; /* aborted: its deadline came before a machine did */

        fault_set(reterr, ran ? FAULT_MODEL_TIMEOUT : FAULT_MODEL_BUSY, "prediction %s", a.status);
        ev = verdict_event(reterr);
    } else { /* also a status that is not known yet: job_timeout bounds it */
        double done = poll_progress(json_text(a.root, "logs"));

        a.terminal = false;
        if (done >= 0) {
            double all = ((double) j->step + done) / (double) j->pipeline->n_steps;

            if (all > j->progress)
                j->progress = all;
        }
        ev = EV_WAIT;
    }
    *ret = a;
    if (a.terminal)
        remember(j, &a, now_usec);
    return ev;
}
