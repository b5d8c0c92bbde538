/* The JSON chunk of a GLB, read as it comes: what leads from place to place, and which numbers of each item are
 * kept, is a table. Memory stays bounded, since the chunk is not kept. json_scan.c reads JSON as such; glb_items.c
 * checks what was collected here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/glb_items.h"
#include "core/glb_json.h"
#include "core/json_scan.h"

/* Where in the document we are; what lies elsewhere is skipped. */
typedef enum Place {
    IN_SKIPPED,
    IN_TOP, /* around the root */
    IN_ROOT,
    IN_ASSET,
    IN_BUFFERS,
    IN_BUFFER,
    IN_BUFFER_EXTENSIONS,
    IN_VIEWS,
    IN_VIEW,
    IN_ACCESSORS,
    IN_ACCESSOR,
    IN_SPARSE,
    IN_SPARSE_INDICES,
    IN_SPARSE_VALUES,
    IN_MESHES,
    IN_MESH,
    IN_PRIMITIVES,
    IN_PRIMITIVE,
    IN_ATTRIBUTES,
    IN_TARGETS,
    IN_TARGET,
    IN_IMAGES,
    IN_IMAGE,
    _PLACE_MAX,
} Place;

/* A member that we read; its value is -1 where it is missing. */
typedef enum Field {
    NO_FIELD,
    ASSET_VERSION, /* the major number */
    BUFFER_LENGTH,
    BUFFER_URI,   /* 1: data:, 0: another */
    BUFFER_EMPTY, /* stands for what an extension unpacks */
    VIEW_BUFFER,
    VIEW_OFFSET,
    VIEW_LENGTH,
    VIEW_STRIDE,
    ACCESSOR_VIEW,
    ACCESSOR_OFFSET,
    ACCESSOR_COUNT,
    ACCESSOR_COMPONENT,
    ACCESSOR_TYPE, /* index in types[] */
    SPARSE_COUNT,
    INDICES_VIEW,
    INDICES_OFFSET,
    INDICES_COMPONENT,
    VALUES_VIEW,
    VALUES_OFFSET,
    PRIMITIVE_MODE,
    PRIMITIVE_INDICES,
    PRIMITIVE_POSITION,
    ATTRIBUTE,  /* the largest of all primitives */
    IMAGE_VIEW, /* the largest of all images */
    _FIELD_MAX,
} Field;

typedef struct Rule {
    Place in;
    const char *key;     /* NULL: any element or member */
    JsonScanToken token; /* what it must be */
    Place to;            /* of an object or array */
    Field field;         /* of a string or number */
} Rule;

