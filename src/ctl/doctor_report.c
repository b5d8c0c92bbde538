/* Prints each finding of the doctor at once: a check may wait for seconds, and the operator sees
 * which. The grades are given by the checks (doctor.c and doctor_*.c). */
#include <stdarg.h>
#include <stdio.h>

#include "base/say.h"
#include "base/str.h"
#include "ctl/doctor_report.h"

/* Texts come from a database and from services, and are cleaned before a terminal sees them. */
void doctor_say(Doctor *d, Grade grade, const char *check, const char *advice, const char *found,
                ...) {
    static const char *const words[] = { "ok", "warn", "FAIL" };
    char text[4096], clean[500]; /* a line that can be read, whatever came */
    va_list ap;

    va_start(ap, found);
    (void) vsnprintf(text, sizeof text, found, ap);
    va_end(ap);
    say(stdout, "%-4s  %-10s %s", words[grade], check, str_clean(clean, sizeof clean, text));
    if (advice && grade != GRADE_OK)
        say(stdout, "                 -> %s", advice);
    fflush(stdout);
    d->fails += grade == GRADE_FAIL;
}
