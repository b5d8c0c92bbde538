/* Steps and pipelines: which model, with which input, and where its output stands. Templates like
 * ${prompt} are filled in after the input was parsed, so a user's text can't add a member to it.
 * The hash of an input is how a purchase is found again in Replicate's listing. Reading them from
 * a file is config_steps.c's. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "core/pipeline.h"

/* --- steps ----------------------------------------------------------------------------------- */

/* OWNER/NAME, as it can stand in a path: no dots in front, nothing that would have to be
 * encoded. */
static bool is_owner_name(const char *s, size_t size) {
    size_t element = 0, slashes = 0;

    for (size_t i = 0; i < size; i++)
        if (s[i] == '/') {
            if (element == 0 || slashes++ > 0)
                return false;
            element = 0;
        } else {
            if (!isalnum((unsigned char) s[i]) && (!strchr("._-", s[i]) || element == 0))
                return false;
            if (++element > 100)
                return false;
        }
    return slashes == 1 && element > 0;
}

/* Replicate names versions by 64 hexadecimal digits. */
static bool is_version(const char *s) {
    size_t n = strspn(s, "0123456789abcdef");

    return n == 64 && s[n] == '\0';
}

/* Each kind is bought at another path of the API; a version is named in the body, not in the
 * path. */
int pipeline_set_model(Step *s, const char *model) {
    /* The prefix makes a deployment's name differ from a model's, which looks the same. */
    static const char deployment[] = "deployment:";
    const char *colon = strchr(model, ':');
    _cleanup_free_ char *copy = strdup(model), *path = NULL, *version = NULL;
    ModelKind kind;

    if (!copy)
        return -ENOMEM;
    if (strncmp(model, deployment, strlen(deployment)) == 0) {
        const char *name = model + strlen(deployment);

        if (!is_owner_name(name, strlen(name)))
            return -EINVAL;
        kind = MODEL_DEPLOYMENT;
        path = str_printf("deployments/%s/predictions", name);
    } else if (is_version(model) ||
               (colon && is_owner_name(model, (size_t) (colon - model)) && is_version(colon + 1))) {
        kind = MODEL_VERSION;
        path = strdup("predictions");
        if (!(version = strdup(colon ? colon + 1 : model)))
            return -ENOMEM;
    } else if (is_owner_name(model, strlen(model))) {
        kind = MODEL_OFFICIAL;
        path = str_printf("models/%s/predictions", model);
    } else
        return -EINVAL;
    if (!path)
        return -ENOMEM;

    free(s->model);
    free(s->path);
    free(s->version);
    s->kind = kind;
    s->model = TAKE(copy);
    s->path = TAKE(path);
    s->version = TAKE(version);
    return 0;
}

/* The input is shared: it is only read. */
int pipeline_copy_step(Step *ret, const Step *s) {
    Step copy = { .kind = s->kind, .timeout_usec = s->timeout_usec, .uses_image = s->uses_image };

    if (!(copy.name = strdup(s->name)) || !(copy.model = strdup(s->model)) ||
        !(copy.path = strdup(s->path)) || (s->version && !(copy.version = strdup(s->version))) ||
        (s->output && !(copy.output = strdup(s->output)))) {
        pipeline_step_done(&copy);
        return -ENOMEM;
    }
    copy.input = json_incref(s->input);
    *ret = copy;
    return 0;
}

void pipeline_step_done(Step *s) {
    free(s->name);
    free(s->model);
    free(s->path);
    free(s->version);
    free(s->output);
    json_decref(s->input);
    *s = (Step){ 0 };
}

Pipeline *pipeline_new(const char *name) {
    Pipeline *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->n_refs = 1;
    if (!(p->name = strdup(name)) || !(p->steps = calloc(PIPELINE_STEPS_MAX, sizeof *p->steps)))
        return pipeline_unref(p);
    return p;
}

Pipeline *pipeline_ref(Pipeline *p) {
    if (p)
        p->n_refs++;
    return p;
}

Pipeline *pipeline_unref(Pipeline *p) {
    if (!p || --p->n_refs > 0)
        return NULL;
    for (size_t i = 0; i < p->n_steps; i++)
        pipeline_step_done(&p->steps[i]);
    free(p->steps);
    free(p->name);
    free(p);
    return NULL;
}

/* The same job, step and purchase give the same seed on every worker, so that an intent that is
 * written down anew has the same input, and the hash that finds it. */
