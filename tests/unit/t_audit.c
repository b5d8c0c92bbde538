/* What the listing shows of purchases that nobody could find. */
#include "fixtures.h"
#include "flow/audit.h"
#include "torture.h"

#define N(a) (sizeof(a) / sizeof *(a))
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

/* Two lost purchases, 11 and 12, with the inputs 1 and 2. */
static AuditList two(void) {
    const char *values[] = { "11", hash_of(INPUT("1")), "[\"prompt\",\"seed\"]", "90000000",
                             "12", hash_of(INPUT("2")), "[\"prompt\",\"seed\"]", "30000000" };
    PGresult *res = rows_of(4, names, 2, values);
    AuditList list = { 0 };

    assert_int_equal(audit_read(res, &list), 0);
    assert_int_equal(list.n, 2);
    PQclear(res);
    return list;
}

static void test_rows(void **state) {
    const char *values[] = {
        "0",  "x",
        "[]", "1",
        "1",  "x",
        "{}", "2",
        "2",  "x",
        NULL, "3",
        "3",  "",
        "[]", "4", /* never matches, but is one */
        "4",  "0123456789012345678901234567890123456789012345678901234567890123456789",
        "[]", "5",
        "no", "x",
        "[]", "6"
    };
    PGresult *res = rows_of(4, names, 6, values);
    AuditList list = { 0 };

    (void) state;
    assert_int_equal(audit_read(res, &list), 0);
    assert_int_equal(list.n, 1);
    assert_int_equal(list.rows[0].id, 3);
    assert_int_equal(list.age_usec, 4);
    audit_list_done(&list);
    assert_int_equal(list.n, 0);
    PQclear(res);
    res = answer_of("1");
    assert_int_equal(audit_read(res, &list), -EBADMSG);
    PQclear(res);
}

static void test_asks(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    AuditList list = two();
    HttpRequest r;

    (void) state;
    assert_int_equal(audit_ask(c, &list, 1700000000, &r), 0);
    /* 90 s, and five minutes for the clocks, before 2023-11-14 22:13:20 */
    assert_string_equal(r.url, ROOT "/predictions?created_after=2023-11-14T22:06:50Z");
    http_request_done(&r);
    list.cursor = strdup(ROOT "/predictions?cursor=abc");
    assert_int_equal(audit_ask(c, &list, 1700000000, &r), 0);
    assert_string_equal(r.url, ROOT "/predictions?cursor=abc");
    http_request_done(&r);
    audit_list_done(&list);
}

static int hear(const Config *c, AuditList *list, int code, const char *body, DbRequest *ret,
                Fault *reterr) {
    HttpReply reply = reply_of(code, body);
    int r = audit_hear(c, &reply, WORKER, list, ret, reterr);

    http_reply_done(&reply);
    return r;
}

static void test_pages(void **state) {
    static const struct {
        const char *body, *purchases, *predictions; /* what is written down; NULL: nothing */
    } cases[] = {
        { LIST(""), NULL, NULL },
        { LIST(ITEM("aaa", "3")), NULL, NULL },
        { LIST(ITEM("aaa", "1")), "{11}", "{aaa}" },
        { LIST(ITEM("aaa", "2") "," ITEM("bbb", "3") "," ITEM("ccc", "1")), "{12,11}",
          "{aaa,ccc}" },
        /* Two that look alike: the database knows which is whose. */
        { LIST(ITEM("aaa", "1") "," ITEM("bbb", "1")), "{11,11}", "{aaa,bbb}" },
        /* Defaults were added, 7 became 7.0. */
        { LIST("{\"id\":\"aaa\",\"input\":{\"seed\":7.0,\"more\":true,\"prompt\":\"chair 1\"}}"),
          "{11}", "{aaa}" },
        /* Somebody at Replicate's own page; data that was removed; ids that are none; no items at all. */
        { LIST("{\"id\":\"aaa\",\"source\":\"web\",\"input\":" INPUT("1") "}"), NULL, NULL },
        { LIST("{\"id\":\"aaa\",\"source\":\"api\",\"input\":" INPUT("1") "}"), "{11}", "{aaa}" },
        { LIST("{\"id\":\"aaa\",\"input\":{}},{\"id\":\"bbb\"},{\"id\":\"ccc\",\"input\":null}"),
          NULL, NULL },
        { LIST(ITEM("a,a", "1") "," ITEM("a}", "1") "," ITEM("../x", "1") "," ITEM("", "1")), NULL,
          NULL },
        { LIST("null,7,\"aaa\",[]"), NULL, NULL },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        AuditList list = two();
        Fault fault = { 0 };
        DbRequest r;

        assert_int_equal(hear(c, &list, 200, cases[i].body, &r, &fault), 0);
        if (!cases[i].purchases)
            assert_null(r.sql);
        else {
            assert_non_null(r.sql);
            assert_string_equal(r.params[0], WORKER);
            assert_string_equal(r.params[1], cases[i].purchases);
            assert_string_equal(r.params[2], cases[i].predictions);
        }
        assert_null(list.cursor);
        db_request_done(&r);
        audit_list_done(&list);
    }
}

