/* The lease: a fake database below, a recorder above. */
#include "fake_ground.h"

#include "daemon/lease.h"
#include "io/db_errors.h"

#define LEASE (60 * SEC) /* so that a heartbeat goes out every 20 s where notifications arrive */
#define CONFIG GOOD "[database]\nlease = 60s\n"

static char fake_state[6]; /* a SQLSTATE */

const char *db_sqlstate(const PGresult *res) {
    (void) res;
    return fake_state;
}

static struct {
    unsigned ready_new, ready_again, heartbeats, lost, resumed, takeovers;
    LeaseNews news;
} heard;

static void on_ready(void *userdata, const LeaseNews *news) {
    (void) userdata;
    heard.ready_new += news != NULL;
    heard.ready_again += news == NULL;
}

static void on_heartbeat(void *userdata, const LeaseNews *news) {
    (void) userdata;
    heard.heartbeats++;
    heard.news = *news;
}

static void on_lost(void *userdata) {
    Worker *w = userdata;

    assert_false(w->registered || worker_is_trusted(w)); /* nothing may be begun meanwhile */
    assert_string_equal(w->id, BUYER);                   /* the jobs are dropped by the old name */
    heard.lost++;
}

static void on_resumed(void *userdata) {
    (void) userdata;
    heard.resumed++;
}

static void on_takeover(void *userdata) {
    (void) userdata;
    heard.takeovers++;
}

static const LeaseEvents events = { on_ready, on_heartbeat, on_lost, on_resumed, on_takeover };

static PGresult *schema(unsigned version, unsigned from) {
    char a[12], b[12];

    (void) snprintf(a, sizeof a, "%u", version);
    (void) snprintf(b, sizeof b, "%u", from);
    return ROW(a, b);
}

static Lease *lease_of(Worker *w) {
    Lease *l = NULL;

    memset(&heard, 0, sizeof heard);
    fake_state[0] = '\0';
    w->listens = true;
    assert_int_equal(lease_new(&l, w, &events, w), 0);
    return l;
}

/* Connected and registered. */
static Lease *registered(Worker *w) {
    Lease *l = lease_of(w);

    lease_connected(l);
    answer("schema_version", DB_OK, schema(SCHEMA_VERSION, 1));
    answer("register(", DB_OK, ROW("ok", "3", "", "1700000000"));
    return l;
}

static void a_row_of_ours_is_made(void **state) {
    Worker *w = ground_of(CONFIG);
    Lease *l = lease_of(w);

    (void) state;
    assert_false(worker_is_trusted(w));
    lease_connected(l);
    assert_null(asked("register(")); /* not before the schema fits */
    answer("schema_version", DB_OK, schema(SCHEMA_VERSION, 1));
    assert_true(w->schema_fits);
    assert_false(w->registered);
    pass(SEC);
    answer("register(", DB_OK, ROW("ok", "3", "", "1700000000"));
    assert_true(w->registered);
    assert_int_equal(heard.ready_new, 1);
    assert_int_equal(heard.resumed, 0);
    assert_int_equal(w->epoch, 1700000000);
    assert_int_equal(w->epoch_usec, NOW); /* when it was sent, not when it was answered */
    assert_int_equal(w->trusted_until_usec, NOW + LEASE / 3 * 2);
    assert_int_equal(logged(MSG_LEASE_SUSPENDED), 0);
    l = lease_free(l);
    free_ground(w);
}

typedef struct Misfit {
    const char *what, *sqlstate; /* "": it is told */
    unsigned version, from;
    NotReady not_ready;
} Misfit;

