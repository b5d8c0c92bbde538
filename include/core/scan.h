/* JSON in slices and in fixed memory: each token is told as it is read. Strict (RFC 8259, UTF-8), at
 * most SCAN_DEPTH_MAX deep. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCAN_DEPTH_MAX 64

typedef enum ScanToken {
    SCAN_OBJECT, /* it begins */
    SCAN_ARRAY,  /* it begins */
    SCAN_END,    /* of the innermost object or array */
    SCAN_KEY,    /* text: its name */
    SCAN_STRING, /* text: the string */
    SCAN_NUMBER, /* text: as it is written */
    SCAN_WORD,   /* text: true, false or null */
} ScanToken;

/* `text` is terminated and cut at 63 bytes; an escaped character beyond ASCII is a '?' in it. A
 * negative answer ends the scan. */
typedef int (*ScanTold)(void *userdata, ScanToken token, const char *text);

typedef struct Scan {
    ScanTold told;
    void *userdata;
    int state;
    uint64_t objects; /* bit per level: it is an object */
    unsigned depth;
    bool is_key, cut;
    char text[64];
    unsigned size;
    unsigned hex, hex_left;        /* of \uXXXX */
    unsigned utf8_left, low, high; /* bytes that a character still needs, bounds of the next */
} Scan;

void scan_init(Scan *s, ScanTold told, void *userdata);

/* 0, -EBADMSG (it is not JSON), or what `told` answered. */
int scan_feed(Scan *s, const void *bytes, size_t size);

/* There is no more. 0, -EBADMSG, or what `told` answered. */
int scan_end(Scan *s);
