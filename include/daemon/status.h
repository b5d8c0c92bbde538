/* Composes STATUS, and says READY and STOPPING; supervisor.h carries them. */
#pragma once
#include "daemon/worker.h"

typedef struct Status Status;

/* Says READY when the worker is, and after ten seconds in any case. */
int status_new(Status **ret, Worker *w);
Status *status_free(Status *s);

/* Something changed: STATUS is said again, at most four times a second. */
void status_changed(Status *s);
void status_stopping(Status *s);

/* The database is connected and the schema fits. */
bool status_is_ready(const Worker *w);

/* What is missing, for everybody, from a closed list: nothing of it comes from outside. Returns `to`. */
const char *status_word(const Worker *w, char *to, size_t room);
