/* Where log lines go. Nothing here waits: lines that are not taken at once are kept in a bounded queue, and
 * past it they are lost and counted. Used by the thread of the loop only. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define LOG_OUT_RECORD_MAX 16384u /* bytes of one line, or of one datagram for the journal */

/* To the journal's socket, else to stderr. Called once, before the first line. */
void log_out_open(bool journal);

/* Hands on a record: a line with its line feed, or the fields of a message for the journal. */
void log_out_put(const char *record, size_t size);

/* Tries again what is queued. True: nothing is left of it, and no loss is still to be reported. */
bool log_out_flush(void);

/* Lines are queued, or lost and not yet reported: log_flush() should be called soon. */
bool log_out_is_behind(void);

/* How many lines were lost since the last call, once all that was queued before them is out; else
 * 0. The caller reports it. */
unsigned long long log_out_take_lost(void);

/* Lines that were lost since the start. */
unsigned long long log_out_lost(void);

/* Waits for at most a fifth of a second for the reader of the queued lines. */
void log_out_close(void);

/* A short line to stderr, whatever the target and before there is one; nothing where it would have to
 * wait. Needs no memory: also for whoever ends the process because there is none. */
void log_out_stderr(const char *text);
