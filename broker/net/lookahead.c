/*
 * lookahead.c - reads just enough of a request to know its key: the second of its strings, and where the request ends.
 *
 * It runs a few requests ahead of the parser. A bucket is asked for when its request comes into sight, the object in it some
 * requests later, when the bucket will be there, and then what is behind it. What is not an array of strings, or not whole, ends the view; the parser will say what
 * is wrong with it.
 */
#include "broker/net/lookahead.h"
#include "log/dict.h"

/* The number behind `kind`, up to CR LF; where that ends, or NULL. */
static const uint8_t *lookahead_number(const uint8_t *p, const uint8_t *end, uint8_t kind,
                                       size_t *out)
{
    size_t n = 0;

    if (p == end || *p++ != kind)
        return NULL;
    for (int digits = 0; p < end && *p >= '0' && *p <= '9' && digits < 9; digits++)
        n = 10 * n + (size_t)(*p++ - '0');
    *out = n;
    return end - p >= 2 && p[0] == '\r' && p[1] == '\n' ? p + 2 : NULL;
}

/* The second string of the request at p; where the request ends, or NULL. */
static const uint8_t *lookahead_key(const uint8_t *p, const uint8_t *end, struct slice *key)
{
    size_t argc = 0, n;

    *key = slice_of(p, 0);
    p = lookahead_number(p, end, '*', &argc);
    for (size_t i = 0; p != NULL && i < argc; i++) {
        p = lookahead_number(p, end, '$', &n);
        if (p == NULL || (size_t)(end - p) < n + 2)
            return NULL;
        if (i == 1)
            *key = slice_of(p, n);
        p += n + 2;
    }
    return p;
}

void lookahead_step(struct lookahead *l, const struct dict *names, const uint8_t *p,
                    const uint8_t *end)
{
    if (l->n > 0) { /* the one that is about to be executed */
        l->first = (l->first + 1) % LOOKAHEAD_N;
        l->n--;
    }
    if (l->n == 0)
        l->at = p;
    while (l->n < LOOKAHEAD_N && l->at < end) {
        struct slice key;
        const uint8_t *next = lookahead_key(l->at, end, &key);
        uint64_t hash;
        if (next == NULL)
            break;
        hash = dict_hash(names->hash_key, key.p, key.n);
        dict_expect_bucket(names, hash);
        l->hashes[(l->first + l->n++) % LOOKAHEAD_N] = hash;
        l->at = next;
    }
    if (l->n > 1)
        dict_expect_node(names, l->hashes[(l->first + 1) % LOOKAHEAD_N]);
    if (l->n > 0)
        dict_expect_rest(names, l->hashes[l->first]);
}
