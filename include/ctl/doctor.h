/* Tries every outside system once, without changing anything: meshifyd --check, meshifyctl doctor. */
#pragma once
#include "ctl/doctor_report.h"

/* A line for each check, with what to do about it. 0, or EX_UNAVAILABLE when one failed. */
int doctor_run(const Config *c);

/* Its parts, in this order: doctor_db.c, doctor_http.c. */
void doctor_database(Doctor *d);
void doctor_services(Doctor *d);