static void a_schema_that_does_not_fit_is_waited_for(void **state) {
    static const Misfit misfits[] = {
        { "no row", "", 0, 0, NOT_READY_NO_SCHEMA },
        { "no table", "42P01", 0, 0, NOT_READY_NO_SCHEMA },
        { "no schema", "3F000", 0, 0, NOT_READY_NO_SCHEMA },
        { "no right", "42501", 0, 0, NOT_READY_GRANT },
        { "an older one", "", SCHEMA_VERSION - 1, 1, NOT_READY_OLD_SCHEMA },
        { "a newer one", "", SCHEMA_VERSION + 1, SCHEMA_VERSION + 1, NOT_READY_NEW_SCHEMA },
        { "another refusal", "57014", 0, 0, NOT_READY_REFUSED },
    };

    (void) state;
    for (size_t i = 0; i < sizeof misfits / sizeof *misfits; i++) {
        const Misfit *m = &misfits[i];
        Worker *w = ground_of(CONFIG);
        Lease *l = lease_of(w);

        print_message("# %s\n", m->what);
        (void) snprintf(fake_state, sizeof fake_state, "%s", m->sqlstate);
        lease_connected(l);
        if (*m->sqlstate)
            answer("schema_version", DB_FAILED, NULL);
        else if (m->version == 0)
            answer("schema_version", DB_OK, rows_of(0, NULL, 0, NULL));
        else
            answer("schema_version", DB_OK, schema(m->version, m->from));
        assert_int_equal(fake_not_ready, m->not_ready);
        assert_null(asked("register("));
        pass(5 * SEC); /* somebody may have mended it */
        fake_state[0] = '\0';
        answer("schema_version", DB_OK, schema(SCHEMA_VERSION, 1));
        assert_non_null(asked("register("));
        l = lease_free(l);
        free_ground(w);
    }
}

static void heartbeats_go_out_and_keep_the_trust(void **state) {
    Worker *w = ground_of(CONFIG);
    Lease *l = registered(w);

    (void) state;
    for (unsigned i = 1; i <= 10; i++) {
        pass(LEASE / 3);
        answer("beat(", DB_OK, ROW("ok", "4", "17", "f", "f", "1700000000"));
        assert_int_equal(heard.heartbeats, i);
        assert_true(worker_is_trusted(w));
    }
    assert_int_equal(heard.news.workers, 4);
    assert_int_equal(heard.news.running_all, 17);
    assert_false(heard.news.is_paused || heard.news.to_drain);
    pass(LEASE / 3);
    answer("beat(", DB_OK, ROW("ok", "4", "17", "t", "t", "1700000000"));
    assert_true(heard.news.is_paused && heard.news.to_drain);
    assert_int_equal(logged(MSG_LEASE_SUSPENDED), 0);
    l = lease_free(l);
    free_ground(w);
}

static void without_an_answer_nothing_is_begun(void **state) {
    Worker *w = ground_of(CONFIG);
    Lease *l = registered(w);

    (void) state;
    pass(LEASE / 3 * 2 - 1);
    assert_true(worker_is_trusted(w));
    assert_non_null(asked("beat("));
    pass(1);
    assert_false(worker_is_trusted(w));
    lease_check(l);
    lease_check(l);
    assert_int_equal(logged(MSG_LEASE_SUSPENDED), 1);
    assert_true(lease_is_suspended(l));
    pass(LEASE / 3);
    assert_int_equal(fake_reconnects, 1); /* another server may answer */
    assert_int_equal(heard.resumed, 0);
    answer("beat(", DB_DISCONNECTED, NULL);
    lease_disconnected(l);
    lease_connected(l);
    answer("schema_version", DB_OK, schema(SCHEMA_VERSION, 1));
    assert_int_equal(heard.ready_again, 1); /* the row is there still */
    answer("beat(", DB_OK, ROW("ok", "1", "0", "f", "f", "1700000000"));
    assert_true(worker_is_trusted(w));
    assert_false(lease_is_suspended(l));
    assert_int_equal(heard.resumed, 1);
    assert_true(fake_looks >= _LANE_MAX);
    l = lease_free(l);
    free_ground(w);
}

