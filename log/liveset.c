/*
 * liveset.c - a set of LSNs in containers of 65,536.
 *
 * Records come in order of their LSN, so members are added at the end, where the container is a bitmap, and taken out
 * anywhere. A bitmap in which few are left becomes an array when one is taken out of it; an array becomes a bitmap when it would be
 * larger than one. Old containers so shrink with what lives in them, and go when nothing does.
 *
 *   L1  Containers are in order of their base, each has a member, or is `fresh`: made by liveset_reserve and not used yet.
 *   L2  An array has at most LIVESET_ARRAY_MAX members, sorted.
 *   L3  n_members is the sum of the containers' numbers, `bytes` what all of it takes.
 *
 * Making an array out of a bitmap takes memory; where there is none it stays a bitmap. So taking out cannot fail.
 */
#include "log/liveset.h"
#include <stdlib.h>
#include <string.h>

enum {
    LIVESET_WORDS = LIVESET_SPAN / 64,
    LIVESET_ARRAY_MAX = 4096, /* members at which both forms take the same */
    LIVESET_THIN =
        1024, /* members at which a bitmap becomes an array: not so many that it would soon turn back */
    LIVESET_ARRAY_FIRST = 16,
    LIVESET_FIRST = 16, /* containers */
};

struct liveset_container {
    uint64_t base;   /* its first LSN / LIVESET_SPAN */
    uint64_t *bits;  /* LIVESET_WORDS of them, or NULL */
    uint16_t *array; /* if not */
    uint32_t n, cap; /* members; of the array */
};

static size_t liveset_container_bytes(const struct liveset_container *c)
{
    return c->bits != NULL ? LIVESET_WORDS * sizeof *c->bits : c->cap * sizeof *c->array;
}

void liveset_fini(struct liveset *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->containers[i].bits);
        free(s->containers[i].array);
    }
    free(s->containers);
    memset(s, 0, sizeof *s);
}

/* The first container whose base is not below it. */
static size_t liveset_seek(const struct liveset *s, uint64_t base)
{
    size_t low = 0, high = s->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->containers[middle].base < base)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The container of an LSN, NULL if it has none. The last one, and the one found last, come first. */
static struct liveset_container *liveset_find(const struct liveset *s, uint64_t lsn)
{
    uint64_t base = lsn / LIVESET_SPAN;
    size_t i;

    if (s->n > 0 && s->containers[s->n - 1].base == base)
        return &s->containers[s->n - 1];
    if (s->last < s->n && s->containers[s->last].base == base)
        return &s->containers[s->last];
    i = s->n > 0 && base > s->containers[0].base ? (size_t)(base - s->containers[0].base) : 0;
    if (i < s->n && s->containers[i].base == base)
        return &s->containers[i]; /* where none is missing */
    i = liveset_seek(s, base);
    if (i == s->n || s->containers[i].base != base)
        return NULL;
    ((struct liveset *)(uintptr_t)s)->last = i; /* only a hint */
    return &s->containers[i];
}

/* ---- adding ---- */

static int liveset_grow(struct liveset *s, struct err *e)
{
    size_t cap = s->cap == 0 ? LIVESET_FIRST : 2 * s->cap;
    struct liveset_container *containers = realloc(s->containers, cap * sizeof *containers);

    if (containers == NULL)
        return err_set(e, ERR_NOMEM, "no memory to keep which values live");
    s->containers = containers;
    s->bytes += (cap - s->cap) * sizeof *containers;
    s->cap = cap;
    return OK;
}

/* Makes the container as a bitmap, empty, if it is not there. */
static int liveset_make(struct liveset *s, uint64_t base, struct err *e)
{
    size_t i = liveset_seek(s, base);
    struct liveset_container *c;
    uint64_t *bits;
    int rc = OK;

    if (i < s->n && s->containers[i].base == base)
        return OK;
    if (s->n == s->cap)
        rc = liveset_grow(s, e);
    if (rc != OK)
        return rc;
    bits = calloc(LIVESET_WORDS, sizeof *bits);
    if (bits == NULL)
        return err_set(e, ERR_NOMEM, "no memory to keep which values live");
    c = &s->containers[i];
    memmove(c + 1, c, (s->n - i) * sizeof *c);
    *c = (struct liveset_container){ .base = base, .bits = bits };
    s->n++;
    s->bytes += LIVESET_WORDS * sizeof *bits;
    return OK;
}

/* Room for any member of an array: it becomes a bitmap, which has it. */
static int liveset_thicken(struct liveset *s, struct liveset_container *c, struct err *e)
{
    uint64_t *bits = calloc(LIVESET_WORDS, sizeof *bits);

    if (bits == NULL)
        return err_set(e, ERR_NOMEM, "no memory to keep which values live");
    for (uint32_t i = 0; i < c->n; i++)
        bits[c->array[i] / 64] |= 1ull << c->array[i] % 64;
    s->bytes -= liveset_container_bytes(c);
    free(c->array);
    c->array = NULL;
    c->cap = 0;
    c->bits = bits;
    s->bytes += liveset_container_bytes(c);
    return OK;
}