/* clang-format off */
static const Rule rules[] = {
    { IN_TOP,               NULL,            JSON_SCAN_OBJECT, IN_ROOT,              NO_FIELD },
    { IN_ROOT,              "asset",         JSON_SCAN_OBJECT, IN_ASSET,             NO_FIELD },
    { IN_ROOT,              "buffers",       JSON_SCAN_ARRAY,  IN_BUFFERS,           NO_FIELD },
    { IN_ROOT,              "bufferViews",   JSON_SCAN_ARRAY,  IN_VIEWS,             NO_FIELD },
    { IN_ROOT,              "accessors",     JSON_SCAN_ARRAY,  IN_ACCESSORS,         NO_FIELD },
    { IN_ROOT,              "meshes",        JSON_SCAN_ARRAY,  IN_MESHES,            NO_FIELD },
    { IN_ASSET,             "version",       JSON_SCAN_STRING, IN_SKIPPED,           ASSET_VERSION },
    { IN_BUFFERS,           NULL,            JSON_SCAN_OBJECT, IN_BUFFER,            NO_FIELD },
    { IN_BUFFER,            "byteLength",    JSON_SCAN_NUMBER, IN_SKIPPED,           BUFFER_LENGTH },
    { IN_BUFFER,            "uri",           JSON_SCAN_STRING, IN_SKIPPED,           BUFFER_URI },
    { IN_BUFFER,            "extensions",    JSON_SCAN_OBJECT, IN_BUFFER_EXTENSIONS, NO_FIELD },
    { IN_BUFFER_EXTENSIONS, "EXT_meshopt_compression", JSON_SCAN_OBJECT, IN_SKIPPED, BUFFER_EMPTY },
    { IN_BUFFER_EXTENSIONS, "KHR_meshopt_compression", JSON_SCAN_OBJECT, IN_SKIPPED, BUFFER_EMPTY },
    { IN_VIEWS,             NULL,            JSON_SCAN_OBJECT, IN_VIEW,              NO_FIELD },
    { IN_VIEW,              "buffer",        JSON_SCAN_NUMBER, IN_SKIPPED,           VIEW_BUFFER },
    { IN_VIEW,              "byteOffset",    JSON_SCAN_NUMBER, IN_SKIPPED,           VIEW_OFFSET },
    { IN_VIEW,              "byteLength",    JSON_SCAN_NUMBER, IN_SKIPPED,           VIEW_LENGTH },
    { IN_VIEW,              "byteStride",    JSON_SCAN_NUMBER, IN_SKIPPED,           VIEW_STRIDE },
    { IN_ACCESSORS,         NULL,            JSON_SCAN_OBJECT, IN_ACCESSOR,          NO_FIELD },
    { IN_ACCESSOR,          "bufferView",    JSON_SCAN_NUMBER, IN_SKIPPED,           ACCESSOR_VIEW },
    { IN_ACCESSOR,          "byteOffset",    JSON_SCAN_NUMBER, IN_SKIPPED,           ACCESSOR_OFFSET },
    { IN_ACCESSOR,          "count",         JSON_SCAN_NUMBER, IN_SKIPPED,           ACCESSOR_COUNT },
    { IN_ACCESSOR,          "componentType", JSON_SCAN_NUMBER, IN_SKIPPED,           ACCESSOR_COMPONENT },
    { IN_ACCESSOR,          "type",          JSON_SCAN_STRING, IN_SKIPPED,           ACCESSOR_TYPE },
    { IN_ACCESSOR,          "sparse",        JSON_SCAN_OBJECT, IN_SPARSE,            NO_FIELD },
    { IN_SPARSE,            "count",         JSON_SCAN_NUMBER, IN_SKIPPED,           SPARSE_COUNT },
    { IN_SPARSE,            "indices",       JSON_SCAN_OBJECT, IN_SPARSE_INDICES,    NO_FIELD },
    { IN_SPARSE,            "values",        JSON_SCAN_OBJECT, IN_SPARSE_VALUES,     NO_FIELD },
    { IN_SPARSE_INDICES,    "bufferView",    JSON_SCAN_NUMBER, IN_SKIPPED,           INDICES_VIEW },
    { IN_SPARSE_INDICES,    "byteOffset",    JSON_SCAN_NUMBER, IN_SKIPPED,           INDICES_OFFSET },
    { IN_SPARSE_INDICES,    "componentType", JSON_SCAN_NUMBER, IN_SKIPPED,           INDICES_COMPONENT },
    { IN_SPARSE_VALUES,     "bufferView",    JSON_SCAN_NUMBER, IN_SKIPPED,           VALUES_VIEW },
    { IN_SPARSE_VALUES,     "byteOffset",    JSON_SCAN_NUMBER, IN_SKIPPED,           VALUES_OFFSET },
    { IN_MESHES,            NULL,            JSON_SCAN_OBJECT, IN_MESH,              NO_FIELD },
    { IN_MESH,              "primitives",    JSON_SCAN_ARRAY,  IN_PRIMITIVES,        NO_FIELD },
    { IN_PRIMITIVES,        NULL,            JSON_SCAN_OBJECT, IN_PRIMITIVE,         NO_FIELD },
    { IN_PRIMITIVE,         "mode",          JSON_SCAN_NUMBER, IN_SKIPPED,           PRIMITIVE_MODE },
    { IN_PRIMITIVE,         "indices",       JSON_SCAN_NUMBER, IN_SKIPPED,           PRIMITIVE_INDICES },
    { IN_PRIMITIVE,         "attributes",    JSON_SCAN_OBJECT, IN_ATTRIBUTES,        NO_FIELD },
    { IN_ATTRIBUTES,        "POSITION",      JSON_SCAN_NUMBER, IN_SKIPPED,           PRIMITIVE_POSITION },
    { IN_ATTRIBUTES,        NULL,            JSON_SCAN_NUMBER, IN_SKIPPED,           ATTRIBUTE },
    { IN_PRIMITIVE,         "targets",       JSON_SCAN_ARRAY,  IN_TARGETS,           NO_FIELD },
    { IN_TARGETS,           NULL,            JSON_SCAN_OBJECT, IN_TARGET,            NO_FIELD },
    { IN_TARGET,            NULL,            JSON_SCAN_NUMBER, IN_SKIPPED,           ATTRIBUTE },
    { IN_ROOT,              "images",        JSON_SCAN_ARRAY,  IN_IMAGES,            NO_FIELD },
    { IN_IMAGES,            NULL,            JSON_SCAN_OBJECT, IN_IMAGE,             NO_FIELD },
    { IN_IMAGE,             "bufferView",    JSON_SCAN_NUMBER, IN_SKIPPED,           IMAGE_VIEW },
};
/* clang-format on */

