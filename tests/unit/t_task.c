/* The moves of a task: a table of states above, fakes of the edges below. */
#include "fake_loop.h"

#include "daemon/lockline.h"
#include "daemon/task.h"
#include "io/db_errors.h"

/* --- below --------------------------------------------------------------------------------- */

static struct {
    HttpDone http;
    DbDone db;
    StoreDone store;
    void *userdata;
    unsigned sent, cancelled, left_line;
    int fails; /* the next sending: with this errno */
} edge;

int http_send(Http *http, HttpRequest *request, HttpDone done, void *userdata, HttpOp **ret) {
    (void) http;
    http_request_done(request);
    if (edge.fails)
        return edge.fails;
    edge.http = done;
    edge.userdata = userdata;
    edge.sent++;
    *ret = (HttpOp *) &edge;
    return 0;
}

HttpOp *http_op_cancel(HttpOp *op) {
    assert_ptr_equal(op, &edge);
    edge.cancelled++;
    return NULL;
}

int db_call(Db *db, unsigned flags, const DbRequest *request, DbDone done, void *userdata,
            DbOp **ret) {
    (void) db;
    (void) flags;
    (void) request;
    edge.db = done;
    edge.userdata = userdata;
    edge.sent++;
    *ret = (DbOp *) &edge;
    return 0;
}

DbOp *db_op_cancel(DbOp *op) {
    assert_ptr_equal(op, &edge);
    edge.cancelled++;
    return NULL;
}

int store_op_start(StoreOp **ret, const StoreEdges *edges, const StoreWork *work, StoreDone done,
                   void *userdata) {
    (void) edges;
    (void) work;
    if (edge.fails)
        return edge.fails;
    edge.store = done;
    edge.userdata = userdata;
    edge.sent++;
    *ret = (StoreOp *) &edge;
    return 0;
}

StoreOp *store_op_cancel(StoreOp *op) {
    assert_ptr_equal(op, &edge);
    edge.cancelled++;
    return NULL;
}

void lockline_leave(LockLine *l, const void *who) {
    (void) l;
    (void) who;
    edge.left_line++;
}

Db *lockline_db(LockLine *l) {
    (void) l;
    return NULL;
}

SpoolFile *spool_file_free(SpoolFile *file) {
    assert_null(file);
    return NULL;
}

/* --- above --------------------------------------------------------------------------------- */

static struct {
    JobState entered[32];
    unsigned n_entered, depth, deepest;
    JobEvent tells[_JOB_STATE_MAX]; /* what each state says at once */
    unsigned gone, changed;
    JobEvent answer; /* to what is heard */
} seen;

static void gone(void *userdata, Task *t) {
    (void) userdata;
    assert_int_equal(t->job->at.state, JOB_GONE);
    seen.gone++;
}

static void requeued(void *userdata, uint64_t due_usec) {
    (void) userdata;
    (void) due_usec;
}

static void changed(void *userdata) {
    (void) userdata;
    seen.changed++;
}

void worker_changed(Worker *w) {
    w->events->changed(w->userdata);
}

static JobEvent enter(Task *t) {
    JobState s = t->job->at.state;

    seen.depth++;
    if (seen.depth > seen.deepest)
        seen.deepest = seen.depth;
    if (seen.n_entered < sizeof seen.entered / sizeof *seen.entered)
        seen.entered[seen.n_entered++] = s;
    seen.depth--;
    return seen.tells[s];
}

static JobEvent http_heard(Task *t, HttpReply *reply) {
    assert_null(t->op); /* another may be begun at once */
    assert_int_equal(reply->code, 200);
    return seen.answer;
}

static JobEvent db_heard(Task *t, DbEnd end, const PGresult *res) {
    (void) res;
    assert_null(t->op);
    assert_int_equal(end, DB_OK);
    return seen.answer;
}

static JobEvent send_http(Task *t) {
    HttpRequest request = { .method = "GET" };

    (void) enter(t);
    return task_send_http(t, &request, http_heard) < 0 ? task_give_up(t, -ENOMEM) : EV_NONE;
}

static JobEvent send_db(Task *t) {
    DbRequest request = { .sql = "SELECT 1" };

    (void) enter(t);
    assert_int_equal(task_send_db(t, 0, &request, db_heard), 0);
    return EV_NONE;
}

static JobEvent over(Task *t) {
    (void) t;
    return EV_OK;
}

static JobEvent pause_a_second(Task *t) {
    (void) enter(t);
    return task_pause(t, SEC, over);
}

