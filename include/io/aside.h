/* Calls that block are made aside of the loop, each in a thread of its own. */
#pragma once
#include <stdbool.h>
#include <systemd/sd-event.h>

typedef struct Aside Aside;
typedef void (*AsideCall)(void *arg);

/* At most `threads_max` calls are under way at once; others wait for their turn. */
int aside_new(Aside **ret, sd_event *event, unsigned threads_max);

/* `work(arg)` runs in a thread, then `done(arg)` on the loop, which owns `arg` from then on. Nothing can call a
 * thread back: a caller that does not wait any more says so in `arg`, and `done` frees it. Returns 0, -ENOMEM,
 * or -EAGAIN when no thread can be had; neither is called then. */
int aside_start(Aside *a, AsideCall work, AsideCall done, void *arg);

/* Nobody wants the call of `arg` any more: one that waits for a thread is not made, and `done` frees it now. One that
 * is under way goes on. */
void aside_drop(Aside *a, const void *arg);

/* Are at least half of the threads taken? */
bool aside_is_busy(const Aside *a);

/* Never waits: a call under way goes on, and `done` follows in its thread, so nobody may wait for it any more.
 * Takes NULL, returns NULL. */
Aside *aside_free(Aside *a);