struct GlbJson {
    JsonScan scan;
    Place places[JSON_SCAN_DEPTH_MAX + 2]; /* one a level */
    unsigned depth;
    const Rule *rule; /* what the last key leads to; NULL: nothing of ours */
    uint32_t seen;    /* bit per place: arrays of the root that were there */
    int64_t fields[_FIELD_MAX];
    GlbItems items;
    GlbInfo info;
};

GlbJson *glb_json_free(GlbJson *j) {
    if (j) {
        glb_items_done(&j->items);
        free(j);
    }
    return NULL;
}

const char *glb_json_error(const GlbJson *j) {
    return j->items.error;
}

const GlbInfo *glb_json_info(const GlbJson *j) {
    return &j->info;
}

/* --- reading --------------------------------------------------------------------------------- */

/* A missing offset is 0 by glTF's definition. */
static uint64_t or_zero(int64_t value) {
    return value < 0 ? 0 : (uint64_t) value;
}

/* Only the first buffer may lie in the file's BIN chunk; a mesh whose data lies in another file
 * would come without it. */
static int end_buffer(GlbJson *j) {
    const int64_t *f = j->fields;
    GlbBuffer b = { .size = or_zero(f[BUFFER_LENGTH]), .own = f[BUFFER_URI] < 0 };

    if (f[BUFFER_LENGTH] < 1)
        return glb_items_fail(&j->items, "buffer %zu has no length", j->items.buffers.n);
    if (f[BUFFER_URI] == 0)
        return glb_items_fail(&j->items, "buffer %zu lies in another file", j->items.buffers.n);
    if (b.own && j->items.buffers.n > 0) {
        if (f[BUFFER_EMPTY] < 0)
            return glb_items_fail(&j->items, "buffer %zu has no data", j->items.buffers.n);
        b.own = false;
    }
    return glb_items_add(&j->items, &j->items.buffers, &b, sizeof b);
}

/* 252 is glTF's own limit. */
static int end_view(GlbJson *j) {
    const int64_t *f = j->fields;
    GlbView v = { .offset = or_zero(f[VIEW_OFFSET]),
                  .size = or_zero(f[VIEW_LENGTH]),
                  .stride = or_zero(f[VIEW_STRIDE]),
                  .buffer = or_zero(f[VIEW_BUFFER]) };

    if (f[VIEW_BUFFER] < 0 || f[VIEW_LENGTH] < 1)
        return glb_items_fail(&j->items, "buffer view %zu has no buffer or no length",
                              j->items.views.n);
    if (v.stride > 252)
        return glb_items_fail(&j->items, "buffer view %zu has a stride above 252",
                              j->items.views.n);
    return glb_items_add(&j->items, &j->items.views, &v, sizeof v);
}

/* A sparse accessor replaces some elements of another; its indices may not be floats, nor
 * signed. */
