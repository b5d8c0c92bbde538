#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <wchar.h>

#include "base/cleanup.h"
#include "base/db_failure.h"
#include "base/json.h"
#include "base/redact.h"
#include "base/str.h"
#include "ctl/ctl.h"

/* What triggers of the project warn of; libpq's own would write it as it comes. */
static void on_notice(void *userdata, const PGresult *res) {
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);

    (void) userdata;
    if (!severity || strcmp(severity, "WARNING") != 0)
        return;
    fputs("meshifyctl: the database says: ", stderr);
    ctl_print(stderr, PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY), 0);
    fputc('\n', stderr);
}

static void say_away(const char *what, const PGconn *conn) {
    const char *message = conn ? PQerrorMessage(conn) : NULL;
    char text[500];

    fprintf(stderr, "meshifyctl: %s: %s\n%s\n", what,
            db_failure_text(message, conn ? PQhost(conn) : NULL, conn ? PQport(conn) : NULL, text,
                            sizeof text),
            db_failure_advice(db_failure_read(message)));
}

int ctl_connect(Ctl *c) {
    const char *keys[] = { "fallback_application_name", "connect_timeout", "dbname",
                           "client_encoding", NULL };
    const char *values[] = { "meshifyctl", "10",
                             c->config->database_url.text ? c->config->database_url.text : "",
                             "UTF8", /* whatever the URL, the environment or the role says */
                             NULL };
    int status = 0;

    c->session = (DbSession){ .statement_timeout = "5min", .lock_timeout = "10s" };
    c->conn = PQconnectdbParams(keys, values, 1);
    if (PQstatus(c->conn) == CONNECTION_OK) {
        (void) PQsetNoticeReceiver(c->conn, on_notice, c);
        PGresult *res = ctl_query(c, db_session_question, NULL, 0, &status);

        if (res)
            db_session_hear(&c->session, res);
        PQclear(res);
        return status;
    }
    say_away("the database can't be reached", c->conn);
    return EX_UNAVAILABLE;
}

static bool is_good(const PGresult *res) {
    return PQresultStatus(res) == PGRES_TUPLES_OK || PQresultStatus(res) == PGRES_COMMAND_OK;
}

/* In a transaction of its own, which sets what we need. The answer, or the error of what failed first. */
static PGresult *run(Ctl *c, const char *sql, const char *const *params, int n) {
    PGresult *res = db_session_begin(c->conn, &c->session), *end;

    if (!res)
        res = PQexecParams(c->conn, sql, n, NULL, params, NULL, NULL, 0);
    end = PQexec(c->conn, is_good(res) ? "COMMIT" : "ROLLBACK");
    if (is_good(res) && !is_good(end)) { /* nothing of it holds */
        PQclear(res);
        return end;
    }
    PQclear(end);
    return res;
}

PGresult *ctl_query(Ctl *c, const char *sql, const char *const *params, int n, int *ret_exit) {
    PGresult *res = run(c, sql, params, n);
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    if (is_good(res))
        return res;
    *ret_exit = CTL_REFUSED;
    if (PQstatus(c->conn) != CONNECTION_OK) {
        say_away("the connection was lost", c->conn);
        *ret_exit = EX_UNAVAILABLE;
    } else if (state &&
               (!strcmp(state, "3F000") || !strcmp(state, "42883") || !strcmp(state, "42P01")))
        fputs("meshifyctl: the database has no meshify schema, or an older one: run meshifyctl "
              "migrate\n",
              stderr);
    else if (state && !strcmp(state, "42501"))
        fprintf(stderr, "meshifyctl: %s\nThe login role needs: GRANT meshify_worker TO it\n",
                PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY));
    else {
        const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

        fputs("meshifyctl: ", stderr);
        ctl_print(stderr, message ? message : PQresultErrorMessage(res), 0);
        fputc('\n', stderr);
    }
    PQclear(res);
    return NULL;
}

char *ctl_value(Ctl *c, const char *sql, const char *const *params, int n, int *ret_exit) {
    PGresult *res = ctl_query(c, sql, params, n, ret_exit);
    char *text = NULL;

    if (!res)
        return NULL;
    *ret_exit = CTL_REFUSED;
    if (PQntuples(res) == 1 && !PQgetisnull(res, 0, 0))
        text = strdup(PQgetvalue(res, 0, 0));
    PQclear(res);
    return text;
}

void ctl_print(FILE *to, const char *text, int width) {
    char clean[512];
    int columns = 0;

    str_clean(clean, sizeof clean, text);
    for (const char *p = clean; *p; p++)
        columns += ((unsigned char) *p & 0xc0) != 0x80;
    if (width > 0 && columns > width) { /* cut on a character's border */
        char *p = clean;

        for (int n = 0; *p && n < width; p++)
            n += ((unsigned char) p[1] & 0xc0) != 0x80;
        *p = '\0';
        columns = width;
    }
    fputs(clean, to);
    for (; columns < width; columns++)
        fputc(' ', to);
}

const char *ctl_age(double seconds, char to[static 16]) {
    if (seconds < 0)
        seconds = 0;
    if (seconds < 120)
        (void) snprintf(to, 16, "%.0fs", seconds);
    else if (seconds < 7200)
        (void) snprintf(to, 16, "%.0fmin", seconds / 60);
    else if (seconds < 172800)
        (void) snprintf(to, 16, "%.0fh", seconds / 3600);
    else
        (void) snprintf(to, 16, "%.0fd", seconds / 86400);
    return to;
}

int ctl_usage(const char *what) {
    fprintf(stderr, "meshifyctl: %s. Try 'meshifyctl --help'.\n", what);
    return EX_USAGE;
}

int ctl_check_limit(const Ctl *c) {
    if (c->limit && (strspn(c->limit, "0123456789") != strlen(c->limit) || strlen(c->limit) > 5 ||
                     strtol(c->limit, NULL, 10) < 1 || strtol(c->limit, NULL, 10) > 10000))
        return ctl_usage("--limit is a number from 1 to 10000");
    return 0;
}

/* The same value, with its texts as they may be shown; NULL when there is no memory. */
static json_t *shown(const json_t *value) {
    json_t *copy = NULL, *item;
    const char *key;
    size_t i;

    if (json_is_string(value)) {
        size_t room = 3 * json_string_length(value) + 4; /* "…" is three bytes */
        _cleanup_free_ char *text = malloc(room);

        return text ? json_string(redact_text(text, room, json_string_value(value))) : NULL;
    }
    if (!json_is_object(value) && !json_is_array(value))
        return json_incref((json_t *) value);
    copy = json_is_object(value) ? json_object() : json_array();
    json_object_foreach ((json_t *) value, key, item)
        (void) json_object_set_new(copy, key, shown(item));
    json_array_foreach (value, i, item)
        (void) json_array_append_new(copy, shown(item));
    return copy;
}

void ctl_print_json(const json_t *value) {
    _cleanup_(json_unrefp) json_t *copy = shown(value);

    _cleanup_free_ char *text = json_dumps(copy, JSON_INDENT(2) | JSON_ENCODE_ANY);
    size_t left = text ? strlen(text) : 0;

    /* Line feeds here are the layout's; within strings they are escaped already. What else a terminal
     * obeys is written as JSON allows, with the same meaning. */
    for (const char *p = text; left > 0;) {
        unsigned code;
        size_t n = *p == '\n' ? 0 : str_obeyed(p, left, &code);

        if (n > 0)
            printf("\\u%04x", code);
        else
            fputc(*p, stdout);
        n += n == 0;
        p += n;
        left -= n;
    }
    fputc('\n', stdout);
}