static void test_cursors(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    AuditList list = two();
    Fault fault = { 0 };
    DbRequest r;

    (void) state;
    assert_int_equal(
        hear(c, &list, 200, PAGE(ITEM("aaa", "1"), ROOT "/predictions?cursor=a"), &r, &fault), 0);
    assert_string_equal(list.cursor, ROOT "/predictions?cursor=a");
    db_request_done(&r);
    assert_int_equal(hear(c, &list, 200, PAGE("", ROOT "/predictions?cursor=a"), &r, &fault),
                     -EBADMSG);
    assert_int_equal(hear(c, &list, 200,
                          PAGE(ITEM("aaa", "1"), "https://evil.example/v1/predictions"), &r,
                          &fault),
                     -EBADMSG);
    assert_string_equal(fault_info(fault.code)->word, "service_unreached");
    assert_null(r.params[0]); /* nothing is left behind */
    /* It ends somewhere. */
    list.pages = AUDIT_PAGES - 1;
    assert_int_equal(hear(c, &list, 200, PAGE("", ROOT "/predictions?cursor=b"), &r, &fault), 0);
    assert_null(list.cursor);
    audit_list_done(&list);
}

static void test_troubles(void **state) {
    static const struct {
        int code;
        const char *body, *word;
    } cases[] = {
        { 500, "{}", "service_unreached" },
        { 200, "<html>", "service_unreached" },
        { 200, "{\"results\":{}}", "service_unreached" },
        { 401, "{\"detail\":\"Unauthenticated\"}", "service_auth" },
        { 429, "{\"detail\":\"throttled\",\"retry_after\":3}", "service_throttled" },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    AuditList list = two();

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        Fault fault = { 0 };
        DbRequest r;

        assert_int_equal(hear(c, &list, cases[i].code, cases[i].body, &r, &fault), -EBADMSG);
        assert_string_equal(fault_info(fault.code)->word, cases[i].word);
    }
    audit_list_done(&list);
}

static void test_no_memory(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    const char *values[] = { "11", hash_of(INPUT("1")), "[\"prompt\",\"seed\"]", "1" };
    PGresult *res = rows_of(4, names, 1, values);
    HttpReply reply = reply_of(200, PAGE(ITEM("aaa", "1"), ROOT "/predictions?cursor=a"));

    (void) state;
    torture(n) {
        AuditList list = { 0 };
        HttpRequest page;
        Fault fault = { 0 };
        DbRequest r = { 0 };
        int rc = audit_read(res, &list);

        if (rc == 0 && (rc = audit_ask(c, &list, 0, &page)) == 0)
            http_request_done(&page);
        if (rc == 0)
            rc = audit_hear(c, &reply, WORKER, &list, &r, &fault);
        /* All of it, or an error that says so; a row that can't be read is left for the next time. */
        if (rc == 0)
            assert_true(list.cursor && (list.n == 0 || r.params[2]));
        else
            assert_true(torture_failed() && (rc == -ENOMEM || rc == -EBADMSG));
        db_request_done(&r);
        audit_list_done(&list);
    }
    http_reply_done(&reply);
    PQclear(res);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),     cmocka_unit_test(test_asks),
        cmocka_unit_test(test_pages),    cmocka_unit_test(test_cursors),
        cmocka_unit_test(test_troubles), cmocka_unit_test(test_no_memory),
    };

    torture_json();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
