/* What the programs print on a terminal or into a pipe. All of it leaves through here (a lint holds that up), so
 * no text from outside gives orders to a terminal, whoever wrote it: str_clean() for lines, escapes for JSON. */
#pragma once
#include <jansson.h>
#include <stdio.h>

/* One line, which ends here: what comes in by the arguments can't begin another. Cut at STR_CLEAN_MAX bytes. */
void say(FILE *to, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A piece of a line. */
void say_part(FILE *to, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The end of a line of pieces. */
void say_end(FILE *to);

/* A piece of a line, cut or filled with blanks to `width` characters; 0: as it is, up to 500 bytes. NULL reads
 * as "". */
void say_cell(FILE *to, const char *text, int width);

/* Each line of a text that we wrote ourselves, behind `prefix`. */
void say_lines(FILE *to, const char *prefix, const char *text);

/* On stdout, with the same meaning: but secrets and the queries of URLs are left out of the texts. */
void say_json(const json_t *value);
