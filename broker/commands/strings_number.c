/*
 * strings_number.c - strings as numbers: INCR and its kin, INCRBYFLOAT, INCREX.
 *
 * A number is a string with its digits; what a command writes is the new digits, an effect that says nothing of what was
 * added. The expiry stays as it is. Fractions are counted in long doubles and written as engine/decimal.h does.
 *
 * INCREX (Redis 8.8) adds within bounds and sets the expiry in one: a result outside of [LBOUND, UBOUND], or of what its kind
 * of number can hold, changes nothing and replies [value, 0], or becomes the bound itself with SATURATE. Values are compared by
 * what they come to, so one that was outside of the bounds before may come back into them.
 */
#include "broker/commands/expiry.h"
#include "broker/commands/strings.h"
#include "broker/engine/args.h"
#include "broker/engine/decimal.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"
#include <float.h>
#include <math.h>

enum { NUMBER_TEXT_MAX = 20 }; /* a sign and 19 digits */

static struct slice number_text(int64_t v, uint8_t out[NUMBER_TEXT_MAX])
{
    uint64_t left = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    size_t at = NUMBER_TEXT_MAX;

    do {
        out[--at] = (uint8_t)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (v < 0)
        out[--at] = '-';
    return slice_of(out + at, NUMBER_TEXT_MAX - at);
}

bool strings_replace(struct engine *e, struct client *c, struct slice key, struct object *o,
                     struct slice value)
{
    struct err err;
    uint64_t stale_ms = o == NULL ? 0 : object_stale_ms(o);

    if (cache_set(e, c, key, o, value, expiry_of(o), stale_ms, NULL, &err) == OK)
        return true;
    cache_nomem(c);
    return false;
}

/* ---- whole numbers ---- */

/* The key's number, 0 if it is not there; false after an error reply. */
static bool number_get(struct engine *e, struct client *c, struct slice key, struct object **o,
                       int64_t *out)
{
    *out = 0;
    if (!cache_write(e, c, key, OBJECT_STRING, o))
        return false;
    if (*o == NULL || args_i64(cache_string(*o), out))
        return true;
    reply_not_integer(c);
    return false;
}

static void number_add(struct engine *e, struct client *c, struct slice key, int64_t by)
{
    uint8_t text[NUMBER_TEXT_MAX];
    struct object *o;
    int64_t v;

    if (!number_get(e, c, key, &o, &v))
        return;
    if (__builtin_add_overflow(v, by, &v)) {
        reply_error(c, "ERR increment or decrement would overflow");
        return;
    }
    if (!strings_replace(e, c, key, o, number_text(v, text)))
        return;
    notify(e, NOTIFY_STRING, "incrby", c->db, key);
    reply_int(c, v);
}

void strings_incr(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)argc;
    number_add(e, c, argv[1], 1);
}

void strings_decr(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)argc;
    number_add(e, c, argv[1], -1);
}

void strings_incrby(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    int64_t by;

    (void)argc;
    if (args_i64(argv[2], &by))
        number_add(e, c, argv[1], by);
    else
        reply_not_integer(c);
}

void strings_decrby(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    int64_t by;

    (void)argc;
    if (!args_i64(argv[2], &by))
        reply_not_integer(c);
    else if (by == INT64_MIN)
        reply_error(c, "ERR decrement would overflow");
    else
        number_add(e, c, argv[1], -by);
}

/* ---- fractions ---- */

static bool number_get_float(struct engine *e, struct client *c, struct slice key,
                             struct object **o, long double *out)
{
    *out = 0;
    if (!cache_write(e, c, key, OBJECT_STRING, o))
        return false;
    if (*o == NULL || decimal_parse(cache_string(*o), out))
        return true;
    reply_error(c, "ERR value is not a valid float");
    return false;
}

void strings_incrbyfloat(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    char text[DECIMAL_TEXT_MAX];
    long double v, by;
    struct object *o;

    (void)argc;
    if (!number_get_float(e, c, argv[1], &o, &v))
        return;
    if (!decimal_parse(argv[2], &by)) {
        reply_error(c, "ERR value is not a valid float");
        return;
    }
    if (!isfinite(v + by)) {
        reply_error(c, "ERR increment would produce NaN or Infinity");
        return;
    }
    struct slice sum = slice_of(text, decimal_format(v + by, text));
    if (!strings_replace(e, c, argv[1], o, sum))
        return;
    notify(e, NOTIFY_STRING, "incrbyfloat", c->db, argv[1]);
    reply_bulk(c, sum.p, sum.n);
}

size_t strings_float_bound(const struct slice *argv, size_t argc)
{
    (void)argv;
    (void)argc;
    return cache_bound(1, DECIMAL_TEXT_MAX);
}

/* ---- INCREX ---- */

