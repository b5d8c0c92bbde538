/* What the database may have lost with a primary, told again by who still knows it. */
#pragma once
#include "daemon/task.h"

typedef struct Retelling Retelling;

/* 0, -ENOMEM or what libsystemd answers. It goes before the tasks. */
int retelling_new(Retelling **ret, Worker *w);
Retelling *retelling_free(Retelling *re);

/* The database is there, perhaps another server: asks whether the purchases that we know are still in their rows. A row
 * gets back what it lost, and so does an intent. A prediction that has no row is written down as surplus; where it
 * runs, it is canceled, and its task is told EV_LOST. Asks until all is told, also of tasks that are gone by then. */
void retelling_start(Retelling *re);

/* The task is gone. */
void retelling_leave(Task *t);