/* Room for one more in an array, of which there may be LIVESET_ARRAY_MAX. */
static int liveset_widen(struct liveset *s, struct liveset_container *c, struct err *e)
{
    uint32_t cap = c->cap == 0 ? LIVESET_ARRAY_FIRST : 2 * c->cap;
    uint16_t *array;

    if (c->n < c->cap)
        return OK;
    if (cap > LIVESET_ARRAY_MAX)
        return liveset_thicken(s, c, e);
    array = realloc(c->array, cap * sizeof *array);
    if (array == NULL)
        return err_set(e, ERR_NOMEM, "no memory to keep which values live");
    s->bytes += (cap - c->cap) * sizeof *array;
    c->array = array;
    c->cap = cap;
    return OK;
}

int liveset_reserve(struct liveset *s, uint64_t first, uint64_t last, struct err *e)
{
    int rc = OK;

    for (uint64_t base = first / LIVESET_SPAN; rc == OK && base <= last / LIVESET_SPAN; base++) {
        struct liveset_container *c = liveset_find(s, base * LIVESET_SPAN);
        if (c == NULL)
            rc = liveset_make(s, base, e);
        else if (c->bits == NULL)
            rc = last > first ? liveset_thicken(s, c, e) : liveset_widen(s, c, e);
    }
    return rc;
}

/* Where the array has the member, or would have it. */
static uint32_t liveset_seek_array(const struct liveset_container *c, uint16_t member)
{
    uint32_t low = 0, high = c->n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (c->array[middle] < member)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void liveset_expect(const struct liveset *s, uint64_t lsn)
{
    const struct liveset_container *c = liveset_find(s, lsn);

    if (c != NULL && c->bits != NULL)
        __builtin_prefetch(&c->bits[lsn % LIVESET_SPAN / 64], 1);
}

void liveset_add(struct liveset *s, uint64_t lsn)
{
    struct liveset_container *c = liveset_find(s, lsn);
    uint16_t member = (uint16_t)(lsn % LIVESET_SPAN);
    uint32_t i;

    if (c->bits != NULL) {
        uint64_t bit = 1ull << member % 64, *word = &c->bits[member / 64];
        bool is_new = (*word & bit) == 0;
        *word |= bit;
        c->n += is_new;
        s->n_members += is_new;
        return;
    }
    i = liveset_seek_array(c, member);
    if (i < c->n && c->array[i] == member)
        return;
    memmove(&c->array[i + 1], &c->array[i], (c->n - i) * sizeof *c->array);
    c->array[i] = member;
    c->n++;
    s->n_members++;
}

/* ---- taking out ---- */

static void liveset_drop(struct liveset *s, struct liveset_container *c)
{
    size_t i = (size_t)(c - s->containers);

    s->bytes -= liveset_container_bytes(c);
    free(c->bits);
    free(c->array);
    memmove(c, c + 1, (s->n - i - 1) * sizeof *c);
    s->n--;
}

/* Makes a bitmap with few members an array, if there is memory for it. */
static void liveset_thin(struct liveset *s, struct liveset_container *c)
{
    uint16_t *array = malloc(c->n * sizeof *array);
    uint32_t n = 0;

    if (array == NULL)
        return;
    for (uint32_t w = 0; w < LIVESET_WORDS; w++)
        for (uint64_t word = c->bits[w]; word != 0; word &= word - 1)
            array[n++] = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(word));
    s->bytes -= liveset_container_bytes(c);
    free(c->bits);
    c->bits = NULL;
    c->array = array;
    c->cap = n;
    s->bytes += liveset_container_bytes(c);
}

static bool liveset_clear(struct liveset_container *c, uint16_t member)
{
    uint32_t i;

    if (c->bits != NULL) {
        uint64_t bit = 1ull << member % 64, *word = &c->bits[member / 64];
        bool was = (*word & bit) != 0;
        *word &= ~bit;
        return was;
    }
    i = liveset_seek_array(c, member);
    if (i == c->n || c->array[i] != member)
        return false;
    memmove(&c->array[i], &c->array[i + 1], (c->n - i - 1) * sizeof *c->array);
    return true;
}

bool liveset_remove(struct liveset *s, uint64_t lsn)
{
    struct liveset_container *c = liveset_find(s, lsn);
    bool last; /* the one that grows: it stays as it is */

    if (c == NULL || !liveset_clear(c, (uint16_t)(lsn % LIVESET_SPAN)))
        return false;
    last = c == &s->containers[s->n - 1];
    c->n--;
    s->n_members--;
    if (c->n == 0 && !last)
        liveset_drop(s, c);
    else if (c->bits != NULL && c->n <= LIVESET_THIN && !last)
        liveset_thin(s, c);
    return true;
}

/* ---- looking ---- */

bool liveset_has(const struct liveset *s, uint64_t lsn)
{
    const struct liveset_container *c = liveset_find(s, lsn);
    uint16_t member = (uint16_t)(lsn % LIVESET_SPAN);
    uint32_t i;

    if (c == NULL)
        return false;
    if (c->bits != NULL)
        return c->bits[member / 64] >> member % 64 & 1;
    i = liveset_seek_array(c, member);
    return i < c->n && c->array[i] == member;
}

