/* liveset.h - which of the log's records hold a value that is still one: a set of LSNs, compressed.
 *
 * LSNs of 65,536 numbers at a time lie in a container: a bitmap of 8 KiB, or, where few of them are left, a sorted array of
 * 2 bytes each. So a set costs some two bytes a member at most, however thinly they lie, and an eighth of a byte where they lie
 * thick. One thread, but for what liveset_copy has copied. */
#ifndef LOG_LIVESET_H
#define LOG_LIVESET_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/err.h"

enum { LIVESET_SPAN = 1 << 16 }; /* LSNs of a container */

struct liveset_container;

struct liveset {                          /* zeroed: the empty set */
    struct liveset_container *containers; /* in order of LSN; none is empty */
    size_t n, cap;
    uint64_t n_members;
    size_t bytes; /* of memory */
    size_t last;  /* the container that was found last */
};

void liveset_fini(struct liveset *s);

/* Makes room, so that the next `n` liveset_add of LSNs of [first, last] cannot fail. Errors: ERR_NOMEM. */
must_check int liveset_reserve(struct liveset *s, uint64_t first, uint64_t last, struct err *e);

/* Adds an LSN, for which room has been made; it may be there already. */
void liveset_add(struct liveset *s, uint64_t lsn);
/* One will soon be added: a hint for the processor's cache. */
void liveset_expect(const struct liveset *s, uint64_t lsn);
/* Takes one out; false if it was not there. Never needs memory. */
bool liveset_remove(struct liveset *s, uint64_t lsn);
bool liveset_has(const struct liveset *s, uint64_t lsn);

/* How many members lie in [first, last]. Looks into the containers at both ends only. */
uint64_t liveset_count(const struct liveset *s, uint64_t first, uint64_t last);

/* Sets bit i of `bits` (n of them, 64 in each word, all cleared before) where first + i is a member. Fastest where `first` is a
 * multiple of 64. */
void liveset_copy(const struct liveset *s, uint64_t first, uint64_t n, uint64_t *bits);

/* Walks everything; NULL, or the name of the first invariant found broken. */
const char *liveset_check(const struct liveset *s);

#endif
