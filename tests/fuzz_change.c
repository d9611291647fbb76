/* fuzz_change.c - an entry that says it is a change of a value: whatever is taken can be read to its end, and written again is
 * read as the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/cache/change.h"
#include "log/entry.h"

enum { ELEMENTS_MAX = 1000 };

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void fuzz_fail(const char *why)
{
    fprintf(stderr, "broken: %s\n", why);
    abort();
}

static bool fuzz_same_element(const struct element *a, const struct element *b)
{
    return a->pos == b->pos && a->to == b->to && a->expiry_ms == b->expiry_ms &&
           slice_equal(a->field, b->field) && slice_equal(a->value, b->value);
}

static bool fuzz_same(const struct change *a, const struct change *b)
{
    return a->op == b->op && a->db == b->db && slice_equal(a->key, b->key) && a->type == b->type &&
           a->expiry_ms == b->expiry_ms && a->stale_ms == b->stale_ms && a->offset == b->offset &&
           a->length == b->length && a->gone == b->gone && a->to_db == b->to_db &&
           slice_equal(a->to, b->to) && slice_equal(a->value, b->value) &&
           a->n_elements == b->n_elements;
}

/* All elements into `out`; false if one of them is refused. */
static bool fuzz_elements(const uint8_t *entry, const struct change *x, struct element *out)
{
    struct change_at at;
    size_t n = 0;

    change_begin(entry, &at);
    while (n < x->n_elements && change_next(&at, x, &out[n]))
        n++;
    if (!at.bad && (n != x->n_elements || change_next(&at, x, &out[0])))
        fuzz_fail("other elements than were counted");
    return !at.bad;
}

static void fuzz_again(struct id id, struct change *x, const struct element *elements)
{
    static struct element again[ELEMENTS_MAX];
    size_t size;
    struct change y;
    uint8_t *body;
    struct id got = ID_MIN;

    x->elements = elements;
    size = change_size(id, x);
    body = malloc(size);
    if (body == NULL)
        abort();
    if (change_put(body, id, x) != body + size || !entry_check(body + 1, body + size, &got))
        fuzz_fail("J1: not as long as it said, or no entry");
    if (id_cmp(id, got) != 0 || change_read(body + 1, &y, NULL) != OK || !fuzz_same(x, &y) ||
        !fuzz_elements(body + 1, &y, again))
        fuzz_fail("J1: it is not read as it was written");
    for (size_t i = 0; i < y.n_elements; i++)
        if (!fuzz_same_element(&elements[i], &again[i]))
            fuzz_fail("J1: an element is not read as it was written");
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static struct element elements[ELEMENTS_MAX];
    enum change_op op;
    struct change x;
    struct slice key;
    struct id id;
    int db;

    if (!entry_check(p, p + n, &id))
        return 0;
    if (change_read(p, &x, NULL) != OK)
        return 0;
    if (!change_peek(p, &op, &db, &key) || op != x.op || db != x.db || !slice_equal(key, x.key))
        fuzz_fail("a look at it and reading it differ");
    if (x.n_elements <= ELEMENTS_MAX && fuzz_elements(p, &x, elements))
        fuzz_again(id, &x, elements);
    return 0;
}
