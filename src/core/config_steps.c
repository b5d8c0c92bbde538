/* The sections [step NAME] and [pipeline NAME]: collected as drafts while the texts are read, and
 * built when all of them are known, since a pipeline may name a step that a later file writes.
 * What a step may be is pipeline.c's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "core/config_names.h"
#include "core/config_steps.h"
#include "core/config_value.h"
#include "core/json_pointer.h"
#include "core/json_scan.h"

#define DRAFTS_MAX 64
#define DRAFT_KEYS_MAX 64
#define NAME_MAX_BYTES 32
#define ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

#define STEP_TIMEOUT_USEC (15 * USEC_PER_MINUTE)
#define STEP_TIMEOUT_MIN_USEC USEC_PER_SECOND
#define STEP_TIMEOUT_MAX_USEC USEC_PER_DAY /* Replicate's limit */

/* The prefix of the keys whose names a model gives, and not we. */
static const char input[] = "input.";

/* --- collecting ------------------------------------------------------------------------------ */

/* A later source replaces a section as a whole: a step of one file's model with another file's
 * inputs would be nobody's. */
static void draft_clear(ConfigDraft *d) {
    for (size_t i = 0; i < d->n_keys; i++) {
        free(d->keys[i].name);
        free(d->keys[i].text);
    }
    free(d->keys);
    d->keys = NULL;
    d->n_keys = 0;
}

void config_drafts_done(ConfigDrafts *d) {
    for (size_t i = 0; i < d->n; i++) {
        draft_clear(&d->drafts[i]);
        free(d->drafts[i].section);
        free(d->drafts[i].name);
    }
    free(d->drafts);
    *d = (ConfigDrafts){ 0 };
}

/* Names become labels of metrics and words of SQL rows. */
static bool is_name(const char *s, size_t size) {
    size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");

    return n > 0 && n >= size && size <= NAME_MAX_BYTES;
}

/* A step and a pipeline may have the same name. */
static const ConfigDraft *find_draft(const ConfigDrafts *d, bool is_step, const char *name,
                                     size_t size) {
    for (size_t i = 0; i < d->n; i++)
        if (d->drafts[i].is_step == is_step && strlen(d->drafts[i].name) == size &&
            strncmp(d->drafts[i].name, name, size) == 0)
            return &d->drafts[i];
    return NULL;
}

/* The pipelines are two, for jobs without and with an image; which one a job takes is not
 * configured. */
int config_drafts_begin(ConfigDrafts *d, const char *header, unsigned source, ConfigWhere at) {
    bool is_step = strncmp(header, "step ", 5) == 0;
    const char *name = header + strcspn(header, " ");
    ConfigDraft *found, draft = { .is_step = is_step, .source = source, .at = at }, *drafts;

    if (!is_step && strncmp(header, "pipeline ", 9) != 0)
        return -EINVAL;
    name += strspn(name, " \t");
    if (is_step ? !is_name(name, strlen(name))
                : strcmp(name, "text") != 0 && strcmp(name, "image") != 0)
        return -EINVAL;
    /* A section of an earlier source gives way as a whole. */
    found = (ConfigDraft *) find_draft(d, is_step, name, strlen(name));
    if (found) {
        if (found->source == source)
            return -EEXIST;
        draft_clear(found);
        found->source = source;
        found->at = at;
        d->open = (size_t) (found - d->drafts);
        return 0;
    }
    if (d->n == DRAFTS_MAX)
        return -E2BIG;
    if (!(drafts = reallocarray(d->drafts, d->n + 1, sizeof *drafts)))
        return -ENOMEM;
    d->drafts = drafts;
    /* Copies: the line that the header was read from is gone soon. */
    draft.section = str_printf("%s %s", is_step ? "step" : "pipeline", name);
    draft.name = strdup(name);
    if (!draft.section || !draft.name) {
        free(draft.section);
        free(draft.name);
        return -ENOMEM;
    }
    drafts[d->n] = draft;
    d->open = d->n++;
    return 0;
}

