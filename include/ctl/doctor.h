/* Tries every outside system once, without changing anything: meshifyd --check, meshifyctl doctor. */
#pragma once
#include <libpq-fe.h>

#include "core/config.h"

typedef enum Grade {
    GRADE_OK,
    GRADE_WARN,
    GRADE_FAIL,
} Grade;

typedef struct Doctor {
    const Config *config;
    unsigned fails;
} Doctor;

/* A line for each check, with what to do about it. 0, or EX_UNAVAILABLE when one failed. */
int doctor_run(const Config *c);

/* What was found, and what mends it (NULL: nothing needs to). */
void doctor_say(Doctor *d, Grade grade, const char *check, const char *advice, const char *found,
                ...) __attribute__((format(printf, 5, 6)));

void doctor_database(Doctor *d);
void doctor_services(Doctor *d);
