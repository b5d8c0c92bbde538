/* Scripts of faults: read from JSON, matched with requests, and put into answers. What a fault
 * does to the connection is http.c's, what it does to a prediction prediction.c's. */
#include <stdio.h>
#include <string.h>

#include "fault.h"

static int word_of(const char *word, const char *const *names, int n) {
    for (int i = 0; word && i < n; i++)
        if (strcmp(word, names[i]) == 0)
            return i;
    return -1;
}

Fault *fault_unref(Fault *f) {
    if (f && --f->refs == 0) {
        json_decref(f->script); /* holds body, headers and output */
        free(f->match);
        free(f->error);
        free(f->redirect);
        free(f);
    }
    return NULL;
}
DEFINE_CLEANUP(Fault *, fault_unref)

/* Bounded, so that no unit makes it overflow. */
static bool take_number(json_t *value, int64_t unit, int64_t *ret) {
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > INT64_C(1) << 42)
        return false;
    *ret = json_integer_value(value) * unit;
    return true;
}

static bool take_flag(json_t *value, bool *ret) {
    *ret = json_is_true(value);
    return json_is_boolean(value);
}

static bool take_text(json_t *value, char **ret) {
    free(*ret);
    *ret = json_is_string(value) ? strdup(json_string_value(value)) : NULL;
    return *ret;
}

/* One member of "do". An unknown one is an error: a mistyped fault would let a test pass that
 * tests nothing. */
static bool read_do(Fault *f, const char *key, json_t *value) {
    int64_t n;

    if (strcmp(key, "status") == 0) {
        if (!take_number(value, 1, &n) || n < 200 || n >= CODE_MAX)
            return false;
        f->status = (unsigned) n;
        return true;
    }
    if (strcmp(key, "body") == 0)
        return (f->body = value);
    if (strcmp(key, "headers") == 0)
        return json_is_object(f->headers = value);
    if (strcmp(key, "lose_answer") == 0)
        return take_flag(value, &f->lose_answer);
    if (strcmp(key, "close") == 0)
        return take_flag(value, &f->close);
    if (strcmp(key, "close_on_reuse") == 0)
        return take_flag(value, &f->close_on_reuse);
    if (strcmp(key, "done") == 0)
        return take_flag(value, &f->done);
    if (strcmp(key, "early") == 0)
        return take_flag(value, &f->early);
    if (strcmp(key, "cut") == 0)
        return take_number(value, 1, &f->cut);
    if (strcmp(key, "after") == 0)
        return take_number(value, 1, &f->after);
    if (strcmp(key, "stall_ms") == 0)
        return take_number(value, MSEC_USEC, &f->stall_usec);
    if (strcmp(key, "arrive_ms") == 0)
        return take_number(value, MSEC_USEC, &f->arrive_usec);
    if (strcmp(key, "late_list_ms") == 0)
        return take_number(value, MSEC_USEC, &f->late_list_usec);
    if (strcmp(key, "starting_ms") == 0)
        return take_number(value, MSEC_USEC, &f->starting_usec);
    if (strcmp(key, "processing_ms") == 0)
        return take_number(value, MSEC_USEC, &f->processing_usec);
    if (strcmp(key, "never_started") == 0)
        return take_flag(value, &f->never_started);
    if (strcmp(key, "output") == 0)
        return (f->output = value);
    if (strcmp(key, "error") == 0)
        return take_text(value, &f->error);
    if (strcmp(key, "redirect") == 0)
        return take_text(value, &f->redirect);
    if (strcmp(key, "final") == 0)
        return (f->final = word_of(json_string_value(value), status_names, _STATUS_MAX)) >=
               STATUS_SUCCEEDED;
    if (strcmp(key, "file") == 0) {
        int file = word_of(json_string_value(value), bad_file_names, _FILE_MAX);

        f->file = file < 0 ? FILE_GOOD : (BadFile) file;
        return file >= 0;
    }
    return false;
}

