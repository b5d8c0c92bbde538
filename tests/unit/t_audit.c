/* What the listing shows of purchases that nobody could find. */
#include "fixtures.h"
#include "flow/audit.h"
#include "torture.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define ELEVEN "00000000-0000-7000-8000-000000000011"
#define TWELVE "00000000-0000-7000-8000-000000000012"
#define WORKER "00000000-0000-0000-0000-000000000001"
#define ROOT "https://api.replicate.com/v1"
#define INPUT(n) "{\"prompt\":\"chair " n "\",\"seed\":7}"
#define ITEM(id, n) "{\"id\":\"" id "\",\"input\":" INPUT(n) "}"
#define LIST(items) "{\"previous\":null,\"next\":null,\"results\":[" items "]}"
#define PAGE(items, next) "{\"next\":\"" next "\",\"results\":[" items "]}"

static const char *const names[] = { "id", "input_hash", "input_keys", "age_usec" };

static const char *hash_of(const char *text) {
    static char hashes[4][HASH_HEX_SIZE];
    static unsigned next;
    json_t *input = json_parse(text, strlen(text));
    char *hash = hashes[next++ % N(hashes)];

    assert_int_equal(pipeline_hash(input, NULL, hash), 0);
    json_decref(input);
    return hash;
}

/* Two lost purchases, with the inputs 1 and 2. */
static void two(AuditList *list) {
    const char *values[] = { ELEVEN, hash_of(INPUT("1")), "[\"prompt\",\"seed\"]", "90000000",
                             TWELVE, hash_of(INPUT("2")), "[\"prompt\",\"seed\"]", "30000000" };
    PGresult *res = rows_of(4, names, 2, values);

    assert_int_equal(audit_read(res, list), 0);
    assert_int_equal(list->n, 2);
    assert_true(list->age_usec == 90000000);
    PQclear(res);
}

static void test_rows(void **state) {
    const char *values[] = {
        "17",   "x",
        "[]",   "1",
        ELEVEN, "x",
        "{}",   "2",
        ELEVEN, "x",
        NULL,   "3",
        TWELVE, "",
        "[]",   "4", /* never matches, but is one */
        ELEVEN, "0123456789012345678901234567890123456789012345678901234567890123456789",
        "[]",   "5",
        "no",   "x",
        "[]",   "6"
    };
    PGresult *res = rows_of(4, names, 6, values);
    AuditList list = { 0 };

    (void) state;
    assert_int_equal(audit_read(res, &list), 0);
    assert_int_equal(list.n, 1);
    assert_string_equal(list.rows[0].key, TWELVE);
    assert_int_equal(list.age_usec, 4);
    audit_list_done(&list);
    assert_int_equal(list.n, 0);
    PQclear(res);
    res = answer_of("1");
    assert_int_equal(audit_read(res, &list), -EBADMSG);
    PQclear(res);
}

static json_t *input_of(const char *text) {
    json_t *input = json_parse(text, strlen(text));

    assert_non_null(input);
    return input;
}

/* Shows an item to the rows, as the listing does. */
static int show(WantedTable *t, const char *id, const char *text) {
    json_t *input = input_of(text);
    int r = wanted_show(t, id, input);

    json_decref(input);
    return r;
}

static int want(WantedTable *t, AuditList *list) {
    int r = 0;

    for (size_t i = 0; i < list->n && r == 0; i++)
        r = wanted_add(t, &list->rows[i].wanted, list->rows[i].hash, list->rows[i].keys,
                       audit_found);
    return r;
}

static void unwant(WantedTable *t, AuditList *list) {
    for (size_t i = 0; i < list->n; i++)
        wanted_remove(t, &list->rows[i].wanted);
    assert_int_equal(t->n, 0);
    assert_true(t->n_keys == 0 && LIST_EMPTY(&t->all));
    audit_list_done(list);
}

