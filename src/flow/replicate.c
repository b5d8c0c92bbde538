/* Requests to Replicate's API, and its answers that are no success: what each says about the service, the model or the
 * input. What a good answer says is read by the stage that asked (predict.c, poll.c, listing.c). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/str.h"
#include "flow/answer.h"
#include "flow/replicate.h"

#define REPLICATE_REPLY_MAX (256 * 1024 * 1024) /* it is read as it comes, none of it is held */
#define REPLICATE_TIMEOUT_USEC (UINT64_C(30) * 1000000)
#define REPLICATE_ACK_USEC (UINT64_C(10) * 1000000) /* a create is there by then, or not at all */

/* The id becomes a part of a path: nothing that could lead elsewhere is in it. */
bool replicate_is_id(const char *id) {
    size_t n =
        id ? strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") : 0;

    return n > 0 && n <= 64 && id[n] == '\0';
}

/* Seconds of "… resets in ~30s." or "… available in 1 second.", 0 if the text says nothing: the
 * two wordings of Replicate's 429. */
static double seconds_in_text(const char *text) {
    const char *at = text ? strchr(text, '~') : NULL;

    if (!at && text && (at = strstr(text, "available in ")))
        at += strlen("available in ") - 1;
    return at ? strtod(at + 1, NULL) : 0;
}

/* How long a 429 asks us to wait. The body is asked before the header; an hour
 * is the most that is believed. */
static uint64_t wait_asked(const HttpReply *reply, const json_t *root) {
    double seconds = json_number(root, "retry_after", 0);

    if (!(seconds > 0))
        seconds = seconds_in_text(json_text(root, "detail"));
    if (!(seconds > 0))
        return reply->retry_after_usec;
    return seconds > 3600 ? UINT64_C(3600000000) : (uint64_t) (seconds * 1e6);
}

/* A 422 is about the version, which an operator has to mend, or about the input, whose fields are
 * then named one by one. */
static void unprocessable(const json_t *root, const char *detail, Fault *reterr) {
    const char *title = json_text(root, "title");
    char fields[sizeof reterr->detail] = "";
    json_t *field;
    size_t i, n = 0;

    if (title && strncasecmp(title, "Invalid version", 15) == 0) {
        fault_set(reterr, FAULT_SERVICE_REFUSED, "HTTP 422: %s", detail);
        return;
    }
    json_array_foreach (json_object_get(root, "invalid_fields"), i, field) {
        const char *name = json_text(field, "field"), *why = json_text(field, "description");

        if (n < sizeof fields && (name || why))
            n += (size_t) snprintf(fields + n, sizeof fields - n, "%s%.60s: %.100s", n ? ", " : "",
                                   name ? name : "?", why ? why : "?");
    }
    fault_set(reterr, FAULT_MODEL_INPUT, "HTTP 422: %s", n ? fields : detail);
}

/* Faults of the service hold the lane for all jobs, faults of the model concern this job alone:
 * so each status is sorted by whom it is about. */
void replicate_fault(const HttpReply *reply, Fault *reterr) {
    _cleanup_(json_unrefp) json_t *root = json_parse(reply->body, reply->body_size);
    const char *detail = json_text(root, "detail");
    int code = reply->code;

    if (!detail)
        detail = json_text(root, "title");
    if (!detail)
        detail = reply->end == HTTP_ANSWERED ? "no explanation" : reply->error;

    if (reply->end == HTTP_TOO_LARGE) /* it was reached: no lane is held for this */
        fault_set(reterr, FAULT_SERVICE_REFUSED, "the answer is too large");
    else if (reply->end != HTTP_ANSWERED)
        fault_set(reterr, FAULT_SERVICE_UNREACHED, "no answer: %s", detail);
    else if (code == 429) {
        fault_set(reterr, FAULT_SERVICE_THROTTLED, "HTTP 429: %s", detail);
        reterr->retry_after_usec = wait_asked(reply, root);
    } else if (code == 402)
        fault_set(reterr, FAULT_SERVICE_CREDIT, "HTTP 402: %s", detail);
    else if (code == 401 || (code == 403 && json_is_object(root)))
        fault_set(reterr, FAULT_SERVICE_AUTH, "HTTP %d: %s", code, detail);
    else if (code == 422)
        unprocessable(root, detail, reterr);
    else if (code == 413)
        fault_set(reterr, FAULT_MODEL_INPUT, "HTTP 413: %s", detail);
    /* A 403 that is not JSON comes from the edge in front of the API, not from the API. */
    else if (code == 408 || code == 425 || code == 403 || code >= 500 || code < 400)
        fault_set(reterr, FAULT_SERVICE_UNREACHED, "HTTP %d: %s", code, detail);
    else
        fault_set(reterr, FAULT_SERVICE_REFUSED, "HTTP %d: %s", code, detail);
    if (reterr->retry_after_usec == 0)
        reterr->retry_after_usec = reply->retry_after_usec;
}

/* The sieve keeps what is needed of the answer, however large that is. */
int replicate_request(const Config *c, const char *method, const char *path, HttpRequest *ret) {
    size_t n = strlen(c->replicate_url);

    while (n > 0 && c->replicate_url[n - 1] == '/')
        n--;
    *ret = (HttpRequest){
        .method = method,
        .body_max = REPLICATE_REPLY_MAX,
        .timeout_usec = REPLICATE_TIMEOUT_USEC,
        .ack_usec = REPLICATE_ACK_USEC,
        .url = str_printf("%.*s/%s", (int) n, c->replicate_url, path),
    };
    if (!ret->url || answer_sieve(&ret->sieve) < 0 ||
        http_request_add(ret, str_printf("Authorization: Bearer %s", c->replicate_token.text)) <
            0 ||
        http_request_add(ret, str_printf("Accept: application/json")) < 0) {
        http_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

int replicate_cancel_ask(const Config *c, const char *prediction_id, HttpRequest *ret) {
    _cleanup_free_ char *path = str_printf("predictions/%s/cancel", prediction_id);

    return path ? replicate_request(c, "POST", path, ret) : -ENOMEM;
}

int replicate_read_ask(const Config *c, const char *prediction_id, HttpRequest *ret) {
    _cleanup_free_ char *path = str_printf("predictions/%s", prediction_id);

    return path ? replicate_request(c, "GET", path, ret) : -ENOMEM;
}

JobEvent replicate_cancel_hear(const HttpReply *reply, Fault *reterr) {
    /* 404 and 409: it is over, or was never there; there is nothing left to cancel. */
    if (reply->end == HTTP_ANSWERED &&
        (reply->code / 100 == 2 || reply->code == 404 || reply->code == 409))
        return EV_OK;
    replicate_fault(reply, reterr);
    return EV_WAIT;
}

bool replicate_is_of_another(const json_t *root, const char *prediction_id) {
    const char *id = json_text(root, "id");

    return id && prediction_id && strcmp(id, prediction_id) != 0;
}

/* A static word, so that it can be kept when the reply is gone. */
const char *replicate_terminal_status(const HttpReply *reply, const char *prediction_id) {
    static const char *const words[] = { "succeeded", "failed", "canceled", "aborted" };
    _cleanup_(json_unrefp) json_t *root = reply->end == HTTP_ANSWERED && reply->code / 100 == 2
                                              ? json_parse(reply->body, reply->body_size)
                                              : NULL;
    const char *status =
        replicate_is_of_another(root, prediction_id) ? NULL : json_text(root, "status");

    for (size_t i = 0; status && i < sizeof words / sizeof *words; i++)
        if (strcmp(status, words[i]) == 0)
            return words[i];
    return NULL;
}
