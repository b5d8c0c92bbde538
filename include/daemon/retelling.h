/* What the database may have lost with a primary, told again by who still knows it. */
#pragma once
#include "daemon/worker.h"

void retelling_init(Worker *w);
void retelling_done(Worker *w);

/* The database is there, perhaps another server: asks whether the purchases that we know are still in their rows.
 * A row gets back what it lost, and so does an intent. A prediction that has no row is written down as surplus; where it runs, it is cancelled, and its
 * task is told EV_LOST. Asks until all is told, also of tasks that are gone by then. */
void retelling_start(Worker *w);

/* The task is gone. */
void retelling_leave(Task *t);
