/* list.h - the elements of a list in memory: in order of an i64 position, in packed pages of some KiB.
 *
 * Positions ascend and need not adjoin: what is pushed gets the position before the first or behind the last one, what is
 * removed in the middle leaves a hole. They are what records of the log name (cache/change.h). */
#ifndef BROKER_CACHE_LIST_H
#define BROKER_CACHE_LIST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/bytes.h"
#include "log/err.h"

struct list;

enum { LIST_VALUE_MAX = 1 << 30 }; /* bytes of an element */

must_check int list_new(struct list **out, struct err *e);
void list_free(struct list *l);                  /* NULL is fine; O(n) */
bool list_shrink(struct list *l, size_t budget); /* frees some of it; false when it is gone */

/* Puts a value, which does not lie in the list itself, at a position, replacing what is there. At either end O(1), else O(page).
 * Errors: ERR_NOMEM, ERR_TOO_BIG (LIST_VALUE_MAX): nothing has changed. */
must_check int list_put(struct list *l, int64_t pos, struct slice value, struct err *e);
/* Removes what is in [from, to]; returns how many. At either end O(1 a page). */
uint64_t list_remove(struct list *l, int64_t from, int64_t to);

uint64_t list_n(const struct list *l);
size_t list_bytes(const struct list *l); /* of memory; O(1) */
int64_t list_first(const struct list *l),
    list_last(const struct list *l); /* positions; of an empty one 0 and -1 */

/* A place in the list; valid until it changes. */
struct list_at {
    void *page;
    uint32_t offset, i;
    int64_t pos;
    struct slice value; /* borrowed until the list changes */
};
/* The element with `index` others before it. O(log pages) where no position is missing, else O(pages) from the nearer end. False:
 * there is none. */
bool list_seek(const struct list *l, uint64_t index, struct list_at *out);
/* The first element at or behind a position, and the last one at or before it. */
bool list_seek_pos(const struct list *l, int64_t pos, struct list_at *out);
bool list_seek_pos_back(const struct list *l, int64_t pos, struct list_at *out);
bool list_next(const struct list *l, struct list_at *at); /* false at the end */
bool list_prev(const struct list *l, struct list_at *at);

bool list_is_packed(const struct list *l); /* for OBJECT ENCODING: listpack or quicklist */
const char *list_check(const struct list *l);

#endif
