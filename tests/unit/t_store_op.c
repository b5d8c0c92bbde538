/* Work with the store carried out: the drivers are true, the edges below are made by hand. */
#include "daemon/store_op.h"
#include "fixtures.h"

#define MESH "u/p/mesh.glb"
#define DIR "[replicate]\ntoken = r8_test\n[storage]\ndriver = dir\nurl = /srv/meshes\n"
#define RECEIPT "{\"Key\":\"user_assets/" MESH "\",\"Id\":\"y\"}"
#define INFO "{\"name\":\"" MESH "\",\"size\":5,\"metadata\":{\"sha256\":\"abc\"}}"

/* --- the edges ------------------------------------------------------------------------------ */

static struct {
    HttpDone http;
    DirDone dir;
    void *userdata;
    unsigned sent, put, removed, canceled;
    bool starved; /* nothing more can be sent */
    int error;    /* of the directory */
} edge;

int http_send(Http *http, HttpRequest *request, HttpDone done, void *userdata, HttpOp **ret) {
    (void) http;
    http_request_done(request);
    if (edge.starved)
        return -ENOMEM;
    edge.sent++;
    edge.http = done;
    edge.userdata = userdata;
    *ret = (HttpOp *) &edge;
    return 0;
}

HttpOp *http_op_cancel(HttpOp *op) {
    edge.canceled += op != NULL;
    return NULL;
}

int dir_put(Dir *dir, const char *root, const char *name, int fd, uint64_t size_bytes, DirDone done,
            void *userdata, DirOp **ret) {
    (void) dir;
    assert_string_equal(root, "/srv/meshes");
    assert_string_equal(name, MESH);
    assert_true(fd == 7 && size_bytes == 5);
    if (edge.error)
        return edge.error;
    edge.put++;
    edge.dir = done;
    edge.userdata = userdata;
    *ret = (DirOp *) &edge;
    return 0;
}

DirOp *dir_op_cancel(DirOp *op) {
    edge.canceled += op != NULL;
    return NULL;
}

int dir_remove(const char *root, const char *name) {
    assert_string_equal(root, "/srv/meshes");
    assert_string_equal(name, MESH);
    edge.removed++;
    return edge.error;
}

int dir_look(const char *root) {
    (void) root;
    return edge.error;
}

static void answer(int code, const char *body) {
    HttpReply reply = reply_of(code, body);
    HttpDone done = edge.http;

    assert_non_null(done);
    edge.http = NULL;
    done(edge.userdata, &reply);
    http_reply_done(&reply);
}

/* --- the caller ----------------------------------------------------------------------------- */

typedef struct Caller {
    Config *config;
    Job *job;
    StoreEdges edges;
    unsigned counted, ended;
    JobEvent ev;
    FaultCode fault;
} Caller;

static void counted(void *userdata, const HttpReply *reply) {
    assert_non_null(reply);
    ((Caller *) userdata)->counted++;
}

static void ended(void *userdata, JobEvent ev, const StoreWork *work) {
    Caller *c = userdata;

    c->ended++;
    c->ev = ev;
    c->fault = work->fault.code;
}

static void begin(Caller *c, const char *config) {
    edge = (__typeof__(edge)){ 0 };
    *c = (Caller){ .config = good(&nothing, config), .ev = EV_NONE };
    c->job = job_of(c->config, &claimed_row);
    c->job->object = strdup(MESH);
    c->job->size_bytes = 5;
    (void) strcpy(c->job->sha256, "abc");
    c->edges = (StoreEdges){ .counted = counted, .userdata = c };
    assert_true(sd_event_new(&c->edges.event) >= 0);
}

static void done(Caller *c) {
    sd_event_unref(c->edges.event);
    job_free(c->job);
    config_free(c->config);
}

static StoreOp *start(Caller *c, JobEvent (*what)(StoreWork *)) {
    StoreWork w = { .config = c->config, .job = c->job, .fd = 7, .object = MESH };
    StoreOp *op = NULL;

    assert_int_equal(what(&w), EV_MORE);
    assert_int_equal(store_op_start(&op, &c->edges, &w, ended, c), 0);
    assert_int_equal(c->ended, 0);
    return op;
}