static JobEvent (*states[_JOB_STATE_MAX])(Task *t);
static const WorkerEvents events = { .gone = gone, .requeued = requeued, .changed = changed };

static Worker *worker_of(void) {
    static const ConfigSource source;
    Worker *w = calloc(1, sizeof *w);

    assert_non_null(w);
    *w = (Worker){ .config = good(&source, GOOD), .states = states, .events = &events };
    TAILQ_INIT(&w->tasks);
    for (int i = 0; i < _LANE_MAX; i++)
        assert_int_equal(lane_init(&w->lanes[i], NULL, "lane", 1, changed, w), 0);
    memset(&seen, 0, sizeof seen);
    memset(&edge, 0, sizeof edge);
    for (JobState s = 0; s < _JOB_STATE_MAX; s++) {
        seen.tells[s] = EV_NONE;
        states[s] = enter;
    }
    return w;
}

static void free_worker(Worker *w) {
    for (int i = 0; i < _LANE_MAX; i++)
        lane_done(&w->lanes[i]);
    config_free((Config *) w->config);
    free(w);
    end_loop();
}

/* A job as it was claimed; NULL: it has begun, and is gone. */
static Task *begin(Worker *w, JobState s) {
    Job *j = calloc(1, sizeof *j);

    assert_non_null(j);
    memcpy(j->id, JOB_ID, sizeof j->id);
    j->at.state = s;
    j->attempts = 1;
    j->claimed_usec = j->started_usec = fake_now;
    j->pipeline = pipeline_ref(w->config->text);
    assert_int_equal(task_begin(w, j), 0);
    return TAILQ_FIRST(&w->tasks);
}

/* --- the tests ----------------------------------------------------------------------------- */

static void moves_do_not_nest(void **state) {
    static const JobState way[] = { JOB_SIGNING, JOB_INTENDING,   JOB_PREDICTING, JOB_RECORDING,
                                    JOB_POLLING, JOB_DOWNLOADING, JOB_VALIDATING, JOB_SCANNING,
                                    JOB_STORING, JOB_COMPLETING };
    Worker *w = worker_of();

    (void) state;
    for (JobState s = 0; s < _JOB_STATE_MAX; s++)
        seen.tells[s] = EV_OK;
    assert_null(begin(w, JOB_SIGNING)); /* all the way to the end, and gone */
    assert_int_equal(seen.n_entered, sizeof way / sizeof *way);
    assert_memory_equal(seen.entered, way, sizeof way);
    assert_int_equal(seen.deepest, 1);
    assert_int_equal(seen.gone, 1);
    assert_int_equal(w->n_tasks, 0);
    free_worker(w);
}

static void an_answer_moves_it_on(void **state) {
    Worker *w = worker_of();
    HttpReply reply = { .code = 200 };
    Task *t;

    (void) state;
    states[JOB_SIGNING] = send_http;
    states[JOB_INTENDING] = send_db;
    t = begin(w, JOB_SIGNING);
    assert_true(task_is_waiting(t));
    assert_false(task_calls_db(t));
    seen.answer = EV_OK;
    edge.http(edge.userdata, &reply);
    assert_int_equal(t->job->at.state, JOB_INTENDING);
    assert_true(task_calls_db(t));
    edge.db(edge.userdata, DB_OK, NULL);
    assert_int_equal(t->job->at.state, JOB_PREDICTING);
    assert_int_equal(edge.left_line, 1);
    assert_false(task_is_waiting(t)); /* nothing was begun: the tick finds it */
    task_resume(t);
    assert_int_equal(seen.n_entered, 4);
    assert_int_equal(edge.cancelled, 0); /* what was answered is not cancelled */
    tasks_free(w);
    free_worker(w);
}

/* One request after the other in a state: nothing moves between them. */
static JobEvent send_another(Task *t, HttpReply *reply) {
    HttpRequest request = { .method = "GET" };

    (void) reply;
    assert_int_equal(task_send_http(t, &request, http_heard), 0);
    return EV_NONE;
}

static JobEvent send_two(Task *t) {
    HttpRequest request = { .method = "GET" };

    assert_int_equal(task_send_http(t, &request, send_another), 0);
    return EV_NONE;
}

