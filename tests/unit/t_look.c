/* Was it bought? Listings in which it is and in which it is not, and when that is believed. */
#include "fixtures.h"
#include "flow/listing.h"
#include "flow/look.h"
#include "flow/wanted.h"
#include "torture.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define HTML "<html><body><h1>502 Bad Gateway</h1></body></html>"
#define ROOT "https://api.replicate.com/v1"
#define BOUGHT "\"" PREDICTION "\""
#define OTHER "zyxwvutsrqponmlkjihgfedcba"
#define INPUT "{\"prompt\":\"a chair\",\"seed\":7,\"x\":[1,{\"y\":true}]}"
#define ITEM(id, input) "{\"id\":\"" id "\",\"status\":\"starting\",\"input\":" input "}"
#define MINE ITEM(PREDICTION, INPUT)
#define LIST(items) "{\"previous\":null,\"next\":null,\"results\":[" items "]}"
#define PAGE(items, next) "{\"next\":\"" next "\",\"results\":[" items "]}"
#define INTENT (NOW - 2 * SEC) /* as PURCHASE has it */
#define GIVE_UP (NOW + 100 * SEC)

/* A job whose newest purchase was intended with INPUT, and never answered. */
static Job *job_with(const Config *c, const char *purchases) {
    ClaimedRow row = claimed_row;
    json_t *input = json_parse(INPUT, strlen(INPUT));
    char hash[HASH_HEX_SIZE];
    Purchase *p;
    Job *j;

    row.purchases = purchases;
    j = job_of(c, &row);
    p = job_purchase(j);
    assert_non_null(p);
    assert_true(p->intent_usec == INTENT && p->give_up_usec == GIVE_UP);
    json_decref(p->input_keys);
    free(p->input_hash);
    assert_int_equal(pipeline_keys(input, &p->input_keys), 0);
    assert_int_equal(pipeline_hash(input, p->input_keys, hash), 0);
    p->input_hash = strdup(hash);
    json_decref(input);
    return j;
}

static Job *unanswered(const Config *c) {
    return job_with(c, "[" PURCHASE("paint", 7, "intended", "null", "") "]");
}

/* One job's look, as a pass over the listing serves it. */
static struct Pass {
    Wanted wanted; /* first */
    Listing listing;
    WantedTable table;
    Job *job;
    bool running;
    uint64_t asked;
} pass;

static void found(Wanted *w, const char *id) {
    (void) look_found(((struct Pass *) w)->job, id);
}

static int shown(void *userdata, const char *id, const json_t *input) {
    (void) userdata;
    return wanted_show(&pass.table, id, input);
}

static void end_pass(void) {
    if (pass.running)
        listing_done(&pass.listing);
    pass.running = false;
}

/* A page, in pieces of seven bytes. */
static JobEvent hear_reply(const Config *c, Job *j, HttpReply *r, uint64_t now) {
    const Purchase *p = job_purchase(j);
    HttpRequest request;
    int e = 0;

    j->fault = (Fault){ 0 };
    if (!pass.running) {
        listing_begin(&pass.listing, p->intent_epoch, shown, NULL);
        pass.running = true;
        pass.asked = now;
    }
    pass.job = j;
    e = wanted_add(&pass.table, &pass.wanted, p->input_hash, p->input_keys, found);
    if (e == 0 && (e = listing_ask(c, &pass.listing, &request)) == 0) {
        for (size_t i = 0; i < r->body_size && e == 0; i += 7)
            e = request.sieve->feed(request.sieve, r->body + i,
                                    r->body_size - i < 7 ? r->body_size - i : 7);
        http_request_done(&request);
        free(TAKE(r->body));
        if (e == 0 && r->end == HTTP_ANSWERED)
            e = pass.listing.sieve.end(&pass.listing.sieve, r);
        if (e == 0)
            e = listing_hear(&pass.listing, r, &j->fault);
    }
    wanted_remove(&pass.table, &pass.wanted);
    if (e < 0)
        look_forget(j);
    if (e > 0 && j->n_found == 0)
        return EV_WAIT;
    end_pass();
    if (look_take(j, now))
        return EV_OK;
    return look_end(j, e == 0, pass.asked, now, &j->fault);
}

static JobEvent hear(const Config *c, Job *j, int code, const char *body, uint64_t now) {
    HttpReply r = reply_of(code, body);
    JobEvent ev = hear_reply(c, j, &r, now);

    http_reply_done(&r);
    return ev;
}

