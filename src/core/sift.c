/* Reads a JSON text piece by piece and keeps of it the members that a plan names, each up to a
 * size of its own: an answer of 256 MiB costs no more memory than one that is as small as it
 * should be. Which members those are is told by answer.c and listing.c. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "core/sift.h"

#define VALUE_COST 64 /* what a value takes besides its text, about */

static int told(void *userdata, JsonScanToken token, const char *text);

void sift_init(Sift *s, const SiftPlan *plan, SiftTold heard, void *userdata) {
    *s = (Sift){ .plan = plan, .told = heard, .userdata = userdata };
    json_scan_init(&s->scan, told, s);
    /* As deep as jansson would read it: what is skipped may be anything. */
    s->scan.depth_max = JSON_SCAN_DEPTH_MOST;
    s->scan.any_number = true;
}

void sift_done(Sift *s) {
    json_scan_done(&s->scan);
    json_decref(s->root);
    json_decref(s->record);
    free(s->stack);
    free(s->key);
    *s = (Sift){ 0 };
}

/* --- one member's value ------------------------------------------------------------------------ */

/* A member belongs to the record that is being read, or to the root. */
static json_t *owner(const Sift *s) {
    return s->record ? s->record : s->root;
}

static void end_member(Sift *s) {
    s->member = NULL;
    s->depth = 0;
    s->scan.whole.max = 0;
    s->scan.whole.tail = false;
    free(TAKE(s->key));
}

/* It is too large, or can't be held: as if it was not there, but for its bit in the set of large
 * ones, so that "missing" and "too large" can be told apart. */
static void drop_member(Sift *s) {
    const SiftMember *all = s->record ? s->plan->record : s->plan->members;
    unsigned *large = s->record ? &s->record_large : &s->root_large;

    *large |= 1u << (s->member - all);
    (void) json_object_del(owner(s), s->member->name);
    end_member(s);
}

/* A name twice in one object: the later one replaces the earlier, as in jansson. */
static void begin_member(Sift *s, const SiftMember *all, const char *name) {
    for (const SiftMember *m = all; m < all + SIFT_MEMBERS && m->name; m++)
        if (strcmp(m->name, name) == 0) {
            s->member = m;
            s->left = m->max + VALUE_COST;
            s->scan.whole.max = m->max;
            s->scan.whole.tail = m->tail;
        }
}

/* As jansson reads it: a whole number beyond 64 bits is real. NULL without ENOMEM: it is beyond a
 * double. */
static json_t *number_of(const char *text) {
    double real;

    errno = 0;
    if (!strpbrk(text, ".eE")) {
        long long whole = strtoll(text, NULL, 10);

        if (errno == 0)
            return json_integer(whole);
    }
    errno = 0;
    real = strtod(text, NULL);
    return isfinite(real) ? json_real(real) : NULL;
}

static json_t *value_of(Sift *s, JsonScanToken token, const char *text) {
    switch (token) {
    case JSON_SCAN_OBJECT:
        return json_object();
    case JSON_SCAN_ARRAY:
        return json_array();
    case JSON_SCAN_STRING:
        return json_stringn_nocheck(s->scan.whole.text.text ? s->scan.whole.text.text : "",
                                    s->scan.whole.text.size);
    case JSON_SCAN_NUMBER:
        return number_of(text);
    default:
        return text[0] == 't' ? json_true() : text[0] == 'f' ? json_false() : json_null();
    }
}

/* Puts a value where it belongs, which owns it from then on. */
static int attach(Sift *s, json_t *value) {
    json_t *into = s->depth > 0 ? s->stack[s->depth - 1] : owner(s);
    const char *key = s->depth > 0 ? s->key : s->member->name;
    int r = json_is_array(into) ? json_array_append_new(into, value)
                                : json_object_set_new_nocheck(into, key, value);

    return r < 0 ? -ENOMEM : 0;
}

