/* What a notification says, and when it is time to claim. */
#include "parse.h"

#include <limits.h>

#include "base/json.h"
#include "base/str.h"
#include "flow/notify.h"
#include "torture.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define SEC UINT64_C(1000000)
#define MSEC UINT64_C(1000)
#define NOW UINT64_C(1000000000000)
#define UU "11111111-1111-4111-8111-111111111111"
#define TEN "abcdefghij"
#define SIXTY TEN TEN TEN TEN TEN TEN
#define JOBS "meshify_jobs"
#define CONTROL "meshify_control"

static void test_payloads(void **state) {
    /* clang-format off */
    static const struct {
        const char *channel, *payload;
        NotifyKind kind;
        const char *id;
    } cases[] = {
        { JOBS, "", NOTIFY_WORK, "" }, { JOBS, "garbage", NOTIFY_WORK, "" },
        { JOBS, "{\"cancel\":\"" UU "\"}", NOTIFY_WORK, "" },
        { CONTROL, "{\"cancel\" : \"" UU "\"}", NOTIFY_CANCEL, UU }, /* as json_build_object() has it */
        { CONTROL, "{\"cancel\":\"" UU "\",\"more\":[1,{}]}", NOTIFY_CANCEL, UU },
        { CONTROL, "{\"ping\":\"" UU "\"}", NOTIFY_PING, UU },
        { CONTROL, "{\"prediction\" : \"x1y2z3\"}", NOTIFY_PREDICTION, "x1y2z3" },
        { CONTROL, "{\"prediction\":\"" SIXTY "abcd\"}", NOTIFY_PREDICTION, SIXTY "abcd" },
        { CONTROL, "{\"prediction\":\"" SIXTY "abcde\"}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"prediction\":\"" SIXTY SIXTY SIXTY "\"}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"prediction\":\"\"}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"prediction\":\"../account\"}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"prediction\":\"a/cancel\"}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"prediction\":\"a?b\"}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"prediction\":\"a\\nb\"}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"prediction\":7}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"cancel\":\"x\"}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"cancel\":\"" UU "0\"}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"cancel\":\"' OR 1=1 --\"}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"cancel\":null}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"cancel\":[\"" UU "\"]}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"drain\":\"" UU "\"}", NOTIFY_DRAIN, UU },
        { CONTROL, "{\"drain\":\"box\"}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"ping\":\"box\"}", NOTIFY_OTHER, "" },
        { CONTROL, "{\"reload\":\"" UU "\"}", NOTIFY_OTHER, "" },
        { CONTROL, "{}", NOTIFY_OTHER, "" }, { CONTROL, "", NOTIFY_OTHER, "" },
        { CONTROL, "null", NOTIFY_OTHER, "" }, { CONTROL, "cancel", NOTIFY_OTHER, "" },
        { CONTROL, "[\"cancel\",\"" UU "\"]", NOTIFY_OTHER, "" },
        { CONTROL, "{\"cancel\":\"" UU "\"", NOTIFY_OTHER, "" },
        { CONTROL, "{\"cancel\":\"" UU "\"} x", NOTIFY_OTHER, "" },
        { CONTROL, "\"" UU "\"", NOTIFY_OTHER, "" }, { CONTROL, UU, NOTIFY_OTHER, "" },
        { CONTROL, "\xff\xfe{}", NOTIFY_OTHER, "" }, { CONTROL, "{\"cancel\":\"\xff\"}", NOTIFY_OTHER, "" },
        { "meshify_job", "", NOTIFY_OTHER, "" }, { "meshify_jobs2", "", NOTIFY_OTHER, "" },
        { "MESHIFY_JOBS", "", NOTIFY_OTHER, "" }, { "", "", NOTIFY_OTHER, "" },
        { "other", "{\"cancel\":\"" UU "\"}", NOTIFY_OTHER, "" },
    };
    /* clang-format on */

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        Notify n = notify_read(cases[i].channel, cases[i].payload);

        print_message("# case %zu\n", i);
        assert_int_equal(n.kind, cases[i].kind);
        assert_string_equal(n.id, cases[i].id);
    }
}