static void test_several_requests(void **state) {
    Caller c;

    (void) state;
    begin(&c, GOOD);
    start(&c, store_driver(c.config)->begin);
    answer(200, "<html>");
    assert_int_equal(c.ended, 0);
    assert_int_equal(edge.sent, 2);
    answer(200, INFO);
    assert_true(c.ended == 1 && c.ev == EV_OK && c.counted == 2 && edge.canceled == 0);
    done(&c);
}

static void test_fault(void **state) {
    Caller c;

    (void) state;
    begin(&c, GOOD);
    start(&c, store_driver(c.config)->begin);
    answer(400, "{\"code\":\"EntityTooLarge\"}");
    assert_true(c.ended == 1 && c.ev == EV_FINAL && c.fault == FAULT_STORE_TOO_LARGE);
    done(&c);
}

static void test_no_memory(void **state) {
    StoreOp *op = NULL;
    Caller c;

    (void) state;
    begin(&c, GOOD);
    start(&c, store_driver(c.config)->begin);
    edge.starved = true;
    answer(200, "<html>"); /* a second request is wanted */
    assert_true(c.ended == 1 && c.ev == EV_RETRY && c.fault == FAULT_INTERNAL);
    assert_int_equal(
        store_op_start(&op, &c.edges, &(StoreWork){ .config = c.config, .job = c.job }, ended, &c),
        -ENOMEM);
    assert_true(c.ended == 1 && !op);
    done(&c);
}

/* What is over at once is heard in another turn, and not at all once it is cancelled. */
static void test_file_steps(void **state) {
    static const int errors[] = { 0, -EACCES };
    Caller c;

    (void) state;
    for (size_t i = 0; i < 2; i++) {
        begin(&c, DIR);
        edge.error = errors[i];
        start(&c, store_driver(c.config)->remove);
        assert_true(sd_event_run(c.edges.event, 1000000) > 0);
        assert_true(c.ended == 1 && c.ev == (i ? EV_WAIT : EV_OK) && edge.removed == 1);
        store_op_cancel(start(&(Caller){ .config = c.config, .job = c.job, .edges = c.edges },
                              store_driver(c.config)->remove));
        assert_int_equal(sd_event_run(c.edges.event, 0), 0);
        assert_int_equal(c.ended, 1);
        c.ended = 0;
        start(&c, store_driver(c.config)->check);
        assert_true(sd_event_run(c.edges.event, 1000000) > 0);
        assert_true(c.ended == 1 && c.ev == (i ? EV_WAIT : EV_OK));
        done(&c);
    }
}

static void test_put(void **state) {
    Caller c;

    (void) state;
    begin(&c, DIR);
    start(&c, store_driver(c.config)->begin);
    assert_int_equal(edge.put, 1);
    edge.dir(edge.userdata, 0);
    assert_true(c.ended == 1 && c.ev == EV_OK && edge.canceled == 0 && c.counted == 0);
    done(&c);
    begin(&c, DIR);
    edge.error = -ENOSPC; /* it can't even be begun: the same as when it ends so */
    start(&c, store_driver(c.config)->begin);
    assert_true(sd_event_run(c.edges.event, 1000000) > 0);
    assert_true(c.ended == 1 && c.ev == EV_WAIT && c.fault == FAULT_STORE_UNREACHED);
    done(&c);
}

static void test_cancel(void **state) {
    static const char *const configs[] = { GOOD, DIR };
    Caller c;

    (void) state;
    for (size_t i = 0; i < 2; i++) {
        begin(&c, configs[i]);
        assert_null(store_op_cancel(start(&c, store_driver(c.config)->begin)));
        assert_true(edge.canceled == 1 && c.ended == 0);
        done(&c);
    }
    assert_null(store_op_cancel(NULL));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_several_requests),
        cmocka_unit_test(test_fault),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_file_steps),
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_cancel),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
