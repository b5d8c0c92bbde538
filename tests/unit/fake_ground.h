/* The ground of an instance for tests of the parts that stand on it: calls to the database are kept until a test
 * answers them. */
#pragma once
#include "fake_loop.h"

#include "daemon/worker.h"

#define ASKED_MAX 32

typedef struct Asked {
    const char *sql; /* NULL: answered */
    unsigned flags;
    DbDone done;
    void *userdata;
} Asked;

static Asked fake_asked[ASKED_MAX];
static unsigned fake_n_asked;
static bool fake_up = true;
static unsigned fake_reconnects, fake_looks;
static NotReady fake_not_ready;
static void (*fake_seen)(const DbRequest *request); /* NULL, or looks at each call */

int worker_ask(Worker *w, unsigned flags, DbRequest *request, DbDone done, void *userdata) {
    (void) w;
    assert_true(fake_n_asked < ASKED_MAX);
    if (fake_seen)
        fake_seen(request);
    fake_asked[fake_n_asked++] = (Asked){ request->sql, flags, done, userdata };
    db_request_done(request);
    return 0;
}

void worker_call(Worker *w, DbRequest *request, const char *what) {
    (void) what;
    (void) worker_ask(w, 0, request, NULL, NULL);
}

bool worker_is_trusted(const Worker *w) {
    return fake_now < w->trusted_until_usec;
}

void worker_not_ready(Worker *w, NotReady not_ready, const char *reason) {
    fake_not_ready = not_ready;
    (void) snprintf(w->not_ready_reason, sizeof w->not_ready_reason, "%s", reason);
}

void worker_refused(Worker *w, const char *what, const PGresult *res) {
    (void) res;
    worker_not_ready(w, NOT_READY_REFUSED, what);
}

bool db_is_up(const Db *db) {
    (void) db;
    return fake_up;
}

void db_reconnect(Db *db, const char *why) {
    (void) db;
    (void) why;
    fake_reconnects++;
}

void lane_look(Lane *lane) {
    (void) lane;
    fake_looks++;
}

/* The oldest call that is not answered and names this; NULL: there is none. */
static Asked *asked(const char *function) {
    for (unsigned i = 0; i < fake_n_asked; i++)
        if (fake_asked[i].sql && strstr(fake_asked[i].sql, function))
            return &fake_asked[i];
    return NULL;
}

static void answer(const char *function, DbEnd end, PGresult *res) {
    Asked *a = asked(function);

    assert_non_null(a);
    a->sql = NULL;
    a->done(a->userdata, end, res);
    PQclear(res);
}

/* One row of columns without names. */
__attribute__((unused)) static PGresult *row(int n, const char *const *values) {
    static const char *const names[] = { "a", "b", "c", "d", "e", "f" };

    return rows_of(n, names, 1, values);
}
#define ROW(...)                                                                \
    row((int) (sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(const char *)), \
        (const char *const[]){ __VA_ARGS__ })

static Worker *ground_of(const char *config) {
    static const ConfigSource source;
    Worker *w = calloc(1, sizeof *w);

    assert_non_null(w);
    w->config = good(&source, config);
    memcpy(w->id, BUYER, sizeof w->id);
    TAILQ_INIT(&w->tasks);
    fake_n_asked = fake_reconnects = fake_looks = 0;
    fake_up = true;
    return w;
}

static void free_ground(Worker *w) {
    config_free((Config *) w->config);
    free(w);
    end_loop();
}
