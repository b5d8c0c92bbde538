/* The part of api.replicate.com/v1 that the daemon uses. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"

#define PAGE 100
#define PROBLEM "application/problem+json"
#define CANCEL_AFTER_MAX (24 * HOUR_USEC)

/* RFC 9457's form, without a type. */
static void problem(Reply *reply, unsigned status, const char *title, const char *detail) {
    reply_text(reply, status, PROBLEM, "{");
    if (title)
        buf_printf(&reply->body, "\"title\":\"%s\",", title);
    buf_add_text(&reply->body, "\"detail\":");
    buf_add_json(&reply->body, detail);
    buf_printf(&reply->body, ",\"status\":%u}\n", status);
}

static void not_found(Reply *reply) {
    problem(reply, 404, NULL, "The requested resource could not be found.");
}

static void bad_version(Reply *reply) {
    problem(
        reply, 422, "Invalid version or not permitted",
        "The specified version does not exist (or perhaps you don't have permission to use it?)");
}

/* A 422 names the fields that are wrong. */
static void invalid(Reply *reply, const char *type, const char *field, const char *what) {
    _cleanup_(buf_done) Buf detail = { 0 };

    buf_printf(&detail, "- %s%s%s\n", field, *field ? ": " : "", what);
    reply_text(reply, 422, PROBLEM, "{\"detail\":");
    buf_add_json(&reply->body, detail.text);
    buf_add_text(
        &reply->body,
        ",\"status\":422,\"title\":\"Input validation failed\",\"invalid_fields\":[{\"type\":");
    buf_add_json(&reply->body, type);
    buf_add_text(&reply->body, ",\"field\":");
    buf_add_json(&reply->body, field);
    buf_add_text(&reply->body, ",\"description\":");
    buf_add_json(&reply->body, what);
    buf_add_text(&reply->body, "}]}\n");
}

/* Both schemes are taken, as the API does. */
static bool authenticated(const Sim *sim, const Request *r, Reply *reply) {
    const char *header = request_header(r, "Authorization");
    const char *token = header && strncasecmp(header, "Bearer ", 7) == 0  ? header + 7
                        : header && strncasecmp(header, "Token ", 6) == 0 ? header + 6
                                                                          : NULL;

    if (!header)
        problem(reply, 401, "Unauthenticated", "You did not pass an authentication token");
    else if (!token || !*token || (sim->set.api_token && strcmp(token, sim->set.api_token) != 0))
        problem(reply, 401, "Unauthenticated", "You did not pass a valid authentication token");
    else
        return true;
    return false;
}

/* Takes a token, or writes the 429. */
static bool admitted(Sim *sim, Endpoint endpoint, Reply *reply) {
    Bucket *b = endpoint == EP_CREATE ? &sim->set.create
                : endpoint == EP_GET  ? &sim->set.get
                                      : &sim->set.other;
    const char *how = sim->set.throttle;
    int64_t now = text_now_usec();
    double rate = b->per_minute / 60;
    unsigned wait;
    char text[16];
    _cleanup_(buf_done) Buf detail = { 0 };

    if (b->per_minute <= 0)
        return true;
    b->tokens += (double) (now - b->seen_usec) / 1e6 * rate;
    if (b->tokens > b->burst)
        b->tokens = b->burst;
    b->seen_usec = now;
    if (b->tokens >= 1) {
        b->tokens--;
        snprintf(text, sizeof text, "%u", (unsigned) b->tokens);
        reply_header(reply, "ratelimit-remaining", text);
        snprintf(text, sizeof text, "%.0f", fmax(1, ceil((b->burst - b->tokens) / rate)));
        reply_header(reply, "ratelimit-reset", text);
        return true;
    }

    wait = (unsigned) fmax(1, ceil((1 - b->tokens) / rate));
    sim->stats.throttled++;
    if (strcmp(how, "header") == 0) {
        buf_printf(&detail, "Request was throttled. Expected available in %u second%s.", wait,
                   wait == 1 ? "" : "s");
    } else {
        buf_add_text(&detail, "Request was throttled. ");
        if (endpoint == EP_CREATE && b->per_minute <= 6)
            buf_printf(
                &detail,
                "Your rate limit for creating predictions is reduced to %.0f requests per "
                "minute with a burst of %.0f requests while you have less than $5.0 in credit. ",
                b->per_minute, b->burst);
        buf_printf(&detail, "Your rate limit resets in ~%us.", wait);
    }
    reply_text(reply, 429, PROBLEM, "{\"detail\":");
    buf_add_json(&reply->body, detail.text);
    if (strcmp(how, "body") == 0)
        buf_printf(&reply->body, ",\"status\":429,\"retry_after\":%u", wait);
    buf_add_text(&reply->body, "}\n");
    snprintf(text, sizeof text, "%u", wait);
    if (strcmp(how, "header") == 0)
        reply_header(reply, "Retry-After", text);
    reply_header(reply, "ratelimit-remaining", "0");
    reply_header(reply, "ratelimit-reset", text);
    return false;
}

