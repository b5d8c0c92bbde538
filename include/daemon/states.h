/* The table of states: what is begun in each. */
#pragma once
#include "daemon/task.h"

extern JobEvent (*const states[_JOB_STATE_MAX])(Task *t);
