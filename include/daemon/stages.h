/* What is done in each state: one short function a state, in the order of the flow. */
#pragma once
#include "daemon/worker.h"

/* Begins what the job's state waits for. 0, or a negative errno: nothing was begun. */
int stages_enter(Task *t);

/* Ends what is under way, without a word. */
void stages_leave(Task *t);

/* A poll before its time. */
void stages_poll_now(Task *t);
