#include "base/json.h"

json_t *json_parse(const char *bytes, size_t size) {
    return bytes ? json_loadb(bytes, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
}

const char *json_text(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

double json_number(const json_t *object, const char *name, double otherwise) {
    json_t *value = json_object_get(object, name);

    return json_is_number(value) ? json_number_value(value) : otherwise;
}

char *json_write(const json_t *value) {
    return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
}
