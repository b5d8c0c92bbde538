/* Files between download and upload: nameless, so that nothing is left behind by a crash. */
#pragma once
#include <stdint.h>

typedef struct Spool Spool;
typedef struct SpoolFile SpoolFile;

/* At most `max_bytes` lie in `dir` at once, at most `file_max_bytes` in one file. The directory is
 * made if its parent is there. Returns 0 or -errno. */
int spool_new(Spool **ret, const char *dir, uint64_t max_bytes, uint64_t file_max_bytes);
Spool *spool_free(Spool *s);

/* -EAGAIN: no room now; another negative errno: the directory can't be used. */
int spool_open(Spool *s, SpoolFile **ret);
int spool_file_fd(const SpoolFile *f);

/* The file has its final size: what was set aside beyond it is free for others. */
void spool_file_settle(SpoolFile *f, uint64_t size_bytes);
SpoolFile *spool_file_free(SpoolFile *f);

uint64_t spool_used_bytes(const Spool *s);
