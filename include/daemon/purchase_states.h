/* What is done in the states around a purchase; see task.h for what these return. */
#pragma once
#include "daemon/task.h"

JobEvent enter_signing(Task *t);
JobEvent enter_intending(Task *t);
JobEvent enter_predicting(Task *t);
JobEvent enter_looking(Task *t);
JobEvent enter_recording(Task *t);
JobEvent enter_polling(Task *t);

/* A poll before its time: a notification says that the prediction has got further. */
void purchase_poll_now(Task *t);