/* A stack of our own: depth is bounded by the reader, not by the machine's stack. */
static int push(Sift *s, json_t *container) {
    if (s->depth == s->room) {
        size_t room = s->room ? 2 * s->room : 16;
        json_t **stack = reallocarray(s->stack, room, sizeof *stack);

        if (!stack)
            return -ENOMEM;
        s->stack = stack;
        s->room = room;
    }
    s->stack[s->depth++] = container;
    return 0;
}

static int keep_key(Sift *s) {
    free(s->key);
    s->key = strdup(s->scan.whole.text.text ? s->scan.whole.text.text : "");
    return s->key ? 0 : -ENOMEM;
}

/* A token within a member that is kept. Each value costs some bytes beside its text, so that a
 * list of a million zeros is large, too. */
static int build(Sift *s, JsonScanToken token, const char *text) {
    bool has_text = token == JSON_SCAN_STRING || token == JSON_SCAN_KEY;
    bool opens = token == JSON_SCAN_OBJECT || token == JSON_SCAN_ARRAY, tail = s->scan.whole.tail;
    size_t cost = VALUE_COST + (has_text && !tail ? s->scan.whole.text.size : 0);
    json_t *value;
    int r;

    if (token == JSON_SCAN_END) {
        if (--s->depth == 0)
            end_member(s);
        return 0;
    }
    if ((has_text && s->scan.whole.cut && !tail) || (token == JSON_SCAN_NUMBER && s->scan.cut) ||
        cost > s->left) {
        drop_member(s);
        return 0;
    }
    /* One more byte than is left, so that a text which is cut by it is known to be too large. */
    s->left -= cost;
    s->scan.whole.max = s->left + 1;
    s->scan.whole.tail = false; /* only the member itself may be cut, not what stands in it */
    if (token == JSON_SCAN_KEY)
        return keep_key(s);
    if (!(value = value_of(s, token, text))) {
        if (token != JSON_SCAN_NUMBER || errno == ENOMEM)
            return -ENOMEM;
        drop_member(s);
        return 0;
    }
    if ((r = attach(s, value)) < 0)
        return r;
    if (opens)
        return push(s, value);
    if (s->depth == 0)
        end_member(s);
    return 0;
}

/* --- the object and its records ---------------------------------------------------------------- */

/* The record is handed out and forgotten: of a listing only one prediction is in memory at a
 * time. */
static int end_record(Sift *s) {
    _cleanup_(json_unrefp) json_t *record = TAKE(s->record);

    return s->told ? s->told(s->userdata, record, s->record_large) : 0;
}

/* Where the plan's members and records are is known by depth alone: members of the root lie at 1,
 * records of the list at 3. */
static int told(void *userdata, JsonScanToken token, const char *text) {
    Sift *s = userdata;
    unsigned depth = s->scan.depth; /* with what begins, without what ends */
    bool lists = s->next_lists;

    if (s->member)
        return build(s, token, text);
    s->next_lists = false;
    switch (token) {
    case JSON_SCAN_OBJECT:
        if (depth == 1)
            return (s->root = json_object()) ? 0 : -ENOMEM;
        if (s->in_list && depth == 3) {
            s->record_large = 0;
            return (s->record = json_object()) ? 0 : -ENOMEM;
        }
        break;
    case JSON_SCAN_ARRAY:
        if (lists)
            s->is_listed = s->in_list = true;
        break;
    case JSON_SCAN_KEY:
        if (depth == 1) {
            s->next_lists = s->plan->list && strcmp(text, s->plan->list) == 0;
            begin_member(s, s->plan->members, text);
        } else if (s->record && depth == 3)
            begin_member(s, s->plan->record, text);
        break;
    case JSON_SCAN_END:
        if (s->record && depth == 2)
            return end_record(s);
        if (depth == 1)
            s->in_list = false;
        break;
    default:
        break;
    }
    return 0;
}

int sift_feed(Sift *s, const void *bytes, size_t size) {
    return json_scan_feed(&s->scan, bytes, size);
}

int sift_end(Sift *s) {
    return json_scan_end(&s->scan);
}
