/* What is done in the states of the file; see task.h for what these return. */
#pragma once
#include "daemon/task.h"

JobEvent enter_downloading(Task *t);
JobEvent enter_validating(Task *t);
JobEvent enter_scanning(Task *t);
JobEvent enter_storing(Task *t);

/* The guard of LANE_FILE: has the spool room for the file of this task? */
bool file_has_room(void *worker, void *task);
