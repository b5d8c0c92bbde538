/* The keys of the configuration, one row each: kind, range, default, variable, credential and
 * help. Reading and errors follow from these rows; the sample file and the manual say the same once
 * more, which tests/lint/options and tests/lint/man compare. How a kind is read is config_value.c's. */
#include <string.h>

#include "core/config_value.h"

/* One row a key. etc/meshify.ini has the same keys and defaults; tests/lint/options compares. */
/* clang-format off */
#define F(field)       offsetof(Config, field), \
                       _Generic(((Config *) NULL)->field, unsigned: CONFIG_IS_UNSIGNED, int: CONFIG_IS_INT, uint64_t: CONFIG_IS_UINT64, \
                                bool: CONFIG_IS_BOOL, char *: CONFIG_IS_TEXT, Secret: CONFIG_IS_SECRET)
#define MS             USEC_PER_MILLISECOND
#define SEC            USEC_PER_SECOND
#define MIN            USEC_PER_MINUTE
#define HOUR           USEC_PER_HOUR
#define DAY            USEC_PER_DAY
#define KIB            (UINT64_C(1) << 10)
#define MIB            (UINT64_C(1) << 20)
#define GIB            (UINT64_C(1) << 30)
#define TIB            (UINT64_C(1) << 40)
#define LIVE           CONFIG_RELOADABLE /* for the reload to come; nothing reads it yet */
#define LATER          CONFIG_LATER
#define NONE           NULL

