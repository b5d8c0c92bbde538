/* Rows that the database gave us are taken up over several turns of the loop. */
#pragma once
#include <libpq-fe.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

typedef struct TakingEvents {
    void (*row)(void *userdata, const PGresult *res, int row);
    void (*done)(void *userdata, const PGresult *res); /* all were taken; the next may be begun */
} TakingEvents;

/* The rows of one answer that are still to be taken up. All zero: none. */
typedef struct Taking {
    const TakingEvents *events;
    void *userdata;
    PGresult *res; /* a copy of the answer; NULL: nothing is being taken up */
    int row;       /* the next */
    sd_event_source *source;
} Taking;

/* Takes up the rows of `res`, from row 1 on, some at once and the rest in later turns; then all are done, perhaps
 * before this returns. `res` is the caller's; `t` must have nothing under way. */
void taking_start(Taking *t, sd_event *event, const PGresult *res, const TakingEvents *events,
                  void *userdata);

/* Lets go of what is left, without a word. The jobs are ours in the database, so that the next comparison brings
 * them. */
void taking_drop(Taking *t);

bool taking_is_under_way(const Taking *t);
