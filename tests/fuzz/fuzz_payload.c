/* Any text as a notification: the channel up to the first line's end, then the payload. What is read
 * from it is what it says, and no more than an id. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "flow/notify.h"
#include "flow/replicate.h"

#define PAYLOAD_MAX 1000 /* bytes of a payload that is looked at; ours are shorter than 100 */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Is the payload an object whose member `name` is `id`? */
static bool says(const json_t *root, const char *name, const char *id) {
    const char *text = json_text(root, name);

    return text && strcmp(text, id) == 0;
}

static void check(const char *channel, const char *payload) {
    Notify n = notify_read(channel, payload);
    size_t length = strnlen(n.id, sizeof n.id), size = strlen(payload);
    json_t *root = json_parse(payload, size);

    if (length == sizeof n.id)
        abort();
    if (strcmp(channel, "meshify_jobs") == 0) {
        if (n.kind != NOTIFY_WORK || length > 0)
            abort();
    } else if (strcmp(channel, "meshify_control") != 0 || size >= PAYLOAD_MAX) {
        if (n.kind != NOTIFY_OTHER || length > 0)
            abort();
    } else
        switch (n.kind) {
        case NOTIFY_CANCEL:
            if (!str_is_uuid(n.id) || !says(root, "cancel", n.id))
                abort();
            break;
        case NOTIFY_PREDICTION:
            if (!replicate_is_id(n.id) || !says(root, "prediction", n.id))
                abort();
            break;
        case NOTIFY_PING:
            if (!str_is_uuid(n.id) || !says(root, "ping", n.id))
                abort();
            break;
        case NOTIFY_OTHER:
            /* Nothing that we would have understood is overheard. */
            if (length > 0 || str_is_uuid(json_text(root, "cancel")) ||
                replicate_is_id(json_text(root, "prediction")) ||
                str_is_uuid(json_text(root, "ping")))
                abort();
            break;
        default:
            abort();
        }
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    const uint8_t *end = size > 0 ? memchr(bytes, '\n', size) : NULL;
    size_t first = end ? (size_t) (end - bytes) : size;
    char *channel = strndup((const char *) bytes, first);
    char *payload = strndup(end ? (const char *) end + 1 : "", end ? size - first - 1 : 0);

    if (!channel || !payload)
        abort();
    check(channel, payload);
    free(channel);
    free(payload);
    return 0;
}
