/* Any text as one from outside: what comes of it fits its room, and holds no secret of ours. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/redact.h"

#define SECRET "r8_0123456789abcdefghij"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char *text = strndup((const char *) bytes, size), to[1000];

    if (!text || redact_add(SECRET) < 0)
        abort();
    for (size_t room = 1; room <= sizeof to; room += 37) {
        memset(to, 'X', sizeof to);
        redact_text(to, room, text);
        if (memchr(to, '\0', room) == NULL || redact_finds(to, SECRET))
            abort();
        for (size_t i = room; i < sizeof to; i++)
            if (to[i] != 'X')
                abort();
    }
    free(text);
    return 0;
}