static void test_delays(void **state) {
    /* clang-format off */
    static const struct {
        int64_t looked, now; /* seconds after NOW; looked < -1: not yet */
        double chance;
        uint64_t least, most; /* milliseconds */
    } cases[] = {
        { -9, -2, 0, 100, 5000 }, /* the listing needs a moment */
        { -9, -2, 0.99, 100, 5000 }, { -9, 50, 0, 0, 0 }, { -9, 5000, 0.5, 0, 0 },
        { 0, 0, 0, 1000, 10000 }, { 0, 0, 0.99, 1000, 10000 }, { 0, 30, 0.5, 0, 0 },
        { 97, 97, 0, 3000, 10000 }, /* then comes one as soon as it may give up */
        { 97, 97, 0.99, 3000, 10000 },
        { 100, 100, 0, 5000, 10000 }, { 100, 100, 0.99, 5000, 10000 }, { 100, 103, 0, 2000, 7000 },
        { 100, 120, 0.5, 0, 0 }, { 500, 500, 0.5, 5000, 10000 },
    };
    /* clang-format on */
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = unanswered(c);

    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        uint64_t d;

        j->looked_usec = cases[i].looked < -1 ? 0 : NOW + (uint64_t) cases[i].looked * SEC;
        d = look_delay_usec(j, NOW + (uint64_t) cases[i].now * SEC, cases[i].chance);
        print_message("# case %zu: %llu\n", i, (unsigned long long) d);
        assert_true(d >= cases[i].least * 1000 && d <= cases[i].most * 1000);
    }
    j->looked_usec = NOW;
    assert_true(look_found(j, OTHER));
    assert_true(look_delay_usec(j, NOW, 0.5) == 0); /* one that was found is to be tried */
}

/* From the intent to the second of two empty looks past the time: both late, five seconds apart. */
static void test_patience(void **state) {
    static const double chances[] = { 0, 0.3, 0.7, 0.999 };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < N(chances); i++)
        for (uint64_t give_up = 1; give_up < 60; give_up++) {
            _cleanup_(job_freep) Job *j = unanswered(c);
            uint64_t now = INTENT, late[2] = { 0 };
            JobEvent ev = EV_WAIT;
            int looks = 0;

            job_purchase(j)->give_up_usec = INTENT + give_up * SEC;
            while (ev == EV_WAIT) {
                now += look_delay_usec(j, now, chances[i]);
                ev = hear(c, j, 200, LIST(""), now);
                late[0] = late[1];
                late[1] = now;
                assert_true(++looks < 30);
            }
            assert_int_equal(ev, EV_NOT_BOUGHT);
            assert_true(late[0] >= INTENT + give_up * SEC);
            assert_true(late[1] >= late[0] + 5 * SEC);
            assert_true(late[1] <= INTENT + (give_up + 20) * SEC);
        }
}

/* A look that was asked before give_up_usec has not seen what came to be after it. */
static void test_late_answers(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = unanswered(c);
    Fault *f = &j->fault;

    (void) state;
    assert_int_equal(look_end(j, true, GIVE_UP - 1, GIVE_UP + 20 * SEC, f), EV_WAIT);
    assert_int_equal(j->late_looks, 0);
    assert_int_equal(look_end(j, true, GIVE_UP, GIVE_UP + 26 * SEC, f), EV_WAIT);
    assert_int_equal(look_end(j, false, GIVE_UP + SEC, GIVE_UP + 31 * SEC, f), EV_WAIT);
    j->look_is_blind = true; /* it saw something, and had no memory for it */
    assert_int_equal(look_end(j, true, GIVE_UP + SEC, GIVE_UP + 31 * SEC, f), EV_WAIT);
    assert_int_equal(j->late_looks, 1);
    assert_int_equal(look_end(j, true, GIVE_UP + 5 * SEC, GIVE_UP + 36 * SEC, f), EV_NOT_BOUGHT);
}

/* What is found is found, however late. */
static void test_found_after_the_hour(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = unanswered(c);

    (void) state;
    assert_int_equal(hear(c, j, 200, LIST(ITEM(OTHER, "{}")), INTENT + 3601 * SEC), EV_FINAL);
    assert_int_equal(hear(c, j, 200, LIST(MINE), INTENT + 3601 * SEC), EV_OK);
    assert_string_equal(j->prediction_id, PREDICTION);
}

/* Without memory nothing is known, least of all that nothing was bought. */
static void test_no_memory_is_no_answer(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    torture(n) {
        long left = torture_left;
        HttpReply r;
        Job *j;
        JobEvent ev;

        torture_left = -1;
        j = unanswered(c);
        j->late_looks = 1;
        r = reply_of(200, LIST(MINE));
        torture_left = left;
        ev = hear_reply(c, j, &r, GIVE_UP + 9 * SEC);
        assert_true(ev == EV_OK || (ev == EV_WAIT && torture_failed()));
        assert_int_equal(j->prediction_id != NULL, ev == EV_OK);
        http_reply_done(&r);
        job_free(j);
    }
}

