/* bench_values.c - hashes and lists in memory: bytes that malloc gives for them, and how long an operation takes.
 *
 * For comparison, by used_memory of Redis 7.0.15: a field of a large hash 70 bytes, an element of a long list 16.1, and a key of 13 bytes with
 * a hash of five short fields 171, which here is the hash, 80 bytes of an object and its share of the tables. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "broker/cache/hash.h"
#include "broker/cache/list.h"
#include "tests/lib/random.h"

enum { HASHES = 100000, FIELDS = 5, LARGE = 1000000, ELEMENTS = 2000000 };

static const uint8_t SEED[16] = "a bench's seed.";

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct measure {
    uint64_t began_ns;
    size_t began_bytes;
};

static size_t heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

static void measure_begin(struct measure *m)
{
    m->began_bytes = heap_bytes();
    m->began_ns = now_ns();
}

static void measure_end(const struct measure *m, const char *what, size_t n, size_t n_pieces,
                        size_t counted)
{
    double ns = (double)(now_ns() - m->began_ns) / (double)n;
    double bytes = ((double)heap_bytes() - (double)m->began_bytes) / (double)n_pieces;

    printf("%-44s %7.1f ns", what, ns);
    if (counted > 0)
        printf(" %8.1f bytes, %8.1f counted", bytes, (double)counted / (double)n_pieces);
    printf("\n");
}

static void must(bool holds)
{
    if (!holds)
        abort();
}

static struct slice number(char *text, const char *format, uint64_t i)
{
    int n = snprintf(text, 32, format, (unsigned long long)i); /* NOLINT: formats of this file */

    return slice_of(text, (size_t)n);
}

static void set_field(struct hash **h, const char *format, uint64_t i, uint64_t expiry_ms)
{
    char field[32], value[32];
    struct hash_field f = { number(field, format, i), number(value, "v%09llu", i), expiry_ms };
    bool is_new;

    must(hash_set(h, SEED, &f, &is_new, NULL) == OK);
}

static void bench_small_hashes(void)
{
    static struct hash *hashes[HASHES];
    struct hash_field f;
    struct measure m;
    size_t counted = 0;
    char field[32];

    measure_begin(&m);
    for (size_t i = 0; i < HASHES; i++) {
        must(hash_new(&hashes[i], NULL) == OK);
        for (size_t k = 0; k < FIELDS; k++)
            set_field(&hashes[i], "f%llu", k, 0);
        counted += hash_bytes(hashes[i]);
    }
    measure_end(&m, "hash of 5 fields: set one; a hash", (size_t)HASHES * FIELDS, HASHES, counted);
    measure_begin(&m);
    for (size_t i = 0; i < (size_t)HASHES * FIELDS; i++)
        must(hash_find(hashes[i % HASHES], number(field, "f%llu", i % FIELDS), &f));
    measure_end(&m, "  find one", (size_t)HASHES * FIELDS, 1, 0);
    for (size_t i = 0; i < HASHES; i++)
        hash_free(hashes[i]);
}

static void bench_large_hash(uint64_t expiry_ms, const char *what)
{
    struct random r = { 1 };
    struct hash_field f;
    struct measure m;
    struct hash *h;
    char field[32];

    measure_begin(&m);
    must(hash_new(&h, NULL) == OK);
    for (size_t i = 0; i < LARGE; i++)
        set_field(&h, "f%llu", i, expiry_ms == 0 ? 0 : expiry_ms + random_below(&r, LARGE));
    measure_end(&m, what, LARGE, LARGE, hash_bytes(h));
    measure_begin(&m);
    for (size_t i = 0; i < LARGE; i++)
        must(hash_find(h, number(field, "f%llu", random_below(&r, LARGE)), &f));
    measure_end(&m, "  find any", LARGE, 1, 0);
    hash_free(h);
}

static void bench_list(void)
{
    struct random r = { 1 };
    struct measure m;
    struct list_at at;
    struct list *l;
    char value[32];

    measure_begin(&m);
    must(list_new(&l, NULL) == OK);
    for (int64_t i = 0; i < ELEMENTS; i++)
        must(list_put(l, i, number(value, "task:%09llu", (uint64_t)i), NULL) == OK);
    measure_end(&m, "list: push; an element of 14 bytes", ELEMENTS, ELEMENTS, list_bytes(l));
    measure_begin(&m);
    for (size_t i = 0; i < ELEMENTS / 10; i++)
        must(list_seek(l, random_below(&r, ELEMENTS), &at));
    measure_end(&m, "  seek any", ELEMENTS / 10, 1, 0);
    must(list_remove(l, ELEMENTS / 2, ELEMENTS / 2) == 1);
    measure_begin(&m);
    for (size_t i = 0; i < ELEMENTS / 10; i++)
        must(list_seek(l, random_below(&r, ELEMENTS - 1), &at));
    measure_end(&m, "  seek any, one position missing", ELEMENTS / 10, 1, 0);
    measure_begin(&m);
    for (int64_t i = 0; i < ELEMENTS; i++)
        must(list_remove(l, i, i) <= 1);
    measure_end(&m, "  pop", ELEMENTS, 1, 0);
    list_free(l);
}

int main(void)
{
    bench_small_hashes();
    bench_large_hash(0, "hash of 1,000,000 fields: set; a field");
    bench_large_hash(1000, "the same with expiries");
    bench_list();
    return 0;
}
