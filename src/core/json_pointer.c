/* JSON pointers (RFC 6901): where in a prediction's output the file's URL stands, as a step's `output` key says. */
#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/json_pointer.h"

bool json_pointer_is_valid(const char *text) {
    if (*text != '\0' && *text != '/')
        return false;
    for (const char *p = text; (p = strchr(p, '~')); p++)
        if (p[1] != '0' && p[1] != '1')
            return false;
    return true;
}

/* Compares a member's name with a pointer's token of `size` bytes, in which ~1 is / and ~0 is ~. */
static bool token_is(const char *name, const char *token, size_t size) {
    for (size_t i = 0; i < size; i++, name++) {
        char c = token[i];

        if (c == '~')
            c = token[++i] == '1' ? '/' : '~';
        if (*name != c)
            return false;
    }
    return *name == '\0';
}

/* An array's index: no sign, no leading zero, at most nine digits; SIZE_MAX: it is none. */
static size_t token_index(const char *token, size_t size) {
    size_t n = 0;

    if (size == 0 || size > 9 || (token[0] == '0' && size > 1))
        return SIZE_MAX;
    for (size_t i = 0; i < size; i++) {
        if (!isdigit((unsigned char) token[i]))
            return SIZE_MAX;
        n = n * 10 + (size_t) (token[i] - '0');
    }
    return n;
}

/* A name may come twice in an object; the first one counts, as it does for whoever else reads the
 * answer. */
json_t *json_pointer_get(const json_t *root, const char *pointer) {
    const json_t *at = root;

    if (!json_pointer_is_valid(pointer))
        return NULL;
    while (at && *pointer == '/') {
        const char *token = ++pointer, *name;
        size_t size = strcspn(token, "/");
        const json_t *found = NULL;
        json_t *member;

        pointer += size;
        if (json_is_array(at))
            found = json_array_get(at, token_index(token, size));
        else if (json_is_object(at))
            json_object_foreach ((json_t *) at, name, member)
                if (!found && token_is(name, token, size))
                    found = member;
        at = found;
    }
    return (json_t *) at;
}