static void test_found(void **state) {
    /* clang-format off */
    static const struct {
        const char *body, *id; /* NULL: it is not there */
    } cases[] = {
        { LIST(MINE), PREDICTION },
        { LIST(ITEM(OTHER, "{\"prompt\":\"another\"}") "," MINE), PREDICTION },
        { LIST(MINE "," ITEM(OTHER, INPUT)), PREDICTION }, /* the newest comes first */
        { PAGE(MINE, ROOT "/predictions?cursor=x"), PREDICTION },
        { "{\"results\":[" MINE "]}", PREDICTION },
        /* a provider adds defaults, sorts, writes numbers its own way */
        { LIST(ITEM(PREDICTION, "{\"seed\":7.0,\"steps\":4,\"x\":[1.0,{\"y\":true}],\"prompt\":\"a chair\"}")), PREDICTION },
        { LIST("{\"model\":\"x/y\",\"version\":\"hidden\",\"status\":\"canceled\",\"input\":" INPUT ",\"id\":" BOUGHT "}"), PREDICTION },
        { LIST(""), NULL },
        { LIST(ITEM(PREDICTION, "{\"prompt\":\"a chair\",\"seed\":8,\"x\":[1,{\"y\":true}]}")), NULL },
        { LIST(ITEM(PREDICTION, "{\"prompt\":\"a chair\",\"seed\":\"7\",\"x\":[1,{\"y\":true}]}")), NULL },
        { LIST(ITEM(PREDICTION, "{\"prompt\":\"a chair\",\"x\":[1,{\"y\":true}]}")), NULL },
        { LIST(ITEM(PREDICTION, "{\"prompt\":\"a chair\",\"seed\":7,\"x\":[1,{\"y\":true,\"z\":0}]}")), NULL },
        { LIST(ITEM(PREDICTION, "{}")), NULL }, /* as it is after an hour */
        { LIST(ITEM(PREDICTION, "null")), NULL }, { LIST(ITEM(PREDICTION, "\"a chair\"")), NULL },
        { LIST(ITEM("../account", INPUT)), NULL }, { LIST("{\"id\":7,\"input\":" INPUT "}"), NULL },
        { LIST("{\"id\":" BOUGHT "}"), NULL }, { LIST("{\"input\":" INPUT "}"), NULL },
        { LIST("null,7,\"x\",[],{}"), NULL }, { LIST("null,[" MINE "]," MINE), PREDICTION },
    };
    /* clang-format on */
    static const uint64_t nows[] = { NOW, GIVE_UP + SEC, INTENT + 3599 * SEC };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < N(cases); i++)
        for (size_t k = 0; k < N(nows); k++) {
            _cleanup_(job_freep) Job *j = unanswered(c);

            j->late_looks = k > 0;
            print_message("# case %zu\n", i);
            assert_int_equal(hear(c, j, 200, cases[i].body, nows[k]), cases[i].id ? EV_OK
                                                                      : k > 0     ? EV_NOT_BOUGHT
                                                                                  : EV_WAIT);
            assert_false(pass.running);
            if (cases[i].id) {
                assert_string_equal(j->prediction_id, cases[i].id);
                assert_int_equal(j->give_up, 0);
            } else
                assert_null(j->prediction_id);
        }
}

/* What stands in another row, or was cancelled as surplus, is not ours. */
static void test_not_ours(void **state) {
    static const char both[] = LIST(MINE "," ITEM(OTHER, INPUT));
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = unanswered(c), *again = NULL;

    (void) state;
    assert_int_equal(look_refuse(j), 0); /* nothing was found yet */
    assert_int_equal(j->n_not_ours, 0);
    assert_int_equal(hear(c, j, 200, LIST(MINE), NOW), EV_OK);
    assert_true(look_delay_usec(j, NOW, 0.5) > 0);
    torture(n) {
        int e = look_refuse(j);

        assert_int_equal(e, torture_failed() ? -ENOMEM : 0);
        assert_int_equal(j->prediction_id == NULL, e == 0);
        assert_true(e == 0 || look_delay_usec(j, NOW, 0.5) > 0); /* not at once again */
    }
    assert_int_equal(j->n_not_ours, 1);
    assert_true(look_delay_usec(j, NOW, 0.5) == 0); /* the next of many equal ones, at once */
    assert_int_equal(hear(c, j, 200, both, NOW), EV_OK);
    assert_string_equal(j->prediction_id, OTHER);
    assert_int_equal(look_refuse(j), 0);
    assert_int_equal(hear(c, j, 200, both, NOW), EV_WAIT);
    assert_null(j->prediction_id);
    again = job_with(c, "[" PURCHASE("paint", 1, "surplus", BOUGHT,
                                     "") "," PURCHASE("paint", 7, "intended", "null", "") "]");
    assert_int_equal(hear(c, again, 200, LIST(MINE), NOW), EV_WAIT);
    assert_int_equal(hear(c, again, 200, both, NOW), EV_OK);
    assert_string_equal(again->prediction_id, OTHER);
}

