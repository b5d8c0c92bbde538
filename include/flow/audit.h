/* Purchases that were given up, or whose job has ended, and of which nobody knows whether they were
 * bought: held against the listing. Pure. */
#pragma once
#include <libpq-fe.h>

#include "base/fault.h"
#include "base/hash.h"
#include "base/message.h"
#include "core/config.h"

#define AUDIT_ROWS 200  /* of meshify.audit_lost(), at once */
#define AUDIT_PAGES 100 /* of the listing; what is older comes in the next audit or never */

typedef struct LostPurchase {
    int64_t id;
    char hash[HASH_HEX_SIZE];
    json_t *keys;
} LostPurchase;

typedef struct AuditList { /* zeroed: nothing to look for */
    LostPurchase *rows;
    size_t n;
    uint64_t age_usec; /* of the oldest */
    char *cursor;      /* of the page to ask for; NULL: the first */
    unsigned pages;    /* that were read */
} AuditList;

void audit_list_done(AuditList *list);

/* The rows of meshify.audit_lost(); one that could match nothing is left out. 0, -EBADMSG, -ENOMEM. */
int audit_read(const PGresult *res, AuditList *ret);

/* Asks for the next page; `now_epoch` in seconds since 1970. 0, -ENOMEM. */
int audit_ask(const Config *c, const AuditList *list, int64_t now_epoch, HttpRequest *ret);

/* 0, and the call that writes down what this page shows (sql NULL: it shows nothing of ours); then
 * list->cursor says whether another page follows. -EBADMSG with a fault, -ENOMEM. */
int audit_hear(const Config *c, const HttpReply *reply, const char *worker, AuditList *list,
               DbRequest *ret, Fault *reterr);
