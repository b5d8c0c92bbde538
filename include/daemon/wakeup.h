/* LISTEN on a connection of its own, and the proof that it works. */
#pragma once
#include "daemon/worker.h"

int wakeup_init(Worker *w);
void wakeup_done(Worker *w);

/* The working connection is there: a ping may be sent through it. */
void wakeup_prove(Worker *w);

/* Asks which cancels there are, how many jobs the database counts as ours, and whether we are to stop. */
void wakeup_ask(Worker *w);
