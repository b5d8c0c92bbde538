/*
 * Every wait of one job has an end.
 *
 * A file whose server always breaks off is one job's trouble, and is tried for no longer than job_timeout; a
 * store that is away is everybody's, and is waited for. Which of the two it is, shows in how others fare.
 */
#include "daemon/patience.h"
#include "base/clock.h"

void patience_trouble(Task *t, LaneName name) {
    Lane *lane = &t->worker->lanes[name];

    t->own_trouble = t->own_trouble || (t->troubled && lane->answers != t->answers);
    t->troubled = true;
    t->answers = lane->answers;
    if (!t->own_trouble)
        lane_hold(lane, &t->job->fault);
}

/* The lane that a state waits in; NULL: none that can be held for long. */
static const Lane *lane_of(const Task *t, JobState s) {
    const Lane *lanes = t->worker->lanes;

    switch (s) {
    case JOB_SIGNING:
    case JOB_STORING:
        return &lanes[LANE_STORE];
    case JOB_INTENDING:
        return &lanes[LANE_CREATE];
    case JOB_DOWNLOADING:
        return &lanes[LANE_FILE];
    default:
        return NULL;
    }
}

uint64_t patience_idle_usec(const Task *t, uint64_t usec) {
    const Lane *lane = lane_of(t, t->job->at.resume);
    uint64_t now = clock_now_usec(), left;

    if (t->job->fault.code == FAULT_DATABASE_BUSY || t->job->fault.code == FAULT_SPOOL_FULL)
        return usec;
    if (t->own_trouble || !lane || !hold_is_on(&lane->hold, now))
        return 0;
    left = lane->hold.until_usec - now;
    return left < usec ? left : usec;
}

static bool is_of_a_file(JobState s) {
    return s == JOB_SIGNING || s == JOB_DOWNLOADING || s == JOB_STORING;
}

void patience_moved(Task *t, JobPos from, JobPos to, JobEvent ev) {
    Job *j = t->job;
    uint64_t spent = clock_now_usec() - j->started_usec, waited = lane_waited_usec(&t->ticket);

    if (from.state == JOB_LOOKING &&
        spent > waited) /* what it waited in the lane is added by itself */
        j->idle_usec += spent - waited;
    if (ev == EV_WAIT)
        t->trouble = j->fault;
    else if (to.state != from.state && to.state != JOB_RESTING && from.state != JOB_RESTING) {
        t->trouble = (Fault){ 0 };
        t->troubled = t->own_trouble = false;
    }
}

void patience_over(Task *t, JobPos from) {
    JobState state = from.state == JOB_RESTING ? from.resume : from.state;
    Fault *fault = &t->job->fault;
    const char *detail = t->trouble.detail[0] ? t->trouble.detail : "no end of it";

    if (state == JOB_SIGNING)
        fault_set(fault, FAULT_IMAGE_UNSIGNED, "not signed within job_timeout: %s", detail);
    else if (t->trouble.code != FAULT_NONE && is_of_a_file(state))
        *fault = t->trouble;
    else if (state == JOB_DOWNLOADING)
        fault_set(fault, FAULT_OUTPUT_UNREACHED, "not fetched within job_timeout");
    else if (state == JOB_STORING)
        fault_set(fault, FAULT_STORE_UNREACHED, "not stored within job_timeout");
    else
        fault_set(fault, FAULT_TIMEOUT, "worked on for longer than job_timeout");
}
