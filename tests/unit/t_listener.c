/* The listener: a fake of both connections below, a recorder above. */
#include "fake_ground.h"

#include "daemon/listener.h"
#include "flow/notify.h"

#define PING_EVERY (60 * SEC)
#define PING_WAIT (5 * SEC)

/* --- the listening connection -------------------------------------------------------------- */

static const DbEvents *connection;
static void *connection_userdata;
static DbFailure failure = DB_FAILURE_OTHER;

int db_new(Db **ret, sd_event *event, Resolver *resolver, const char *url, const char *application,
           const DbEvents *events, void *userdata) {
    (void) event;
    (void) resolver;
    (void) url;
    assert_string_equal(application, "meshifyd listen");
    connection = events;
    connection_userdata = userdata;
    *ret = (Db *) &connection;
    return 0;
}

Db *db_free(Db *db) {
    (void) db;
    return NULL;
}

void db_go(Db *db) {
    assert_ptr_equal(db, &connection);
}

int db_call(Db *db, unsigned flags, const DbRequest *request, DbDone done, void *userdata,
            DbOp **ret) {
    DbRequest copy = { .sql = request->sql };

    (void) ret;
    assert_ptr_equal(db, &connection);
    return worker_ask(NULL, flags, &copy, done, userdata);
}

DbFailure db_failure(const Db *db) {
    (void) db;
    return failure;
}

/* --- above --------------------------------------------------------------------------------- */

static struct {
    unsigned work, changed, news, predictions, n;
    unsigned held;
    bool to_drain;
    char cancels[100];
    ListenerId ids[4];
} heard;

static void on_work(void *userdata) {
    (void) userdata;
    heard.work++;
}

static void on_changed(void *userdata) {
    (void) userdata;
    heard.changed++;
}

static void on_news(void *userdata, const ListenerNews *news) {
    (void) userdata;
    heard.news++;
    heard.held = news->held;
    heard.to_drain = news->to_drain;
    (void) snprintf(heard.cancels, sizeof heard.cancels, "%s", news->cancels);
}

static void on_predictions(void *userdata, const ListenerId *ids, unsigned n) {
    (void) userdata;
    heard.predictions++;
    heard.n = n;
    for (unsigned i = 0; i < n && i < 4; i++)
        memcpy(heard.ids[i], ids[i], sizeof *ids);
}

static const ListenerEvents events = { on_work, on_changed, on_news, on_predictions };

static Listener *listener_of(Worker *w) {
    Listener *l = NULL;

    memset(&heard, 0, sizeof heard);
    connection = NULL;
    w->registered = true;
    assert_int_equal(listener_new(&l, w, &events, w), 0);
    return l;
}

static void notify(const char *channel, const char *payload) {
    connection->notified(connection_userdata, channel, payload);
}

/* What the ping says stands in the call that sends it; a test takes it from there. */
static char sent_ping[100];

static void note_ping(const DbRequest *request) {
    if (request->n_params == 1 && strstr(request->params[0], "ping"))
        (void) snprintf(sent_ping, sizeof sent_ping, "%s", request->params[0]);
}

/* Connected, subscribed, and a ping of ours under way. */
static Listener *connected(Worker *w) {
    Listener *l = listener_of(w);

    fake_seen = note_ping;
    connection->up(connection_userdata);
    answer("LISTEN meshify_jobs", DB_OK, NULL);
    answer("LISTEN meshify_control", DB_OK, NULL);
    return l;
}

static Listener *proven(Worker *w) {
    Listener *l = connected(w);

    notify("meshify_control", sent_ping);
    return l;
}

/* --- the tests ----------------------------------------------------------------------------- */

static void notifications_count_when_they_are_proven(void **state) {
    Worker *w = ground_of(GOOD);
    Listener *l = connected(w);

    (void) state;
    assert_false(w->listens);
    notify("meshify_control", "{\"ping\":\"" JOB_ID "\"}"); /* somebody else's */
    assert_false(w->listens);
    notify("meshify_control", sent_ping);
    assert_true(w->listens);
    assert_int_equal(heard.changed, 1);
    assert_int_equal(logged(MSG_LISTEN_UP), 1);
    l = listener_free(l);
    free_ground(w);
}

static void a_ping_that_was_heard_proves_nothing_later(void **state) {
    Worker *w = ground_of(GOOD);
    char old[sizeof sent_ping];
    Listener *l = proven(w);

    (void) state;
    memcpy(old, sent_ping, sizeof old);
    pass(PING_EVERY);
    assert_string_not_equal(old, sent_ping);
    notify("meshify_control", old);
    pass(PING_WAIT);
    assert_int_equal(fake_reconnects, 1);
    l = listener_free(l);
    free_ground(w);
}