static void a_state_may_need_several_requests(void **state) {
    Worker *w = worker_of();
    HttpReply reply = { .code = 200 };
    Task *t;

    (void) state;
    states[JOB_SIGNING] = send_two;
    t = begin(w, JOB_SIGNING);
    seen.answer = EV_OK;
    edge.http(edge.userdata, &reply);
    assert_int_equal(t->job->at.state, JOB_SIGNING);
    assert_int_equal(edge.sent, 2);
    edge.http(edge.userdata, &reply);
    assert_int_equal(t->job->at.state, JOB_INTENDING);
    tasks_free(w);
    free_worker(w);
}

/* What was downloaded is kept until it is stored: a state that comes between is asked, too. */
static void the_file_is_kept_until_it_is_stored(void **state) {
    Worker *w = worker_of();
    Task *t = begin(w, JOB_DOWNLOADING);
    unsigned n = 0;

    (void) state;
    t->room_bytes = 7; /* as if it had one */
    while (t->job->at.state != JOB_COMPLETING) {
        assert_int_equal(t->room_bytes, 7);
        assert_true(n++ < _JOB_STATE_MAX);
        task_tell(t, EV_OK);
    }
    assert_true(n > 1);
    assert_int_equal(t->room_bytes, 0);
    tasks_free(w);
    free_worker(w);
}

static JobEvent stored(Task *t, JobEvent ev, const StoreWork *work) {
    assert_null(t->op);
    assert_int_equal(work->fault.code == FAULT_INTERNAL, edge.fails != 0);
    return ev;
}

static JobEvent work_with_store(Task *t) {
    StoreWork work = { .config = t->worker->config, .job = t->job };

    (void) enter(t);
    return task_store(t, seen.answer, &work, stored);
}

/* Its end is told once, at once or later, and also when it could not be begun for want of memory. */
static void work_with_the_store_ends(void **state) {
    Task *t;

    (void) state;
    for (int i = 0; i < 4; i++) {
        Worker *w = worker_of();

        states[JOB_STORING] = work_with_store;
        edge.fails = i == 1 ? -ENOMEM : 0;
        seen.answer = i == 2 ? EV_OK : EV_MORE;
        t = begin(w, JOB_STORING);
        if (i == 0 || i == 3) {
            assert_true(task_is_waiting(t));
            assert_int_equal(t->job->at.state, JOB_STORING);
            if (i == 0)
                edge.store(edge.userdata, EV_OK, &(StoreWork){ 0 });
            else
                task_tell(t, EV_CANCEL);
        }
        assert_int_equal(t->job->at.state, i == 1   ? JOB_REQUEUEING
                                           : i == 3 ? JOB_STOPPING
                                                    : JOB_COMPLETING);
        assert_int_equal(edge.cancelled, i == 3);
        tasks_free(w);
        free_worker(w);
    }
}

static void leaving_cancels_what_is_under_way(void **state) {
    Worker *w = worker_of();
    Task *t;

    (void) state;
    states[JOB_SIGNING] = send_http;
    t = begin(w, JOB_SIGNING);
    task_tell(t, EV_CANCEL);
    assert_int_equal(edge.cancelled, 1);
    assert_int_equal(t->job->at.state, JOB_STOPPING);
    assert_null(t->op);
    tasks_free(w);
    free_worker(w);
}

static void a_wish_waits_and_what_is_under_way_goes_on(void **state) {
    Worker *w = worker_of();
    HttpReply reply = { .code = 200 };
    Task *t;

    (void) state;
    states[JOB_PREDICTING] = send_http;
    states[JOB_RECORDING] = send_db;
    t = begin(w, JOB_PREDICTING);
    task_tell(t, EV_LOST);
    assert_int_equal(edge.cancelled, 0);
    assert_int_equal(seen.n_entered, 1);
    seen.answer = EV_OK;
    edge.http(edge.userdata, &reply);
    assert_int_equal(t->job->at.state, JOB_RECORDING); /* its id is written down first */
    edge.db(edge.userdata, DB_OK, NULL);
    assert_int_equal(w->n_tasks, 0);
    assert_int_equal(seen.gone, 1);
    free_worker(w);
}

static void a_pause_ends_by_itself(void **state) {
    Worker *w = worker_of();
    Task *t;

    (void) state;
    states[JOB_SIGNING] = pause_a_second;
    t = begin(w, JOB_SIGNING);
    assert_true(task_is_waiting(t));
    pass(SEC - 1);
    assert_int_equal(t->job->at.state, JOB_SIGNING);
    pass(1);
    assert_int_equal(t->job->at.state, JOB_INTENDING);
    tasks_free(w);
    free_worker(w);
}