enum increx_flag {
    INCREX_INT = 1 << 0,
    INCREX_FLOAT = 1 << 1,
    INCREX_LBOUND = 1 << 2,
    INCREX_UBOUND = 1 << 3,
    INCREX_SATURATE = 1 << 4,
    INCREX_EX = 1 << 5,
    INCREX_PX = 1 << 6,
    INCREX_EXAT = 1 << 7,
    INCREX_PXAT = 1 << 8,
    INCREX_PERSIST = 1 << 9,
    INCREX_ENX = 1 << 10,
    INCREX_EXPIRY = INCREX_EX | INCREX_PX | INCREX_EXAT | INCREX_PXAT,
};

enum increx_place { INCREX_BY, INCREX_LOW, INCREX_HIGH, INCREX_WHEN, INCREX_PLACES };

static const struct {
    const char *word;
    unsigned flag, excludes;
    int place; /* of the value that follows; INCREX_PLACES: none does */
} increx_words[] = {
    { "byint", INCREX_INT, INCREX_FLOAT, INCREX_BY },
    { "byfloat", INCREX_FLOAT, INCREX_INT, INCREX_BY },
    { "lbound", INCREX_LBOUND, 0, INCREX_LOW },
    { "ubound", INCREX_UBOUND, 0, INCREX_HIGH },
    { "saturate", INCREX_SATURATE, 0, INCREX_PLACES },
    { "ex", INCREX_EX, INCREX_EXPIRY | INCREX_PERSIST, INCREX_WHEN },
    { "px", INCREX_PX, INCREX_EXPIRY | INCREX_PERSIST, INCREX_WHEN },
    { "exat", INCREX_EXAT, INCREX_EXPIRY | INCREX_PERSIST, INCREX_WHEN },
    { "pxat", INCREX_PXAT, INCREX_EXPIRY | INCREX_PERSIST, INCREX_WHEN },
    { "persist", INCREX_PERSIST, INCREX_EXPIRY | INCREX_ENX, INCREX_PLACES },
    { "enx", INCREX_ENX, INCREX_PERSIST, INCREX_PLACES },
};

enum { INCREX_WORDS = sizeof increx_words / sizeof increx_words[0] };

struct increx {
    unsigned flags;
    struct slice texts[INCREX_PLACES];
    int64_t by, low, high;
    long double by_f, low_f, high_f;
    uint64_t expiry_ms;
};

/* Each word once at most. */
static bool increx_parse(struct increx *x, const struct slice *args, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t w = 0;
        while (w < INCREX_WORDS && !args_word(args[i], increx_words[w].word))
            w++;
        if (w == INCREX_WORDS || x->flags & (increx_words[w].flag | increx_words[w].excludes))
            return false;
        x->flags |= increx_words[w].flag;
        if (increx_words[w].place == INCREX_PLACES)
            continue;
        if (++i == n)
            return false;
        x->texts[increx_words[w].place] = args[i];
    }
    return true;
}

static bool increx_read_int(struct client *c, struct slice text, bool given, const char *what,
                            int64_t *out)
{
    if (!given || args_i64(text, out))
        return true;
    reply_error(c, "ERR %s is not an integer or out of range", what);
    return false;
}

static bool increx_read_ints(struct client *c, struct increx *x)
{
    x->by = 1;
    x->low = INT64_MIN;
    x->high = INT64_MAX;
    return increx_read_int(c, x->texts[INCREX_BY], x->flags & INCREX_INT, "Increment", &x->by) &&
           increx_read_int(c, x->texts[INCREX_LOW], x->flags & INCREX_LBOUND, "LBOUND", &x->low) &&
           increx_read_int(c, x->texts[INCREX_HIGH], x->flags & INCREX_UBOUND, "UBOUND", &x->high);
}

static bool increx_read_float(struct client *c, struct slice text, bool given, const char *what,
                              long double *out)
{
    if (!given || decimal_parse(text, out))
        return true;
    reply_error(c, "ERR %s is not a valid float", what);
    return false;
}

static bool increx_read_floats(struct client *c, struct increx *x)
{
    x->low_f = -LDBL_MAX;
    x->high_f = LDBL_MAX;
    if (!increx_read_float(c, x->texts[INCREX_BY], true, "Increment", &x->by_f) ||
        !increx_read_float(c, x->texts[INCREX_LOW], x->flags & INCREX_LBOUND, "LBOUND",
                           &x->low_f) ||
        !increx_read_float(c, x->texts[INCREX_HIGH], x->flags & INCREX_UBOUND, "UBOUND",
                           &x->high_f))
        return false;
    if (isfinite(x->by_f) && isfinite(x->low_f) && isfinite(x->high_f))
        return true;
    reply_error(c, "ERR BYFLOAT %s cannot be Infinity", isfinite(x->by_f) ? "bounds" : "increment");
    return false;
}

