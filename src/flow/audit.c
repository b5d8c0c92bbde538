#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "flow/audit.h"
#include "flow/listing.h"
#include "flow/service.h"

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
    free(list->cursor);
    *list = (AuditList){ 0 };
}

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

        row->id = strtoll(PQgetvalue(res, i, COL_ID), NULL, 10);
        row->keys = json_parse(keys, strlen(keys));
        if (row->id <= 0 || strlen(hash) >= sizeof row->hash || !json_is_array(row->keys)) {
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

int audit_ask(const Config *c, const AuditList *list, int64_t now_epoch, HttpRequest *ret) {
    return listing_ask(c, now_epoch - (int64_t) (list->age_usec / 1000000), list->cursor, ret);
}

/* Adds what `item` may be the prediction of to the two arrays, which end up of the same length. */
static int match(const AuditList *list, const json_t *item, StrBuf *purchases,
                 StrBuf *predictions) {
    for (size_t i = 0; i < list->n; i++) {
        const LostPurchase *row = &list->rows[i];
        const char *separator = purchases->size ? "," : "{";
        int r = listing_matches(item, row->hash, row->keys);

        if (r > 0 && (r = strbuf_printf(purchases, "%s%lld", separator, (long long) row->id)) == 0)
            r = strbuf_printf(predictions, "%s%s", separator, json_text(item, "id"));
        if (r < 0)
            return r;
    }
    return 0;
}

int audit_hear(const Config *c, const HttpReply *reply, const char *worker, AuditList *list,
               DbRequest *ret, Fault *reterr) {
    _cleanup_(json_unrefp) json_t *page = reply->end == HTTP_ANSWERED && reply->code == 200
                                              ? json_parse(reply->body, reply->body_size)
                                              : NULL;
    json_t *results = json_object_get(page, "results"), *item;
    StrBuf purchases = { 0 }, predictions = { 0 };
    size_t i;
    int r = 0;

    *ret = (DbRequest){ 0 };
    if (!json_is_array(results)) {
        service_fault(reply, reterr);
        return -EBADMSG;
    }
    json_array_foreach (results, i, item)
        if (r == 0)
            r = match(list, item, &purchases, &predictions);
    if (r == 0 && purchases.size > 0) {
        ret->sql = "SELECT prediction_id FROM meshify.surplus($1, $2, $3)";
        if (strbuf_add(&purchases, "}", 1) < 0 || strbuf_add(&predictions, "}", 1) < 0 ||
            db_request_add(ret, worker) < 0 || db_request_add(ret, purchases.text) < 0 ||
            db_request_add(ret, predictions.text) < 0)
            r = -ENOMEM;
    }
    if (r == 0 && ++list->pages >= AUDIT_PAGES)
        free(TAKE(list->cursor));
    else if (r == 0 && (r = listing_next(c, page, &list->cursor)) < 0 && r != -ENOMEM)
        r = fault_set(reterr, FAULT_SERVICE_UNREACHED, "the listing leads elsewhere");
    if (r < 0)
        db_request_done(ret);
    strbuf_done(&purchases);
    strbuf_done(&predictions);
    return r;
}
