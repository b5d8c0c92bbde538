/* Where one call at a time may wait for a lock, so that it can't starve, and nobody else waits behind it. */
#pragma once
#include "daemon/worker.h"

int lockline_new(LockLine **ret, Worker *w); /* 0, -ENOMEM */
LockLine *lockline_free(LockLine *l);

/* May `who` wait now? Then its call goes to lockline_db(), with DB_WAIT | DB_ONCE, until it leaves. */
bool lockline_enter(LockLine *l, const void *who);
bool lockline_has(const LockLine *l, const void *who);
Db *lockline_db(LockLine *l);

/* Its call was answered, or is not wanted any more. Harmless where `who` is not in line. */
void lockline_leave(LockLine *l, const void *who);
