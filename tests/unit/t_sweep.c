/* The sweep over objects: a driver and a database that say what a test wants, and what is asked of them. */
#include "fake_ground.h"

#include "daemon/sweep.h"
#include "io/aside.h"
#include "io/dir_sweep.h"

/* --- a store ------------------------------------------------------------------------------- */

static struct {
    JobEvent begins; /* how each removal begins */
    StoreDone done;  /* of the one under way */
    StoreWork work;
    void *userdata;
    unsigned begun, started, canceled;
    bool held;
} store;

static JobEvent begin_remove(StoreWork *w) {
    store.begun++;
    if (store.begins != EV_MORE && store.begins != EV_OK)
        fault_set(&w->fault, FAULT_STORE_REFUSED, "not this one");
    return store.begins;
}

static char *place(const Config *c) {
    (void) c;
    return strdup("here");
}

const StoreDriver *store_driver(const Config *c) {
    static const StoreDriver driver = { .place = place, .remove = begin_remove };

    (void) c;
    return &driver;
}

int store_op_start(StoreOp **ret, const StoreEdges *edges, const StoreWork *work, StoreDone done,
                   void *userdata) {
    (void) edges;
    store.started++;
    store.done = done;
    store.work = *work;
    store.userdata = userdata;
    *ret = (StoreOp *) &store;
    return 0;
}

StoreOp *store_op_cancel(StoreOp *op) {
    store.canceled += op != NULL;
    return NULL;
}

/* What came of the removal under way. */
static void removed(JobEvent ev, bool is_general) {
    StoreWork work = store.work;

    work.is_general = is_general;
    store.done(store.userdata, ev, &work);
}

bool lane_is_held(const Lane *lane) {
    (void) lane;
    return store.held;
}

/* This driver leaves no files: the thread that looks for them is never made. */
int aside_new(Aside **ret, sd_event *event, unsigned threads_max) {
    (void) ret;
    (void) event;
    (void) threads_max;
    return -ENOMEM;
}

int aside_start(Aside *a, AsideCall work, AsideCall done, void *arg) {
    (void) a;
    (void) work;
    (void) done;
    (void) arg;
    return -ENOMEM;
}

Aside *aside_free(Aside *a) {
    assert_null(a);
    return NULL;
}

unsigned dir_sweep(const char *root, const char *pattern, uint64_t age_seconds) {
    (void) root;
    (void) pattern;
    (void) age_seconds;
    return 0;
}

/* --- the tests ----------------------------------------------------------------------------- */

/* The database has named three objects that no row names. */
static Sweep *sweep_of_three(Worker **ret, JobEvent begins) {
    static const char *const name[] = { "name" }, *const names[] = { "a", "b", "c" };
    Sweep *s = NULL;

    *ret = ground_of(GOOD);
    (*ret)->registered = true;
    memset(&store, 0, sizeof store);
    store.begins = begins;
    assert_int_equal(sweep_new(&s, *ret), 0);
    pass(10 * SEC);
    answer("orphans_due(", DB_OK, rows_of(1, name, 3, names));
    return s;
}

static void end(Sweep *s, Worker *w) {
    sweep_free(s);
    free_ground(w);
}

static unsigned written_down(void) {
    unsigned n = 0;

    for (Asked *a; (a = asked("orphan_removed(")); n++)
        a->sql = NULL;
    return n;
}

static void one_after_the_other(void **state) {
    Worker *w;
    Sweep *s = sweep_of_three(&w, EV_MORE);

    (void) state;
    assert_string_equal(store.work.object, "a");
    removed(EV_OK, false);
    assert_string_equal(store.work.object, "b");
    removed(EV_WAIT, false); /* the refusal of one name */
    assert_string_equal(store.work.object, "c");
    removed(EV_OK, false);
    assert_int_equal(store.started, 3);
    assert_int_equal(written_down(), 2);
    pass(60 * SEC);
    assert_non_null(asked("orphans_due(")); /* the sweep has ended: there is another */
    end(s, w);
    assert_int_equal(store.canceled, 0);
}

static void a_removal_may_be_over_at_once(void **state) {
    static const JobEvent begins[] = { EV_OK, EV_FINAL };

    (void) state;
    for (size_t i = 0; i < 2; i++) {
        Worker *w;
        Sweep *s = sweep_of_three(&w, begins[i]);

        assert_int_equal(store.begun, 3);
        assert_int_equal(store.started, 0);
        assert_int_equal(written_down(), begins[i] == EV_OK ? 3 : 0);
        assert_int_equal(logged(MSG_ORPHAN), 3);
        pass(60 * SEC);
        assert_non_null(asked("orphans_due("));
        end(s, w);
    }
}

/* The others would fare no better. */
static void a_store_that_is_away_ends_the_sweep(void **state) {
    (void) state;
    for (int i = 0; i < 2; i++) {
        Worker *w;
        Sweep *s = sweep_of_three(&w, EV_MORE);

        store.held = i == 1;
        removed(EV_WAIT, i == 0);
        assert_int_equal(store.started, 1);
        assert_int_equal(written_down(), 0);
        pass(60 * SEC);
        assert_int_equal(asked("orphans_due(") != NULL, !store.held);
        end(s, w);
    }
}

static void it_may_end_in_between(void **state) {
    Worker *w;
    Sweep *s = sweep_of_three(&w, EV_MORE);

    (void) state;
    pass(60 * SEC);
    assert_null(asked("orphans_due(")); /* one sweep at a time */
    end(s, w);
    assert_int_equal(store.canceled, 1);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_after_the_other),
        cmocka_unit_test(a_removal_may_be_over_at_once),
        cmocka_unit_test(a_store_that_is_away_ends_the_sweep),
        cmocka_unit_test(it_may_end_in_between),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
