/* Closings that triggers of the project refused are tried again, by whichever worker comes by. */
#pragma once
#include "daemon/worker.h"

/* 0, -ENOMEM or what libsystemd answers. */
int finishing_new(Finishing **ret, Worker *w);
Finishing *finishing_free(Finishing *f);

/* There is such a closing: it is not left for long. */
void finishing_soon(Finishing *f);
