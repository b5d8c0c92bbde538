/* Reads a configuration from its sources in the order in which they override each other: defaults, built-in
 * text, file, drop-in, environment, credentials. All errors are collected, so that an operator sees them at
 * once. The lines of a text are config_ini.c's, one value is config_value.c's, several values together are
 * config_check.c's; daemon/settings.c opens the files. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "core/config_check.h"
#include "core/config_doubts.h"
#include "core/config_ini.h"
#include "core/config_names.h"

/* --- texts ----------------------------------------------------------------------------------- */

/* An unnamed text is one that a test, or a tool without a file, has made. */
static ConfigWhere here(const ConfigParse *p, unsigned line) {
    return (ConfigWhere){ .file = p->text.name ? p->text.name : "configuration", .line = line };
}

/* A section header was read. Sections of the table are looked for in it, so that a new key makes
 * its section known; others are steps and pipelines. A tool reads [database] alone: errors
 * elsewhere in the file are no reason to refuse an operator who wants to see the queue. */
static int take_section(void *userdata, unsigned line, const char *header, bool *ret_wanted) {
    ConfigParse *p = userdata;
    ConfigWhere at = here(p, line);
    size_t size = strlen(header);
    int r;

    for (size_t i = 0; i < CONFIG_KEYS; i++)
        if (strncmp(config_table[i].name, header, size) == 0 && config_table[i].name[size] == '.') {
            snprintf(p->section, sizeof p->section, "%s", header);
            *ret_wanted = p->src->needs == CONFIG_FOR_DAEMON || strcmp(header, "database") == 0;
            return 0;
        }
    /* None of the table's: a step or a pipeline, which is a draft until all texts were read. */
    p->section[0] = '\0';
    r = config_drafts_begin(&p->drafts, header, p->source, at);
    *ret_wanted = r == 0 && p->src->needs == CONFIG_FOR_DAEMON;
    /* A tool does not look into these sections, so their mistakes are not its business. */
    if (r == -EEXIST && p->src->needs == CONFIG_FOR_TOOL)
        return 0;
    if (r == -EEXIST)
        return config_errors_at(p->errors, at, header, NULL,
                                "is there twice in this file; write it once");
    if (r == -E2BIG)
        return config_errors_at(p->errors, at, header, NULL, "is one section too many");
    if (r == -EINVAL) {
        char shown[64];

        return config_errors_at(
            p->errors, at, str_clean(shown, sizeof shown, header), NULL,
            "is not a section; sections are worker, database, replicate, storage, "
            "asset, metrics, log, pipeline text, pipeline image and step NAME");
    }
    return r;
}

/* The key that was perhaps meant: one of this section by its earlier name, one that is spelled
 * nearly so, or the same one of another section. "": none is near. */
static void guess_key(const ConfigParse *p, const char *name, char *to, size_t room) {
    static const struct {
        const char *section, *old, *now;
    } renamed[] = { { "database", "keep", "event_retention" } };
    size_t size = strlen(p->section);

    *to = '\0';
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++)
        if (strcmp(p->section, renamed[i].section) == 0 && strcmp(name, renamed[i].old) == 0) {
            (void) snprintf(to, room, "; %s is called %s now", renamed[i].old, renamed[i].now);
            return;
        }
    for (size_t i = 0; i < CONFIG_KEYS; i++) {
        const char *known = strchr(config_table[i].name, '.') + 1;

        if (strncmp(config_table[i].name, p->section, size) == 0 &&
            config_table[i].name[size] == '.') {
            if (config_name_is_near(name, known)) {
                (void) snprintf(to, room, "; is %s meant?", known);
                return;
            }
        } else if (!*to && strcmp(known, name) == 0)
            (void) snprintf(to, room, "; %s is one of [%.*s]", known,
                            (int) (known - 1 - config_table[i].name), config_table[i].name);
    }
}

/* An unknown key is an error, not a warning: with its default in place of what was written the
 * daemon might buy for hours what nobody wanted. */
