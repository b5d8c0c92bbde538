/* A hash table from texts to pointers, with lists for what meets in a slot. It grows and never
 * shrinks: a test's simulator lives for minutes. */
#include <stdlib.h>
#include <string.h>

#include "table.h"
#include "text.h"

static size_t slot_of(const Table *t, const char *key) {
    return (size_t) (text_seed(key) & (t->n_slots - 1)); /* n_slots is a power of two */
}

static bool resize(Table *t, size_t n_slots) {
    Table to = { calloc(n_slots, sizeof(TableSlot *)), n_slots, t->n };

    if (!to.slots)
        return false;
    for (size_t i = 0; i < t->n_slots; i++)
        for (TableSlot *s = t->slots[i], *next; s; s = next) {
            TableSlot **head = &to.slots[slot_of(&to, s->key)];

            next = s->next;
            s->next = *head;
            *head = s;
        }
    free(t->slots);
    *t = to;
    return true;
}

void *table_get(const Table *t, const char *key) {
    if (t->n_slots)
        for (TableSlot *s = t->slots[slot_of(t, key)]; s; s = s->next)
            if (strcmp(s->key, key) == 0)
                return s->value;
    return NULL;
}

/* Where there is no memory to grow, lists become longer, and nothing else happens. */
bool table_set(Table *t, const char *key, void *value) {
    TableSlot *s;

    if (t->n >= t->n_slots && !resize(t, t->n_slots ? t->n_slots * 2 : 64) && !t->n_slots)
        return false;
    for (s = t->slots[slot_of(t, key)]; s; s = s->next)
        if (strcmp(s->key, key) == 0) {
            s->value = value;
            return true;
        }
    if (!(s = malloc(sizeof *s)))
        return false;
    *s = (TableSlot){ strdup(key), value, t->slots[slot_of(t, key)] };
    if (!s->key) {
        free(s);
        return false;
    }
    t->slots[slot_of(t, key)] = s;
    t->n++;
    return true;
}

void *table_remove(Table *t, const char *key) {
    if (!t->n_slots)
        return NULL;
    for (TableSlot **at = &t->slots[slot_of(t, key)]; *at; at = &(*at)->next)
        if (strcmp((*at)->key, key) == 0) {
            TableSlot *s = *at;
            void *value = s->value;

            *at = s->next;
            free(s->key);
            free(s);
            t->n--;
            return value;
        }
    return NULL;
}

TableSlot *table_next(const Table *t, const TableSlot *after) {
    if (after && after->next)
        return after->next;
    for (size_t i = after ? slot_of(t, after->key) + 1 : 0; i < t->n_slots; i++)
        if (t->slots[i])
            return t->slots[i];
    return NULL;
}

void table_done(Table *t, void (*free_value)(void *)) {
    for (size_t i = 0; i < t->n_slots; i++)
        for (TableSlot *s = t->slots[i], *next; s; s = next) {
            next = s->next;
            if (free_value)
                free_value(s->value);
            free(s->key);
            free(s);
        }
    free(t->slots);
    *t = (Table){ 0 };
}
