/* From a fault to an event. Pure. */
#pragma once
#include "base/fault.h"
#include "core/job.h"

/* The event for a fault by its verdict: EV_WAIT, EV_RETRY or EV_FINAL. */
JobEvent verdict_event(const Fault *fault);