const ConfigKey config_table[] = {
    /* name                          kind             field                     min, max, words             default                                  flags  variable, credential, help */
    { "worker.instance",             CONFIG_LABEL,    F(instance),              0, 0, NONE,                 "",                                      0,     NONE, NONE, "the name of this instance in logs and status; unset: the host's name" },
    { "worker.max_jobs",             CONFIG_UINT,     F(max_jobs),              1, 100000, NONE,            "256",                                   LIVE,  NONE, NONE, "jobs in flight in this process" },
    { "worker.max_jobs_per_user",    CONFIG_UINT,     F(max_jobs_per_user),     0, 100000, NONE,            "0",                                     LIVE,  NONE, NONE, "jobs of one user in flight over all instances; 0: no limit" },
    { "worker.max_attempts",         CONFIG_UINT,     F(max_attempts),          1, 100, NONE,               "5",                                     LIVE,  NONE, NONE, "attempts before a failure that may pass becomes final" },
    { "worker.max_age",              CONFIG_DURATION, F(max_age_usec),          0, 3650 * DAY, NONE,        "24h",                                   LIVE,  NONE, NONE, "pending jobs older than this are closed and refunded; 0: never" },
    { "worker.retry_base",           CONFIG_DURATION, F(retry_base_usec),       MS, HOUR, NONE,             "5s",                                    LIVE,  NONE, NONE, "back-off before the second attempt, doubled each time" },
    { "worker.retry_max",            CONFIG_DURATION, F(retry_max_usec),        MS, DAY, NONE,              "10min",                                 LIVE,  NONE, NONE, "longest back-off" },
    { "worker.job_timeout",          CONFIG_DURATION, F(job_timeout_usec),      SEC, 7 * DAY, NONE,         "30min",                                 LIVE,  NONE, NONE, "time worked on a job, all attempts together" },
    { "worker.drain_timeout",        CONFIG_DURATION, F(drain_timeout_usec),    0, HOUR, NONE,              "30s",                                   LIVE,  NONE, NONE, "how long a stop waits for what is under way" },
    { "worker.spool_dir",            CONFIG_PATH,     F(spool_dir),             0, 0, NONE,                 "/var/cache/meshifyd",                   0,     NONE, NONE, "where downloads lie until stored; $CACHE_DIRECTORY if that is set" },
    { "worker.spool_max",            CONFIG_SIZE,     F(spool_max_bytes),       MIB, 1024 * TIB, NONE,      "8GiB",                                  LIVE,  NONE, NONE, "bytes in the spool at once" },
    { "database.url",                CONFIG_DATABASE, F(database_url),          0, 0, NONE,                 "",                                      0,     "DATABASE_URL", "database_url", "libpq URI or conninfo; unset: libpq's own environment" },
    { "database.listen_url",         CONFIG_DATABASE, F(listen_url),            0, 0, NONE,                 "",                                      0,     NONE, NONE, "a direct connection for LISTEN where url is a transaction pooler; unset: url" },
    { "database.listen",             CONFIG_WORD,     F(listen),                0, 0, "auto on off",        "auto",                                  0,     NONE, NONE, "off: no LISTEN, only polling" },
    { "database.poll_interval",      CONFIG_DURATION, F(poll_interval_usec),    100 * MS, HOUR, NONE,       "30s",                                   LIVE,  NONE, NONE, "safety net where no notification comes; 1s where listen is off" },
    { "database.lease",              CONFIG_DURATION, F(lease_usec),            SEC, HOUR, NONE,            "60s",                                   0,     NONE, NONE, "a worker not heard of for this long loses its jobs" },
    { "database.event_retention",    CONFIG_DURATION, F(event_retention_usec),  MIN, 3650 * DAY, NONE,      "30d",                                   LIVE,  NONE, NONE, "how long events are kept" },
    { "replicate.url",               CONFIG_URL,      F(replicate_url),         0, 0, NONE,                 "https://api.replicate.com/v1",          LIVE,  NONE, NONE, "API root" },
    { "replicate.token",             CONFIG_KEY,      F(replicate_token),       0, 0, NONE,                 "",                                      LIVE,  "REPLICATE_API_TOKEN", "replicate_api_token", "Replicate's API token" },
    { "replicate.create_rate",       CONFIG_RATE,     F(create_rate),           1, 1000000, NONE,           "600/min",                               LIVE,  NONE, NONE, "creates, all live instances together" },
    { "replicate.poll_rate",         CONFIG_RATE,     F(poll_rate),             1, 10000000, NONE,          "30000/min",                             LIVE,  NONE, NONE, "reads of one prediction, all live instances together" },
    { "replicate.request_rate",      CONFIG_RATE,     F(request_rate),          1, 1000000, NONE,           "3000/min",                              LIVE,  NONE, NONE, "other requests, all live instances together" },
    { "replicate.create_timeout",    CONFIG_DURATION, F(create_timeout_usec),   100 * MS, 10 * MIN, NONE,   "30s",                                   LIVE,  NONE, NONE, "one create request over all" },
    { "replicate.allow_insecure",    CONFIG_SWITCH,   F(allow_insecure),        0, 0, NONE,                 "off",                                   0,     NONE, NONE, "http and private addresses, for tests only" },
    { "replicate.poll_min",          CONFIG_DURATION, F(poll_min_usec),         10 * MS, HOUR, NONE,        "1s",                                    LIVE,  NONE, NONE, "shortest time between two polls of a prediction" },
    { "replicate.poll_max",          CONFIG_DURATION, F(poll_max_usec),         10 * MS, HOUR, NONE,        "15s",                                   LIVE,  NONE, NONE, "longest time between two polls of a prediction" },
    { "replicate.webhook_url",       CONFIG_URL,      F(webhook_url),           0, 0, NONE,                 "",                                      LATER, NONE, NONE, "sent with each prediction" },
    { "replicate.download_hosts",    CONFIG_HOSTS,    F(download_hosts),        0, 0, NONE,                 "replicate.delivery *.replicate.delivery", LIVE, NONE, NONE, "hosts an output may be fetched from" },
    { "storage.driver",              CONFIG_WORD,     F(storage_driver),        0, 0, "supabase s3 dir",    "supabase",                              0,     NONE, NONE, "where meshes are kept" },
    { "storage.url",                 CONFIG_PLACE,    F(storage_url),           0, 0, NONE,                 "",                                      LIVE,  "SUPABASE_URL", NONE, "https://PROJECT.supabase.co, or a directory for driver dir" },
    { "storage.public_url",          CONFIG_URL,      F(public_url),            0, 0, NONE,                 "",                                      LIVE,  NONE, NONE, "what Replicate sees of the store: signed URLs of images begin with it; unset: url" },
    { "storage.key",                 CONFIG_KEY,      F(storage_key),           0, 0, NONE,                 "",                                      LIVE,  "SUPABASE_SERVICE_ROLE_KEY", "supabase_service_role_key", "Supabase's service role key" },
    { "storage.access_key_id",       CONFIG_TEXT,     F(access_key_id),         0, 0, NONE,                 "",                                      LATER, "AWS_ACCESS_KEY_ID", NONE, "s3 only" },
    { "storage.secret_access_key",   CONFIG_KEY,      F(secret_access_key),     0, 0, NONE,                 "",                                      LATER, "AWS_SECRET_ACCESS_KEY", NONE, "s3 only" },
    { "storage.region",              CONFIG_TEXT,     F(region),                0, 0, NONE,                 "us-east-1",                             LATER, "AWS_REGION", NONE, "s3 only" },
    { "storage.bucket",              CONFIG_BUCKET,   F(bucket),                0, 0, NONE,                 "user_assets",                           LIVE,  NONE, NONE, "the bucket" },
    { "storage.path",                CONFIG_OBJECT,   F(storage_path),          0, 0, NONE,                 "{user_id}/{project_id}/mesh_{asset_id}.glb", LIVE, NONE, NONE, "object name" },
    { "storage.resumable_above",     CONFIG_SIZE,     F(resumable_above_bytes), 0, 5 * TIB, NONE,           "6MiB",                                  LIVE,  NONE, NONE, "larger files go up resumable" },
    { "asset.max_size",              CONFIG_SIZE,     F(asset_max_bytes),       KIB, 4 * GIB, NONE,         "500MiB",                                LIVE,  NONE, NONE, "larger outputs fail the job" },
    { "asset.validate",              CONFIG_WORD,     F(validate),              0, 0, "off basic strict",   "strict",                                LIVE,  NONE, NONE, "how closely a mesh is looked at" },
    { "asset.clamd",                 CONFIG_TEXT,     F(clamd),                 0, 0, NONE,                 "",                                      LATER, NONE, NONE, "socket of the virus scanner" },
    { "metrics.listen",              CONFIG_ADDRESS,  F(metrics_listen),        0, 0, NONE,                 "127.0.0.1:9464",                        0,     NONE, NONE, "serves /metrics, /healthz, /readyz; port 0: any free one; empty: off" },
    { "log.level",                   CONFIG_WORD,     F(log_level),             3, 0, "err warning notice info debug", "info",                       LIVE,  NONE, NONE, "the least important lines that are written" },
    { "log.target",                  CONFIG_WORD,     F(log_target),            0, 0, "auto journal stderr json", "auto",                            0,     NONE, NONE, "auto: the journal under systemd, else stderr" },
};
/* clang-format on */

