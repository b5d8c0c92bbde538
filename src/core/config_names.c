/* Errors about unknown keys, and how much of such a key may be shown: half of a token that was broken over two
 * lines looks like a key, so most names are not repeated. Also finds the known name that was
 * perhaps meant. */
#include <ctype.h>
#include <string.h>

#include "core/config_names.h"

#define NEAR 2 /* letters to change, to add or to take away */
#define NEAR_MAX 40

const char *config_name_shown(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz_.");

    return n > 0 && n < 32 && name[n] == '\0' ? name : "this key";
}

static unsigned least(unsigned a, unsigned b, unsigned c) {
    a = a < b ? a : b;
    return a < c ? a : c;
}

/* Levenshtein's distance, one row of the table at a time: it has at most 41 columns. */
static unsigned distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    unsigned row[NEAR_MAX + 1];

    for (size_t k = 0; k <= m; k++)
        row[k] = (unsigned) k;
    for (size_t i = 1; i <= n; i++) {
        unsigned before = row[0];

        row[0] = (unsigned) i;
        for (size_t k = 1; k <= m; k++) {
            unsigned kept = row[k];
            bool same = tolower((unsigned char) a[i - 1]) == tolower((unsigned char) b[k - 1]);

            row[k] = least(row[k] + 1, row[k - 1] + 1, before + !same);
            before = kept;
        }
    }
    return row[m];
}

bool config_name_is_near(const char *name, const char *known) {
    size_t size = strlen(known);

    /* Of a short word two letters are most of it. */
    return strlen(name) <= NEAR_MAX && size <= NEAR_MAX &&
           distance(name, known) <= (size > 3 ? NEAR : 1);
}
