/*
 * dict.c - a hash table that resizes a few buckets at a time and can be scanned meanwhile.
 *
 * A bucket is chosen by the *highest* bits of the hash. So a table is in the order of its hashes, bucket i
 * of a table corresponds to buckets 2i and 2i + 1 of one twice as large, and a scan is a walk along the
 * line of hashes: its cursor is the hash below which everything has been seen, whatever the tables
 * look like by now. A bucket that begins below the cursor is seen again as a whole, never missed.
 *
 *   hashes   0 ............................................. 2^64
 *   cap 4    |     0     |     1     |     2     |     3     |
 *   cap 8    |  0  |  1  |  2  |  3  |  4  |  5  |  6  |  7  |
 *
 * It grows to twice the size when it is full (two nodes a bucket: a pointer for each is all that the table then costs) and
 * shrinks to half when seven eighths are empty; every add and remove moves a bucket or two, so that a resize has ended before the next one
 * is due. The smallest table is inside the struct.
 *
 *   D1  A node is in tables[1] if its bucket of tables[0] is below `rehash`, else in tables[0].
 *   D2  A node's hash is the upper half of its name's, so a name is compared only where those 32 bits are equal. Nothing
 *       needs the rest: tables have at most 2^32 buckets.
 *   D3  n is the number of nodes; tables[1] is there exactly while rehash >= 0.
 */
#include "log/dict.h"
#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "log/siphash.h"

enum {
    DICT_AHEAD = 8,       /* buckets that a scan looks ahead */
    DICT_LARGE = 2 << 20, /* bytes of a table from which on it has pages of its own */
    DICT_LINE = 64,       /* bytes that the processor fetches at a time */
    DICT_LOAD = 2,        /* nodes a bucket at which it is full */
    DICT_MOVES = 2,       /* buckets that an add or a remove moves */
    DICT_SHRINK = 8,      /* fewer than cap / DICT_SHRINK nodes: too large */
    DICT_CURSOR_SHIFT =
        16 /* a cursor is the hash's upper 48 bits: a number that every client can hold */
};

uint64_t dict_hash(const uint8_t key[16], const void *p, size_t n)
{
    return siphash13(key, p, n);
}

/* A node and its name are wanted in the processor's cache. */
static inline void dict_fetch(const struct dict_node *node)
{
    __builtin_prefetch(node);
    __builtin_prefetch((const uint8_t *)node + DICT_LINE);
}

/* A node's hash on the line of hashes. */
static inline uint64_t dict_place(const struct dict_node *node)
{
    return (uint64_t)node->hash << 32;
}

static inline size_t dict_bucket(uint64_t hash, size_t cap)
{
    return (size_t)(hash >> (64 - (unsigned)__builtin_ctzll(cap)));
}

/* Where the bucket behind i begins on the line of hashes; 0 at the end of the line. */
static inline uint64_t dict_bucket_end(size_t i, size_t cap)
{
    return (uint64_t)(i + 1) << (64 - (unsigned)__builtin_ctzll(cap));
}

void dict_init(struct dict *d, const uint8_t hash_key[16],
               struct slice (*key)(const struct dict_node *))
{
    *d = (struct dict){ .rehash = -1, .hash_key = hash_key, .key = key };
    d->tables[0] = d->first;
    d->caps[0] = DICT_CAP_MIN;
}

/* A table, empty; large ones in large pages, as they are touched all over. NULL: there is no memory. */
static struct dict_node **dict_new_table(size_t cap)
{
    size_t bytes = cap * sizeof(struct dict_node *);
    void *p;

    if (bytes < DICT_LARGE)
        return calloc(cap, sizeof(struct dict_node *));
    p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    (void)madvise(p, bytes, MADV_HUGEPAGE); /* where the system does not know them, small ones do */
    return p;
}

static void dict_free_table(struct dict *d, struct dict_node **table, size_t cap)
{
    if (table == d->first || table == NULL)
        return;
    if (cap * sizeof *table < DICT_LARGE)
        free(table);
    else
        munmap(table, cap * sizeof *table);
}

void dict_fini(struct dict *d)
{
    dict_free_table(d, d->tables[0], d->caps[0]);
    dict_free_table(d, d->tables[1], d->caps[1]);
}

void dict_take(struct dict *to, struct dict *from)
{
    *to = *from;
    for (int t = 0; t < 2; t++)
        if (to->tables[t] == from->first)
            to->tables[t] = to->first;
    dict_init(from, to->hash_key, to->key);
}

/* The chain that holds, or would hold, nodes of this hash (D1). */
static inline struct dict_node **dict_chain(const struct dict *d, uint64_t hash)
{
    size_t i = dict_bucket(hash, d->caps[0]);

    if (d->rehash >= 0 && i < (size_t)d->rehash)
        return (struct dict_node **)&d->tables[1][dict_bucket(hash, d->caps[1])];
    return (struct dict_node **)&d->tables[0][i];
}

