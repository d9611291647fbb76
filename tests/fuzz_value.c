/* fuzz_value.c - bytes that say they are a hash or a list: what is taken holds its invariants, is written again as a value that
 * is read as the same, and takes memory in proportion to its bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/cache/value.h"

enum { MEMORY_A_BYTE = 64, MEMORY_BASE = 1024 }; /* that a value takes at most */

static const uint8_t SEED[16] = { 1, 6, 1, 8 };

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void fuzz_fail(const char *why)
{
    fprintf(stderr, "broken: %s\n", why);
    abort();
}

static void fuzz_must(bool holds, const char *why)
{
    if (!holds)
        fuzz_fail(why);
}

static uint8_t *fuzz_malloc(size_t n)
{
    uint8_t *p = malloc(n);

    fuzz_must(p != NULL, "no memory");
    return p;
}

static void fuzz_field(void *ctx, const struct hash_field *f)
{
    struct hash_field g;

    fuzz_must(hash_find(ctx, f->field, &g) && slice_equal(f->value, g.value) &&
                  f->expiry_ms == g.expiry_ms,
              "a field is not read as it was written");
}

static void fuzz_hash(struct slice bytes)
{
    struct hash *h, *again;
    uint64_t cursor = 0;
    uint8_t *p, *end;

    if (value_get_hash(bytes, SEED, &h, NULL) != OK)
        return;
    fuzz_must(hash_check(h) == NULL, "a hash's invariant");
    fuzz_must(hash_bytes(h) <= MEMORY_BASE + MEMORY_A_BYTE * bytes.n, "a hash's memory");
    p = fuzz_malloc(value_hash_size(h));
    end = value_put_hash(p, h);
    fuzz_must(end == p + value_hash_size(h), "V1: a hash's size");
    fuzz_must(value_get_hash(slice_of(p, (size_t)(end - p)), SEED, &again, NULL) == OK &&
                  hash_n(again) == hash_n(h),
              "V1: a hash is refused");
    do
        cursor = hash_scan(h, cursor, fuzz_field, again);
    while (cursor != 0);
    hash_free(h);
    hash_free(again);
    free(p);
}

static void fuzz_same_list(const struct list *a, const struct list *b)
{
    struct list_at x, y;
    bool more = list_seek(a, 0, &x);

    fuzz_must(list_n(a) == list_n(b) && more == list_seek(b, 0, &y), "V1: other elements");
    while (more) {
        fuzz_must(x.pos == y.pos && slice_equal(x.value, y.value),
                  "an element is not read as it was written");
        more = list_next(a, &x);
        fuzz_must(more == list_next(b, &y), "one list is longer");
    }
}

static void fuzz_list(struct slice bytes)
{
    struct list *l, *again;
    uint8_t *p, *end;

    if (value_get_list(bytes, &l, NULL) != OK)
        return;
    fuzz_must(list_check(l) == NULL, "a list's invariant");
    fuzz_must(list_bytes(l) <= MEMORY_BASE + MEMORY_A_BYTE * bytes.n, "a list's memory");
    p = fuzz_malloc(value_list_size(l));
    end = value_put_list(p, l);
    fuzz_must(end == p + value_list_size(l), "V1: a list's size");
    fuzz_must(value_get_list(slice_of(p, (size_t)(end - p)), &again, NULL) == OK,
              "V1: a list is refused");
    fuzz_same_list(l, again);
    list_free(l);
    list_free(again);
    free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz_hash(slice_of(p, n));
    fuzz_list(slice_of(p, n));
    return 0;
}
