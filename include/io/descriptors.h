/* File descriptors are a budget: whatever opens some has a share, and what does not fit waits. */
#pragma once
#include <stdbool.h>

typedef struct DescriptorShares {
    unsigned limit;       /* that was found */
    unsigned needed;      /* that would do for all jobs at once */
    unsigned connections; /* of requests, idle ones too */
    unsigned files;       /* in the spool at once */
    unsigned clients;     /* of the pages */
    bool scarce;          /* fewer than that many jobs could use */
} DescriptorShares;

/* Called first of all: descriptors 0 to 2 are open afterwards, so that no connection ever takes the
 * place of a standard error that was closed, and the soft limit is raised to the hard one. */
void descriptors_begin(void);

/* `jobs`: in flight at most; `per_file`: descriptors that one file needs until it is stored. */
DescriptorShares descriptors_share(unsigned jobs, unsigned per_file);