static void a_request_that_cannot_be_sent_is_no_fault_of_the_job(void **state) {
    Worker *w = worker_of();
    Task *t;

    (void) state;
    states[JOB_SIGNING] = send_http;
    edge.fails = -ENOMEM;
    t = begin(w, JOB_SIGNING);
    assert_int_equal(t->job->at.state, JOB_REQUEUEING);
    assert_int_equal(t->job->fault.code, FAULT_INTERNAL);
    tasks_free(w);
    free_worker(w);
}

static JobEvent in_turn(Task *t) {
    (void) t;
    return EV_OK;
}

static JobEvent queue_for_the_store(Task *t) {
    (void) enter(t);
    return task_queue(t, LANE_STORE, in_turn);
}

/* The lane is one wide: the second waits until the first leaves its state. */
static void a_lane_is_left_with_the_state(void **state) {
    Worker *w = worker_of();
    Task *first, *second;

    (void) state;
    states[JOB_SIGNING] = send_two; /* holds no lane */
    first = begin(w, JOB_SIGNING);
    states[JOB_STORING] = queue_for_the_store;
    assert_true(lane_enter(&w->lanes[LANE_STORE], &first->ticket, NULL, first));
    (void) begin(w, JOB_STORING);
    second = TAILQ_LAST(&w->tasks, Tasks);
    assert_true(second->ticket.waiting);
    pass(3 * SEC);
    assert_int_equal(second->job->at.state, JOB_STORING);
    task_tell(first, EV_OK);
    pass(0);
    assert_int_equal(second->job->at.state, JOB_COMPLETING);
    assert_int_equal(second->job->idle_usec, 3 * SEC); /* waiting in line is not work */
    tasks_free(w);
    free_worker(w);
}

static void draining_begins_nothing(void **state) {
    Worker *w = worker_of();
    Task *t;

    (void) state;
    w->draining = true;
    t = begin(w, JOB_SIGNING);
    assert_int_equal(seen.n_entered, 1);
    assert_int_equal(seen.entered[0], JOB_REQUEUEING);
    assert_int_equal(t->job->at.state, JOB_REQUEUEING);
    tasks_free(w);
    free_worker(w);
}

static void all_can_be_drained_let_go_and_dropped(void **state) {
    Worker *w = worker_of();
    JobState states_of[] = { JOB_POLLING, JOB_PREDICTING, JOB_STORING };
    Task *t;

    (void) state;
    for (size_t i = 0; i < 3; i++)
        (void) begin(w, states_of[i]);
    tasks_drain(w);
    t = TAILQ_FIRST(&w->tasks);
    assert_int_equal(t->job->at.state, JOB_REQUEUEING);
    t = TAILQ_NEXT(t, link);
    assert_int_equal(t->job->at.state, JOB_PREDICTING); /* an id may come */
    t = TAILQ_NEXT(t, link);
    assert_int_equal(t->job->at.state, JOB_STORING); /* nearly there */
    tasks_let_go(w);
    TAILQ_FOREACH(t, &w->tasks, link)
    assert_int_equal(t->job->at.state, JOB_REQUEUEING);
    tasks_drop(w);
    assert_int_equal(w->n_tasks, 0);
    assert_int_equal(seen.gone, 3);
    free_worker(w);
}

static void no_way_out_is_said_and_leads_back(void **state) {
    Worker *w = worker_of();
    Task *t;

    (void) state;
    t = begin(w, JOB_VALIDATING);
    task_tell(t, EV_UNSURE);
    assert_int_equal(t->job->at.state, JOB_REQUEUEING);
    assert_int_equal(logged(MSG_JOB_BUG), 1);
    tasks_free(w);
    free_worker(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_do_not_nest),
        cmocka_unit_test(an_answer_moves_it_on),
        cmocka_unit_test(a_state_may_need_several_requests),
        cmocka_unit_test(the_file_is_kept_until_it_is_stored),
        cmocka_unit_test(work_with_the_store_ends),
        cmocka_unit_test(leaving_cancels_what_is_under_way),
        cmocka_unit_test(a_wish_waits_and_what_is_under_way_goes_on),
        cmocka_unit_test(a_pause_ends_by_itself),
        cmocka_unit_test(a_request_that_cannot_be_sent_is_no_fault_of_the_job),
        cmocka_unit_test(a_lane_is_left_with_the_state),
        cmocka_unit_test(draining_begins_nothing),
        cmocka_unit_test(all_can_be_drained_let_go_and_dropped),
        cmocka_unit_test(no_way_out_is_said_and_leads_back),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
