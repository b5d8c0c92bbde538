/* Checks that concern several rows of a configuration: a key that another one needs, a lower bound
 * above its upper one, addresses that do not fit their driver. Single values were checked as they were read
 * (config_value.c); values that are legal and hardly meant are config_doubts.c's. */
#include <stdio.h>
#include <string.h>

#include "core/config_check.h"

/* The key `name` must be set, and is not. The error names every place where it can be set; `what`
 * is an example. A row with an error of its own is not reported a second time. */
static int missing(ConfigParse *p, const char *name, const char *what) {
    size_t i = config_row(name);

    if (p->rows[i].bad)
        return 0;
    if (config_table[i].credential)
        return config_row_error(
            p, i, config_row_where(p, i),
            "is not set; write %s here, or set the environment variable %s, or give the "
            "systemd credential %s",
            what, config_table[i].env, config_table[i].credential);
    return config_row_error(
        p, i, config_row_where(p, i), "is not set; write %s here%s%s", what,
        p->c->storage_driver == STORAGE_SUPABASE ? ", or set the environment variable " : "",
        p->c->storage_driver == STORAGE_SUPABASE ? config_table[i].env : "");
}

/* Supabase's dashboard shows several URLs, most of them with the path of one API behind the host.
 * Those paths are ours to add. */
static bool has_api_path(const char *url) {
    static const char *const apis[] = { "/storage/v1",   "/rest/v1",     "/auth/v1",
                                        "/functions/v1", "/realtime/v1", "/graphql/v1",
                                        "/dashboard/" };

    for (size_t i = 0; i < sizeof apis / sizeof *apis; i++)
        if (strstr(url, apis[i]))
            return true;
    return false;
}

/* Signed URLs are made of it, and Replicate fetches them: a wrong path would show only when a job
 * with an image fails. */
static int check_public_url(ConfigParse *p) {
    size_t i = config_row("storage.public_url");

    if (!p->c->public_url || p->rows[i].bad || !has_api_path(p->c->public_url))
        return 0;
    return config_row_error(
        p, i, config_row_where(p, i),
        "is the address that url has from outside: https://HOST without /storage/v1 "
        "or another API behind it");
}

/* "a or c", the words of row `i` but for `without`. Returns `to`. */
static const char *other_words(size_t i, const char *without, char *to, size_t room) {
    char words[80], *word, *rest = words;
    size_t n = 0;

    (void) snprintf(words, sizeof words, "%s", config_table[i].words);
    *to = '\0';
    while ((word = strsep(&rest, " ")) && n < room)
        if (strcmp(word, without) != 0)
            n += (size_t) snprintf(to + n, room - n, "%s%s", n > 0 ? " or " : "", word);
    return to;
}

/* The meaning of `url` depends on the driver, so its row can't check it alone. */
static int check_storage(ConfigParse *p) {
    const Config *c = p->c;
    size_t url = config_row("storage.url"), driver = config_row("storage.driver");
    char others[80];
    int r = 0;

    /* The word is known, so that its error can say "not yet" instead of "unknown". */
    if (c->storage_driver == STORAGE_S3)
        return config_row_error(p, driver, config_row_where(p, driver),
                                "s3 is not supported yet; allowed is %s",
                                other_words(driver, "s3", others, sizeof others));
    if (!c->storage_url)
        r = missing(p, "storage.url",
                    c->storage_driver == STORAGE_DIR ? "an absolute path"
                                                     : "https://PROJECT.supabase.co");
    else if (c->storage_driver == STORAGE_DIR && c->storage_url[0] != '/')
        r = config_row_error(p, url, config_row_where(p, url),
                             "is not a directory; with driver = dir it is an absolute path");
    else if (c->storage_driver == STORAGE_SUPABASE &&
             (c->storage_url[0] == '/' || has_api_path(c->storage_url)))
        r = config_row_error(
            p, url, config_row_where(p, url),
            "is not a Supabase project; with driver = supabase it is https://HOST without "
            "/storage/v1, /rest/v1 or another API behind it");
    if (r == 0 && c->storage_driver == STORAGE_SUPABASE && !c->storage_key.text)
        r = missing(p, "storage.key", "the service role key");
    return r < 0 ? r : check_public_url(p);
}

/* Row `low` may not be above row `high`. The error is reported at the row that was written; a
 * default is not to blame. */
static int check_order(ConfigParse *p, const char *low, uint64_t low_value, const char *high,
                       uint64_t high_value) {
    size_t i = config_row(low), k = config_row(high);
    size_t at = p->rows[i].at.file ? i : k;

    if (low_value <= high_value || p->rows[i].bad || p->rows[k].bad)
        return 0;
    return config_row_error(p, at, config_row_where(p, at),
                            "%s is larger than %s; raise the one or lower the other", low, high);
}

/* The token goes out with each request. http is for a simulator only, and has to be asked for by
 * a second key, so that nobody sends a token in clear by a typing error. */
static int check_replicate(ConfigParse *p) {
    const Config *c = p->c;
    size_t url = config_row("replicate.url"), insecure = config_row("replicate.allow_insecure");
    bool secure = strncmp(c->replicate_url, "https://", 8) == 0;
    int r = 0;

    /* Either of them was refused already: what the pair would mean is not known. */
    if (p->rows[url].bad || p->rows[insecure].bad)
        r = 0;
    else if (secure && c->allow_insecure)
        r = config_row_error(p, insecure, config_row_where(p, insecure),
                             "cannot be on while url is https; allowed is off");
    else if (!secure && !c->allow_insecure)
        r = config_row_error(
            p, url, config_row_where(p, url),
            "http would show the token to everyone on the way; allowed is https, or, for "
            "tests, http with allow_insecure = on");
    if (r == 0 && !c->replicate_token.text)
        r = missing(p, "replicate.token", "the token");
    return r;
}

int config_check(ConfigParse *p) {
    Config *c = p->c;
    int r;

    if ((r = check_order(p, "worker.retry_base", c->retry_base_usec, "worker.retry_max",
                         c->retry_max_usec)) < 0 ||
        (r = check_order(p, "replicate.poll_min", c->poll_min_usec, "replicate.poll_max",
                         c->poll_max_usec)) < 0 ||
        (r = check_order(p, "asset.max_size", c->asset_max_bytes, "worker.spool_max",
                         c->spool_max_bytes)) < 0 ||
        (r = check_replicate(p)) < 0 || (r = check_storage(p)) < 0)
        return r;
    return config_drafts_build(&p->drafts, p->errors, &c->text, &c->image);
}