bool fault_add(Sim *sim, const json_t *script, Buf *reterr_why) {
    _cleanup_(fault_unrefp) Fault *f = calloc(1, sizeof *f);
    Fault **end = &sim->faults;
    const char *key;
    json_t *value, *copy = json_deep_copy(script);
    int endpoint;

    if (!f || !json_is_object(copy)) {
        json_decref(copy);
        buf_add_text(reterr_why, "a script is an object");
        return false;
    }
    f->refs = 1;
    f->script = copy;
    f->count = 1;
    f->percent = 100;
    f->final = -1;
    f->cut = f->after = f->arrive_usec = f->late_list_usec = f->starting_usec = f->processing_usec =
        -1;

    json_object_foreach (copy, key, value) {
        bool good;

        if (strcmp(key, "endpoint") == 0) {
            endpoint = word_of(json_string_value(value), endpoint_names, _EP_MAX);
            good = endpoint >= 0 && endpoint != EP_CONTROL;
            f->endpoint = good ? (Endpoint) endpoint : EP_OTHER;
        } else if (strcmp(key, "match") == 0) {
            good = take_text(value, &f->match);
        } else if (strcmp(key, "count") == 0) {
            f->count = json_integer_value(value);
            good = json_is_integer(value);
        } else if (strcmp(key, "skip") == 0) {
            good = take_number(value, 1, &f->skip);
        } else if (strcmp(key, "percent") == 0) {
            f->percent = json_number_value(value);
            good = f->percent > 0 && f->percent <= 100;
        } else if (strcmp(key, "do") == 0) {
            const char *word = NULL;
            json_t *what;

            good = json_is_object(value) && json_object_size(value);
            json_object_foreach (value, word, what)
                if (!read_do(f, word, what)) {
                    buf_printf(reterr_why, "do: %.40s: unknown, or not such a value", word);
                    return false;
                }
        } else {
            good = false;
        }
        if (!good) {
            buf_printf(reterr_why, "%.40s: unknown, or not such a value", key);
            return false;
        }
    }
    if (!json_object_get(copy, "endpoint") || !json_object_get(copy, "do")) {
        buf_add_text(reterr_why, "a script needs endpoint and do");
        return false;
    }
    f->id = ++sim->fault_serial;
    while (*end)
        end = &(*end)->next;
    *end = TAKE(f);
    return true;
}

void faults_clear(Sim *sim) {
    for (Fault *f = TAKE(sim->faults), *next; f; f = next) {
        next = f->next;
        f->next = NULL;
        fault_unref(f); /* requests under way may still hold it */
    }
}

json_t *faults_list(const Sim *sim) {
    json_t *list = json_array();

    for (const Fault *f = sim->faults; f; f = f->next)
        json_array_append_new(list,
                              json_pack("{s:i, s:I, s:I, s:I, s:O}", "id", (int) f->id, "left",
                                        (json_int_t) f->count, "skip", (json_int_t) f->skip, "hits",
                                        (json_int_t) f->hits, "script", f->script));
    return list;
}

/* The next of the numbers that the seed gives, the same with every run. */
static bool by_chance(Sim *sim, double percent) {
    return percent >= 100 ||
           (double) (text_mix(sim->seed ^ text_mix(++sim->chances)) >> 11) * 0x1p-53 * 100 <
               percent;
}

/* The first script that fits is met, and used up by one. A request holds a reference, since
 * scripts may be cleared while it is under way. */
Fault *fault_take(Sim *sim, const Request *r, bool early) {
    for (Fault *f = sim->faults; f; f = f->next) {
        if (f->endpoint != r->endpoint || f->early != early || f->count == 0 ||
            (f->close_on_reuse && r->on_connection < 2))
            continue;
        if (f->match && !strstr(r->uri, f->match) && !(r->path && strstr(r->path, f->match)) &&
            !(r->match_text && strstr(r->match_text, f->match)))
            continue;
        if (!by_chance(sim, f->percent))
            continue;
        if (f->skip > 0) {
            f->skip--;
            continue;
        }
        if (f->count > 0)
            f->count--;
        f->hits++;
        f->refs++;
        sim->stats.faults++;
        return f;
    }
    return NULL;
}

/* With "done" what was asked for is carried out all the same, and only its answer is replaced. */
bool fault_prevents(const Fault *f) {
    return !f->done && (f->close || f->redirect || f->status);
}