static void silence_is_noticed_and_said_once(void **state) {
    Worker *w = ground_of(GOOD);
    Listener *l = connected(w);

    (void) state;
    pass(PING_WAIT);
    assert_int_equal(fake_reconnects, 1);
    assert_int_equal(logged(MSG_LISTEN_DOWN), 0); /* it may have been lost on its way */
    pass(2 * PING_WAIT);
    assert_int_equal(logged(MSG_LISTEN_DOWN), 1);
    pass(10 * PING_EVERY);
    assert_int_equal(logged(MSG_LISTEN_DOWN), 1);
    assert_false(w->listens);
    l = listener_free(l);
    free_ground(w);
}

static void a_lost_connection_is_told(void **state) {
    Worker *w = ground_of(GOOD);
    Listener *l = proven(w);

    (void) state;
    connection->down(connection_userdata, "broken", SEC);
    assert_false(w->listens);
    assert_int_equal(heard.changed, 2);
    assert_int_equal(logged(MSG_LISTEN_DOWN), 1);
    l = listener_free(l);
    free_ground(w);
}

static void a_hint_reads_the_rows(void **state) {
    Worker *w = ground_of(GOOD);
    Listener *l = proven(w);

    (void) state;
    notify("meshify_control", "{\"cancel\":\"" JOB_ID "\"}");
    notify("meshify_control", "{\"cancel\":\"" JOB_ID "\"}");
    assert_null(asked("news(")); /* at the end of the turn */
    pass(0);
    answer("news(", DB_OK, ROW("{" JOB_ID "}", "f", "3"));
    assert_int_equal(heard.news, 1);
    assert_string_equal(heard.cancels, "{" JOB_ID "}");
    assert_int_equal(heard.held, 3);
    assert_false(heard.to_drain);
    notify("meshify_control", "{\"drain\":\"" BUYER "\"}");
    pass(NOTIFY_HINT_USEC - 1);
    assert_null(asked("news(")); /* anybody may send hints: ten times a second at most */
    pass(1);
    notify("meshify_control", "{\"drain\":\"" BUYER "\"}");
    answer("news(", DB_OK, ROW("{}", "t", "0"));
    assert_true(heard.to_drain);
    pass(NOTIFY_HINT_USEC); /* one came while the rows were read */
    assert_non_null(asked("news("));
    l = listener_free(l);
    free_ground(w);
}

static void hints_for_others_and_nonsense_read_nothing(void **state) {
    Worker *w = ground_of(GOOD);
    Listener *l = proven(w);

    (void) state;
    notify("meshify_control", "{\"drain\":\"" JOB_ID "\"}"); /* another worker */
    notify("meshify_control", "nonsense");
    notify("another", "{\"cancel\":\"" JOB_ID "\"}");
    pass(SEC);
    assert_null(asked("news("));
    assert_int_equal(heard.work, 0);
    l = listener_free(l);
    free_ground(w);
}

static void named_predictions_are_told_together(void **state) {
    Worker *w = ground_of(GOOD);
    Listener *l = proven(w);

    (void) state;
    notify("meshify_control", "{\"prediction\":\"zz\"}");
    notify("meshify_control", "{\"prediction\":\"aa\"}");
    assert_int_equal(heard.predictions, 0);
    pass(0);
    assert_int_equal(heard.predictions, 1);
    assert_int_equal(heard.n, 2);
    assert_string_equal(heard.ids[0], "aa"); /* sorted */
    assert_string_equal(heard.ids[1], "zz");
    pass(SEC);
    assert_int_equal(heard.predictions, 1);
    l = listener_free(l);
    free_ground(w);
}

static void work_is_told_at_once(void **state) {
    Worker *w = ground_of(GOOD);
    Listener *l = proven(w);

    (void) state;
    notify("meshify_jobs", "");
    assert_int_equal(heard.work, 1);
    l = listener_free(l);
    free_ground(w);
}

static void news_can_be_read_without_listening(void **state) {
    Worker *w = ground_of(GOOD "[database]\nlisten = off\n");
    Listener *l = listener_of(w);

    (void) state;
    assert_null(connection);
    listener_prove(l);
    assert_int_equal(fake_n_asked, 0);
    listener_ask(l);
    listener_ask(l); /* one at a time */
    assert_int_equal(fake_n_asked, 1);
    answer("news(", DB_DISCONNECTED, NULL);
    assert_int_equal(heard.news, 0);
    w->registered = false;
    listener_ask(l);
    assert_int_equal(fake_n_asked, 1);
    l = listener_free(l);
    free_ground(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notifications_count_when_they_are_proven),
        cmocka_unit_test(a_ping_that_was_heard_proves_nothing_later),
        cmocka_unit_test(silence_is_noticed_and_said_once),
        cmocka_unit_test(a_lost_connection_is_told),
        cmocka_unit_test(a_hint_reads_the_rows),
        cmocka_unit_test(hints_for_others_and_nonsense_read_nothing),
        cmocka_unit_test(named_predictions_are_told_together),
        cmocka_unit_test(work_is_told_at_once),
        cmocka_unit_test(news_can_be_read_without_listening),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