static bool is_hex64(const char *text) {
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static bool is_official(const char *model) {
    return strncmp(model, "black-forest-labs/", 18) == 0 || strncmp(model, "hyper3d/", 8) == 0 ||
           strcmp(model, "tencent/hunyuan-3d-3.1") == 0;
}

/* What the version names: 64 digits, owner/name:64 digits, or owner/name of an official model. */
static bool read_version(const char *text, char **ret_model, char **ret_version) {
    const char *colon = strchr(text, ':'), *hex = colon ? colon + 1 : text;

    if (is_hex64(hex)) {
        *ret_model = colon ? strndup(text, (size_t) (colon - text)) : strdup(model_of_version(hex));
        *ret_version = strdup(hex);
        return *ret_model && *ret_version;
    }
    if (!colon && is_official(text))
        return (*ret_model = strdup(text));
    return false;
}

/* The request's schema is closed. */
static bool check_keys(const json_t *body, bool with_version, Reply *reply) {
    static const char *const known[] = { "input", "webhook", "webhook_events_filter", "stream" };
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *) body, key, value) {
        bool good = with_version && strcmp(key, "version") == 0;

        for (size_t i = 0; !good && i < sizeof known / sizeof known[0]; i++)
            good = strcmp(key, known[i]) == 0;
        if (!good) {
            _cleanup_(buf_done) Buf what = { 0 };

            buf_printf(&what, "Additional property %.60s is not allowed", key);
            invalid(reply, "additional_property_not_allowed", "", what.text);
            return false;
        }
    }
    return true;
}

/* The checks come in the order in which the API makes them. */
static void create(Sim *sim, Request *r, Reply *reply) {
    const char *at = r->part[0], *text = request_header(r, "Cancel-After"), *webhook;
    bool versioned = at && strcmp(at, "predictions") == 0;
    _cleanup_free_ char *model = NULL, *version = NULL;
    _cleanup_(buf_done) Buf what = { 0 };
    Creation c = { .cancel_after = text, .arrived_usec = r->arrived_usec, .fault = r->fault };
    const Prediction *p;

    sim->stats.prefer_headers += request_header(r, "Prefer") != NULL;
    if (!r->json || !json_is_object(r->json)) {
        problem(reply, 400, NULL, "JSON parse error");
        return;
    }
    if (!check_keys(r->json, versioned, reply))
        return;
    if (versioned) {
        const char *v = json_string_value(json_object_get(r->json, "version"));

        if (!v) {
            invalid(reply, "required", "", "version is required");
            return;
        }
        if (!read_version(v, &model, &version)) {
            bad_version(reply);
            return;
        }
    } else {
        buf_printf(&what, "%s/%s", r->part[1], r->part[2]);
        if (!(model = buf_take(&what))) {
            reply->status = 0;
            return;
        }
        if (at && strcmp(at, "deployments") == 0) {
            c.deployment = model;
            if (!(version = strdup("dp-4d3c5a1e8f9b2a7c6d0e1f2a3b4c5d6e"))) {
                reply->status = 0;
                return;
            }
        } else if (!is_official(model)) {
            not_found(reply);
            return;
        }
    }
    if (!json_is_object(c.input = json_object_get(r->json, "input"))) {
        invalid(reply, "required", "", "input is required");
        return;
    }
    webhook = json_string_value(json_object_get(r->json, "webhook"));
    if (json_object_get(r->json, "webhook") && (!webhook || strncmp(webhook, "http", 4) != 0)) {
        invalid(reply, "format", "webhook", "Does not match format 'uri'");
        return;
    }
    if (model_missing_input(model, c.input, &what)) {
        invalid(reply, "required", "input", what.text);
        return;
    }
    if (text && (!text_parse_lifetime(text, &c.cancel_after_usec) ||
                 c.cancel_after_usec < sim->set.cancel_after_min_usec ||
                 c.cancel_after_usec > CANCEL_AFTER_MAX)) {
        problem(reply, 422, "Invalid Cancel-After",
                "Cancel-After must be a duration between 5 seconds and 24 hours.");
        return;
    }

    c.model = model;
    c.version = version;
    if (!(p = prediction_create(sim, &c))) {
        reply->status = 0;
        return;
    }
    reply->status = 201;
    reply_header(reply, "Content-Type", "application/json");
    shape_add(sim, &reply->body, p, 0, SHAPE_FLIGHT); /* starting, however short that is */
    buf_printf(&what, "%s/v1/predictions/%s", sim->set.api_url ? sim->set.api_url : sim->api_url,
               p->id);
    reply_header(reply, "Location", what.text);
}

