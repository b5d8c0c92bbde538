/* Fields of every log line about one job. */
#pragma once

typedef struct LogContext { /* borrowed; NULL: left out */
    const char *job_id, *asset_id, *user_id, *prediction_id, *state, *fault;
    unsigned attempt;
} LogContext;