/* Reads what the options say; false after an error reply. */
static bool increx_read(struct engine *e, struct client *c, struct increx *x)
{
    enum expiry_unit unit = x->flags & INCREX_EX     ? EXPIRY_EX
                            : x->flags & INCREX_PX   ? EXPIRY_PX
                            : x->flags & INCREX_EXAT ? EXPIRY_EXAT
                                                     : EXPIRY_PXAT;

    if (x->flags & INCREX_ENX && !(x->flags & INCREX_EXPIRY)) {
        reply_error(c, "ERR ENX flag requires an expiration");
        return false;
    }
    if (!(x->flags & INCREX_FLOAT ? increx_read_floats(c, x) : increx_read_ints(c, x)))
        return false;
    if (x->flags & INCREX_FLOAT ? x->low_f > x->high_f : x->low > x->high) {
        reply_error(c, "ERR LBOUND can't be greater than UBOUND");
        return false;
    }
    return !(x->flags & INCREX_EXPIRY) ||
           expiry_read(e, c, unit, x->texts[INCREX_WHEN], "increx", &x->expiry_ms);
}

/* Writes the new value with the expiry that the options give it, or removes the key if that is past; false after an error
 * reply. */
static bool increx_write(struct engine *e, struct client *c, const struct increx *x,
                         struct slice key, struct object *o, struct slice value)
{
    bool keeps = !(x->flags & (INCREX_EXPIRY | INCREX_PERSIST)) ||
                 (x->flags & INCREX_ENX && expiry_of(o) != 0);
    uint64_t stale_ms = o != NULL && keeps ? object_stale_ms(o) : 0, before_ms = expiry_of(o);
    uint64_t expiry_ms = keeps ? before_ms : x->expiry_ms;
    struct err err;

    if (expiry_is_past(e, expiry_ms)) {
        if (o != NULL)
            engine_unname(e, c, o, REASON_DEL);
        if (o != NULL)
            notify(e, NOTIFY_GENERIC, "del", c->db, key);
        return true;
    }
    if (cache_set(e, c, key, o, value, expiry_ms, stale_ms, NULL, &err) != OK) {
        cache_nomem(c);
        return false;
    }
    notify(e, NOTIFY_STRING, x->flags & INCREX_FLOAT ? "incrbyfloat" : "incrby", c->db, key);
    if (!keeps && expiry_ms != 0)
        notify(e, NOTIFY_GENERIC, "expire", c->db, key);
    else if (!keeps && before_ms != 0)
        notify(e, NOTIFY_GENERIC, "persist", c->db, key);
    return true;
}

static void increx_reply_ints(struct client *c, int64_t v, int64_t by)
{
    reply_array(c, 2);
    reply_int(c, v);
    reply_int(c, by);
}

static void increx_int(struct engine *e, struct client *c, const struct increx *x, struct slice key)
{
    uint8_t text[NUMBER_TEXT_MAX];
    int64_t before, v, by;
    struct object *o;
    bool over;

    if (!number_get(e, c, key, &o, &before))
        return;
    over = __builtin_add_overflow(before, x->by, &v);
    if (over)
        v = x->by > 0 ? INT64_MAX : INT64_MIN;
    if ((over || v < x->low || v > x->high) && !(x->flags & INCREX_SATURATE)) {
        increx_reply_ints(c, before, 0);
        return;
    }
    v = v > x->high ? x->high : v < x->low ? x->low : v;
    if (__builtin_sub_overflow(v, before, &by))
        reply_error(c, "ERR applied increment would overflow");
    else if (increx_write(e, c, x, key, o, number_text(v, text)))
        increx_reply_ints(c, v, by);
}

/* A bulk string, or in RESP3 a double with the same digits. */
static void increx_reply_float(struct client *c, long double v)
{
    char text[DECIMAL_TEXT_MAX];
    size_t n = decimal_format(v, text);

    if (c->proto < 3) {
        reply_bulk(c, text, n);
        return;
    }
    outbuf_append(&c->out, ",", 1);
    outbuf_append(&c->out, text, n);
    outbuf_append(&c->out, "\r\n", 2);
}

static void increx_reply_floats(struct client *c, long double v, long double by)
{
    reply_array(c, 2);
    increx_reply_float(c, v);
    increx_reply_float(c, by);
}

static void increx_float(struct engine *e, struct client *c, const struct increx *x,
                         struct slice key)
{
    char text[DECIMAL_TEXT_MAX];
    long double before, v;
    struct object *o;

    if (!number_get_float(e, c, key, &o, &before))
        return;
    if (!isfinite(before)) {
        reply_error(c, "ERR value cannot be Infinity");
        return;
    }
    v = before + x->by_f;
    if ((v < x->low_f || v > x->high_f) && !(x->flags & INCREX_SATURATE)) {
        increx_reply_floats(c, before, 0);
        return;
    }
    v = v > x->high_f ? x->high_f : v < x->low_f ? x->low_f : v;
    if (!isfinite(v - before))
        reply_error(c, "ERR applied increment would produce Infinity");
    else if (increx_write(e, c, x, key, o, slice_of(text, decimal_format(v, text))))
        increx_reply_floats(c, v, v - before);
}

void strings_increx(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct increx x = { 0 };

    if (!increx_parse(&x, argv + 2, argc - 2))
        reply_syntax_error(c);
    else if (!increx_read(e, c, &x))
        return;
    else if (x.flags & INCREX_FLOAT)
        increx_float(e, c, &x, argv[1]);
    else
        increx_int(e, c, &x, argv[1]);
}
