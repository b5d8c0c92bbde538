/* The audit's part of a look: purchases of jobs that ended, or whose worker died, that may have
 * been made all the same. The database names them, a listing is searched for them, and what is
 * found is written down, so that it can be canceled. When that is done is daemon/audit.c's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "flow/audit.h"

enum {
    COL_ID,
    COL_HASH,
    COL_KEYS,
    COL_AGE,
    COLUMNS
};

void audit_list_done(AuditList *list) {
    for (size_t i = 0; i < list->n; i++)
        json_decref(list->rows[i].keys);
    free(list->rows);
    strbuf_done(&list->purchases);
    strbuf_done(&list->predictions);
    *list = (AuditList){ 0 };
}

/* The age of the oldest row tells how far back the listing has to be read. */
int audit_read(const PGresult *res, AuditList *ret) {
    int n = PQnfields(res) == COLUMNS ? PQntuples(res) : -1;
    AuditList list = { 0 };

    if (n < 0)
        return -EBADMSG;
    if (!(list.rows = calloc((size_t) n + 1, sizeof *list.rows)))
        return -ENOMEM;
    for (int i = 0; i < n; i++) {
        LostPurchase *row = &list.rows[list.n];
        const char *hash = PQgetvalue(res, i, COL_HASH), *keys = PQgetvalue(res, i, COL_KEYS);
        uint64_t age = strtoull(PQgetvalue(res, i, COL_AGE), NULL, 10);

        (void) snprintf(row->key, sizeof row->key, "%s", PQgetvalue(res, i, COL_ID));
        row->list = ret;
        row->keys = json_parse(keys, strlen(keys));
        if (!str_is_uuid(row->key) || strlen(hash) >= sizeof row->hash ||
            !json_is_array(row->keys)) {
            json_decref(TAKE(row->keys)); /* it can't be found; the others can */
            continue;
        }
        memcpy(row->hash, hash, strlen(hash) + 1);
        if (age > list.age_usec)
            list.age_usec = age;
        list.n++;
    }
    *ret = list;
    return 0;
}

/* Two lists of the same length: which purchase, and which prediction. A shortage of memory
 * forgets this pair only; the next audit finds it again. */
void audit_found(Wanted *w, const char *id) {
    const LostPurchase *row = (const LostPurchase *) w;
    AuditList *list = row->list;
    size_t purchases = list->purchases.size, predictions = list->predictions.size;
    const char *separator = list->n_found > 0 ? "," : "{";

    if (list->n_found >= AUDIT_FOUND)
        return;
    if (strbuf_printf(&list->purchases, "%s%s", separator, row->key) == 0 &&
        strbuf_printf(&list->predictions, "%s%s", separator, id) == 0) {
        list->n_found++;
        return;
    }
    /* Half of a pair must not stay: the lists are read side by side. */
    list->purchases.size = purchases;
    list->predictions.size = predictions;
}

/* A page may break off in its middle and be read again: what it showed counts only when the page
 * is whole. */
void audit_page(AuditList *list, bool is_good) {
    if (is_good) {
        list->sure.n = list->n_found;
        list->sure.purchases = list->purchases.size;
        list->sure.predictions = list->predictions.size;
    } else {
        list->n_found = list->sure.n;
        list->purchases.size = list->sure.purchases;
        list->predictions.size = list->sure.predictions;
    }
}

int audit_surplus_ask(const char *worker, AuditList *list, DbRequest *ret) {
    *ret = (DbRequest){ 0 };
    if (list->n_found == 0)
        return 0;
    ret->sql = "SELECT prediction_id FROM meshify.found_surplus($1, $2, $3)";
    if (strbuf_add(&list->purchases, "}", 1) == 0 && strbuf_add(&list->predictions, "}", 1) == 0 &&
        db_request_add(ret, worker) == 0 && db_request_add(ret, list->purchases.text) == 0 &&
        db_request_add(ret, list->predictions.text) == 0)
        return 0;
    db_request_done(ret);
    return -ENOMEM;
}