static void test_found(void **state) {
    static const struct {
        const char *id, *input;
        bool bad_page; /* it ends badly */
    } items[] = {
        { "aaa", INPUT("3"), false },
        { "bbb", INPUT("2"), false },
        { "xxx", INPUT("1"), true },
        { "ccc", INPUT("1"), false },
        /* Two that look alike: the database knows which is whose. */
        { "ddd", INPUT("1"), false },
        /* Defaults were added, 7 became 7.0; a key is missing; nothing is there any more. */
        { "eee", "{\"seed\":7.0,\"more\":true,\"prompt\":\"chair 1\"}", false },
        { "fff", "{\"prompt\":\"chair 1\"}", false },
        { "ggg", "{}", false },
    };
    AuditList list;
    WantedTable t = { 0 };
    DbRequest r;

    (void) state;
    two(&list);
    assert_int_equal(audit_surplus_ask(WORKER, &list, &r), 0);
    assert_null(r.sql);
    assert_int_equal(want(&t, &list), 0);
    for (size_t i = 0; i < N(items); i++) {
        assert_int_equal(show(&t, items[i].id, items[i].input), 0);
        audit_page(&list, !items[i].bad_page);
    }
    assert_int_equal(audit_surplus_ask(WORKER, &list, &r), 0);
    assert_string_equal(r.params[0], WORKER);
    assert_string_equal(r.params[1], "{" TWELVE "," ELEVEN "," ELEVEN "," ELEVEN "}");
    assert_string_equal(r.params[2], "{bbb,ccc,ddd,eee}");
    db_request_done(&r);
    for (int i = 0; i < 2 * AUDIT_FOUND; i++)
        assert_int_equal(show(&t, "zzz", INPUT("1")), 0);
    assert_int_equal(list.n_found, AUDIT_FOUND);
    unwant(&t, &list);
}

/* Many rows are one set of keys, and one hash an item; another set is another. */
static void test_many(void **state) {
    enum {
        ROWS = 200
    };
    const char *values[4 * ROWS];
    char texts[ROWS][3][80];
    WantedTable t = { 0 };
    AuditList list;
    PGresult *res;
    DbRequest r;

    (void) state;
    for (int i = 0; i < ROWS; i++) {
        (void) snprintf(texts[i][0], 80, "00000000-0000-7000-8000-%012d", i + 1);
        (void) snprintf(texts[i][1], 80, "{\"prompt\":\"chair %d\",\"seed\":7}", i);
        values[4 * i] = texts[i][0];
        (void) snprintf(texts[i][2], 80, "%s", hash_of(texts[i][1]));
        values[4 * i + 1] = texts[i][2];
        values[4 * i + 2] = i % 2 ? "[\"prompt\",\"seed\"]" : " [ \"prompt\", \"seed\" ] ";
        values[4 * i + 3] = "1";
    }
    res = rows_of(4, names, ROWS, values);
    assert_int_equal(audit_read(res, &list), 0);
    assert_int_equal(want(&t, &list), 0);
    assert_int_equal(t.n, ROWS);
    assert_int_equal(t.n_keys, 1);
    for (int i = 0; i < ROWS; i += 100)
        assert_int_equal(show(&t, texts[i][0], texts[i][1]), 0);
    audit_page(&list, true);
    assert_int_equal(audit_surplus_ask(WORKER, &list, &r), 0);
    assert_string_equal(
        r.params[1], "{00000000-0000-7000-8000-000000000001,00000000-0000-7000-8000-000000000101}");
    assert_string_equal(
        r.params[2], "{00000000-0000-7000-8000-000000000001,00000000-0000-7000-8000-000000000101}");
    db_request_done(&r);
    unwant(&t, &list);
    PQclear(res);
}

static void test_no_memory(void **state) {
    const char *values[] = { ELEVEN, hash_of(INPUT("1")), "[\"prompt\",\"seed\"]", "1" };
    PGresult *res = rows_of(4, names, 1, values);
    json_t *input = input_of(INPUT("1"));

    (void) state;
    torture(n) {
        WantedTable t = { 0 };
        AuditList list = { 0 };
        DbRequest r = { 0 };
        int rc = audit_read(res, &list);

        if (rc == 0)
            rc = want(&t, &list);
        if (rc == 0)
            rc = wanted_show(&t, "aaa", input);
        audit_page(&list, rc == 0);
        if (rc == 0)
            rc = audit_surplus_ask(WORKER, &list, &r);
        /* All of it, or an error that says so; a row that can't be read, or what can't be noted, is left
         * for the next time. */
        if (rc == 0)
            assert_true(list.n == 0 || r.params[2] || torture_failed());
        else
            assert_true(torture_failed() && rc == -ENOMEM);
        db_request_done(&r);
        unwant(&t, &list);
    }
    json_decref(input);
    PQclear(res);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_no_memory),
    };

    torture_json();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
