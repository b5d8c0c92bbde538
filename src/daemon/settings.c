/*
 * Finds the configuration: file, drop-in, environment, credentials; registers its secrets, so that no log line shows
 * them. What the texts mean is core/config.c's; here they are only found and read.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log_out.h"
#include "base/redact.h"
#include "base/str.h"
#include "daemon/settings.h"

#define FILE_MAX_BYTES (1024 * 1024)
#define CREDENTIALS_MAX 64
#define STANDARD_FILE SYSCONFDIR "/meshify.ini"

typedef struct Texts { /* what the ConfigSource borrows */
    char *file, *dropin;
    ConfigText credentials[CREDENTIALS_MAX];
    size_t n_credentials;
} Texts;

/* Secrets are not left in memory that is given back. */
static char *wipe(char *text, size_t size) {
    if (text)
        explicit_bzero(text, size);
    free(text);
    return NULL;
}

/* Reads all of a file; there may be secrets in it. 0 or a negative errno; -EFBIG: too large. */
static int read_file(int dir_fd, const char *path, char **ret, size_t *ret_size) {
    int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    size_t size = 0, room = 16 * 1024;
    char *text, *more;
    struct stat st;
    ssize_t n;
    int r = 0;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || S_ISDIR(st.st_mode) ||
        (S_ISREG(st.st_mode) && st.st_size > FILE_MAX_BYTES)) {
        r = S_ISDIR(st.st_mode) ? -EISDIR : -EFBIG;
        close(fd);
        return r;
    }
    text = malloc(room);
    while (r == 0 && text) {
        if (size == room) {
            /* Not realloc(), which leaves copies behind. */
            if ((more = malloc(room *= 2)))
                memcpy(more, text, size);
            wipe(text, size);
            text = more;
            continue;
        }
        if ((n = read(fd, text + size, room - size)) < 0)
            r = errno == EINTR ? 0 : -errno;
        else if (n == 0)
            break;
        else if ((size += (size_t) n) > FILE_MAX_BYTES)
            r = -EFBIG;
    }
    close(fd);
    if (r < 0 || !text) {
        wipe(text, size);
        return r < 0 ? r : -ENOMEM;
    }
    *ret = text;
    *ret_size = size;
    return 0;
}

/* In the words of the file that could not be read, with what to do about it. */
static int complain(ConfigErrors *e, const char *path, int r) {
    char shown[200];

    str_clean(shown, sizeof shown, path);
    if (r == -ENOMEM)
        return r;
    if (r == -EFBIG)
        return config_errors_add(e, "%s: is larger than 1 MiB; write less", shown);
    if (r == -EISDIR)
        return config_errors_add(e, "%s: is a directory; name a file", shown);
    return config_errors_add(e, "%s: cannot be read: %s%s", shown, strerror(-r),
                             r == -ENOENT                  ? "; write it, or name another with -c"
                             : r == -EACCES || r == -EPERM ? "; give it to the user that we run as"
                                                           : "");
}

/* Is a secret written in this text: a key that is one, or a URL with a password? */
static bool holds_secret(const char *text) {
    static const char *const keys[] = { "token", "key", "secret_access_key", "url", "listen_url" };

    for (const char *line = text; line; line = strchr(line, '\n')) {
        const char *value;
        size_t n, end;

        line += strspn(line, "\n \t");
        n = strcspn(line, " \t=:\n");
        value = line + n + strspn(line + n, " \t=:");
        end = strcspn(value, "\n");
        for (size_t i = 0; end > 0 && i < sizeof keys / sizeof *keys; i++)
            if (n == strlen(keys[i]) && strncmp(line, keys[i], n) == 0 &&
                (i < 3 || memchr(value, '@', end)))
                return true;
    }
    return false;
}

/* Not an error: a container may have its reasons. */
static void warn_if_open(const ConfigText *file) {
    struct stat st;
    char shown[200], line[500];

    if (file->text && stat(file->name, &st) == 0 && st.st_mode & S_IROTH &&
        holds_secret(file->text)) {
        (void) snprintf(line, sizeof line,
                        "warning: %s holds a secret and everybody can read it: chmod 600 %s\n",
                        str_clean(shown, sizeof shown, file->name), shown);
        log_out_stderr(line);
    }
}

/* A file of the configuration; `optional`: it may be missing, but not unreadable. Errors go to `e`.
 * 0, -ENOMEM. */
static int load(const char *path, bool optional, char **ret, ConfigText *ret_text,
                ConfigErrors *e) {
    int r = read_file(AT_FDCWD, path, ret, &ret_text->size);

    ret_text->name = path;
    if (r < 0)
        return optional && (r == -ENOENT || r == -ENOTDIR) ? 0 : complain(e, path, r);
    ret_text->text = *ret;
    if (*ret && memchr(*ret, '\0', ret_text->size)) {
        ret_text->text = NULL;
        return config_errors_add(e, "%s: holds NUL bytes; it must be UTF-8 text", path);
    }
    return 0;
}

static int load_credential(int dir_fd, const char *name, Texts *t, ConfigErrors *e) {
    char *text = NULL, *copy;
    size_t size = 0;
    int r = read_file(dir_fd, name, &text, &size);

    if (r < 0)
        return complain(e, name, r);
    if (text && memchr(text, '\0', size)) {
        wipe(text, size);
        return config_errors_add(e, "credential %s: holds NUL bytes; it must be text", name);
    }
    if (!(copy = strdup(name))) {
        wipe(text, size);
        return -ENOMEM;
    }
    t->credentials[t->n_credentials++] = (ConfigText){ .name = copy, .text = text, .size = size };
    return 0;
}

