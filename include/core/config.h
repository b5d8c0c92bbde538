/* The configuration: texts, environment and credentials go in, one struct or all errors come out.
 * Pure: daemon/settings.c reads the files. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/proxy.h"
#include "base/secret.h"
#include "core/config_errors.h"
#include "core/pipeline.h"

typedef enum ConfigListen {
    CONFIG_LISTEN_AUTO,
    CONFIG_LISTEN_ON,
    CONFIG_LISTEN_OFF
} ConfigListen;
typedef enum ConfigStorage {
    STORAGE_SUPABASE,
    STORAGE_S3,
    STORAGE_DIR,
    _STORAGE_MAX,
} ConfigStorage;
typedef enum ConfigValidate {
    VALIDATE_OFF,
    VALIDATE_BASIC,
    VALIDATE_STRICT
} ConfigValidate;
typedef enum ConfigLogTarget {
    LOG_TARGET_AUTO,
    LOG_TARGET_JOURNAL,
    LOG_TARGET_STDERR,
    LOG_TARGET_JSON,
} ConfigLogTarget;

/* What each field means stands at its row in core/config_table.c. A text is NULL where it is unset
 * and has no default. */
typedef struct Config {
    char *instance;
    unsigned max_jobs, max_jobs_per_user, max_attempts;
    uint64_t max_age_usec, retry_base_usec, retry_max_usec, job_timeout_usec, drain_timeout_usec;
    char *spool_dir;
    uint64_t spool_max_bytes;

    Secret database_url;                   /* unset: libpq's own environment */
    Secret listen_url;                     /* as database_url where it is not set apart */
    char *database_url_at, *listen_url_at; /* where they were written, "FILE:LINE"; NULL: nowhere */
    ConfigListen listen;
    uint64_t poll_interval_usec, lease_usec, event_retention_usec;

    char *replicate_url; /* as written, perhaps with a slash at its end */
    Secret replicate_token;
    unsigned create_rate, poll_rate, request_rate; /* per minute */
    uint64_t create_timeout_usec;
    bool allow_insecure;
    uint64_t poll_min_usec, poll_max_usec;
    char *webhook_url;
    char *download_hosts; /* words separated by one space */
    Proxies proxies;      /* of the environment */

    ConfigStorage storage_driver;
    char *storage_url; /* for STORAGE_DIR an absolute directory */
    char *public_url;  /* what Replicate sees of the store; NULL: storage_url */
    Secret storage_key;
    char *access_key_id;
    Secret secret_access_key;
    char *region;
    char *bucket;
    char *storage_path;
    uint64_t resumable_above_bytes;

    uint64_t asset_max_bytes;
    ConfigValidate validate;
    char *clamd;

    char *metrics_listen; /* "": off */

    int log_level; /* as in syslog.h */
    ConfigLogTarget log_target;

    Pipeline *text, *image; /* NULL in a config for a tool */

    char *warnings; /* lines as of ConfigErrors, about what is taken all the same; NULL: none */
} Config;

typedef struct ConfigText {
    const char *name; /* for messages */
    const char *text; /* NULL: not there */
    size_t size;
} ConfigText;

/* CONFIG_FOR_TOOL: only [database] counts. Other known sections are not looked at, pipelines are not
 * built and no secret is asked for. */
enum {
    CONFIG_FOR_TOOL,
    CONFIG_FOR_DAEMON
};

typedef struct ConfigSource { /* borrowed; later wins */
    ConfigText file, dropin;
    char *const *environ;          /* "NAME=value", NULL at the end; may be NULL */
    const ConfigText *credentials; /* by name, with or without "meshifyd." before it */
    size_t n_credentials;
    const char *host;     /* the default of worker.instance, with "@INSTANCE" if that is given */
    const char *instance; /* --instance; NULL: none */
    unsigned needs;       /* CONFIG_FOR_… */
} ConfigSource;

/* 0, -EINVAL with errors, -ENOMEM. */
int config_parse(const ConfigSource *src, Config **ret, ConfigErrors *reterr);
Config *config_free(Config *c);
DEFINE_CLEANUP(Config *, config_free)

/* The table, for sample file, manual and tests: row `i`, false past the last. */
typedef struct ConfigHelp {
    const char *name;     /* "section.key" */
    const char *standard; /* the default, as it would be written; "": none */
    const char *help;
    bool reloadable; /* for the reload to come; nothing reads it yet */
} ConfigHelp;

bool config_help(size_t i, ConfigHelp *ret);

/* The built-in pipelines, as they would be written. */
const char *config_builtin(void);
