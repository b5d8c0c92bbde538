/* A large JSON text read as it comes, in bounded memory: of an object, and of the records in one of its
 * arrays, only the members that are wanted are kept, each up to a size of its own. Pure. */
#pragma once
#include <jansson.h>

#include "core/json_scan.h"

typedef struct SiftMember {
    const char *name;
    size_t
        max;   /* bytes in memory, about; what needs more is left out, and its name is in `large` */
    bool tail; /* where it is a string, its last `max` bytes are kept instead */
} SiftMember;

#define SIFT_MEMBERS 16 /* of the object, and of a record */

typedef struct SiftPlan { /* static */
    SiftMember members[SIFT_MEMBERS];
    const char *list; /* the array of records; NULL: none */
    SiftMember record[SIFT_MEMBERS];
} SiftPlan;

/* A record is whole. `large`: bit per member of the plan that was too large. Borrowed. A negative answer
 * ends the reading. */
typedef int (*SiftTold)(void *userdata, const json_t *record, unsigned large);

typedef struct Sift {
    const SiftPlan *plan;
    SiftTold told;
    void *userdata;
    JsonScan scan;
    json_t *root;   /* the members of the object that are wanted; NULL: it is no object */
    json_t *record; /* the same of the record that is being read */
    unsigned root_large, record_large;
    bool is_listed;  /* the list was there, and is an array */
    bool next_lists; /* the value that comes is the list's */
    bool in_list;
    const SiftMember *member; /* being read; NULL: what comes is not wanted */
    size_t left;              /* bytes that it may still take */
    json_t **stack;           /* its objects and arrays that are open, borrowed */
    size_t depth, room;
    char
        *key; /* of what comes, in the innermost object; NULL: it is an array, or nothing is open */
} Sift;

/* `told` may be NULL where the plan has no list. */
void sift_init(Sift *s, const SiftPlan *plan, SiftTold told, void *userdata);
void sift_done(Sift *s);

/* 0, -EBADMSG (it is not JSON), -ENOMEM, or what `told` answered. */
int sift_feed(Sift *s, const void *bytes, size_t size);

/* There is no more. The same. */
int sift_end(Sift *s);
