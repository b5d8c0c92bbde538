/* Checks that need several rows of a configuration, and the building of its pipelines. Pure. */
#pragma once
#include "core/config_rows.h"

/* Errors are added to those of `p`. 0, -ENOMEM. */
int config_check(ConfigParse *p);
