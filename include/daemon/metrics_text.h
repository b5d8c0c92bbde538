/* The text of /metrics. */
#pragma once
#include <stddef.h>

#include "daemon/sample.h"
#include "daemon/worker.h"

/* All of it; `queue` NULL: another worker knows. The text is the caller's to free. 0, -ENOMEM. */
int metrics_write(const Worker *w, const SampleQueue *queue, char **ret, size_t *ret_size);