int config_drafts_add(ConfigDrafts *d, const char *name, const char *text, bool cut,
                      ConfigWhere at) {
    ConfigDraft *draft = &d->drafts[d->open];
    ConfigDraftKey *keys, key = { .at = at, .cut = cut };

    for (size_t i = 0; i < draft->n_keys; i++)
        if (strcmp(draft->keys[i].name, name) == 0)
            return -EEXIST;
    /* Bounded, as everything that a file can make grow. */
    if (draft->n_keys == DRAFT_KEYS_MAX)
        return -E2BIG;
    if (!(keys = reallocarray(draft->keys, draft->n_keys + 1, sizeof *keys)))
        return -ENOMEM;
    draft->keys = keys;
    key.name = strdup(name);
    key.text = strdup(text);
    if (!key.name || !key.text) {
        free(key.name);
        free(key.text);
        return -ENOMEM;
    }
    keys[draft->n_keys++] = key;
    return 0;
}

bool config_drafts_takes_more(const ConfigDrafts *d) {
    const ConfigDraft *draft = &d->drafts[d->open];

    return draft->is_step && draft->n_keys > 0 &&
           strncmp(draft->keys[draft->n_keys - 1].name, input, strlen(input)) == 0;
}

/* An indented line goes on with the value above it, with the line break that was written. */
int config_drafts_more(ConfigDrafts *d, const char *text, bool cut) {
    ConfigDraft *draft = &d->drafts[d->open];
    ConfigDraftKey *key = &draft->keys[draft->n_keys - 1];
    char *joined = str_printf("%s\n%s", key->text, text);

    if (!joined)
        return -ENOMEM;
    free(key->text);
    key->text = joined;
    key->cut |= cut;
    return 0;
}

/* Is this "input.NAME" in another spelling? Then the whole key may be repeated in the error:
 * names of a model's inputs are no secrets, and may have capitals. */
static bool is_like_input(const char *name) {
    char head[16];
    size_t n = strcspn(name, ".");

    if (name[n] != '.' || n >= sizeof head ||
        strspn(name + n, ALPHANUMERIC "._-") != strlen(name + n) || strlen(name) > 64)
        return false;
    memcpy(head, name, n);
    head[n] = '\0';
    return config_name_is_near(head, "input");
}

/* Reports a key that a step or a pipeline does not have; `known` ends with NULL. */
static int unknown_key(const ConfigDraft *d, const ConfigDraftKey *key, ConfigErrors *e,
                       const char *keys, const char *const *known) {
    bool input_like = d->is_step && is_like_input(key->name);
    char meant[100] = "";

    if (input_like)
        (void) snprintf(meant, sizeof meant, "; is input%s meant?", strchr(key->name, '.'));
    for (; *known && !*meant; known++)
        if (config_name_is_near(key->name, *known))
            (void) snprintf(meant, sizeof meant, "; is %s meant?", *known);
    return config_errors_at(e, key->at, d->section,
                            input_like ? key->name : config_name_shown(key->name),
                            "is not a key of this section; its keys are %s%s", keys, meant);
}

/* --- building -------------------------------------------------------------------------------- */

static int ignore(void *userdata, JsonScanToken token, const char *text) {
    (void) userdata;
    (void) token;
    (void) text;
    return 0;
}

/* jansson answers NULL for bad JSON, for a number that it can't hold and for want of memory: this
 * tells the first from the others. */
static bool is_json(const char *text) {
    JsonScan s;

    json_scan_init(&s, ignore, NULL);
    return json_scan_feed(&s, text, strlen(text)) == 0 && json_scan_end(&s) == 0;
}

/* A value that parses as JSON is that JSON, anything else is a string. What looks like JSON that
 * was cut off at a comment is an error: as a string it would be sent to a model, and paid for. */
