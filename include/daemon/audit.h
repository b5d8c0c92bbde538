/* Cancels predictions that no job waits for any more: once a minute, whoever asks first sees to them. */
#pragma once
#include "daemon/worker.h"

int audit_init(Worker *w);
void audit_done(Worker *w);