static int end_accessor(GlbJson *j) {
    const int64_t *f = j->fields;
    GlbAccessor a = { .view = f[ACCESSOR_VIEW],
                      .offset = or_zero(f[ACCESSOR_OFFSET]),
                      .count = or_zero(f[ACCESSOR_COUNT]),
                      .component = (uint16_t) f[ACCESSOR_COMPONENT],
                      .type = (uint8_t) f[ACCESSOR_TYPE],
                      .sparse = f[SPARSE_COUNT] >= 0,
                      .sparse_count = or_zero(f[SPARSE_COUNT]),
                      .indices_offset = or_zero(f[INDICES_OFFSET]),
                      .values_offset = or_zero(f[VALUES_OFFSET]),
                      .indices_view = (uint32_t) f[INDICES_VIEW],
                      .values_view = (uint32_t) f[VALUES_VIEW],
                      .indices_component = (uint16_t) f[INDICES_COMPONENT] };

    if (f[ACCESSOR_COUNT] < 1 || f[ACCESSOR_COUNT] > UINT32_MAX)
        return glb_items_fail(&j->items, "accessor %zu has no count, or one that can't be",
                              j->items.accessors.n);
    if (glb_component_size(f[ACCESSOR_COMPONENT]) == 0 || f[ACCESSOR_TYPE] < 0)
        return glb_items_fail(&j->items, "accessor %zu has no type, or an unknown one",
                              j->items.accessors.n);
    if (a.sparse &&
        (a.sparse_count < 1 || a.sparse_count > a.count || f[INDICES_VIEW] < 0 ||
         f[INDICES_VIEW] > UINT32_MAX || f[VALUES_VIEW] < 0 || f[VALUES_VIEW] > UINT32_MAX ||
         (f[INDICES_COMPONENT] != 5121 && f[INDICES_COMPONENT] != 5123 &&
          f[INDICES_COMPONENT] != 5125)))
        return glb_items_fail(&j->items, "accessor %zu is sparse and does not say how",
                              j->items.accessors.n);
    return glb_items_add(&j->items, &j->items.accessors, &a, sizeof a);
}

/* 4 (triangles) is the mode by default, 6 (a fan) the last one. */
static int end_primitive(GlbJson *j) {
    const int64_t *f = j->fields;
    GlbPrimitive p = { .mode = f[PRIMITIVE_MODE] < 0 ? 4 : (uint32_t) f[PRIMITIVE_MODE],
                       .indices = f[PRIMITIVE_INDICES],
                       .position = f[PRIMITIVE_POSITION] };

    if (f[PRIMITIVE_MODE] > 6)
        return glb_items_fail(&j->items, "primitive %zu has an unknown mode",
                              j->items.primitives.n);
    return glb_items_add(&j->items, &j->items.primitives, &p, sizeof p);
}

/* Which fields belong to an item, and what becomes of them at its end. */
static const struct {
    Field first, last;
    int (*end)(GlbJson *j);
} ends[_PLACE_MAX] = {
    [IN_BUFFER] = { BUFFER_LENGTH, BUFFER_EMPTY, end_buffer },
    [IN_VIEW] = { VIEW_BUFFER, VIEW_STRIDE, end_view },
    [IN_ACCESSOR] = { ACCESSOR_VIEW, VALUES_OFFSET, end_accessor },
    [IN_PRIMITIVE] = { PRIMITIVE_MODE, PRIMITIVE_POSITION, end_primitive },
};

static int open_place(GlbJson *j, Place place) {
    if (place == IN_MESH)
        j->info.meshes++;
    /* Readers differ in which of two equal names they take, so the check would be of the other. */
    if (j->places[j->depth] == IN_ROOT && place != IN_SKIPPED) {
        if (j->seen & UINT32_C(1) << place)
            return glb_items_fail(&j->items, "a member of the root is there twice");
        j->seen |= UINT32_C(1) << place;
    }
    j->places[++j->depth] = place;
    if (ends[place].end)
        for (Field f = ends[place].first; f <= ends[place].last; f++)
            j->fields[f] = -1;
    return 0;
}

/* Of strings it is enough to know which of a few they are. */
static int set_string(GlbJson *j, Field field, const char *text) {
    switch (field) {
    case ASSET_VERSION:
        j->fields[field] = strncmp(text, "2.", 2) == 0 ? 2 : 0;
        return 0;
    case BUFFER_URI:
        j->fields[field] = strncmp(text, "data:", 5) == 0;
        return 0;
    default: /* ACCESSOR_TYPE */
        j->fields[field] = glb_type_find(text);
        return 0;
    }
}

