/* JSON in slices and in fixed memory: each token is told as it is read. Strict (RFC 8259, UTF-8), at
 * most JSON_SCAN_DEPTH_MAX deep. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define JSON_SCAN_DEPTH_MAX 64    /* unless the scan says otherwise */
#define JSON_SCAN_DEPTH_MOST 2048 /* as deep as jansson reads */

typedef enum JsonScanToken {
    JSON_SCAN_OBJECT, /* it begins */
    JSON_SCAN_ARRAY,  /* it begins */
    JSON_SCAN_END,    /* of the innermost object or array */
    JSON_SCAN_KEY,    /* text: its name */
    JSON_SCAN_STRING, /* text: the string */
    JSON_SCAN_NUMBER, /* text: as it is written */
    JSON_SCAN_WORD,   /* text: true, false or null */
} JsonScanToken;

/* `text` is terminated and cut at 63 bytes; an escaped character beyond ASCII is a '?' in it. A
 * negative answer ends the scan. */
typedef int (*JsonScanTold)(void *userdata, JsonScanToken token, const char *text);

/* A caller that needs more of a string asks for it, from within `told`, before the string begins. */
typedef struct JsonScanWhole {
    size_t max;  /* bytes that are kept; 0: none, `text` will do */
    bool tail;   /* the last of them are kept, not the first */
    bool cut;    /* there were more */
    StrBuf text; /* the string just told: UTF-8, half a character is U+FFFD, and NUL stays NUL */
} JsonScanWhole;

typedef struct JsonScan {
    JsonScanTold told;
    void *userdata;
    int state;
    unsigned depth, depth_max; /* up to JSON_SCAN_DEPTH_MOST */
    bool any_number;           /* numbers of more than 63 digits are told, cut, and not checked */
    bool is_key, cut;
    JsonScanWhole whole;
    char text[64];
    unsigned size;
    unsigned hex, hex_left; /* of \uXXXX */
    unsigned pair;          /* the first half of a character, whose second may come; 0: none */
    unsigned utf8_left, low, high; /* bytes that a character still needs, bounds of the next */
    uint64_t objects[JSON_SCAN_DEPTH_MOST / 64]; /* bit per level: it is an object */
} JsonScan;

void json_scan_init(JsonScan *s, JsonScanTold told, void *userdata);

/* Frees what `whole` holds. */
void json_scan_done(JsonScan *s);

/* 0, -EBADMSG (it is not JSON), -ENOMEM (for `whole`), or what `told` answered. */
int json_scan_feed(JsonScan *s, const void *bytes, size_t size);

/* There is no more. 0, -EBADMSG, or what `told` answered. */
int json_scan_end(JsonScan *s);
