/* Shares out what RLIMIT_NOFILE allows among files, connections and clients of the pages, so
 * that a small limit makes the daemon slower and not fail. Keeping to the shares is left to those
 * who open them. */
#include <fcntl.h>
#include <sys/resource.h>

#include "io/descriptors.h"

/* Descriptors that are open at any time (event loop, timers, signals, log, two database connections: about 20), or
 * for a moment: a name that is looked up, a certificate, a connection tried by IPv4 and IPv6. */
#define RESERVED 28u
#define CLIENTS_MAX 64u
#define BESIDE_JOBS 16u /* requests that no job makes: listings, cancels of the audit */

static unsigned between(unsigned least, unsigned n, unsigned most) {
    return n < least ? least : n > most ? most : n;
}

static unsigned greater(unsigned a, unsigned b) {
    return a > b ? a : b;
}

/* A service may be started with its standard descriptors closed: the first file it opened would
 * be taken for stderr then, and get the log. The soft limit is raised to the hard one, as is
 * usual for daemons that do not use select(). */
void descriptors_begin(void) {
    struct rlimit limit;

    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void) open("/dev/null",
                        fd == 0 ? O_RDONLY : O_WRONLY); /* takes the lowest: this one */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Clients and files have their part first: they are bounded, and a download that has no file
 * can't begin. */
DescriptorShares descriptors_share(unsigned jobs, unsigned per_file) {
    struct rlimit limit = { .rlim_cur = 1024 };
    DescriptorShares s = { 0 };
    unsigned budget;

    (void) getrlimit(RLIMIT_NOFILE, &limit);
    s.limit = limit.rlim_cur < 10000000 ? (unsigned) limit.rlim_cur : 10000000;
    budget = s.limit > RESERVED ? s.limit - RESERVED : 0;
    s.clients = between(2, budget / 8, CLIENTS_MAX);
    budget = budget > s.clients ? budget - s.clients : 0;
    s.files = between(2, budget / 3 / per_file, jobs);
    budget = budget > s.files * per_file ? budget - s.files * per_file : 0;
    /* A new connection may be tried by two sockets at once. */
    s.connections = between(4, budget * 3 / 4, 2 * jobs + BESIDE_JOBS);
    /* The lines above, solved for the limit: a connection and a file for each job. */
    s.needed = RESERVED + CLIENTS_MAX +
               greater(3 * per_file * jobs, per_file * jobs + (jobs + BESIDE_JOBS + 1) * 4 / 3 + 1);
    s.scarce = s.files < jobs || s.connections < jobs + BESIDE_JOBS;
    return s;
}
