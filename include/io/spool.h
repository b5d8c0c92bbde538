/* Files between download and upload: nameless, so that nothing is left behind by a crash. Room is set aside
 * before the first byte is written, of [worker] spool_max and of the file system, so that files that do
 * not fit together come one after the other. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

typedef struct Spool Spool;
typedef struct SpoolFile SpoolFile;

/* At most `max_bytes` lie in `dir` at once. The directory is made if its parent is there. `freed` is called
 * whenever there may be room again, and must not call the spool. Returns 0 or -errno. */
int spool_new(Spool **ret, const char *dir, uint64_t max_bytes, void (*freed)(void *userdata),
              void *userdata);
Spool *spool_free(Spool *s);

/* At most so many files at once. Without it there is no limit. */
void spool_limit(Spool *s, unsigned files);

/* May a file of `size_bytes` begin (0: its size is not known, and not yet guessed)? `f`: the file that it
 * goes on in, or NULL. A file that would be the only one always may. */
bool spool_has_room(const Spool *s, const SpoolFile *f, uint64_t size_bytes);

/* The file system could not take such a file if it were empty. */
bool spool_is_too_small(const Spool *s, uint64_t size_bytes);

/* 0 or a negative errno: the directory can't be used. */
int spool_open(Spool *s, SpoolFile **ret);
int spool_file_fd(const SpoolFile *f);

/* Sets room aside for a file that will have `size_bytes`; `guessed`: at most so many: counted, but not asked
 * of the file system. -EAGAIN: it must wait until others are gone; another negative errno: the file system
 * refuses it, though it is the only one. */
int spool_file_reserve(SpoolFile *f, uint64_t size_bytes, bool guessed);

/* Bytes reserved for it. */
uint64_t spool_file_bytes(const SpoolFile *f);

/* The file has its final size: what was set aside beyond it is free for others. */
void spool_file_settle(SpoolFile *f, uint64_t size_bytes);
SpoolFile *spool_file_free(SpoolFile *f);

uint64_t spool_used_bytes(const Spool *s);
