/* Journal, stderr (logfmt) or JSON; every kind of event has an id that the catalog explains. */
#pragma once
#include <stdbool.h>
#include <syslog.h>

#include "base/catalog.h"
#include "base/log_context.h"

typedef enum LogTarget {
    LOG_TO_AUTO,
    LOG_TO_JOURNAL,
    LOG_TO_STDERR,
    LOG_TO_JSON
} LogTarget;

/* AUTO: the journal when stderr is connected to it ($JOURNAL_STREAM), else stderr. */
void log_open(LogTarget target, int level);
bool log_wanted(int level);

/* A line that the reader does not take at once is queued; past a bound, lines are lost. */
bool log_is_behind(void);

/* Writes what is queued, as far as it is taken, and reports what was lost. True: nothing is left. */
bool log_flush(void);

/* How many lines were lost since the start. */
unsigned long long log_lost(void);

/* The last lines are given a moment to be read. */
void log_close(void);

void log_event(int level, const char *message_id, const LogContext *ctx, const char *file, int line,
               const char *func, const char *message, ...) __attribute__((format(printf, 7, 8)));

/* log_line(LOG_NOTICE, DB_UP, "…") and, about a job with a LogContext `log`, log_job(…). */
#define log_line(level, id, ...) \
    log_event(level, MSG_##id, NULL, __FILE__, __LINE__, __func__, __VA_ARGS__)
#define log_job(level, id, job, ...) \
    log_event(level, MSG_##id, &(job)->log, __FILE__, __LINE__, __func__, __VA_ARGS__)
