/* The doctor's look at addresses that the configuration names. */
#pragma once
#include "ctl/doctor_report.h"
#include "io/http.h"

/* The daemon's own way to the outside: its proxies, its lookups. */
typedef struct Outside {
    sd_event *event;
    Resolver *resolver;
    Http *http;
} Outside;

/* Warns of hosts that Replicate is to reach and can't, and of download hosts that will be refused. */
void doctor_hosts(Doctor *d, Outside *o);