/* There may be any number of attributes and images; only the largest index has to lie within its
 * list. */
static bool is_largest(Field field) {
    return field == ATTRIBUTE || field == IMAGE_VIEW;
}

/* All numbers that we read are counts or indices. They may be written as 1.0 or 1e3, as some
 * exporters do; beyond 2^53 they are not whole any more. */
static int set_number(GlbJson *j, Field field, const char *text) {
    double value = strtod(text, NULL);

    if (!(value >= 0 && value <= 9007199254740992.0) || value != (double) (int64_t) value)
        return glb_items_fail(&j->items, "a count, an offset or an index is no whole number");
    if (!is_largest(field) || (int64_t) value > j->fields[field])
        j->fields[field] = (int64_t) value;
    return 0;
}

/* The table is short, and what is skipped is not looked up. */
static const Rule *find_rule(Place in, const char *key) {
    if (in != IN_SKIPPED)
        for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
            if (rules[i].in == in && (!rules[i].key || (key && strcmp(rules[i].key, key) == 0)))
                return &rules[i];
    return NULL;
}

/* In an array no key comes before a value, so its rule is found by the place. */
static bool is_array(Place place) {
    return place == IN_TOP || place == IN_BUFFERS || place == IN_VIEWS || place == IN_ACCESSORS ||
           place == IN_MESHES || place == IN_PRIMITIVES || place == IN_TARGETS ||
           place == IN_IMAGES;
}

/* A token of the document, from json_scan.c. What has no rule is read over, whatever it is:
 * extensions add members anywhere. */
static int told(void *userdata, JsonScanToken token, const char *text) {
    GlbJson *j = userdata;
    Place place = j->places[j->depth];
    const Rule *rule = is_array(place) ? find_rule(place, NULL) : j->rule;

    /* A rule holds for the value that follows its key, and for no other. */
    j->rule = NULL;
    if (token == JSON_SCAN_KEY) {
        j->rule = find_rule(place, text);
        return 0;
    }
    if (token == JSON_SCAN_END) {
        j->depth--;
        return ends[place].end ? ends[place].end(j) : 0;
    }
    if (rule && rule->token != token)
        return glb_items_fail(&j->items, "%s is of the wrong type",
                              rule->key ? rule->key : "an element");
    if (rule && rule->field == BUFFER_EMPTY)
        j->fields[BUFFER_EMPTY] = 1;
    /* A skipped object is opened as well, so that its end is told apart from that of what is
     * around it. */
    if (token == JSON_SCAN_OBJECT || token == JSON_SCAN_ARRAY)
        return open_place(j, rule ? rule->to : IN_SKIPPED);
    if (!rule)
        return 0;
    return token == JSON_SCAN_STRING ? set_string(j, rule->field, text)
                                     : set_number(j, rule->field, text);
}

GlbJson *glb_json_new(void) {
    GlbJson *j = calloc(1, sizeof *j);

    if (!j)
        return NULL;
    json_scan_init(&j->scan, told, j);
    j->places[0] = IN_TOP;
    /* Fields that belong to the whole document; those of an item are reset at its beginning. */
    j->fields[ASSET_VERSION] = j->fields[ATTRIBUTE] = j->fields[IMAGE_VIEW] = -1;
    return j;
}

/* The reader's own error has no text; ours has one already where a rule was broken. */
static int scanned(GlbJson *j, int r) {
    return r == -EBADMSG && !j->items.error[0]
               ? glb_items_fail(&j->items, "the JSON chunk is not JSON")
               : r;
}

int glb_json_feed(GlbJson *j, const void *bytes, size_t size) {
    return scanned(j, json_scan_feed(&j->scan, bytes, size));
}

int glb_json_end(GlbJson *j) {
    return scanned(j, json_scan_end(&j->scan));
}

int glb_json_check(GlbJson *j, bool has_bin, uint64_t bin_bytes) {
    if (j->fields[ASSET_VERSION] != 2)
        return glb_items_fail(&j->items, "asset.version is not 2");
    j->items.attribute_max = j->fields[ATTRIBUTE];
    j->items.image_max = j->fields[IMAGE_VIEW];
    return glb_items_check(&j->items, has_bin, bin_bytes, &j->info.triangles);
}