static int unknown_key(ConfigParse *p, unsigned line, const char *name) {
    StrBuf known = { 0 };
    size_t size = strlen(p->section);
    char meant[100];
    int r = 0;

    guess_key(p, name, meant, sizeof meant);

    for (size_t i = 0; i < CONFIG_KEYS && r == 0; i++)
        if (strncmp(config_table[i].name, p->section, size) == 0 &&
            config_table[i].name[size] == '.')
            r = strbuf_printf(&known, "%s%s", known.size > 0 ? ", " : "",
                              config_table[i].name + size + 1);
    if (r == 0)
        r = config_errors_at(p->errors, here(p, line), p->section, config_name_shown(name),
                             "is not a key of this section; its keys are %s%s", known.text, meant);
    strbuf_done(&known);
    return r;
}

/* A key twice in one file is an error: which of the two was meant? The same key in a later source
 * overrides the earlier one. */
static int take_key(void *userdata, unsigned line, const char *name, const char *value, bool cut) {
    ConfigParse *p = userdata;
    ConfigWhere at = here(p, line);
    char full[96];
    size_t i;
    int r;

    if (!p->section[0]) {
        const char *section = p->drafts.drafts[p->drafts.open].section;

        r = config_drafts_add(&p->drafts, name, value, cut, at);
        if (r == -EEXIST)
            return config_errors_at(p->errors, at, section, config_name_shown(name),
                                    "is there twice; write it once");
        return r == -E2BIG ? config_errors_at(p->errors, at, section, NULL, "holds too many keys")
                           : r;
    }
    snprintf(full, sizeof full, "%s.%.60s", p->section, name);
    i = config_row(full);
    if (i == CONFIG_KEYS)
        return unknown_key(p, line, name);
    if (p->rows[i].at.file && p->rows[i].source == p->source)
        return config_row_error(p, i, at, "is there twice, first in line %u; write it once",
                                p->rows[i].at.line);
    return config_row_set(p, i, value, at);
}

/* Values go on over several lines only where a model's input is a long text; elsewhere an
 * indented line is a slip that would glue two keys together. */
static int take_more(void *userdata, unsigned line, const char *value, bool cut) {
    ConfigParse *p = userdata;

    if (!p->section[0] && config_drafts_takes_more(&p->drafts))
        return config_drafts_more(&p->drafts, value, cut);
    return config_errors_at(
        p->errors, here(p, line),
        p->section[0] ? p->section : p->drafts.drafts[p->drafts.open].section, NULL,
        "an indented line goes on with the value above it, which only input.NAME "
        "may have; take the blanks at its beginning away");
}

static int take_bad(void *userdata, unsigned line, const char *why) {
    ConfigParse *p = userdata;

    return config_errors_add(p->errors, "%s:%u: %s", here(p, line).file, line, why);
}

/* `source` numbers the texts, so that "twice in one file" and "overridden by a later file" can be
 * told apart. */
static int read_text(ConfigParse *p, ConfigText text) {
    static const ConfigIni ini = { take_section, take_key, take_more, take_bad };

    p->source++;
    p->text = text;
    return text.text ? config_ini_read(&text, &ini, p) : 0;
}

/* --- environment and credentials ------------------------------------------------------------- */

/* The environment comes as an argument: this file is pure, and tests have environments of their
 * own. */
static const char *variable(const ConfigParse *p, const char *name) {
    size_t size = strlen(name);

    for (char *const *v = p->src->environ; v && *v; v++)
        if (strncmp(*v, name, size) == 0 && (*v)[size] == '=')
            return *v + size + 1;
    return NULL;
}

/* Is the variable, or credential, for this key used at all? Two drivers have variables of their
 * own, and a leftover AWS_ variable must not override the key of a Supabase project. */
static bool counts(const ConfigParse *p, const ConfigKey *key) {
    bool storage = strncmp(key->name, "storage.", 8) == 0;
    bool aws = key->env && strncmp(key->env, "AWS_", 4) == 0;

    if (p->src->needs == CONFIG_FOR_TOOL && strncmp(key->name, "database.", 9) != 0)
        return false;
    return !storage || p->c->storage_driver == (aws ? STORAGE_S3 : STORAGE_SUPABASE);
}

/* An empty variable counts as unset: a unit file or a container sets one that way when it has no
 * value. */
