/* The report that the doctor's checks write to. */
#pragma once

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

/* Prints what was found under the name of a check, and what mends it (`advice`; NULL: nothing needs to). Counts
 * failures. */
void doctor_say(Doctor *d, Grade grade, const char *check, const char *advice, const char *found,
                ...) __attribute__((format(printf, 5, 6)));
