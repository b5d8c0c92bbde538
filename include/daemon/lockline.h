/* Where one call at a time may wait for a lock, so that it can't starve, and nobody else waits behind it. */
#pragma once
#include "daemon/worker.h"

/* May `who` wait now? Then its call goes to w->line.db, with DB_WAIT | DB_ONCE, until it leaves. */
bool lockline_enter(Worker *w, const void *who);

/* Its call was answered, or is not wanted any more. Of whoever is not in it: nothing. */
void lockline_leave(Worker *w, const void *who);

void lockline_done(Worker *w);