static int build_input(const ConfigDraft *d, const ConfigDraftKey *key, ConfigErrors *e, Step *s) {
    const char *name = key->name + strlen(input), *bad;
    char text[64], shown[64];
    json_t *value;
    json_error_t error = { 0 };

    if (!*name)
        return config_errors_at(e, key->at, d->section, key->name,
                                "names nothing; write input.NAME = VALUE");
    value = json_loads(key->text, JSON_DECODE_ANY, &error);
    /* Never a string instead, also where it is for want of memory, which jansson does not tell. */
    if (!value && is_json(key->text))
        return !*error.text || json_error_code(&error) == json_error_out_of_memory
                   ? -ENOMEM
                   : config_errors_at(
                         e, key->at, d->section, key->name,
                         "is JSON that cannot be sent; allowed are numbers of 64 bits, "
                         "and strings without \\u0000 and half surrogate pairs");
    if (!value && key->cut && strchr("[{\"", *key->text))
        return config_errors_at(
            e, key->at, d->section, key->name,
            "begins as JSON does and is cut off at \" ;\", where a comment begins; "
            "write \\u003b for a semicolon in a JSON string");
    if (!value && !(value = json_string(key->text)))
        return -ENOMEM;
    /* Checked when the configuration is read: a job would find it only when it is about to buy. */
    bad = pipeline_check_template(value, text, sizeof text, &s->uses_image);
    if (bad) {
        json_decref(value);
        return config_errors_at(e, key->at, d->section, key->name,
                                "holds the unknown variable '%s'; known are ${prompt}, ${image}, "
                                "${seed}, ${seed16}, ${job_id}, ${asset_id}, ${user_id} and "
                                "${project_id}",
                                str_clean(shown, sizeof shown, bad));
    }
    return json_object_set_new(s->input, name, value) < 0 ? -ENOMEM : 0;
}

/* One key of a step. An error is added to the list and 0 answered, so that the other keys are
 * looked at as well. */
static int build_key(const ConfigDraft *d, const ConfigDraftKey *key, ConfigErrors *e, Step *s) {
    int r;

    if (strncmp(key->name, input, strlen(input)) == 0)
        return build_input(d, key, e, s);
    if (strcmp(key->name, "model") == 0) {
        r = pipeline_set_model(s, key->text);
        if (r == -EINVAL)
            return config_errors_at(e, key->at, d->section, key->name,
                                    "is not a model; write OWNER/NAME, OWNER/NAME:VERSION, VERSION "
                                    "(64 digits of 0-9 and a-f) or deployment:OWNER/NAME");
        return r;
    }
    if (strcmp(key->name, "output") == 0) {
        if (!json_pointer_is_valid(key->text))
            return config_errors_at(
                e, key->at, d->section, key->name,
                "is not a JSON pointer; write /NAME, /INDEX or several of them, "
                "with ~1 for / and ~0 for ~");
        return *key->text && !(s->output = strdup(key->text)) ? -ENOMEM : 0;
    }
    if (strcmp(key->name, "timeout") == 0) {
        if (!config_read_duration(key->text, &s->timeout_usec) ||
            s->timeout_usec < STEP_TIMEOUT_MIN_USEC || s->timeout_usec > STEP_TIMEOUT_MAX_USEC)
            return config_errors_at(e, key->at, d->section, key->name,
                                    "is out of range or not a duration; a duration from 1s to 1d "
                                    "(units: ms, s, min, h, d)");
        return 0;
    }
    return unknown_key(d, key, e, "model, input.NAME, output and timeout",
                       (const char *const[]){ "model", "output", "timeout", NULL });
}

/* With an error in it the step stays empty, which pipelines that name it know by its missing
 * name. */
static int build_step(const ConfigDraft *d, ConfigErrors *e, Step *ret) {
    unsigned before = e->n;
    Step s = { .name = strdup(d->name), .input = json_object(), .timeout_usec = STEP_TIMEOUT_USEC };
    bool has_model = false;
    int r = s.name && s.input ? 0 : -ENOMEM;

    for (size_t i = 0; i < d->n_keys && r == 0; i++) {
        has_model |= strcmp(d->keys[i].name, "model") == 0;
        r = build_key(d, &d->keys[i], e, &s);
    }
    if (r == 0 && !has_model)
        r = config_errors_at(e, d->at, d->section, "model",
                             "is not set; write OWNER/NAME, OWNER/NAME:VERSION, VERSION or "
                             "deployment:OWNER/NAME");
    if (r < 0 || e->n > before)
        pipeline_step_done(&s);
    else
        *ret = s;
    return r;
}

/* Purchases are numbered by the name of their step, so a step can be done once in a pipeline. */
static bool names_twice(const char *list, const char *at, size_t size) {
    for (const char *p = list; p < at;) {
        size_t n = strcspn(p, " \t,");

        if (n == size && strncmp(p, at, n) == 0)
            return true;
        p += n;
        p += strspn(p, " \t,");
    }
    return false;
}

