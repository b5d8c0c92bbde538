/* What is done in the states that end a job, requeue it, or let it rest; see task.h for what these return. */
#pragma once
#include "daemon/task.h"

JobEvent enter_closing(Task *t); /* COMPLETING, FAILING, CLOSING_CANCELED, REQUEUEING */
JobEvent enter_resting(Task *t);
JobEvent enter_stopping(Task *t);