/* One look brings all that are equal; they are tried one after the other, and then comes the next look. */
static void test_equal_ones(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = unanswered(c);
    char id[16];

    (void) state;
    assert_int_equal(hear(c, j, 200, LIST(MINE "," ITEM(OTHER, INPUT) "," MINE), NOW), EV_OK);
    assert_string_equal(j->prediction_id, PREDICTION);
    assert_int_equal(j->n_found, 1);
    assert_int_equal(look_refuse(j), 0);
    assert_true(look_delay_usec(j, NOW + 9 * SEC, 0.5) == 0);
    assert_true(look_take(j, NOW + 9 * SEC));
    assert_string_equal(j->prediction_id, OTHER);
    assert_int_equal(look_refuse(j), 0);
    assert_false(look_take(j, NOW + 9 * SEC));
    /* Memory for them is bounded; what is left comes with the next look. */
    for (int i = 0; i < 2 * LOOK_FOUND_MAX; i++) {
        (void) snprintf(id, sizeof id, "id%d", i);
        assert_true(look_found(j, id));
    }
    assert_int_equal(j->n_found, LOOK_FOUND_MAX);
    look_forget(j);
    assert_false(look_take(j, NOW));
}

static void test_pages(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = unanswered(c);

    (void) state;
    for (unsigned late = 0; late < 2; late++) {
        for (int page = 0; page < 3; page++) {
            char body[200];

            (void) snprintf(body, sizeof body, PAGE("", ROOT "/predictions?cursor=x%d"), page);
            assert_int_equal(hear(c, j, 200, body, GIVE_UP + SEC), EV_WAIT);
            assert_true(pass.running);
            assert_int_equal(j->late_looks, late);
        }
        assert_int_equal(hear(c, j, 200, LIST(""), GIVE_UP + 9 * SEC),
                         late ? EV_NOT_BOUGHT : EV_WAIT);
        assert_false(pass.running);
    }
    assert_int_equal(hear(c, j, 200, PAGE("", ROOT "/predictions?cursor=x"), NOW), EV_WAIT);
    assert_int_equal(hear(c, j, 200, LIST(MINE), NOW), EV_OK); /* on the second page */
}

/* A look that did not see the listing proves nothing, however late, and however often. */
static void test_troubles(void **state) {
    /* clang-format off */
    static const struct {
        int code;
        const char *body;
        FaultCode fault;
    } cases[] = {
        { 200, "", FAULT_SERVICE_UNREACHED }, { 200, NULL, FAULT_SERVICE_UNREACHED },
        { 200, HTML, FAULT_SERVICE_UNREACHED }, { 200, "{}", FAULT_SERVICE_UNREACHED },
        { 200, "[]", FAULT_SERVICE_UNREACHED }, { 200, "{\"results\":null}", FAULT_SERVICE_UNREACHED },
        { 200, "{\"results\":{}}", FAULT_SERVICE_UNREACHED }, { 200, "{\"results\":[" MINE, FAULT_SERVICE_UNREACHED },
        { 302, LIST(""), FAULT_SERVICE_UNREACHED }, { 401, "{\"detail\":\"x\"}", FAULT_SERVICE_AUTH },
        { 429, "{\"retry_after\":5}", FAULT_SERVICE_THROTTLED }, { 500, LIST(MINE), FAULT_SERVICE_UNREACHED },
        { 502, HTML, FAULT_SERVICE_UNREACHED },
    };
    /* clang-format on */
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = unanswered(c);

    (void) state;
    j->late_looks = 1;
    for (size_t i = 0; i < N(cases); i++) {
        print_message("# case %zu\n", i);
        j->looked_usec = 0;
        assert_int_equal(hear(c, j, 200, PAGE("", ROOT "/predictions?cursor=x"), GIVE_UP), EV_WAIT);
        assert_int_equal(hear(c, j, cases[i].code, cases[i].body, GIVE_UP + 9 * SEC), EV_WAIT);
        assert_int_equal(j->fault.code, cases[i].fault);
        assert_false(pass.running); /* from the start */
        assert_true(look_delay_usec(j, GIVE_UP + 9 * SEC, 0) > 0);
    }
    for (HttpEnd end = HTTP_UNSENT; end <= HTTP_SINK; end++) {
        HttpReply r = no_reply(end);

        r.code = 200;
        r.body = strdup(LIST(""));
        r.body_size = strlen(r.body);
        assert_int_equal(hear_reply(c, j, &r, GIVE_UP + 9 * SEC), EV_WAIT);
        http_reply_done(&r);
    }
    assert_int_equal(j->late_looks, 1);
    assert_int_equal(j->give_up, 0);
    assert_null(j->prediction_id);
}

