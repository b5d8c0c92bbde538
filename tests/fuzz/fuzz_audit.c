/* Any text as rows of meshify.audit_unknown(), a line for each value: what is read can be looked for, and is
 * found by nothing but its own input. */
#include <errno.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "core/pipeline.h"
#include "flow/audit.h"

enum {
    COLUMNS = 4,
    ROWS_MAX = 50
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static PGresult *rows_of(char *text, int columns) {
    static const char *const names[COLUMNS] = { "id", "input_hash", "input_keys", "age_usec" };
    PGresAttDesc attributes[COLUMNS] = { 0 };
    PGresult *res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);

    for (int i = 0; i < columns; i++)
        attributes[i] = (PGresAttDesc){ .name = (char *) names[i], .typlen = -1 };
    if (!res || !PQsetResultAttrs(res, columns, attributes))
        abort();
    for (int i = 0; text && i < ROWS_MAX * columns; i++) {
        char *value = strsep(&text, "\n");

        if (!PQsetvalue(res, i / columns, i % columns, value[0] == '~' ? NULL : value,
                        value[0] == '~' ? -1 : (int) strlen(value)))
            abort();
    }
    return res;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char *text = strndup((const char *) bytes, size), hash[HASH_HEX_SIZE];
    PGresult *res = rows_of(text, size > 0 && bytes[0] == '-' ? COLUMNS - 1 : COLUMNS);
    json_t *input = json_pack("{s:s, s:i}", "prompt", "a chair", "seed", 7);
    WantedTable table = { 0 };
    AuditList list = { 0 };
    size_t found = 0;
    DbRequest request;
    int r = audit_read(res, &list);

    if (r != 0 && r != -EBADMSG)
        abort();
    for (size_t i = 0; i < list.n; i++) {
        LostPurchase *row = &list.rows[i];

        if (!str_is_uuid(row->key) || !json_is_array(row->keys) ||
            strlen(row->hash) >= HASH_HEX_SIZE || row->list != &list ||
            wanted_add(&table, &row->wanted, row->hash, row->keys, audit_found) < 0)
            abort();
        if (pipeline_hash(input, row->keys, hash) < 0)
            abort();
        found += strcmp(hash, row->hash) == 0;
    }
    if (wanted_show(&table, "aaa", input) < 0 || list.n_found > found)
        abort();
    audit_page(&list, true);
    if (audit_surplus_ask("w", &list, &request) < 0 || (request.sql != NULL) != (list.n_found > 0))
        abort();
    db_request_done(&request);
    for (size_t i = 0; i < list.n; i++)
        wanted_remove(&table, &list.rows[i].wanted);
    if (table.n != 0 || table.n_keys != 0)
        abort();
    audit_list_done(&list);
    json_decref(input);
    PQclear(res);
    free(text);
    return 0;
}
