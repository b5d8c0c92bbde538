/* A table from texts to things. It owns its keys; the things are the caller's. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

typedef struct TableSlot {
    char *key;
    void *value;
    struct TableSlot *next;
} TableSlot;

typedef struct Table {
    TableSlot **slots;
    size_t n_slots, n;
} Table;

void *table_get(const Table *t, const char *key);
bool table_set(Table *t, const char *key, void *value); /* replaces; false: no memory */
void *table_remove(Table *t, const char *key);          /* what was there, or NULL */
void table_done(Table *t, void (*free_value)(void *));  /* empty and usable again */

/* for (TableSlot *s = table_next(t, NULL); s; s = table_next(t, s)); no removal meanwhile */
TableSlot *table_next(const Table *t, const TableSlot *after);
