/* Stage 4: is the prediction there yet? Pure. */
#pragma once
#include "base/http_message.h"
#include "core/config.h"
#include "core/job.h"

/* How long to wait before asking (again), `age` after the purchase; with jitter. */
uint64_t poll_delay_usec(const Config *c, uint64_t age_usec, double chance);

int poll_ask(const Config *c, const Job *j, HttpRequest *ret);

typedef struct PollAnswer { /* borrowed from `root`, which the caller unrefs */
    json_t *root;
    const char *status;
    json_t *output, *metrics;
    const char *error; /* text of it, whatever its type was; NULL: none */
    bool terminal, usable;
    bool of_another; /* a gateway mixes answers up: it says nothing of this prediction */
} PollAnswer;

/* A prediction is gone when so many reads in a row did not know it, over so long a time: right after a
 * purchase, and while Replicate moves its own data, a 404 may pass. */
#define POLL_GONE_READS 4
#define POLL_GONE_USEC (UINT64_C(120) * 1000000)

/* EV_WAIT: not there yet (with a fault when the read failed). EV_STEP: done, another step follows.
 * EV_OK: done, j->output_url is the mesh. EV_RETRY, EV_FINAL with a fault. */
JobEvent poll_hear(const HttpReply *reply, Job *j, uint64_t now_usec, PollAnswer *ret,
                   Fault *reterr);

typedef enum PollWants {
    POLL_WANTS_MESH,
    POLL_WANTS_IMAGE
} PollWants;

/* Where the purchase's output is, by the configuration that it was bought with; `now` is its step as it is
 * configured now, for one of a version that wrote nothing of it down. */
const char *poll_pointer(const Purchase *p, const Step *now);

/* The file in an output: by JSON pointer, or found by itself. NULL: none. Borrowed. */
const char *poll_output(const json_t *output, const char *pointer, PollWants wants);

/* Progress (0 to 1) read from a prediction's logs: the last tqdm bar; < 0: none. */
double poll_progress(const char *logs);
