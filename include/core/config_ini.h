/* inih, made safe: it cuts a line that is too long and reads the rest as a line of its own, cuts long
 * names, drops what follows a section's bracket, reports only the first line that it can't read, and
 * joins an indented line to whatever stood before it. Pure. */
#pragma once
#include <stdbool.h>

#include "core/config.h"

#define CONFIG_LINE_MAX 16384 /* bytes of one line */

/* Callbacks, in the order of the text. Each returns 0 or a negative errno, which ends it all. */
typedef struct ConfigIni {
    /* A section begins; `ret_wanted` false: its lines are skipped unread. */
    int (*section)(void *userdata, unsigned line, const char *header, bool *ret_wanted);
    /* `cut`: a comment behind the value was taken off. */
    int (*key)(void *userdata, unsigned line, const char *name, const char *value, bool cut);
    /* An indented line: it goes on with the value of the key before it. */
    int (*more)(void *userdata, unsigned line, const char *value, bool cut);
    /* A line that can't be read. */
    int (*bad)(void *userdata, unsigned line, const char *why);
} ConfigIni;

int config_ini_read(const ConfigText *text, const ConfigIni *to, void *userdata);