struct dict_node *dict_find(const struct dict *d, struct slice name)
{
    uint64_t hash = siphash13(d->hash_key, name.p, name.n);

    for (struct dict_node *node = *dict_chain(d, hash); node != NULL; node = node->next)
        if (node->hash == hash >> 32 && slice_equal(d->key(node), name))
            return node;
    return NULL;
}

/* Moves bucket `rehash` to the other table; ends the resize behind the last one. */
static void dict_move(struct dict *d)
{
    struct dict_node *node = d->tables[0][d->rehash];

    d->tables[0][d->rehash++] = NULL;
    while (node != NULL) {
        struct dict_node *next = node->next;
        struct dict_node **chain = &d->tables[1][dict_bucket(dict_place(node), d->caps[1])];
        node->next = *chain;
        *chain = node;
        node = next;
    }
    if ((size_t)d->rehash < d->caps[0])
        return;
    dict_free_table(d, d->tables[0], d->caps[0]);
    d->tables[0] = d->tables[1];
    d->caps[0] = d->caps[1];
    d->tables[1] = NULL;
    d->caps[1] = 0;
    d->rehash = -1;
}

static void dict_resize(struct dict *d, size_t cap)
{
    struct dict_node **table;

    if (cap == DICT_CAP_MIN) {
        memset(d->first, 0, sizeof d->first);
        table = d->first;
    } else {
        table = dict_new_table(cap);
    }
    if (table == NULL)
        return; /* later, then */
    d->tables[1] = table;
    d->caps[1] = cap;
    d->rehash = 0;
}

void dict_step(struct dict *d, size_t n)
{
    if (d->rehash < 0 && d->n > DICT_LOAD * d->caps[0])
        dict_resize(d, d->caps[0] * 2);
    else if (d->rehash < 0 && d->caps[0] > DICT_CAP_MIN && d->n < d->caps[0] / DICT_SHRINK &&
             !d->expecting)
        dict_resize(d, d->caps[0] / 2);
    for (; n > 0 && d->rehash >= 0; n--)
        dict_move(d);
}

/* After each change: goes on with a resize, or begins one where it is due. */
static void dict_adapt(struct dict *d)
{
    if (!d->scanning)
        dict_step(d, DICT_MOVES);
}

void dict_insert(struct dict *d, struct dict_node *node)
{
    struct dict_node **chain = dict_chain(d, dict_place(node));

    assert(!d->scanning);
    node->next = *chain;
    *chain = node;
    d->n++;
    dict_adapt(d);
}

void dict_add(struct dict *d, struct dict_node *node, struct slice name)
{
    node->hash = (uint32_t)(siphash13(d->hash_key, name.p, name.n) >> 32);
    dict_insert(d, node);
}

/* What points to the node. */
static struct dict_node **dict_link(const struct dict *d, const struct dict_node *node)
{
    struct dict_node **at = dict_chain(d, dict_place(node));

    while (*at != node) {
        assert(*at != NULL); /* D1: it is in this chain */
        at = &(*at)->next;
    }
    return at;
}

void dict_remove(struct dict *d, struct dict_node *node)
{
    *dict_link(d, node) = node->next;
    d->n--;
    dict_adapt(d);
}

void dict_replace(struct dict *d, struct dict_node *from, struct dict_node *to)
{
    struct dict_node **link = dict_link(d, from);

    to->next = from->next;
    to->hash = from->hash;
    *link = to;
}

void dict_each_hash(struct dict *d, uint32_t hash, void (*each)(void *ctx, struct dict_node *),
                    void *ctx)
{
    struct dict_node *node = *dict_chain(d, (uint64_t)hash << 32);

    d->scanning = true; /* the chain stays as it is, but for what `each` does */
    while (node != NULL) {
        struct dict_node *next = node->next;
        if (node->hash == hash)
            each(ctx, node);
        node = next;
    }
    d->scanning = false;
}

void dict_expect_bucket(const struct dict *d, uint64_t hash)
{
    __builtin_prefetch(dict_chain(d, hash));
}

void dict_expect_node(const struct dict *d, uint64_t hash)
{
    const struct dict_node *node = *dict_chain(d, hash);

    if (node != NULL)
        dict_fetch(node);
}

void dict_expect_rest(const struct dict *d, uint64_t hash)
{
    const struct dict_node *node = *dict_chain(d, hash);

    if (node == NULL)
        return;
    if (node->hash == hash >> 32)
        __builtin_prefetch((const uint8_t *)node + 2 * DICT_LINE);
    else if (node->next != NULL)
        dict_fetch(node->next);
}