static void test_long_payloads(void **state) {
    static const char head[] = "{\"cancel\":\"" UU "\",\"x\":\"";
    StrBuf b = { 0 };

    (void) state;
    for (size_t size = 100; size <= 1000000; size *= 100) { /* PostgreSQL sends at most 8000 */
        strbuf_add(&b, head, strlen(head));
        while (b.size < size - 2)
            strbuf_add(&b, "x", 1);
        strbuf_add(&b, "\"}", 2);
        assert_int_equal(notify_read(CONTROL, b.text).kind,
                         size < 1000 ? NOTIFY_CANCEL : NOTIFY_OTHER);
        assert_int_equal(notify_read(JOBS, b.text).kind, NOTIFY_WORK);
        strbuf_done(&b);
    }
    for (int i = 0; i < 999; i++)
        strbuf_add(&b, "[", 1);
    assert_int_equal(notify_read(CONTROL, b.text).kind, NOTIFY_OTHER);
    strbuf_done(&b);
    torture(n) {
        Notify it = notify_read(CONTROL, "{\"cancel\":\"" UU "\"}");

        assert_true(it.kind == NOTIFY_CANCEL || (torture_failed() && it.kind == NOTIFY_OTHER));
    }
}

#define NEVER UINT64_MAX

/* Times after NOW; the last claim was at NOW, poll_interval is 30 s. */
static void test_when(void **state) {
    /* clang-format off */
    static const struct {
        bool woken, claiming;
        int64_t woken_at, due_at;
        bool listening;
        unsigned workers, slots;
        double chance;
        int64_t when;
    } cases[] = {
        { false, false, 0, -1, true, 1, 1, 0, 30000000 }, /* nothing happens: the safety net */
        { false, false, 0, -1, false, 1, 1, 0, 1000000 }, /* and where nobody would tell */
        { false, false, 0, -1, true, 9, 5, 0.5, 30000000 },
        { true, false, 7000, -1, true, 1, 1, 0.9, 7000 },
        { true, false, 7000, -1, true, 0, 1, 0.9, 7000 }, /* we are not counted yet */
        { true, false, 7000, -1, false, 1, 1, 0.9, 7000 },
        { true, false, 7000, -1, true, 2, 1, 0, 7000 },
        { true, false, 7000, -1, true, 2, 1, 0.5, 9000 }, /* 2 ms a worker */
        { true, false, 7000, -1, true, 10, 1, 0.5, 17000 },
        { true, false, 7000, -1, true, 20, 1, 0.999, 46960 },
        { true, false, 7000, -1, true, 1000, 1, 0.5, 57000 }, /* at most 50 */
        { true, false, 7000, -1, true, UINT_MAX, 1, 0.5, 57000 },
        { true, true, 7000, 1000, true, 1, 1, 0, -1 },
        { true, false, 7000, 1000, true, 1, 0, 0, -1 },
        { false, true, 0, 1000, false, 1, 1, 0, -1 },
        { false, false, 0, 1000, false, 1, 0, 0, -1 },
        { false, false, 0, 4000000, true, 1, 1, 0.5, 4000000 },
        { false, false, 0, 4000000, false, 1, 1, 0.5, 1000000 },
        { false, false, 0, 90000000, true, 1, 1, 0.5, 30000000 },
        { true, false, 2000000, 4000000, true, 1, 1, 0.5, 2000000 },
        { true, false, 6000000, 4000000, true, 1, 1, 0.5, 4000000 },
    };
    /* clang-format on */
    const Config c = { .poll_interval_usec = 30 * SEC };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        NotifyPlan plan = {
            .woken = cases[i].woken,
            .claiming = cases[i].claiming,
            .woken_usec = NOW + (uint64_t) cases[i].woken_at,
            .due_usec = cases[i].due_at < 0 ? NEVER : NOW + (uint64_t) cases[i].due_at,
            .claimed_usec = NOW,
        };

        print_message("# case %zu\n", i);
        assert_true(notify_when(&plan, &c, cases[i].listening, cases[i].workers, cases[i].slots,
                                cases[i].chance) ==
                    (cases[i].when < 0 ? NEVER : NOW + (uint64_t) cases[i].when));
    }
}