static int read_variables(ConfigParse *p) {
    int r = 0;

    p->source++;
    for (size_t i = 0; i < CONFIG_KEYS && r == 0; i++) {
        const char *value = config_table[i].env ? variable(p, config_table[i].env) : NULL;

        if (value && *value && counts(p, &config_table[i]))
            r = config_row_set(
                p, i, value, (ConfigWhere){ .kind = "environment ", .file = config_table[i].env });
    }
    return r;
}

/* systemd hands credentials over by name. The name with "meshifyd." before it can be set for all
 * services of a machine; the bare name is for one unit, and overrides it. */
static const ConfigText *find_credential(const ConfigParse *p, const char *name) {
    static const char prefix[] = "meshifyd.";
    const ConfigText *found = NULL;

    for (size_t i = 0; i < p->src->n_credentials; i++) {
        const ConfigText *c = &p->src->credentials[i];

        if (strcmp(c->name, name) == 0)
            return c;
        if (strncmp(c->name, prefix, strlen(prefix)) == 0 &&
            strcmp(c->name + strlen(prefix), name) == 0)
            found = c;
    }
    return found;
}

/* Each copy is wiped as soon as its row has it. */
static int read_credentials(ConfigParse *p) {
    int r = 0;

    p->source++;
    for (size_t i = 0; i < CONFIG_KEYS && r == 0; i++) {
        const ConfigText *c =
            config_table[i].credential ? find_credential(p, config_table[i].credential) : NULL;
        Secret copy = { 0 };
        size_t size = c && c->text ? c->size : 0;

        /* Files end in a newline more often than not. */
        while (size > 0 && strchr(" \t\r\n", c->text[size - 1]))
            size--;
        if (size == 0 || !counts(p, &config_table[i]))
            continue;
        if (!(copy.text = strndup(c->text, size)))
            return -ENOMEM;
        r = config_row_set(p, i, copy.text,
                           (ConfigWhere){ .kind = "credential ", .file = c->name });
        secret_done(&copy);
    }
    return r;
}

/* --- what follows from several values -------------------------------------------------------- */

/* The label "host@instance", by which logs and the table of workers tell daemons apart.
 * Characters that a label may not have become dashes; a long host name gives way to the
 * instance's name. */