static void test_gives_up(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = unanswered(c);

    (void) state;
    for (int i = 0; i < 5; i++) /* early looks do not count */
        assert_int_equal(hear(c, j, 200, LIST(""), GIVE_UP - 1), EV_WAIT);
    assert_int_equal(hear(c, j, 200, LIST(""), GIVE_UP + 1), EV_WAIT);
    assert_int_equal(j->give_up, 0);
    assert_int_equal(hear(c, j, 502, HTML, GIVE_UP + 6 * SEC), EV_WAIT);
    assert_int_equal(hear(c, j, 200, LIST(""), GIVE_UP + 12 * SEC), EV_NOT_BOUGHT);
    assert_int_equal(j->give_up, 1);
    assert_int_equal(j->fault.code, FAULT_NONE);
    assert_int_equal(j->purchases[0].state,
                     PURCHASE_INTENDED); /* the intent's transaction says so */
}

/* clang-format off */
#define LOST(n) PURCHASE("paint", n, "given_up", "null", "") ","
#define LOST_18 LOST(101) LOST(102) LOST(103) LOST(104) LOST(105) LOST(106) LOST(107) LOST(108) LOST(109) \
                LOST(110) LOST(111) LOST(112) LOST(113) LOST(114) LOST(115) LOST(116) LOST(117) LOST(118)
#define LOST_19 LOST_18 LOST(119)
#define LIVE PURCHASE("paint", 120, "intended", "null", "") "]"
/* clang-format on */

/* What was surely not bought is waited for, but not without end; what is not found out within an hour, never
 * is. */
static void test_unknown(void **state) {
    static const char purchases[] = "[" PURCHASE("paint", 1, "given_up", "null", "") "," PURCHASE(
        "sculpt", 2, "given_up", "null", "") "," PURCHASE("paint", 7, "intended", "null", "") "]";
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (unsigned max = 1; max <= 4; max++) {
        _cleanup_(job_freep) Job *j = job_with(c, purchases);

        c->max_attempts = max;
        assert_int_equal(hear(c, j, 200, LIST(""), GIVE_UP + 1), EV_WAIT);
        assert_int_equal(hear(c, j, 200, LIST(""), GIVE_UP + 6 * SEC), EV_NOT_BOUGHT);
        assert_int_equal(j->fault.code, FAULT_NONE);
        assert_int_equal(j->give_up, j->purchase + 1);
    }
    for (int one_more = 0; one_more < 2; one_more++) {
        _cleanup_(job_freep) Job *j = job_with(c, one_more ? "[" LOST_19 LIVE : "[" LOST_18 LIVE);

        assert_int_equal(hear(c, j, 200, LIST(""), GIVE_UP + 1), EV_WAIT);
        assert_int_equal(hear(c, j, 200, LIST(""), GIVE_UP + 6 * SEC),
                         one_more ? EV_FINAL : EV_NOT_BOUGHT);
        assert_int_equal(j->fault.code, one_more ? FAULT_PURCHASE_UNKNOWN : FAULT_NONE);
    }
    for (int i = 0; i < 2; i++) {
        _cleanup_(job_freep) Job *j = unanswered(c);

        assert_int_equal(hear(c, j, i ? 502 : 200, i ? HTML : LIST(""), INTENT + 3601 * SEC),
                         EV_FINAL);
        assert_int_equal(j->fault.code, FAULT_PURCHASE_UNKNOWN);
        assert_int_equal(j->give_up, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delays),
        cmocka_unit_test(test_patience),
        cmocka_unit_test(test_late_answers),
        cmocka_unit_test(test_found_after_the_hour),
        cmocka_unit_test(test_no_memory_is_no_answer),
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_not_ours),
        cmocka_unit_test(test_equal_ones),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_troubles),
        cmocka_unit_test(test_gives_up),
        cmocka_unit_test(test_unknown),
    };

    torture_json();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
