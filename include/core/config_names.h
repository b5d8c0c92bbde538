/* Keys that are not known: which of them may be repeated in an error, and what was perhaps meant. Pure. */
#pragma once
#include <stdbool.h>

/* Half of a token that was broken over two lines looks like a key; so only what reads like the name of a key
 * is repeated: `name`, else "this key". */
const char *config_name_shown(const char *name);

/* At most two letters apart, in whatever case. */
bool config_name_is_near(const char *name, const char *known);
