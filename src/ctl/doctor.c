/* The doctor's list of checks, and those that need no other system: the configuration's warnings and the spool. The
 * database is doctor_db.c's, Replicate and the store are doctor_http.c's. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/say.h"
#include "ctl/doctor.h"

/* The directory itself is made at start, but nothing above it, so the parent may be looked at in
 * its place. */
static void check_spool(Doctor *d) {
    const Config *c = d->config;
    char parent[4096];
    struct statvfs fs;
    struct stat st;

    (void) snprintf(parent, sizeof parent, "%s", c->spool_dir);
    if (stat(parent, &st) < 0 && errno == ENOENT && strrchr(parent, '/') > parent)
        *strrchr(parent, '/') = '\0'; /* it is made at the start, but nothing above it */
    if (stat(parent, &st) < 0 || (!S_ISDIR(st.st_mode) && (errno = ENOTDIR)) ||
        access(parent, W_OK | X_OK) < 0)
        doctor_say(d, GRADE_FAIL, "spool", "Make [worker] spool_dir a directory that we may write.",
                   "%s: %s", parent, strerror(errno));
    else if (statvfs(parent, &fs) == 0 && (uint64_t) fs.f_bavail * fs.f_frsize < c->asset_max_bytes)
        doctor_say(d, GRADE_WARN, "spool", "Make room, or set [worker] spool_dir to a larger disk.",
                   "%s: %llu MiB are free, less than one file of [asset] max_size", c->spool_dir,
                   (unsigned long long) ((uint64_t) fs.f_bavail * fs.f_frsize >> 20));
    else
        doctor_say(d, GRADE_OK, "spool", NULL, "%s can be written", c->spool_dir);
}

/* The database first: without it nothing else is of use. */
int doctor_run(const Config *c) {
    Doctor d = { .config = c };

    doctor_say(&d, GRADE_OK, "config", NULL, "read without an error");
    /* Doubts about the configuration come first, since what follows may only be their
     * consequence. */
    for (const char *line = c->warnings; line && *line; line += strcspn(line, "\n") + 1)
        doctor_say(&d, GRADE_WARN, "config", NULL, "%.*s", (int) strcspn(line, "\n"), line);
    doctor_database(&d);
    doctor_services(&d);
    check_spool(&d);
    if (!c->clamd)
        doctor_say(&d, GRADE_WARN, "scanner",
                   "Meshes from a model are stored as they are; a scanner is not supported yet.",
                   "no virus scanner");
    if (d.fails > 0) {
        say_end(stdout);
        say(stdout, "%u failed", d.fails);
    }
    return d.fails > 0 ? EX_UNAVAILABLE : 0;
}
