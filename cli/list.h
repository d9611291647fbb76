/* list.h - byte strings behind each other, owned: a reply lives only until the next one. */
#ifndef CLI_LIST_H
#define CLI_LIST_H
#include <stddef.h>

#include "cli/text.h"

struct list {
    struct text bytes;
    size_t *ends; /* where each ends in bytes */
    size_t n, cap;
};

void list_fini(struct list *l);
void list_clear(struct list *l); /* keeps its memory */

/* Adds a copy behind the others. */
void list_add(struct list *l, struct beck_slice s);

/* String i, borrowed until the list changes. */
struct beck_slice list_at(const struct list *l, size_t i);

#endif