/* Members below `end` (0..LIVESET_SPAN) of a container. */
static uint64_t liveset_rank(const struct liveset_container *c, uint32_t end)
{
    uint64_t n = 0;

    if (end == LIVESET_SPAN)
        return c->n;
    if (c->bits == NULL)
        return liveset_seek_array(c, (uint16_t)end);
    for (uint32_t w = 0; w < end / 64; w++)
        n += (uint64_t)__builtin_popcountll(c->bits[w]);
    if (end % 64 != 0)
        n += (uint64_t)__builtin_popcountll(c->bits[end / 64] & ((1ull << end % 64) - 1));
    return n;
}

uint64_t liveset_count(const struct liveset *s, uint64_t first, uint64_t last)
{
    uint64_t n = 0;

    if (first > last)
        return 0;
    for (size_t i = liveset_seek(s, first / LIVESET_SPAN);
         i < s->n && s->containers[i].base <= last / LIVESET_SPAN; i++) {
        const struct liveset_container *c = &s->containers[i];
        uint32_t from = c->base == first / LIVESET_SPAN ? (uint32_t)(first % LIVESET_SPAN) : 0;
        uint32_t end =
            c->base == last / LIVESET_SPAN ? (uint32_t)(last % LIVESET_SPAN) + 1 : LIVESET_SPAN;
        n += liveset_rank(c, end) - liveset_rank(c, from);
    }
    return n;
}

/* Sets the bit of an LSN if it is one of those that are asked for. */
static inline void liveset_note(uint64_t lsn, uint64_t first, uint64_t n, uint64_t *bits)
{
    if (lsn >= first && lsn - first < n)
        bits[(lsn - first) / 64] |= 1ull << (lsn - first) % 64;
}

/* The same for all of a bitmap, where its words are words of `bits`. */
static void liveset_copy_words(const struct liveset_container *c, uint64_t first, uint64_t n,
                               uint64_t *bits)
{
    uint64_t base = c->base * LIVESET_SPAN, last = first + n - 1;
    uint64_t from = base < first ? (first - base) / 64 : 0;
    uint64_t to = last - base < LIVESET_SPAN ? (last - base) / 64 : LIVESET_WORDS - 1;

    memcpy(bits + (base + from * 64 - first) / 64, c->bits + from,
           (size_t)(to - from + 1) * sizeof *bits);
    if (n % 64 != 0)
        bits[n / 64] &= (1ull << n % 64) - 1;
}

static void liveset_copy_container(const struct liveset_container *c, uint64_t first, uint64_t n,
                                   uint64_t *bits)
{
    uint64_t base = c->base * LIVESET_SPAN;

    if (c->bits != NULL && first % 64 == 0) {
        liveset_copy_words(c, first, n, bits);
        return;
    }
    for (uint32_t i = 0; c->bits == NULL && i < c->n; i++)
        liveset_note(base + c->array[i], first, n, bits);
    for (uint32_t w = 0; c->bits != NULL && w < LIVESET_WORDS; w++)
        for (uint64_t word = c->bits[w]; word != 0; word &= word - 1)
            liveset_note(base + w * 64 + (uint64_t)__builtin_ctzll(word), first, n, bits);
}

void liveset_copy(const struct liveset *s, uint64_t first, uint64_t n, uint64_t *bits)
{
    memset(bits, 0, (size_t)((n + 63) / 64) * sizeof *bits);
    if (n == 0)
        return;
    for (size_t i = liveset_seek(s, first / LIVESET_SPAN);
         i < s->n && s->containers[i].base <= (first + n - 1) / LIVESET_SPAN; i++)
        liveset_copy_container(&s->containers[i], first, n, bits);
}

/* ---- for tests ---- */

static const char *liveset_check_container(const struct liveset_container *c)
{
    uint64_t n = 0;

    if (c->bits != NULL) {
        for (uint32_t w = 0; w < LIVESET_WORDS; w++)
            n += (uint64_t)__builtin_popcountll(c->bits[w]);
        return n == c->n ? NULL : "a container's number of members";
    }
    if (c->n > c->cap || c->cap > LIVESET_ARRAY_MAX)
        return "L2, an array's size";
    for (uint32_t i = 1; i < c->n; i++)
        if (c->array[i - 1] >= c->array[i])
            return "L2, an array's order";
    return NULL;
}

const char *liveset_check(const struct liveset *s)
{
    size_t bytes = s->cap * sizeof *s->containers;
    const char *broken = NULL;
    uint64_t n = 0;

    for (size_t i = 0; broken == NULL && i < s->n; i++) {
        const struct liveset_container *c = &s->containers[i];
        broken = liveset_check_container(c);
        if (i > 0 && s->containers[i - 1].base >= c->base)
            return "L1, the containers' order";
        bytes += liveset_container_bytes(c);
        n += c->n;
    }
    if (broken == NULL && (n != s->n_members || bytes != s->bytes))
        broken = "L3";
    return broken;
}
