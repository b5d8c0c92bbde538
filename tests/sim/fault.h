/* Scripts of faults: what to do instead of, or besides, the right thing. */
#pragma once
#include "http.h"

struct Fault {
    unsigned id, refs;
    Endpoint endpoint;
    char *match;         /* NULL: any */
    int64_t skip, count; /* count < 0: for ever */
    double percent;      /* of the requests that fit, by chance */
    uint64_t hits;
    json_t *script; /* as it was sent */

    unsigned status; /* 0: none */
    json_t *body, *headers;
    bool lose_answer, close, close_on_reuse, done, early;
    int64_t cut, stall_usec, after, arrive_usec;            /* < 0: none */
    int64_t late_list_usec, starting_usec, processing_usec; /* < 0: none */
    bool never_started;
    json_t *output;
    int final; /* a Status, or -1 */
    char *error, *redirect;
    BadFile file;
    Fault *next;
};

bool fault_add(Sim *sim, const json_t *script, Buf *reterr_why); /* one script */
void faults_clear(Sim *sim);
json_t *faults_list(const Sim *sim);

/* The script for this request, counted (early: before the body was read); the caller lets go of it with fault_unref(). */
Fault *fault_take(Sim *sim, const Request *r, bool early);
Fault *fault_unref(Fault *f);

bool fault_prevents(const Fault *f);                              /* the request is not done */
void fault_apply(const Fault *f, const Request *r, Reply *reply); /* to the right answer, or none */