_Static_assert(sizeof config_table / sizeof *config_table == CONFIG_KEYS, "one row a key");

const char config_builtin_text[] =
    "[pipeline text]\n"
    "steps = paint, sculpt\n"
    "\n"
    "[pipeline image]\n"
    "steps = sculpt\n"
    "\n"
    "[step paint]\n"
    "model = black-forest-labs/flux-schnell\n"
    "input.prompt = ${prompt}, single object, white background\n"
    "input.output_format = png\n"
    "input.seed = ${seed}\n"
    "output = /0\n"
    "timeout = 2min\n"
    "\n"
    "[step sculpt]\n"
    "model = firtoz/trellis:e8f6c45206993f297372f5436b90350817bd9b4a0d52d2a76df50c1c8afa2b3c\n"
    "input.images = [\"${image}\"]\n"
    "input.generate_model = true\n"
    "input.randomize_seed = false\n"
    "input.seed = ${seed}\n"
    "output = /model_file\n"
    "timeout = 15min\n";

/* Some forty rows are read once at start: nothing faster than this is needed. */
size_t config_row(const char *name) {
    size_t i = 0;

    while (i < CONFIG_KEYS && strcmp(config_table[i].name, name) != 0)
        i++;
    return i;
}

const char *config_builtin(void) {
    return config_builtin_text;
}

/* For programs that compare the table with files: the lint, and the tests. */
bool config_help(size_t i, ConfigHelp *ret) {
    if (i >= CONFIG_KEYS)
        return false;
    *ret = (ConfigHelp){ .name = config_table[i].name,
                         .standard = config_table[i].standard,
                         .help = config_table[i].help,
                         .reloadable = config_table[i].flags & CONFIG_RELOADABLE };
    return true;
}
