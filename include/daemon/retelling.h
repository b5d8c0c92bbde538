/* What the database may have lost with a primary, told again by who still knows it. */
#pragma once
#include "daemon/worker.h"

/* The database is there, perhaps another server: asks whether the predictions that we poll are still in their
 * rows. Those that are not are written down as surplus and cancelled; their tasks are told EV_LOST. */
void retelling_start(Worker *w);