static void get(Sim *sim, Request *r, Reply *reply) {
    Prediction *p = prediction_find(sim, r->part[1]);

    if (!p) {
        not_found(reply);
        return;
    }
    p->fetched++;
    reply->status = 200;
    reply_header(reply, "Content-Type", "application/json; charset=utf-8");
    shape_add_current(sim, &reply->body, p, sim_now(sim));
}

static void cancel(Sim *sim, Request *r, Reply *reply) {
    Prediction *p = prediction_find(sim, r->part[1]);

    if (!p) {
        not_found(reply);
        return;
    }
    prediction_cancel(p, sim_now(sim));
    reply->status = 200;
    reply_header(reply, "Content-Type", "application/json");
    shape_add_current(sim, &reply->body, p, sim_now(sim));
}

static void account(Reply *reply) {
    reply_json(reply, 200,
               json_pack("{s:s, s:s, s:s, s:s}", "type", "organization", "username", "meshify-sim",
                         "name", "A simulator", "github_url", "https://github.com/example"));
}

/* Index of the first prediction that was created at that time or later. */
static size_t first_since(const Sim *sim, int64_t usec) {
    size_t low = 0, high = sim->n_by_time;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (sim->by_time[middle]->created_usec < usec)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A cursor is base64 of a time and a direction; the other parameters of the query are repeated. */
static void add_page_url(const Sim *sim, Buf *b, const Request *r, bool back, int64_t usec) {
    _cleanup_(buf_done) Buf position = { 0 }, base64 = { 0 }, url = { 0 };
    const char *p = r->query;

    buf_add_text(&position, back ? "r=1&p=" : "p=");
    text_add_time(&position, usec, 6, 0);
    text_encode_base64(&base64, position.text, position.size, false);
    buf_printf(&url,
               "%s/v1/predictions?cursor=", sim->set.api_url ? sim->set.api_url : sim->api_url);
    if (base64.text)
        text_encode_url(&url, base64.text);
    while (p && *p) { /* the other parameters stay */
        size_t n = strcspn(p, "&");

        if (strncmp(p, "cursor=", 7) != 0) {
            buf_add_text(&url, "&");
            buf_add(&url, p, n);
        }
        p += n;
        p += *p == '&';
    }
    buf_add_json(b, url.text);
}

static bool read_cursor(const char *cursor, bool *ret_back, int64_t *ret_usec) {
    size_t size;
    _cleanup_free_ char *text = text_decode_base64(cursor, strlen(cursor), &size);
    const char *p = text;

    if (!p)
        return false;
    if ((*ret_back = strncmp(p, "r=1&", 4) == 0))
        p += 4;
    return strncmp(p, "p=", 2) == 0 && text_parse_time(p + 2, ret_usec);
}

/* Newest first, a hundred a page. A prediction may be kept out for a while, as the real listing
 * is behind its own answers. */
static void list(Sim *sim, Request *r, Reply *reply) {
    _cleanup_free_ char *after = request_query(r, "created_after"),
                        *before = request_query(r, "created_before"),
                        *cursor = request_query(r, "cursor"), *source = request_query(r, "source");
    int64_t from = INT64_MIN, to = INT64_MAX, at = 0, now = sim_now(sim), wall = now;
    const Prediction *page[PAGE];
    size_t first, end, n = 0, i;
    bool back = false, more = false;
    Buf *b = &reply->body;

    if ((after && !text_parse_time(after, &from)) || (before && !text_parse_time(before, &to)) ||
        (source && strcmp(source, "web") != 0)) {
        problem(reply, 400, NULL, "Invalid query parameter");
        return;
    }
    if (cursor && !read_cursor(cursor, &back, &at)) {
        problem(reply, 404, NULL, "Invalid cursor");
        return;
    }
    first = first_since(sim, from);
    end = first_since(sim, to);
    if (cursor && back)
        first = first_since(sim, at + 1) > first ? first_since(sim, at + 1) : first;
    else if (cursor)
        end = first_since(sim, at) < end ? first_since(sim, at) : end;
    if (source)
        end = first; /* nobody makes predictions on the web here */

    for (i = back ? first : end; back ? i < end : i > first; i += back ? 1 : -(size_t) 1) {
        const Prediction *p = sim->by_time[back ? i : i - 1];

        if (p->listed_usec > wall && !sim->set.list_all)
            continue;
        if ((more = n == PAGE))
            break;
        page[n++] = p;
    }
    for (i = 0; back && i < n / 2; i++) {
        const Prediction *p = page[i];

        page[i] = page[n - 1 - i];
        page[n - 1 - i] = p;
    }

    reply->status = 200;
    reply_header(reply, "Content-Type", "application/json; charset=utf-8");
    buf_add_text(b, "{\"previous\":");
    if (n && (back ? more : cursor != NULL))
        add_page_url(sim, b, r, true, page[0]->created_usec);
    else
        buf_add_text(b, "null");
    buf_add_text(b, ",\"next\":");
    if (n && (back || more))
        add_page_url(sim, b, r, false, page[n - 1]->created_usec);
    else
        buf_add_text(b, "null");
    buf_add_text(b, ",\"results\":[");
    for (i = 0; i < n; i++) {
        buf_add_text(b, i ? "," : "");
        shape_add(sim, b, page[i], now, SHAPE_LIST);
    }
    buf_add_text(b, "]}");
}

/* Finds the endpoint, by which scripts of faults name requests, and the texts that they are
 * matched with. */
void replicate_prepare(Sim *sim, Request *r) {
    const Prediction *p;
    unsigned n = request_split(r, "/v1/", 5);
    bool post = r->method && strcmp(r->method, "POST") == 0;

    if (n == 1 && strcmp(r->part[0], "predictions") == 0)
        r->endpoint = post ? EP_CREATE : EP_LIST;
    else if (n == 1 && strcmp(r->part[0], "account") == 0)
        r->endpoint = EP_ACCOUNT;
    else if (n == 2 && strcmp(r->part[0], "predictions") == 0)
        r->endpoint = EP_GET;
    else if (n == 3 && strcmp(r->part[0], "predictions") == 0 && strcmp(r->part[2], "cancel") == 0)
        r->endpoint = EP_CANCEL;
    else if (n == 4 && post && strcmp(r->part[3], "predictions") == 0 &&
             (strcmp(r->part[0], "models") == 0 || strcmp(r->part[0], "deployments") == 0))
        r->endpoint = EP_CREATE;

    if (r->endpoint == EP_CREATE && !r->json && r->body.text) {
        _cleanup_(buf_done) Buf text = { 0 };

        r->json = json_loadb(r->body.text, r->body.size, 0, NULL);
        if (sim->faults) {
            text_of_json(&text, r->json);
            free(r->match_text);
            r->match_text = prediction_match_text(sim, &text);
        }
    } else if ((r->endpoint == EP_GET || r->endpoint == EP_CANCEL) && sim->faults &&
               !r->match_text && (p = prediction_find(sim, r->part[1])) && p->match_text) {
        r->match_text = strdup(p->match_text);
    }
}

void replicate_route(Sim *sim, Request *r, Reply *reply) {
    bool post = strcmp(r->method, "POST") == 0;
    bool read = strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;

    if (!authenticated(sim, r, reply) || !admitted(sim, r->endpoint, reply))
        return;
    if (r->endpoint == EP_CREATE)
        create(sim, r, reply);
    else if (r->endpoint == EP_CANCEL && post)
        cancel(sim, r, reply);
    else if (r->endpoint == EP_GET && read)
        get(sim, r, reply);
    else if (r->endpoint == EP_LIST && read)
        list(sim, r, reply);
    else if (r->endpoint == EP_ACCOUNT && read)
        account(reply);
    else
        not_found(reply);
}
