/* Reads Replicate's listing of predictions, page by page, to find what was bought when an answer
 * was lost. Pages have many megabytes and are never held: each prediction is shown and forgotten.
 * Which of them is wanted is wanted.c's, and when a purchase was surely not made is look.c's. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/str.h"
#include "flow/listing.h"
#include "flow/replicate.h"

/* How far Replicate's clock may be from the database's, by which intents are dated. */
#define SKEW_SECONDS 300
#define CURSOR_MAX 2048
#define TIMEOUT_USEC (UINT64_C(300) * 1000000) /* a page of many megabytes takes its time */
#define VALUE_COST 64                          /* as core/sift.c counts */

static const SiftPlan plan = {
    .members = { { "next", 2 * CURSOR_MAX, false },
                 { "detail", 4096, true },
                 { "title", 4096, true },
                 { "retry_after", 256, false } },
    .list = "results",
    .record = { { "id", 256, false },
                { "input", LISTING_INPUT_MAX, false },
                { "source", 256, false },
                { "created_at", 256, false } },
};
#define LARGE_INPUT (1u << 1) /* its bit in the plan above */

/* "2026-03-20T10:00:00.123Z" in seconds; INT64_MIN: it is none. Only Z is taken, since the API
 * writes nothing else. */
static int64_t epoch_of(const char *text) {
    struct tm tm = { 0 };
    const char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

    if (end && *end == '.')
        end += 1 + strspn(end + 1, "0123456789");
    return end && strcmp(end, "Z") == 0 ? (int64_t) timegm(&tm) : INT64_MIN;
}

/* One prediction was read. The newest come first; where they do not, no page may be left out. */
static int item(void *userdata, const json_t *record, unsigned large) {
    Listing *l = userdata;
    const char *id = json_text(record, "id"), *source = json_text(record, "source");
    const json_t *input = json_object_get(record, "input");
    int64_t created = epoch_of(json_text(record, "created_at"));

    if (created == INT64_MIN || created > l->reached_epoch)
        l->unordered = true;
    else
        l->reached_epoch = created;
    if (large & LARGE_INPUT) /* ours are smaller, listing_can_show() sees to that */
        l->too_large++;
    if (!replicate_is_id(id) || !json_is_object(input) || (source && strcmp(source, "web") == 0))
        return 0;
    return l->told(l->userdata, id, input);
}

static int feed(HttpSieve *s, const char *bytes, size_t size) {
    Listing *l = (Listing *) s;
    int r = l->is_bad || l->no_memory ? 0 : sift_feed(&l->sift, bytes, size);

    l->is_bad = l->is_bad || r == -EBADMSG;
    l->no_memory = l->no_memory || r == -ENOMEM;
    return 0; /* the status says more of a page that is no JSON */
}

/* Where the answer is no listing, its members are the reply's body, in which replicate.c looks
 * for the reason. */
static int end(HttpSieve *s, HttpReply *reply) {
    Listing *l = (Listing *) s;
    int r = l->is_bad || l->no_memory ? 0 : sift_end(&l->sift);

    l->is_bad = l->is_bad || r == -EBADMSG;
    l->no_memory = l->no_memory || r == -ENOMEM;
    reply->body_size = 0;
    if (reply->code != 200 && !l->is_bad && l->sift.root &&
        (reply->body = json_write(l->sift.root)))
        reply->body_size = strlen(reply->body);
    return 0;
}

void listing_begin(Listing *l, int64_t from_epoch, ListingTold told, void *userdata) {
    *l = (Listing){ .sieve = { .feed = feed, .end = end },
                    .told = told,
                    .userdata = userdata,
                    .from_epoch = from_epoch,
                    .reached_epoch = INT64_MAX };
}

void listing_done(Listing *l) {
    sift_done(&l->sift);
    free(l->cursor);
    free(l->mark);
    *l = (Listing){ 0 };
}

/* The API filters by the time of creation, so that an account with a million predictions costs a
 * page or two. */
