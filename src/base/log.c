/* Makes a log record of an event and of what is known about its job: for the journal, as logfmt
 * for a terminal, or as JSON. Records are built on the stack, so that a shortage of memory can be
 * logged. Writing them without waiting is log_out.c's; what may not be shown is left out by
 * redact.c. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_out.h"
#include "base/str.h"

static LogTarget log_target = LOG_TO_STDERR;
static int log_level = LOG_INFO;

/* systemd names in JOURNAL_STREAM the file that it gave us as stderr. A datagram to a journal
 * that does not run would get no answer, so this is asked instead of tried. */
static bool stderr_is_journal(void) {
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_open(LogTarget target, int level) {
    log_target = target != LOG_TO_AUTO ? target
                 : stderr_is_journal() ? LOG_TO_JOURNAL
                                       : LOG_TO_STDERR;
    log_level = level;
    log_out_open(log_target == LOG_TO_JOURNAL);
}

bool log_wanted(int level) {
    return level <= log_level;
}

/* `name` is short and for people; NULL: the field is for machines only. */
typedef struct Field {
    const char *journal, *name, *value;
} Field;

/* Bounded, and on the stack: what is said of a shortage of memory must need none. */
typedef struct Line {
    char text[8 * 1024];
    size_t size;
} Line;

/* Text that does not fit is cut: a record is one datagram, so its size is bounded. */
static void add(Line *line, const char *text) {
    size_t n = strlen(text), room = sizeof line->text - 1 - line->size; /* of the line feed */

    if (n > room)
        n = room;
    memcpy(line->text + line->size, text, n);
    line->size += n;
}

/* In quotes. Texts are clean: no control characters, and whole UTF-8. */
static void add_quoted(Line *line, const char *text) {
    add(line, "\"");
    for (; *text; text++) {
        const char one[] = { *text == '"' || *text == '\\' ? '\\' : *text, '\0' };

        add(line, one);
        if (*one == '\\')
            add(line, (const char[]){ *text, '\0' });
    }
    add(line, "\"");
}

static void put(Line *line) {
    line->text[line->size++] = '\n';
    log_out_put(line->text, line->size);
}

/* The journal's own protocol has one field a line. Values were cleaned and hold no line feed, so
 * the protocol's binary form for such values is not needed. sd_journal_send() is not used because
 * it may wait for the journal. */
static void to_journal(const Field *fields, size_t n) {
    Line line = { .size = 0 };

    add(&line, "SYSLOG_IDENTIFIER=");
    add(&line, program_invocation_short_name);
    for (size_t i = 0; i < n; i++) {
        add(&line, "\n");
        add(&line, fields[i].journal);
        add(&line, "=");
        add(&line, fields[i].value);
    }
    put(&line);
}

/* One line of logfmt: time, level, message, then the fields that someone at a terminal wants. */
static void to_stderr(const Field *fields, size_t n, int level) {
    static const char *const words[] = { "emerg",   "alert",  "crit", "err",
                                         "warning", "notice", "info", "debug" };
    Line line = { .size = 0 };
    struct timespec now;
    struct tm tm;
    char when[40], part[80];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    (void) snprintf(part, sizeof part, "time=%s.%03ldZ level=%s msg=", when, now.tv_nsec / 1000000,
                    words[level]);
    add(&line, part);
    add_quoted(&line, fields[0].value);
    for (size_t i = 1; i < n; i++)
        if (fields[i].name) {
            add(&line, " ");
            add(&line, fields[i].name);
            add(&line, "=");
            add(&line, fields[i].value);
        }
    put(&line);
}

/* All fields, by the names that the journal has them under: a collector may read both. */
static void to_json(const Field *fields, size_t n) {
    Line line = { .size = 0 };
    struct timespec now;
    char part[80];

    clock_gettime(CLOCK_REALTIME, &now);
    (void) snprintf(part, sizeof part, "{\"time\":%lld.%06ld", (long long) now.tv_sec,
                    now.tv_nsec / 1000);
    add(&line, part);
    for (size_t i = 0; i < n; i++) {
        add(&line, ",\"");
        add(&line, fields[i].journal);
        add(&line, "\":");
        add_quoted(&line, fields[i].value);
    }
    add(&line, "}");
    put(&line);
}

/* Lines are lost while nobody reads the log. The loss is reported before anything else, at the
 * place where the lines are missing. */
static void say_lost(void) {
    unsigned long long n = log_out_take_lost();

    if (n > 0)
        log_line(LOG_WARNING, LOG_LOST,
                 "%llu log lines were lost since the line before: nobody read the log", n);
}

bool log_flush(void) {
    say_lost();
    return log_out_flush();
}

bool log_is_behind(void) {
    return log_out_is_behind();
}

unsigned long long log_lost(void) {
    return log_out_lost();
}

void log_close(void) {
    log_out_close();
}

/* The detail of a message is cleaned here in any case: a caller may forget it. */
void log_event(int level, const char *message_id, const LogContext *ctx, const char *file, int line,
               const char *func, const char *message, ...) {
    char raw[4096], text[1024], priority[12], attempt[12], where[12], clean[6][200];
    Field fields[16];
    size_t n = 0;
    va_list ap;

    if (!log_wanted(level))
        return;
    say_lost();
    va_start(ap, message);
    (void) vsnprintf(raw, sizeof raw, message, ap);
    va_end(ap);
    str_clean(text, sizeof text, raw);
    (void) snprintf(priority, sizeof priority, "%d", level);
    (void) snprintf(where, sizeof where, "%d", line);

    fields[n++] = (Field){ "MESSAGE", NULL, text };
    fields[n++] = (Field){ "PRIORITY", NULL, priority };
    fields[n++] = (Field){ "MESSAGE_ID", NULL, message_id };
    fields[n++] = (Field){ "CODE_FILE", NULL, file };
    fields[n++] = (Field){ "CODE_LINE", NULL, where };
    fields[n++] = (Field){ "CODE_FUNC", NULL, func };
    if (ctx) {
        const Field more[] = {
            { "MESHIFY_JOB_ID", "job", ctx->job_id },
            { "MESHIFY_ASSET_ID", NULL, ctx->asset_id },
            { "MESHIFY_USER_ID", NULL, ctx->user_id },
            { "MESHIFY_PREDICTION_ID", "prediction", ctx->prediction_id },
            { "MESHIFY_STATE", "state", ctx->state },
            { "MESHIFY_FAULT", "fault", ctx->fault },
        };

        for (size_t i = 0; i < sizeof more / sizeof *more; i++)
            if (more[i].value && *more[i].value)
                fields[n++] = (Field){ more[i].journal, more[i].name,
                                       str_clean(clean[i], sizeof clean[i], more[i].value) };
        (void) snprintf(attempt, sizeof attempt, "%u", ctx->attempt);
        fields[n++] = (Field){ "MESHIFY_ATTEMPT", "attempt", attempt };
    }
    if (log_target == LOG_TO_JOURNAL)
        to_journal(fields, n);
    else if (log_target == LOG_TO_JSON)
        to_json(fields, n);
    else
        to_stderr(fields, n, level);
}