/* All that systemd gave us: each secret is in a file of its own, which only the daemon may read.
 * Which of them counts is core/config.c's to say. */
static int load_credentials(const char *path, Texts *t, ConfigErrors *e) {
    static const char *const names[] = { "database_url", "replicate_api_token",
                                         "supabase_service_role_key" };
    DIR *dir = path && *path ? opendir(path) : NULL;
    struct dirent *entry;
    int r = 0;

    if (!dir)
        return path && *path && errno != ENOENT ? complain(e, path, -errno) : 0;
    while (r == 0 && t->n_credentials < CREDENTIALS_MAX && (entry = readdir(dir))) {
        const char *name = entry->d_name;

        if (strncmp(name, "meshifyd.", 9) == 0)
            name += 9;
        for (size_t i = 0; i < sizeof names / sizeof *names && r == 0; i++)
            if (strcmp(name, names[i]) == 0)
                r = load_credential(dirfd(dir), entry->d_name, t, e);
    }
    closedir(dir);
    return r;
}

/* "DIR/meshify.d/INSTANCE.ini" for "DIR/FILE". */
static char *dropin_of(const char *path, const char *instance) {
    const char *slash = strrchr(path, '/');

    return str_printf("%.*smeshify.d/%s.ini", slash ? (int) (slash - path + 1) : 0, path, instance);
}

/* It becomes part of a path. */
static bool is_instance(const char *s) {
    size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-");

    return n > 0 && n <= 32 && s[n] == '\0' && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

static void texts_done(Texts *t, const ConfigSource *src) {
    wipe(t->file, src->file.size);
    wipe(t->dropin, src->dropin.size);
    for (size_t i = 0; i < t->n_credentials; i++) {
        free((char *) t->credentials[i].name);
        wipe((char *) t->credentials[i].text, t->credentials[i].size);
    }
}

/* libpq reads the URL: it knows more forms of it than we would. */
static const char *option_of(const PQconninfoOption *options, const char *keyword) {
    for (; options && options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val;
    return NULL;
}

/* The password of a database URL, in whatever form libpq takes it. A URL that libpq refuses never gets
 * further than here, and its "user:password@" is left out of texts by its form. */
static int guard_database(const char *url) {
    PQconninfoOption *options = url ? PQconninfoParse(url, NULL) : NULL;
    const char *password = option_of(options, "password"), *user = option_of(options, "user");
    int r = 0;

    /* A password that is the user's name is no secret, and the name is needed in messages. */
    if (password && !(user && strcmp(password, user) == 0))
        r = redact_add(password);
    if (r == 0)
        r = redact_add(option_of(options, "sslpassword"));
    PQconninfoFree(options);
    return r;
}

/* From here on no secret of the configuration stands in a text that is logged, shown or stored. It
 * comes before anything is logged: a message of a library may quote what it was given. */
static int guard(const Config *c) {
    const char *const secrets[] = { c->replicate_token.text, c->storage_key.text,
                                    c->secret_access_key.text, getenv("PGPASSWORD") };
    int r = 0;

    for (size_t i = 0; i < sizeof secrets / sizeof *secrets && r == 0; i++)
        r = redact_add(secrets[i]);
    if (r == 0 && (r = guard_database(c->database_url.text)) == 0)
        r = guard_database(c->listen_url.text);
    return r;
}

int settings_load(const char *path, const char *instance, unsigned needs, Config **ret,
                  ConfigErrors *reterr) {
    const char *named = path ? path : getenv("MESHIFY_CONFIG");
    _cleanup_free_ char *dropin = NULL;
    char host[HOST_NAME_MAX + 1] = "";
    ConfigErrors errors = { 0 };
    Texts texts = { 0 };
    ConfigSource src = { .environ = environ, .host = host, .instance = instance, .needs = needs };
    int r;

    if (named && !path && !*named)
        named = NULL;
    if (instance && !is_instance(instance)) {
        if (config_errors_add(&errors,
                              "--instance: is no name; allowed are 1 to 32 letters, digits and "
                              "the characters . _ @ -") < 0)
            return -ENOMEM;
        *reterr = errors;
        return -EINVAL;
    }
    if (instance && !(dropin = dropin_of(named ? named : STANDARD_FILE, instance)))
        return -ENOMEM;
    gethostname(host, sizeof host - 1);

    if ((r = load(named ? named : STANDARD_FILE, !named, &texts.file, &src.file, &errors)) == 0 &&
        dropin)
        r = load(dropin, true, &texts.dropin, &src.dropin, &errors);
    if (r == 0)
        r = load_credentials(getenv("CREDENTIALS_DIRECTORY"), &texts, &errors);
    src.credentials = texts.credentials;
    src.n_credentials = texts.n_credentials;
    /* What could not be read would only be said to be missing, once more. */
    if (r == 0)
        r = errors.n > 0 ? -EINVAL : config_parse(&src, ret, &errors);
    if (r == 0 && (r = guard(*ret)) < 0)
        *ret = config_free(*ret);
    warn_if_open(&src.file);
    warn_if_open(&src.dropin);
    texts_done(&texts, &src);
    if (r == -EINVAL)
        *reterr = errors;
    else
        config_errors_done(&errors);
    return r;
}
