/* Closings that triggers of the project refused are tried again, by whichever worker comes by. */
#pragma once
#include "daemon/worker.h"

int finishing_init(Worker *w);
void finishing_done(Worker *w);

/* There is one: it is not left for long. */
void finishing_soon(Worker *w);
