/* A value that must not be seen: no function here or elsewhere prints one. */
#pragma once
#include <stdlib.h>
#include <string.h>

typedef struct Secret {
    char *text; /* NULL: unset. Read it only where it leaves for the one who may know it. */
} Secret;

static inline void secret_done(Secret *s) {
    if (s->text) {
        explicit_bzero(s->text, strlen(s->text));
        free(s->text);
        s->text = NULL;
    }
}