/* A guard said no, and nobody else was there to notice: the answer must wake what waits. */
static void a_lapse_that_nobody_noticed_is_resumed(void **state) {
    Worker *w = ground_of(CONFIG);
    Lease *l = registered(w);

    (void) state;
    pass(LEASE / 3);
    fake_now += LEASE; /* the whole process was stopped: no timer came */
    assert_false(worker_is_trusted(w));
    answer("beat(", DB_OK, ROW("ok", "1", "0", "f", "f", "1700000000"));
    assert_int_equal(heard.resumed, 1);
    assert_false(worker_is_trusted(w)); /* it was sent long ago */
    l = lease_free(l);
    free_ground(w);
}

static void a_lost_lease_begins_anew(void **state) {
    Worker *w = ground_of(CONFIG);
    Lease *l = registered(w);

    (void) state;
    pass(LEASE / 3);
    answer("beat(", DB_OK, ROW("lost", "", "", "", "", ""));
    assert_int_equal(heard.lost, 1);
    assert_int_equal(heard.heartbeats, 0);
    assert_int_equal(w->metrics.leases_lost, 1);
    assert_string_not_equal(w->id, BUYER);
    answer("register(", DB_OK, ROW("ok", "1", "", "1700000000"));
    assert_int_equal(heard.ready_new, 2);
    assert_true(worker_is_trusted(w));
    l = lease_free(l);
    free_ground(w);
}

static void the_dead_are_reaped(void **state) {
    Worker *w = ground_of(CONFIG);
    Lease *l = registered(w);

    (void) state;
    pass(LEASE / 3);
    answer("beat(", DB_OK, ROW("ok", "1", "0", "f", "f", "1700000000"));
    answer("reap(", DB_OK, ROW("2", "7"));
    assert_int_equal(w->metrics.takeovers, 7);
    assert_int_equal(heard.takeovers, 1);
    assert_null(asked("reap("));
    pass(LEASE / 3);
    answer("beat(", DB_OK, ROW("ok", "1", "0", "f", "f", "1700000000"));
    answer("reap(", DB_OK, ROW("1", "500")); /* as many as one call takes over */
    assert_non_null(asked("reap("));
    l = lease_free(l);
    free_ground(w);
}

static void a_refused_heartbeat_is_tried_again_soon(void **state) {
    Worker *w = ground_of(CONFIG);
    Lease *l = registered(w);

    (void) state;
    pass(LEASE / 3);
    answer("beat(", DB_FAILED, NULL);
    assert_int_equal(fake_not_ready, NOT_READY_REFUSED);
    assert_null(asked("beat("));
    pass(SEC);
    assert_non_null(asked("beat("));
    l = lease_free(l);
    free_ground(w);
}

static void polling_brings_heartbeats_more_often(void **state) {
    Worker *w = ground_of(CONFIG);
    Lease *l = registered(w);

    (void) state;
    w->listens = false;
    lease_plan(l);
    pass(LEASE / 3 - 1);
    assert_non_null(asked("beat("));
    l = lease_free(l);
    free_ground(w);
}

static void a_clean_stop_takes_the_row_away(void **state) {
    Worker *w = ground_of(CONFIG);
    Lease *l = registered(w);

    (void) state;
    lease_end(l);
    assert_non_null(asked("unregister("));
    assert_false(w->registered || worker_is_trusted(w));
    l = lease_free(l);
    free_ground(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_of_ours_is_made),
        cmocka_unit_test(a_schema_that_does_not_fit_is_waited_for),
        cmocka_unit_test(heartbeats_go_out_and_keep_the_trust),
        cmocka_unit_test(without_an_answer_nothing_is_begun),
        cmocka_unit_test(a_lapse_that_nobody_noticed_is_resumed),
        cmocka_unit_test(a_lost_lease_begins_anew),
        cmocka_unit_test(the_dead_are_reaped),
        cmocka_unit_test(a_refused_heartbeat_is_tried_again_soon),
        cmocka_unit_test(polling_brings_heartbeats_more_often),
        cmocka_unit_test(a_clean_stop_takes_the_row_away),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
