/* Our row among the workers: that we are alive, and that the jobs are ours. It writes worker->registered, schema_fits,
 * trusted_until_usec and epoch; others read them. */
#pragma once
#include "daemon/worker.h"

typedef struct Lease Lease;

typedef struct LeaseNews {
    unsigned workers;         /* that are alive, us included */
    unsigned running_all;     /* jobs of all of them */
    bool is_paused;           /* claims are, everywhere */
    bool to_drain;            /* an operator wants this instance to stop */
    unsigned compatible_from; /* the schema is for programs from this version on; 0: not known */
} LeaseNews;

typedef struct LeaseEvents {
    /* The connection is up and our row is there. `news` of a new row, which knows the workers only; NULL: it was there
     * before. */
    void (*ready)(void *userdata, const LeaseNews *news);
    void (*heartbeat)(void *userdata, const LeaseNews *news);
    void (*lost)(void *userdata); /* all jobs are another worker's; the next row has another id */
    void (*resumed)(void *userdata);  /* nothing was to be begun for a while, and may be again */
    void (*takeover)(void *userdata); /* jobs of dead workers are in the queue again */
} LeaseEvents;

/* 0, -ENOMEM or what libsystemd answers. */
int lease_new(Lease **ret, Worker *w, const LeaseEvents *events, void *userdata);
Lease *lease_free(Lease *l);

/* The working connection came up, or is gone. */
void lease_connected(Lease *l);
void lease_disconnected(Lease *l);

/* When the next heartbeat goes out depends on whether notifications arrive: that has changed. */
void lease_plan(Lease *l);

/* A heartbeat soon: something did not work that its answer brings again. */
void lease_beat_soon(Lease *l);

/* Says, once, that the lease is not trusted any more. */
void lease_check(Lease *l);
bool lease_is_suspended(const Lease *l);

/* When the last heartbeat that was answered went out. */
uint64_t lease_sent_usec(const Lease *l);

/* A clean stop: our row goes. */
void lease_end(Lease *l);
