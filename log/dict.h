/* dict.h - a hash table of names, keyed by SipHash-1-3 with a random key, that grows and shrinks a few
 * buckets at a time, and can be scanned by a cursor while it does.
 *
 * Nodes are embedded in what they name and belong to the caller. Scanning promises what SCAN promises:
 * whatever is there from the first call to the last is seen at least once. */
#ifndef LOG_DICT_H
#define LOG_DICT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/bytes.h"
#include "log/err.h"

struct dict_node {
    struct dict_node *next;
    uint32_t hash;  /* the upper half of the name's */
    uint32_t extra; /* the owner's: it lies here for nothing */
};

enum { DICT_CAP_MIN = 4 };

struct dict {                     /* must not move: it points into itself */
    struct dict_node **tables[2]; /* [1] is the one being filled while rehash >= 0 */
    size_t caps[2];               /* powers of two, or 0 */
    size_t n;
    int64_t rehash; /* next bucket of [0] to move; -1: not resizing */
    bool scanning;  /* inside dict_scan: no bucket moves */
    bool expecting; /* dict_expect said that it will not stay empty: it does not shrink */
    struct dict_node
        *first[DICT_CAP_MIN]; /* the smallest table, so that an empty dict needs no memory */
    const uint8_t *hash_key;  /* 16 bytes, borrowed */
    struct slice (*key)(const struct dict_node *); /* the node's name */
};

uint64_t dict_hash(const uint8_t key[16], const void *p, size_t n); /* SipHash-1-3 */

void dict_init(struct dict *d, const uint8_t hash_key[16],
               struct slice (*key)(const struct dict_node *));
void dict_fini(struct dict *d); /* not the nodes */

/* Moves all of `from` into `to`, which is not initialised yet; `from` is empty then. */
void dict_take(struct dict *to, struct dict *from);

/* The node of that name, or NULL. */
struct dict_node *dict_find(const struct dict *d, struct slice name);

/* Adds a node; the name must not be there. Cannot fail: where there is no memory for a larger table, chains
 * get longer until there is. */
void dict_add(struct dict *d, struct dict_node *node, struct slice name);
/* The same where node.hash is the name's (the upper half of dict_hash). */
void dict_insert(struct dict *d, struct dict_node *node);
void dict_remove(struct dict *d, struct dict_node *node);

/* `to` takes the place of `from`, which has the same name; only node.extra is not copied. */
void dict_replace(struct dict *d, struct dict_node *from, struct dict_node *to);

/* Calls `each` for the nodes of that hash (node.hash), which may be several; `each` may remove or replace the one that it was
 * given, and must not add any. */
void dict_each_hash(struct dict *d, uint32_t hash, void (*each)(void *ctx, struct dict_node *),
                    void *ctx);

/* A name of that hash (dict_hash) will soon be looked for: hints for the processor's cache, the bucket first, when that has
 * come the first node in it, and when that has come the one behind it, or the rest of what it names. */
void dict_expect_bucket(const struct dict *d, uint64_t hash);
void dict_expect_node(const struct dict *d, uint64_t hash);
void dict_expect_rest(const struct dict *d, uint64_t hash);

/* Makes the table large enough for n nodes, if it is empty and there is memory: so many will come. */
void dict_expect(struct dict *d, size_t n);

/* Calls `each` for the nodes of one bucket (and its counterparts while resizing); returns the next cursor, 0 at
 * the end. Cursors are below 2^48; any number is accepted. `each` may remove the node that it was given, and
 * must not add any. */
uint64_t dict_scan(struct dict *d, uint64_t cursor, void (*each)(void *ctx, struct dict_node *),
                   void *ctx);

/* Whether a scan that is at `cursor`, not 0, has been where a node of that hash (node.hash) is. */
bool dict_scan_passed(uint64_t cursor, uint32_t hash);

/* A node chosen with the random number r, or NULL if the dict is empty. */
struct dict_node *dict_random(const struct dict *d, uint64_t r);

/* Moves up to n buckets if a resize is under way or due; called once a round. */
void dict_step(struct dict *d, size_t n);

/* Walks everything; NULL, or the name of the first invariant found broken. */
const char *dict_check(const struct dict *d);

#endif