int listing_ask(const Config *c, Listing *l, HttpRequest *ret) {
    time_t from = (time_t) (l->from_epoch - SKEW_SECONDS);
    _cleanup_free_ char *path = NULL;
    char when[32];
    struct tm tm;
    int r;

    gmtime_r(&from, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    path = str_printf("predictions?created_after=%s%s%s", when, l->cursor ? "&cursor=" : "",
                      l->cursor ? l->cursor : "");
    if (!path)
        return -ENOMEM;
    if ((r = replicate_request(c, "GET", path, ret)) < 0)
        return r;
    /* This answer is read by a sieve of its own, in place of the usual one. */
    ret->sieve->free(ret->sieve);
    ret->sieve = &l->sieve;
    ret->timeout_usec = TIMEOUT_USEC;
    ret->body_max = 0;
    sift_done(&l->sift);
    sift_init(&l->sift, &plan, item, l);
    l->is_bad = l->no_memory = false;
    return 0;
}

/* --- the next page ----------------------------------------------------------------------------- */

/* Characters that need no escape in the value of a query's parameter (RFC 3986). A plus sign stays what
 * the other side takes it for. */
static bool is_plain(char c) {
    return isalnum((unsigned char) c) || (c && strchr("-._~!$'()*+,;:@/?=", c));
}

static bool is_escape(const char *p) {
    return p[0] == '%' && isxdigit((unsigned char) p[1]) && isxdigit((unsigned char) p[2]);
}

/* The cursor of the next page, as it may stand in a URL of ours; the rest of `next` is not used,
 * since a URL that an answer names must not get the token. 0, -EBADMSG (it has none), -ENOMEM. */
static int cursor_of(const char *url, char **ret) {
    const char *at = strchr(url, '?');
    StrBuf text = { 0 };
    int r = 0;

    while (at && strncmp(at + 1, "cursor=", 7) != 0)
        at = strpbrk(at + 1, "&#");
    if (!at || *at == '#')
        return -EBADMSG;
    for (at += 8; *at && *at != '&' && *at != '#' && r == 0; at++)
        r = is_plain(*at) || is_escape(at) ? strbuf_add(&text, at, 1)
                                           : strbuf_printf(&text, "%%%02X", (unsigned char) *at);
    if (r == 0 && (text.size == 0 || text.size > CURSOR_MAX))
        r = -EBADMSG;
    if (r < 0)
        strbuf_done(&text);
    else
        *ret = text.text;
    return r;
}

/* Goes on to the page that `next` names, unless that leads round in a circle. The mark is moved
 * to where we are after 1, 2, 4, … pages (Brent's way to find a cycle), and so it stands within
 * any circle in the end. */
static int go_on(Listing *l, const char *next) {
    char *cursor = NULL;
    int r = cursor_of(next, &cursor);

    if (r < 0)
        return r;
    if ((l->mark && strcmp(l->mark, cursor) == 0) || l->pages >= LISTING_PAGES_MAX) {
        free(cursor);
        return -ELOOP;
    }
    if ((l->pages & (l->pages - 1)) == 0) {
        free(l->mark);
        if (!(l->mark = strdup(cursor))) {
            free(cursor);
            return -ENOMEM;
        }
    }
    free(l->cursor);
    l->cursor = cursor;
    return 1;
}

/* 1: there is another page; 0: this was the last one. A half-read listing must never count as a
 * whole one: "not found" would become "buy again". */
int listing_hear(Listing *l, const HttpReply *reply, Fault *reterr) {
    const json_t *next = json_object_get(l->sift.root, "next");
    int r = 0;

    if (l->no_memory)
        return -ENOMEM;
    if (reply->end != HTTP_ANSWERED || reply->code != 200 || l->is_bad || !l->sift.is_listed) {
        replicate_fault(reply, reterr);
        return -EBADMSG;
    }
    l->pages++;
    if (json_is_string(next))
        r = go_on(l, json_string_value(next));
    else if ((next && !json_is_null(next)) || l->sift.root_large & 1)
        r = -EBADMSG;
    if (r < 0 && r != -ENOMEM)
        r = fault_set(reterr, FAULT_SERVICE_UNREACHED,
                      r == -ELOOP ? "the listing has no end"
                                  : "the listing's next page has no cursor");
    return r;
}

bool listing_has_reached(const Listing *l, int64_t from_epoch) {
    return !l->unordered && l->pages > 0 && l->reached_epoch < from_epoch - SKEW_SECONDS;
}

/* --- what may be bought ------------------------------------------------------------------------ */

/* Counted as core/sift.c counts when it reads the same input in a listing. */
static size_t cost_of(const json_t *value) {
    size_t cost = VALUE_COST, i;
    const char *key;
    json_t *member;

    if (json_is_string(value))
        cost += json_string_length(value);
    json_array_foreach (value, i, member)
        cost += cost_of(member);
    json_object_foreach ((json_t *) value, key, member)
        cost += VALUE_COST + strlen(key) + cost_of(member);
    return cost;
}

/* An input that a look could not find is not bought: half of the limit is left for defaults that a
 * provider adds. */
bool listing_can_show(const json_t *input) {
    return cost_of(input) <= LISTING_INPUT_MAX / 2; /* a provider adds defaults */
}
