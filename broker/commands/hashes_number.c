/*
 * hashes_number.c - HINCRBY and HINCRBYFLOAT: numbers in fields.
 *
 * The record has the sum as text. When the field expires stays as it was.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include "broker/commands/hashes.h"
#include "broker/engine/args.h"
#include "broker/engine/decimal.h"
#include "broker/engine/reply.h"

/* Sets the field to a text; `f` is what it was, and 0 its expiry if it is new. */
static bool hashes_put_number(struct engine *e, struct client *c, const struct slice *argv,
                              struct object *o, const struct hash_field *f, const char *text,
                              size_t n, const char *event)
{
    const struct element element = { .field = argv[2],
                                     .value = slice_of(text, n),
                                     .expiry_ms = f->expiry_ms };
    size_t n_new;

    return hashes_put(e, c, argv[1], o, &element, 1, event, &n_new);
}

void hashes_hincrby(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct hash_field f = { .expiry_ms = 0 };
    int64_t add, sum = 0;
    char text[24];
    struct object *o;

    (void)argc;
    if (!args_i64(argv[3], &add)) {
        reply_not_integer(c);
        return;
    }
    if (!cache_write(e, c, argv[1], OBJECT_HASH, &o))
        return;
    if (!hashes_find(e, o, argv[2], &f))
        f.expiry_ms = 0;
    else if (!args_i64(f.value, &sum)) {
        reply_error(c, "ERR hash value is not an integer");
        return;
    }
    if (__builtin_add_overflow(sum, add, &sum)) {
        reply_error(c, "ERR increment or decrement would overflow");
        return;
    }
    int n = snprintf(text, sizeof text, "%" PRId64, sum);
    if (hashes_put_number(e, c, argv, o, &f, text, (size_t)n, "hincrby"))
        reply_int(c, sum);
}

/* The number that is added; false after an error reply. */
static bool hashes_parse_float(struct client *c, struct slice text, long double *out)
{
    if (!decimal_parse(text, out)) {
        reply_error(c, "ERR value is not a valid float");
        return false;
    }
    if (isinf(*out)) {
        reply_error(c, "ERR value is NaN or Infinity");
        return false;
    }
    return true;
}

void hashes_hincrbyfloat(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct hash_field f = { .expiry_ms = 0 };
    long double add, sum = 0;
    char text[DECIMAL_TEXT_MAX];
    struct object *o;
    size_t n;

    (void)argc;
    if (!hashes_parse_float(c, argv[3], &add) || !cache_write(e, c, argv[1], OBJECT_HASH, &o))
        return;
    if (!hashes_find(e, o, argv[2], &f))
        f.expiry_ms = 0;
    else if (!decimal_parse(f.value, &sum)) {
        reply_error(c, "ERR hash value is not a float");
        return;
    }
    sum += add;
    if (!isfinite(sum)) {
        reply_error(c, "ERR increment would produce NaN or Infinity");
        return;
    }
    n = decimal_format(sum, text);
    if (engine_reserve_more(e, c, n) &&
        hashes_put_number(e, c, argv, o, &f, text, n, "hincrbyfloat"))
        reply_bulk(c, text, n);
}
