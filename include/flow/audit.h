/* Purchases that were given up, or whose job has ended, and of which nobody knows whether they were
 * bought: held against the listing. Pure. */
#pragma once
#include <libpq-fe.h>

#include "base/db_message.h"
#include "base/hash.h"
#include "base/str.h"
#include "flow/wanted.h"

#define AUDIT_ROWS 200   /* of meshify.audit_unknown(), at once */
#define AUDIT_PAGES 100  /* of the listing; what is older comes in the next audit or never */
#define AUDIT_FOUND 1000 /* that are written down at once; the others come in the next audit */

typedef struct AuditList AuditList;

typedef struct LostPurchase {
    Wanted wanted; /* first: the table tells it what was found */
    char key[STR_UUID_SIZE];
    char hash[HASH_HEX_SIZE];
    json_t *keys;
    AuditList *list;
} LostPurchase;

struct AuditList { /* zeroed: nothing to look for; stays where it is while its rows are wanted */
    LostPurchase *rows;
    size_t n;
    uint64_t age_usec;             /* of the oldest */
    StrBuf purchases, predictions; /* found: arrays for SQL, of the same length */
    size_t n_found;
    struct {
        size_t purchases, predictions, n;
    } sure; /* how much of that stood on pages that were good */
};

void audit_list_done(AuditList *list);

/* The rows of meshify.audit_unknown(); one that could match nothing is left out. 0, -EBADMSG, -ENOMEM. */
int audit_read(const PGresult *res, AuditList *ret);

/* What a table tells of a row's wanted. Without memory it is left for the next audit. */
void audit_found(Wanted *w, const char *id);

/* A page was read to its end; or was none, and what it showed does not count. */
void audit_page(AuditList *list, bool is_good);

/* The call that writes down what was found; sql NULL: nothing was. 0, -ENOMEM. */
int audit_surplus_ask(const char *worker, AuditList *list, DbRequest *ret);