static int set_instance(ConfigParse *p) {
    const char *host = p->src->host && *p->src->host ? p->src->host : "localhost";
    const char *instance = p->src->instance ? p->src->instance : "";
    size_t room = 64 - (strlen(instance) < 32 ? strlen(instance) : 32) - 1;
    char *label;

    if (p->c->instance)
        return 0;
    if (!(label = str_printf("%.*s%s%.32s", (int) room, host, *instance ? "@" : "", instance)))
        return -ENOMEM;
    for (char *s = label; *s; s++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-", *s))
            *s = '-';
    p->c->instance = label;
    return 0;
}

/* Defaults that depend on other values, or on systemd. */
static int set_late_defaults(ConfigParse *p) {
    Config *c = p->c;
    const char *cache = variable(p, "CACHE_DIRECTORY");
    size_t spool = config_row("worker.spool_dir");

    /* systemd gives several directories with colons between them. */
    if (!p->rows[spool].at.file && cache && *cache == '/') {
        free(c->spool_dir);
        if (!(c->spool_dir = strndup(cache, strcspn(cache, ":"))))
            return -ENOMEM;
    }
    /* Without notifications the queue is all there is to go by, so it is polled often, unless a
     * file says otherwise. */
    if (c->listen == CONFIG_LISTEN_OFF && !p->rows[config_row("database.poll_interval")].at.file)
        c->poll_interval_usec = USEC_PER_SECOND;
    /* LISTEN goes to the same server by default; only a transaction pooler needs another URL. */
    if (!c->listen_url.text && c->database_url.text &&
        !(c->listen_url.text = strdup(c->database_url.text)))
        return -ENOMEM;
    return set_instance(p);
}

/* Proxies have no key: all programs of a machine are told of them by the same variables. A bad
 * one is an error for the daemon alone, since the tool speaks to the database only. */
static int read_proxies(ConfigParse *p) {
    const char *name = NULL;
    int r = proxies_read(p->src->environ, &p->c->proxies, &name);

    if (r != -EINVAL)
        return r;
    if (p->src->needs != CONFIG_FOR_DAEMON)
        return 0;
    return config_errors_add(
        p->errors,
        "environment %s: is not a proxy's URL; allowed is [SCHEME://][USER:PASSWORD@]HOST[:PORT] "
        "with http, https, socks4a, socks5h, socks4 or socks5, and @ / ? # \\ in the password "
        "percent-encoded",
        name);
}

/* Remembers where a database URL was written, "FILE:LINE": database_trust.c looks closer at the
 * URL later, and its warnings name the place. */
static int keep_where(ConfigParse *p, size_t i) {
    char **at = config_table[i].field == offsetof(Config, database_url) ? &p->c->database_url_at
                                                                        : &p->c->listen_url_at;
    ConfigWhere w = p->rows[i].at;

    if (config_table[i].kind == CONFIG_DATABASE)
        *at = w.line > 0 ? str_printf("%s:%u", w.file, w.line)
                         : str_printf("%s%s", w.kind ? w.kind : "", w.file);
    return config_table[i].kind != CONFIG_DATABASE || *at ? 0 : -ENOMEM;
}

/* What can be read and is hardly meant so becomes a warning, or an error where nothing could work
 * with it. */
static int look_closer(ConfigParse *p, ConfigErrors *warnings) {
    int r = 0;

    for (size_t i = 0; i < CONFIG_KEYS && r == 0; i++) {
        const char *dot = strchr(config_table[i].name, '.');
        char why[CONFIG_WHY_MAX], section[32];
        ConfigDoubt doubt;

        if (!p->rows[i].at.file || p->rows[i].bad)
            continue;
        r = keep_where(p, i);
        doubt = config_doubt(&config_table[i], p->c, why, sizeof why);
        (void) snprintf(section, sizeof section, "%.*s", (int) (dot - config_table[i].name),
                        config_table[i].name);
        if (r == 0 && doubt != CONFIG_DOUBT_NONE)
            r = config_errors_at(doubt == CONFIG_DOUBT_ERROR ? p->errors : warnings,
                                 config_row_where(p, i), section, dot + 1, "%s", why);
    }
    return r;
}

/* The order of the calls is the order in which sources override each other. A shortage of
 * memory ends it at once; everything else is collected. `*ret` is set only where there is not
 * one error. */
int config_parse(const ConfigSource *src, Config **ret, ConfigErrors *reterr) {
    /* The built-in pipelines are text like any other, so that a file can replace them section by
     * section. */
    const ConfigText standard = { "built-in", config_builtin_text, strlen(config_builtin_text) };
    _cleanup_(config_freep) Config *c = calloc(1, sizeof *c);
    ConfigErrors errors = { 0 }, warnings = { 0 };
    ConfigParse p = { .src = src, .c = c, .errors = &errors };
    int r;

    if (!c)
        return -ENOMEM;
    if ((r = config_rows_set_defaults(&p)) == 0 && (r = read_text(&p, standard)) == 0 &&
        (r = read_text(&p, src->file)) == 0 && (r = read_text(&p, src->dropin)) == 0 &&
        (r = read_variables(&p)) == 0 && (r = read_credentials(&p)) == 0 &&
        (r = set_late_defaults(&p)) == 0 && (r = read_proxies(&p)) == 0 &&
        src->needs == CONFIG_FOR_DAEMON)
        r = config_check(&p);
    if (r == 0)
        r = look_closer(&p, &warnings);
    c->warnings = warnings.text;
    config_drafts_done(&p.drafts);
    if (r == 0 && errors.n > 0) {
        *reterr = errors;
        return -EINVAL;
    }
    config_errors_done(&errors);
    if (r < 0)
        return r;
    *ret = TAKE(c);
    return 0;
}

Config *config_free(Config *c) {
    if (!c)
        return NULL;
    for (size_t i = 0; i < CONFIG_KEYS; i++)
        config_value_done(&config_table[i], c);
    proxies_done(&c->proxies);
    pipeline_unref(c->text);
    pipeline_unref(c->image);
    free(c->warnings);
    free(c->database_url_at);
    free(c->listen_url_at);
    free(c);
    return NULL;
}