uint32_t pipeline_seed(const char *job_id, const char *step, unsigned purchase) {
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    char number[16];
    const char *const parts[] = { job_id, step, number };

    /* FNV-1a, its bits mixed once more; it needs no memory, and so can't fail. */
    snprintf(number, sizeof number, "%u", purchase);
    /* A slash behind each part, so that "ab" and "c" differ from "a" and "bc". */
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        for (const char *p = parts[i]; *p; p++)
            h = (h ^ (unsigned char) *p) * UINT64_C(0x100000001b3);
        h = (h ^ '/') * UINT64_C(0x100000001b3);
    }
    h = (h ^ (h >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ (h >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return (uint32_t) (h >> 33);
}

/* --- templates ------------------------------------------------------------------------------- */

typedef enum Variable {
    VAR_PROMPT,
    VAR_IMAGE,
    VAR_JOB_ID,
    VAR_ASSET_ID,
    VAR_USER_ID,
    VAR_PROJECT_ID,
    VAR_SEED,
    VAR_SEED16,
    _VAR_MAX,
} Variable;

/* No name is the beginning of another one with its brace, so their order does not matter. */
static const char *const variables[_VAR_MAX] = {
    [VAR_PROMPT] = "${prompt}",   [VAR_IMAGE] = "${image}",
    [VAR_JOB_ID] = "${job_id}",   [VAR_ASSET_ID] = "${asset_id}",
    [VAR_USER_ID] = "${user_id}", [VAR_PROJECT_ID] = "${project_id}",
    [VAR_SEED] = "${seed}",       [VAR_SEED16] = "${seed16}",
};

/* Which variable stands at `at`; _VAR_MAX: none that is known. */
static Variable variable_at(const char *at) {
    Variable v = 0;

    while (v < _VAR_MAX && strncmp(at, variables[v], strlen(variables[v])) != 0)
        v++;
    return v;
}

/* An unknown variable is an error of the configuration; what a prompt holds is never looked at. */
const char *pipeline_check_template(const json_t *value, char *to, size_t room,
                                    bool *ret_uses_image) {
    const char *bad = NULL, *at = json_string_value(value), *key;
    json_t *member;
    size_t i;

    for (; at && !bad && (at = strstr(at, "${")); at += 2) {
        Variable v = variable_at(at);

        *ret_uses_image |= v == VAR_IMAGE;
        if (v == _VAR_MAX) {
            snprintf(to, room, "%.*s", (int) (strcspn(at, "}") + 1), at);
            bad = to;
        }
    }
    json_array_foreach (value, i, member)
        if (!bad)
            bad = pipeline_check_template(member, to, room, ret_uses_image);
    json_object_foreach ((json_t *) value, key, member)
        if (!bad)
            bad = pipeline_check_template(member, to, room, ret_uses_image);
    return bad;
}

/* `number` is where a seed's digits go. */
static const char *text_of(const TemplateVars *vars, Variable v, char number[static 16]) {
    const char *const texts[_VAR_MAX] = {
        [VAR_PROMPT] = vars->prompt,   [VAR_IMAGE] = vars->image,
        [VAR_JOB_ID] = vars->job_id,   [VAR_ASSET_ID] = vars->asset_id,
        [VAR_USER_ID] = vars->user_id, [VAR_PROJECT_ID] = vars->project_id,
    };

    if (v == VAR_SEED || v == VAR_SEED16) {
        snprintf(number, 16, "%u", (unsigned) (v == VAR_SEED ? vars->seed : vars->seed & 0xffff));
        return number;
    }
    return texts[v] ? texts[v] : "";
}

/* A string that is nothing but ${seed} becomes a number: models take a seed as an integer. */
static int fill_text(const char *at, const TemplateVars *vars, json_t **ret) {
    StrBuf buf = { 0 };
    Variable v = variable_at(at);
    char number[16];
    int r = 0;

    if ((v == VAR_SEED || v == VAR_SEED16) && strcmp(at, variables[v]) == 0) {
        *ret = json_integer(v == VAR_SEED ? vars->seed : vars->seed & 0xffff);
        return *ret ? 0 : -ENOMEM;
    }
    /* Goes on behind what was put in, so that a prompt with a ${…} of its own stays as it is. */
    while (*at && r == 0) {
        const char *next = strstr(at + 1, "${");

        if (v == _VAR_MAX) {
            size_t n = next ? (size_t) (next - at) : strlen(at);

            r = strbuf_add(&buf, at, n);
            at += n;
        } else {
            const char *text = text_of(vars, v, number);

            r = strbuf_add(&buf, text, strlen(text));
            at += strlen(variables[v]);
        }
        v = variable_at(at);
    }
    /* A prompt comes from a user: broken UTF-8 in it can't be sent as JSON. */
    if (r == 0 && buf.size > 0 && !str_is_utf8(buf.text, buf.size))
        r = -EINVAL;
    if (r == 0 && !(*ret = json_stringn_nocheck(buf.text ? buf.text : "", buf.size)))
        r = -ENOMEM;
    strbuf_done(&buf);
    return r;
}

/* A copy of the input with its strings filled in. Names of members are not templates. */
static int fill(const json_t *from, const TemplateVars *vars, json_t **ret) {
    _cleanup_(json_unrefp) json_t *copy = NULL;
    json_t *member, *filled = NULL;
    const char *key;
    size_t i;
    int r;

    switch (json_typeof(from)) {
    case JSON_STRING:
        return fill_text(json_string_value(from), vars, ret);
    case JSON_ARRAY:
        if (!(copy = json_array()))
            return -ENOMEM;
        json_array_foreach (from, i, member) {
            if ((r = fill(member, vars, &filled)) < 0)
                return r;
            if (json_array_append_new(copy, filled) < 0)
                return -ENOMEM;
        }
        break;
    case JSON_OBJECT:
        if (!(copy = json_object()))
            return -ENOMEM;
        json_object_foreach ((json_t *) from, key, member) {
            if ((r = fill(member, vars, &filled)) < 0)
                return r;
            if (json_object_set_new_nocheck(copy, key, filled) < 0)
                return -ENOMEM;
        }
        break;
    default:
        if (!(copy = json_copy((json_t *) from)))
            return -ENOMEM;
        break;
    }
    *ret = TAKE(copy);
    return 0;
}

int pipeline_fill(const Step *s, const TemplateVars *vars, json_t **ret) {
    return fill(s->input, vars, ret);
}

/* --- hashes ---------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* The names of an object's members, sorted: two programs may write the same object in another
 * order. The caller frees the array; the names stay the object's. */
static int names_of(const json_t *object, const char ***ret, size_t *ret_n) {
    const char **names = malloc((json_object_size(object) + 1) * sizeof *names), *key;
    json_t *member;
    size_t n = 0;

    if (!names)
        return -ENOMEM;
    json_object_foreach ((json_t *) object, key, member)
        names[n++] = key;
    qsort(names, n, sizeof *names, by_name);
    *ret = names;
    *ret_n = n;
    return 0;
}

/* The size stands before the text, so that "ab","c" and "a","bc" do not read the same. */
static int hash_text(Hash *h, char kind, const char *text, size_t size) {
    char head[32];
    int n = snprintf(head, sizeof head, "%c%zu:", kind, size);

    return hash_update(h, head, (size_t) n) < 0 || hash_update(h, text, size) < 0 ? -ENOMEM : 0;
}

static int hash_value(Hash *h, const json_t *value);

static int hash_object(Hash *h, const json_t *object, const char *const *names, size_t n) {
    char head[32];
    int r = hash_update(h, head, (size_t) snprintf(head, sizeof head, "o%zu:", n));

    for (size_t i = 0; i < n && r == 0; i++) {
        r = hash_text(h, 'k', names[i], strlen(names[i]));
        if (r == 0)
            r = hash_value(h, json_object_get(object, names[i]));
    }
    return r;
}

/* Each value is hashed with its type and size before it: two different values never read the
 * same. This is a format: workers of different versions must agree on it. */
static int hash_value(Hash *h, const json_t *value) {
    _cleanup_free_ const char **names = NULL;
    json_t *member;
    char text[64];
    size_t i, n;
    int r;

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        if ((r = names_of(value, &names, &n)) < 0)
            return r;
        return hash_object(h, value, names, n);
    case JSON_ARRAY:
        r = hash_update(h, text,
                        (size_t) snprintf(text, sizeof text, "a%zu:", json_array_size(value)));
        json_array_foreach (value, i, member)
            if (r == 0)
                r = hash_value(h, member);
        return r;
    case JSON_STRING:
        return hash_text(h, 's', json_string_value(value), json_string_length(value));
    case JSON_INTEGER:
    case JSON_REAL: /* 1, 1.0 and 1e0 are one number; so are 0 and -0 */
        n = (size_t) snprintf(text, sizeof text, "%.17g", json_number_value(value) + 0.0);
        return hash_text(h, 'n', text, n);
    case JSON_TRUE:
        return hash_text(h, 't', "", 0);
    case JSON_FALSE:
        return hash_text(h, 'f', "", 0);
    default:
        return hash_text(h, 'z', "", 0);
    }
}

/* Only the members that are named in `keys` count: Replicate's listing adds the model's defaults
 * to an input. */
int pipeline_hash(const json_t *input, const json_t *keys, char ret_hex[static HASH_HEX_SIZE]) {
    _cleanup_free_ const char **names = NULL;
    Hash *h = NULL;
    size_t n, kept = 0;
    int r;

    if ((r = names_of(input, &names, &n)) < 0 || (r = hash_new(&h)) < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        bool ours = !keys;
        json_t *key;
        size_t k;

        json_array_foreach (keys, k, key)
            ours |= json_is_string(key) && strcmp(json_string_value(key), names[i]) == 0;
        if (ours)
            names[kept++] = names[i];
    }
    r = hash_object(h, input, names, kept);
    if (r == 0)
        r = hash_final(h, ret_hex);
    hash_free(h);
    return r;
}

/* Written down with the purchase: by these names its hash is computed again from what a listing
 * shows. */
int pipeline_keys(const json_t *input, json_t **ret) {
    _cleanup_free_ const char **names = NULL;
    _cleanup_(json_unrefp) json_t *keys = json_array();
    size_t n;
    int r;

    if (!keys)
        return -ENOMEM;
    if ((r = names_of(input, &names, &n)) < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(keys, json_string_nocheck(names[i])) < 0)
            return -ENOMEM;
    *ret = TAKE(keys);
    return 0;
}