static bool is_storage(Endpoint e) {
    return e == EP_UPLOAD || e == EP_SIGN || e == EP_INFO || e == EP_BUCKET || e == EP_OBJECT;
}

/* The body where a script names a status and none: as Replicate, Storage or the edge in front of
 * them would answer. */
static void add_usual_body(unsigned status, Endpoint endpoint, Reply *reply) {
    static const struct {
        unsigned status;
        const char *body;
    } problems[] = {
        // clang-format off
        { 401, "{\"title\":\"Unauthenticated\",\"detail\":\"You did not pass a valid authentication token\",\"status\":401}\n" },
        { 402, "{\"title\":\"Insufficient credit\",\"detail\":\"You have insufficient credit to run this model. Go to https://replicate.com/account/billing#billing to purchase credit. Once you purchase credit, please wait a few minutes before trying again.\",\"status\":402}\n" },
        { 404, "{\"detail\":\"The requested resource could not be found.\",\"status\":404}\n" },
        { 422, "{\"title\":\"Invalid version or not permitted\",\"detail\":\"The specified version does not exist (or perhaps you don't have permission to use it?)\",\"status\":422}\n" },
        { 429, "{\"detail\":\"Request was throttled. Your rate limit resets in ~1s.\",\"status\":429,\"retry_after\":1}\n" },
        { 500, "{\"detail\":\"Internal server error\"}\n" },
        // clang-format on
    };
    char number[12];

    for (size_t i = 0; !is_storage(endpoint) && i < sizeof problems / sizeof problems[0]; i++)
        if (problems[i].status == status) {
            reply_text(reply, status, "application/problem+json", problems[i].body);
            return;
        }
    snprintf(number, sizeof number, "%u", status);
    if (is_storage(endpoint) && status >= 400 && status <= 500) {
        storage_problem(reply, status < 500 && status != 429 ? 400 : status, number, "Error",
                        "scripted", status == 500 ? "InternalError" : "Scripted");
        return;
    }
    reply_text(reply, status, "text/html; charset=UTF-8", "");
    buf_printf(&reply->body,
               "<html>\r\n<head><title>%s</title></head>\r\n<body><center><h1>%s</h1></center>"
               "<hr><center>cloudflare</center></body>\r\n</html>\r\n",
               number, number);
}

static void redirect(const Fault *f, const Request *r, Reply *reply) {
    _cleanup_(buf_done) Buf to = { 0 };
    const char *place = strstr(f->redirect, "{path}");

    reply_text(reply, 302, "text/plain", "");
    if (place) {
        buf_add(&to, f->redirect, (size_t) (place - f->redirect));
        buf_add(&to, r->uri, strcspn(r->uri, "?"));
        buf_add_text(&to, place + strlen("{path}"));
    } else {
        buf_add_text(&to, f->redirect);
    }
    reply_header(reply, "Location", to.text);
}

/* Order matters: the answer is replaced first, then its headers are added, then it is cut or
 * delayed. */
void fault_apply(const Fault *f, const Request *r, Reply *reply) {
    const char *name;
    json_t *value;

    if (f->redirect) {
        redirect(f, r, reply);
    } else if (f->status && !f->body) {
        add_usual_body(f->status, r->endpoint, reply);
    } else if (f->status) {
        _cleanup_free_ char *dump = NULL;
        const char *text = json_string_value(f->body), *type = NULL;

        if (!text)
            text = (dump = json_dumps(f->body, JSON_COMPACT | JSON_ENCODE_ANY));
        if (!f->headers || !json_object_get(f->headers, "Content-Type"))
            type = text && (*text == '{' || *text == '[') ? "application/json" : "text/html";
        reply_text(reply, f->status, type, text ? text : "");
    }
    if (f->close || f->lose_answer || f->close_on_reuse) {
        reply_reset(reply);
        reply->status = 0;
    }
    json_object_foreach (f->headers, name, value)
        reply_header(reply, name, json_string_value(value));
    if (f->cut >= 0)
        reply->cut = (uint64_t) f->cut;
    reply->stall_usec = f->stall_usec;
    if (f->after >= 0)
        reply->stall_at = (uint64_t) f->after;
    else if (f->cut >= 0 && f->stall_usec)
        reply->stall_at = reply->cut;
}