void dict_expect(struct dict *d, size_t n)
{
    struct dict_node **table;
    size_t cap = d->caps[0];

    if (d->n > 0 || d->rehash >= 0)
        return;
    while (DICT_LOAD * cap < n)
        cap *= 2;
    table = cap > d->caps[0] ? dict_new_table(cap) : NULL;
    if (table == NULL)
        return;
    dict_free_table(d, d->tables[0], d->caps[0]);
    d->tables[0] = table;
    d->caps[0] = cap;
    d->expecting = true;
}

static void dict_visit(struct dict_node *node, void (*each)(void *, struct dict_node *), void *ctx)
{
    while (node != NULL) {
        struct dict_node *next = node->next;
        each(ctx, node);
        node = next;
    }
}

/* Whatever lies in [from, end) of the hashes, `end` 0 for their end, and in the same buckets of `table`. */
static void dict_scan_range(struct dict_node **table, size_t cap, uint64_t from, uint64_t end,
                            void (*each)(void *, struct dict_node *), void *ctx)
{
    size_t last = dict_bucket(end - 1, cap);

    for (size_t i = dict_bucket(from, cap); i <= last; i++) {
        if (i + DICT_AHEAD < cap && table[i + DICT_AHEAD] != NULL)
            dict_fetch(table[i + DICT_AHEAD]); /* who scans will come there soon */
        if (i + DICT_AHEAD / 2 < cap && table[i + DICT_AHEAD / 2] != NULL &&
            table[i + DICT_AHEAD / 2]->next != NULL)
            dict_fetch(table[i + DICT_AHEAD / 2]->next); /* the first one is here by now */
        dict_visit(table[i], each, ctx);
    }
}

uint64_t dict_scan(struct dict *d, uint64_t cursor, void (*each)(void *, struct dict_node *),
                   void *ctx)
{
    uint64_t from = cursor << DICT_CURSOR_SHIFT;
    size_t cap = d->caps[0];
    uint64_t end;

    if (d->rehash >= 0 && d->caps[1] < cap)
        cap = d->caps[1];
    end = dict_bucket_end(dict_bucket(from, cap), cap);
    d->scanning = true;
    dict_scan_range(d->tables[0], d->caps[0], from, end, each, ctx);
    if (d->rehash >= 0)
        dict_scan_range(d->tables[1], d->caps[1], from, end, each, ctx);
    d->scanning = false;
    return end >> DICT_CURSOR_SHIFT;
}

bool dict_scan_passed(uint64_t cursor, uint32_t hash)
{
    return (uint64_t)hash << 32 < cursor << DICT_CURSOR_SHIFT;
}

/* The r-th node of a chain, counted around it. */
static struct dict_node *dict_pick(struct dict_node *chain, uint64_t r)
{
    size_t n = 0;

    for (struct dict_node *node = chain; node != NULL; node = node->next)
        n++;
    for (r %= n; r > 0; r--)
        chain = chain->next;
    return chain;
}

struct dict_node *dict_random(const struct dict *d, uint64_t r)
{
    enum { STEPS = 1 << 16 }; /* tried at random before the table is searched in order */
    struct dict_node *chain;

    if (d->n == 0)
        return NULL;
    for (size_t i = 0; i < STEPS; i++) {
        r = r * 6364136223846793005u + 1442695040888963407u;
        chain = *dict_chain(d, r ^ r >> 32);
        if (chain != NULL)
            return dict_pick(chain, r >> 40);
    }
    for (size_t t = 0; t < 2; t++)
        for (size_t i = 0; i < d->caps[t]; i++)
            if (d->tables[t][i] != NULL)
                return d->tables[t][i];
    return NULL;
}

static const char *dict_check_table(const struct dict *d, int t, size_t *n)
{
    for (size_t i = 0; i < d->caps[t]; i++)
        for (const struct dict_node *node = d->tables[t][i]; node != NULL; node = node->next) {
            struct slice name = d->key(node);
            if (node->hash != siphash13(d->hash_key, name.p, name.n) >> 32)
                return "D2: a hash is not its name's";
            bool moved =
                d->rehash >= 0 && dict_bucket(dict_place(node), d->caps[0]) < (size_t)d->rehash;
            if (dict_bucket(dict_place(node), d->caps[t]) != i || moved != (t == 1))
                return "D1: a node is in the wrong bucket";
            ++*n;
        }
    return NULL;
}

const char *dict_check(const struct dict *d)
{
    size_t n = 0;
    const char *broken = NULL;

    if ((d->rehash >= 0) != (d->tables[1] != NULL))
        return "D3: a second table without a resize, or a resize without one";
    for (int t = 0; t < 2 && broken == NULL; t++)
        broken = dict_check_table(d, t, &n);
    if (broken == NULL && n != d->n)
        broken = "D3: n is not the number of nodes";
    return broken;
}
