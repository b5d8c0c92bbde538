/* [step NAME] and [pipeline NAME]: collected as they are read, built when all is known. Pure. */
#pragma once
#include "core/config.h"

typedef struct ConfigDraftKey {
    char *name, *text;
    ConfigWhere at;
    bool cut; /* a comment was taken off the text's end */
} ConfigDraftKey;

typedef struct ConfigDraft {
    char *section; /* "step NAME" or "pipeline NAME" */
    char *name;    /* within it */
    bool is_step;
    unsigned source; /* which of the texts it was written in */
    ConfigWhere at;
    ConfigDraftKey *keys;
    size_t n_keys;
} ConfigDraft;

typedef struct ConfigDrafts {
    ConfigDraft *drafts;
    size_t n;
    size_t open; /* the one whose section is being read */
} ConfigDrafts;

/* Begins the section `header`. One that another source wrote is replaced as a whole. 0; -EINVAL: no
 * such section; -EEXIST: the same source has it already; -ENOMEM. */
int config_drafts_begin(ConfigDrafts *d, const char *header, unsigned source, ConfigWhere at);

/* A key of it, and more text for the last one, on a line of its own. -EEXIST: it is there already. */
int config_drafts_add(ConfigDrafts *d, const char *name, const char *text, bool cut,
                      ConfigWhere at);
int config_drafts_more(ConfigDrafts *d, const char *text, bool cut);

/* Text may go on over several lines only where it is a model's input. */
bool config_drafts_takes_more(const ConfigDrafts *d);

void config_drafts_done(ConfigDrafts *d);

/* Makes pipelines of them, or adds errors. 0, -ENOMEM. */
int config_drafts_build(const ConfigDrafts *d, ConfigErrors *e, Pipeline **ret_text,
                        Pipeline **ret_image);