/* A notification that brought no job makes the next one wait: anybody may send them without end. */
static void test_false_alarms(void **state) {
    const Config c = { .poll_interval_usec = 30 * SEC };
    NotifyPlan plan = { .woken = true,
                        .woken_usec = NOW + MSEC,
                        .due_usec = NEVER,
                        .claimed_usec = NOW,
                        .claimed_none = true };

    (void) state;
    assert_true(notify_when(&plan, &c, true, 1, 1, 0) == NOW + NOTIFY_HINT_USEC);
    plan.woken_usec = NOW + 2 * NOTIFY_HINT_USEC;
    assert_true(notify_when(&plan, &c, true, 1, 1, 0) == plan.woken_usec);
    plan.woken_usec = NOW + MSEC;
    plan.due_usec = NOW + 2 * MSEC; /* what comes due is no hint */
    assert_true(notify_when(&plan, &c, true, 1, 1, 0) == plan.due_usec);
    plan.due_usec = NEVER;
    plan.claimed_none = false;
    assert_true(notify_when(&plan, &c, true, 1, 1, 0) == plan.woken_usec);
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* What must hold for one combination. */
static void check_when(const NotifyPlan *p, const Config *c, bool listening, unsigned workers,
                       unsigned slots, double chance) {
    uint64_t when = notify_when(p, c, listening, workers, slots, chance);
    uint64_t poll =
        p->claimed_usec + (listening ? c->poll_interval_usec : least(SEC, c->poll_interval_usec));
    uint64_t spread = workers > 1 ? least(2 * MSEC * workers, 50 * MSEC) : 0;
    uint64_t woken = p->woken ? p->woken_usec : NEVER;

    if (p->claiming || slots == 0) {
        assert_true(when == NEVER); /* its answer, or the slot, brings us here again */
        return;
    }
    assert_true(when >= least(least(woken, p->due_usec), poll)); /* nothing happened before that */
    if (p->woken)
        assert_true(when <= woken + spread);
    if (p->due_usec != NEVER)
        assert_true(when <= p->due_usec + spread);
    assert_true(when <= poll);
    if (p->due_usec == NEVER)
        assert_true(when <= poll);
    if (p->woken && workers <= 1 && woken <= NOW)
        assert_true(when <= NOW); /* at once */
    assert_true(notify_when(p, c, listening, workers, slots, 0) <= when);
    /* how many slots are free does not matter */
    assert_true(notify_when(p, c, listening, workers, slots + 9, chance) == when);
}

static void test_all_combinations(void **state) {
    static const uint64_t dues[] = {
        NEVER, 0, NOW - SEC, NOW, NOW + SEC / 2, NOW + 9 * SEC, NOW + 5000 * SEC
    };
    static const uint64_t before[] = { 0, MSEC, SEC, 100 * SEC };
    static const uint64_t intervals[] = { SEC / 10, SEC, 30 * SEC, 3600 * SEC };
    static const unsigned workers[] = { 0, 1, 2, 3, 24, 25, 26, 1000, UINT_MAX };
    static const unsigned slots[] = { 0, 1, 256, 100000 };
    static const double chances[] = { 0, 0.25, 0.999999 };
    unsigned n = 0;

    (void) state;
    for (size_t d = 0; d < N(dues); d++)
        for (size_t b = 0; b < N(before) * N(before); b++)
            for (size_t v = 0; v < N(intervals); v++)
                for (size_t w = 0; w < N(workers); w++)
                    for (size_t s = 0; s < N(slots); s++)
                        for (size_t ch = 0; ch < N(chances); ch++)
                            for (unsigned bits = 0; bits < 8; bits++, n++) {
                                const Config c = { .poll_interval_usec = intervals[v] };
                                const NotifyPlan plan = {
                                    .woken = bits & 1,
                                    .claiming = bits & 2,
                                    .due_usec = dues[d],
                                    .woken_usec = NOW - before[b % N(before)],
                                    .claimed_usec = NOW - before[b / N(before)],
                                };

                                check_when(&plan, &c, bits & 4, workers[w], slots[s], chances[ch]);
                            }
    print_message("# %u combinations\n", n);
}

/* Cancels and the order to stop come with heartbeats where nobody is woken. */
static void test_beats(void **state) {
    static const struct {
        uint64_t lease, poll, listening, alone;
    } cases[] = {
        { 60 * SEC, 30 * SEC, 20 * SEC, SEC },
        { 60 * SEC, SEC / 5, 20 * SEC, SEC / 5 },
        { 60 * SEC, 3600 * SEC, 20 * SEC, SEC },
        { 3 * SEC / 2, 30 * SEC, SEC / 2, SEC / 2 }, /* never later than a third of the lease */
    };

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        const Config c = { .lease_usec = cases[i].lease, .poll_interval_usec = cases[i].poll };

        assert_true(notify_beat_usec(&c, true) == cases[i].listening);
        assert_true(notify_beat_usec(&c, false) == cases[i].alone);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_payloads),
        cmocka_unit_test(test_long_payloads),
        cmocka_unit_test(test_when),
        cmocka_unit_test(test_false_alarms),
        cmocka_unit_test(test_all_combinations),
        cmocka_unit_test(test_beats),
    };

    torture_json();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
