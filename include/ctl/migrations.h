/* The files of sql/, as they were when the program was built. */
#pragma once
#include <stddef.h>

typedef struct Migration {
    const char *name; /* "001_tables"; NULL ends the list */
    const char *text;
    size_t size;
} Migration;

extern const Migration migrations_files[];
