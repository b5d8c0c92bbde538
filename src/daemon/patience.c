/*
 * Every wait of one job has an end.
 *
 * A file whose server always breaks off is one job's trouble, and is tried for no longer than job_timeout; a
 * store that is away is everybody's, and is waited for. Which of the two it is, shows in how others fare.
 */
#include "daemon/patience.h"
#include "base/clock.h"

void patience_trouble(Patience *p, Lane *lane, const Fault *fault) {
    p->is_own = p->is_own || (p->troubled && lane->answers != p->answers);
    p->troubled = true;
    p->answers = lane->answers;
    if (!p->is_own)
        lane_hold(lane, fault);
}

/* The lane that a state waits in; NULL: none that can be held for long. */
static const Lane *lane_of(const Worker *w, JobState s) {
    switch (s) {
    case JOB_SIGNING:
    case JOB_STORING:
        return &w->lanes[LANE_STORE];
    case JOB_INTENDING:
        return &w->lanes[LANE_CREATE];
    case JOB_DOWNLOADING:
        return &w->lanes[LANE_FILE];
    default:
        return NULL;
    }
}

uint64_t patience_idle_usec(const Patience *p, const Worker *w, const Job *j, uint64_t usec) {
    const Lane *lane = lane_of(w, j->at.resume);
    uint64_t now = clock_now_usec(), left;

    if (j->fault.code == FAULT_DATABASE_BUSY || j->fault.code == FAULT_SPOOL_FULL)
        return usec;
    if (p->is_own || !lane || !hold_is_on(&lane->hold, now))
        return 0;
    left = lane->hold.until_usec - now;
    return left < usec ? left : usec;
}

static bool is_of_a_file(JobState s) {
    return s == JOB_SIGNING || s == JOB_DOWNLOADING || s == JOB_STORING;
}

void patience_moved(Patience *p, const JobMove *m, const Job *j) {
    JobState to = j->at.state;

    if (m->ev == EV_WAIT)
        p->trouble = j->fault;
    else if (to != m->from.state && to != JOB_RESTING && m->from.state != JOB_RESTING)
        *p = (Patience){ 0 };
}

void patience_over(const Patience *p, JobPos from, Fault *reterr) {
    JobState state = from.state == JOB_RESTING ? from.resume : from.state;
    const char *detail = p->trouble.detail[0] ? p->trouble.detail : "no end of it";

    if (state == JOB_SIGNING)
        fault_set(reterr, FAULT_IMAGE_UNSIGNED, "not signed within job_timeout: %s", detail);
    else if (p->trouble.code != FAULT_NONE && is_of_a_file(state))
        *reterr = p->trouble;
    else if (state == JOB_DOWNLOADING)
        fault_set(reterr, FAULT_OUTPUT_UNREACHED, "not fetched within job_timeout");
    else if (state == JOB_STORING)
        fault_set(reterr, FAULT_STORE_UNREACHED, "not stored within job_timeout");
    else
        fault_set(reterr, FAULT_TIMEOUT, "worked on for longer than job_timeout");
}