/* Each way in which a name can be wrong has a sentence of its own. A first step with ${image}
 * would ask a text job for a picture that it has not. */
static int add_step(const ConfigDrafts *d, const ConfigDraft *of, const ConfigDraftKey *key,
                    const char *name, size_t size, const Step *steps, ConfigErrors *e,
                    Pipeline *p) {
    const ConfigDraft *draft = find_draft(d, true, name, size);
    const Step *step = draft ? &steps[draft - d->drafts] : NULL;

    if (!is_name(name, size))
        return config_errors_at(e, key->at, of->section, key->name,
                                "holds something that is no step's name; write names of 1 to %d "
                                "letters, digits, _ and -, with commas between them",
                                NAME_MAX_BYTES);
    if (names_twice(key->text, name, size))
        return config_errors_at(e, key->at, of->section, key->name,
                                "names step '%.*s' twice; each step can be done once", (int) size,
                                name);
    if (!draft)
        return config_errors_at(e, key->at, of->section, key->name,
                                "names the unknown step '%.*s'; write a section [step %.*s]",
                                (int) size, name, (int) size, name);
    if (p->n_steps == PIPELINE_STEPS_MAX)
        return config_errors_at(e, key->at, of->section, key->name,
                                "names too many steps; at most %d", PIPELINE_STEPS_MAX);
    if (!step->name)
        return 0; /* its errors are told already */
    if (strcmp(of->name, "text") == 0 && p->n_steps == 0 && name == key->text && step->uses_image)
        return config_errors_at(
            e, key->at, of->section, key->name,
            "begins with step '%s', which uses ${image}, and its jobs have none; "
            "begin with a step that makes one",
            step->name);
    if (pipeline_copy_step(&p->steps[p->n_steps], step) < 0)
        return -ENOMEM;
    p->n_steps++;
    return 0;
}

static int build_pipeline(const ConfigDrafts *d, const ConfigDraft *of, const Step *steps,
                          ConfigErrors *e, Pipeline *p) {
    const ConfigDraftKey *key = NULL;
    int r = 0;

    for (size_t i = 0; i < of->n_keys && r == 0; i++)
        if (strcmp(of->keys[i].name, "steps") == 0)
            key = &of->keys[i];
        else
            r = unknown_key(of, &of->keys[i], e, "steps", (const char *const[]){ "steps", NULL });
    if (r == 0 && (!key || !*key->text))
        return config_errors_at(e, key ? key->at : of->at, of->section, "steps",
                                "is not set; write the names of steps, with commas between them");
    for (const char *at = key ? key->text : ""; *at && r == 0;) {
        size_t n = strcspn(at, " \t,");

        r = add_step(d, of, key, at, n, steps, e, p);
        at += n;
        at += strspn(at, " \t,");
    }
    return r;
}

/* Steps first, then pipelines, which copy the steps they name: two pipelines may share one. */
int config_drafts_build(const ConfigDrafts *d, ConfigErrors *e, Pipeline **ret_text,
                        Pipeline **ret_image) {
    /* One for each draft, by its index; calloc(0) may answer NULL, which would look like no
     * memory. */
    Step *steps = calloc(d->n + 1, sizeof *steps);
    int r = steps ? 0 : -ENOMEM;

    for (size_t i = 0; i < d->n && r == 0; i++)
        if (d->drafts[i].is_step)
            r = build_step(&d->drafts[i], e, &steps[i]);
    for (size_t i = 0; i < d->n && r == 0; i++) {
        const ConfigDraft *draft = &d->drafts[i];
        Pipeline *p;

        if (draft->is_step)
            continue;
        if (!(p = pipeline_new(draft->name)))
            r = -ENOMEM;
        else
            r = build_pipeline(d, draft, steps, e, p);
        if (r < 0)
            pipeline_unref(p);
        else if (strcmp(draft->name, "text") == 0)
            *ret_text = p;
        else
            *ret_image = p;
    }
    for (size_t i = 0; steps && i < d->n; i++)
        pipeline_step_done(&steps[i]);
    free(steps);
    return r;
}
