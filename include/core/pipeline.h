/* Steps (a model, its input, its output) and pipelines of them, and templates that are filled in
 * after parsing, so that no prompt can change the shape of a request. Pure. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

#define PIPELINE_STEPS_MAX 16

typedef enum ModelKind {
    MODEL_OFFICIAL,   /* owner/name:               POST models/OWNER/NAME/predictions */
    MODEL_VERSION,    /* [owner/name:]64-hex:      POST predictions, with "version" */
    MODEL_DEPLOYMENT, /* deployment:owner/name:    POST deployments/OWNER/NAME/predictions */
} ModelKind;

typedef struct Step { /* owns what it points to */
    char *name;
    char *model; /* as it was written */
    ModelKind kind;
    char *path;    /* of the create request, below the API root, without a slash before it */
    char *version; /* what goes into "version"; NULL: nothing */
    json_t *input; /* the template, an object */
    char *output;  /* JSON pointer into the prediction's output; NULL: found by itself */
    uint64_t timeout_usec;
    bool uses_image; /* ${image} occurs in the template */
} Step;

typedef struct Pipeline { /* counted, so that a job ends with the pipeline that it began with */
    unsigned n_refs;
    char *name;
    Step *steps;
    size_t n_steps;
} Pipeline;

typedef struct TemplateVars { /* borrowed, UTF-8; NULL reads as "" */
    const char *prompt, *image, *job_id, *asset_id, *user_id, *project_id;
    uint32_t seed; /* ${seed16} is its lower half */
} TemplateVars;

/* Sets the model of a step. 0, -EINVAL (not a model), -ENOMEM. */
int pipeline_set_model(Step *s, const char *model);

/* NULL if all ${…} in the strings of `value` are known, else the first that is not (cut to `room`). */
const char *pipeline_check_template(const json_t *value, char *to, size_t room,
                                    bool *ret_uses_image);

int pipeline_copy_step(Step *ret, const Step *s);
void pipeline_step_done(Step *s);

/* Without steps, with room for PIPELINE_STEPS_MAX; the caller has the first reference. NULL: no memory. */
Pipeline *pipeline_new(const char *name);

/* One more reference to it. Takes and returns NULL too. */
Pipeline *pipeline_ref(Pipeline *p);

/* Gives one back; the last one frees. Takes NULL, returns NULL. */
Pipeline *pipeline_unref(Pipeline *p);

/* 0 to 2147483647, for ever the same for the same arguments. */
uint32_t pipeline_seed(const char *job_id, const char *step, unsigned purchase);

/* The input of one purchase. What a variable stands for is not looked at again. A string that is
 * "${seed}" or "${seed16}" and nothing else becomes a number. 0, -EINVAL (a variable is not UTF-8),
 * -ENOMEM. */
int pipeline_fill(const Step *s, const TemplateVars *vars, json_t **ret);

/* SHA-256 over the members of `input` that `keys` names (NULL: all), so that it is the same after a
 * provider has added defaults, changed the order, or written 1.0 as 1. 0, -ENOMEM. */
int pipeline_hash(const json_t *input, const json_t *keys, char ret_hex[static HASH_HEX_SIZE]);

/* The names of the members of `input`, sorted. 0, -ENOMEM. */
int pipeline_keys(const json_t *input, json_t **ret);
