/* Jobs that the database gave us are taken up over several turns of the loop. */
#pragma once
#include <libpq-fe.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

typedef struct Worker Worker;

/* The rows of one answer that are still to be taken up. All zero: none. */
typedef struct Taking {
    Worker *worker;
    PGresult *res; /* a copy of the answer; NULL: nothing is being taken up */
    int row;       /* the next */
    void (*done)(Worker *w, const PGresult *res);
    sd_event_source *source;
} Taking;

/* Takes up the jobs of `res`, from row 1 on, some at once and the rest in later turns; then calls `done`,
 * perhaps before it returns. `res` is the caller's; `t` must have nothing under way. */
void taking_start(Taking *t, Worker *w, const PGresult *res,
                  void (*done)(Worker *w, const PGresult *res));

/* Lets go of what is left, without calling `done`. The jobs are ours in the database, so that the next
 * comparison brings them. */
void taking_drop(Taking *t);

bool taking_is_under_way(const Taking *t);
