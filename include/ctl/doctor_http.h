/* What the doctor's questions to the outside share. */
#pragma once
#include "ctl/doctor.h"
#include "io/http.h"

/* The daemon's own way to the outside: its proxies, its lookups. */
typedef struct Outside {
    sd_event *event;
    Resolver *resolver;
    Http *http;
} Outside;

/* Hosts that others are to reach, or that files are to come from: warns of those that will not do. */
void doctor_hosts(Doctor *d, Outside *o);
