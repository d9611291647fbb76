/*
 * reply.c - replies in RESP2 and RESP3.
 *
 * Every reply is a type byte, a number or a text, CR LF and, for bulk strings, the bytes. What is
 * small is formatted straight into the output's free space: one check for room, then stores. Digits
 * come two at a time from a table; numbers below a hundred, nearly all lengths, need no division.
 *
 *   R1  An error lies as a whole in one chunk of the output, so whether the last reply is one can
 *       be told from the tail alone (reply_is_error_at).
 *   R2  Once the output has failed, at most OUTBUF_SCRATCH bytes are written to what outbuf_reserve
 *       gives.
 */
#include "broker/engine/reply.h"
#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "broker/engine/command.h"

enum {
    REPLY_HEAD_MAX = 32,    /* type byte, 20 digits, CR LF and some */
    REPLY_INLINE_MAX = 448, /* a bulk string of up to so many bytes is one reservation */
    REPLY_ERROR_MAX = 1024,
    REPLY_ECHO_MAX = 128, /* bytes of a request that an error repeats */
};

static_assert((int)REPLY_INLINE_MAX + REPLY_HEAD_MAX <= (int)OUTBUF_SCRATCH, "R2");

static const char REPLY_DIGITS[] = "00010203040506070809101112131415161718192021222324"
                                   "25262728293031323334353637383940414243444546474849"
                                   "50515253545556575859606162636465666768697071727374"
                                   "75767778798081828384858687888990919293949596979899";

static uint8_t *reply_put_long(uint8_t *p, uint64_t v)
{
    uint8_t digits[20];
    uint8_t *end = digits + sizeof digits;
    uint8_t *at = end;

    for (; v >= 100; v /= 100) {
        at -= 2;
        memcpy(at, &REPLY_DIGITS[v % 100 * 2], 2);
    }
    at -= 2;
    memcpy(at, &REPLY_DIGITS[v * 2], 2);
    if (v < 10)
        at++;
    memcpy(p, at, (size_t)(end - at));
    return p + (end - at);
}

static inline uint8_t *reply_put_u64(uint8_t *p, uint64_t v)
{
    if (v < 10) {
        *p = (uint8_t)('0' + v);
        return p + 1;
    }
    if (v < 100) {
        memcpy(p, &REPLY_DIGITS[v * 2], 2);
        return p + 2;
    }
    return reply_put_long(p, v);
}

static inline uint8_t *reply_put_end(uint8_t *p)
{
    p[0] = '\r';
    p[1] = '\n';
    return p + 2;
}

/* "<type><number>\r\n", what nearly every reply starts with. */
static inline uint8_t *reply_put_head(uint8_t *p, char type, uint64_t v)
{
    *p = (uint8_t)type;
    return reply_put_end(reply_put_u64(p + 1, v));
}

static void reply_head(struct client *c, char type, uint64_t v)
{
    uint8_t *p = outbuf_reserve(&c->out, REPLY_HEAD_MAX);
    outbuf_advance(&c->out, reply_put_head(p, type, v));
}

/* At most REPLY_HEAD_MAX bytes as they are. */
static void reply_literal(struct client *c, const char *text, size_t n)
{
    uint8_t *p = outbuf_reserve(&c->out, REPLY_HEAD_MAX);

    assert(n <= REPLY_HEAD_MAX);
    memcpy(p, text, n);
    outbuf_advance(&c->out, p + n);
}

void reply_simple(struct client *c, const char *text)
{
    outbuf_append(&c->out, "+", 1);
    outbuf_append(&c->out, text, strlen(text));
    outbuf_append(&c->out, "\r\n", 2);
}

void reply_ok(struct client *c)
{
    reply_literal(c, "+OK\r\n", 5);
}

/* Trailing line ends go, others become blanks: whatever a request has in it, an error is a line. */
static size_t reply_one_line(char *text, size_t n)
{
    while (n > 0 && (text[n - 1] == '\r' || text[n - 1] == '\n'))
        n--;
    for (size_t i = 0; i < n; i++)
        if (text[i] == '\r' || text[i] == '\n')
            text[i] = ' ';
    return n;
}

void reply_error(struct client *c, const char *format, ...)
{
    char text[REPLY_ERROR_MAX + 1];
    va_list args;
    uint8_t *p;

    va_start(args, format);
    int wanted = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    assert(wanted >= 0);
    size_t n = (size_t)wanted < sizeof text ? (size_t)wanted : sizeof text - 1;
    n = reply_one_line(text, n);
    p = outbuf_reserve(&c->out, n + 3);
    if (c->out.failed)
        return; /* R2 */
    *p = '-';
    memcpy(p + 1, text, n);
    outbuf_advance(&c->out, reply_put_end(p + 1 + n));
}

void reply_int(struct client *c, int64_t v)
{
    uint8_t *p = outbuf_reserve(&c->out, REPLY_HEAD_MAX);
    uint64_t magnitude = (uint64_t)v;

    *p++ = ':';
    if (v < 0) {
        *p++ = '-';
        magnitude = 0 - magnitude;
    }
    outbuf_advance(&c->out, reply_put_end(reply_put_u64(p, magnitude)));
}

void reply_u64(struct client *c, uint64_t v)
{
    reply_head(c, ':', v);
}

void reply_bulk(struct client *c, const void *bytes, size_t n)
{
    if (n > REPLY_INLINE_MAX) {
        reply_head(c, '$', n);
        outbuf_append(&c->out, bytes, n);
        outbuf_append(&c->out, "\r\n", 2);
        return;
    }
    uint8_t *p = reply_put_head(outbuf_reserve(&c->out, n + REPLY_HEAD_MAX), '$', n);
    if (n > 0)
        memcpy(p, bytes, n);
    outbuf_advance(&c->out, reply_put_end(p + n));
}

void reply_str(struct client *c, const char *text)
{
    reply_bulk(c, text, strlen(text));
}

/* A bulk string whose text is made in place, at start + 5: behind a length of two digits, which
 * most have; the others move down by one. */
static void reply_close_short(struct client *c, uint8_t *start, uint8_t *end)
{
    size_t n = (size_t)(end - (start + 5));

    assert(n < 100);
    if (n < 10)
        memmove(start + 4, start + 5, n);
    outbuf_advance(&c->out, reply_put_end(reply_put_head(start, '$', n) + n));
}

static_assert(ID_TEXT_MAX < 100, "reply_close_short writes two digits");

void reply_id(struct client *c, struct id id)
{
    uint8_t *start = outbuf_reserve(&c->out, ID_TEXT_MAX + REPLY_HEAD_MAX);
    uint8_t *text = start + 5;

    reply_close_short(c, start, text + id_format(id, (char *)text));
}

void reply_u64_bulk(struct client *c, uint64_t v)
{
    uint8_t *start = outbuf_reserve(&c->out, 2 * REPLY_HEAD_MAX);
    reply_close_short(c, start, reply_put_u64(start + 5, v));
}

void reply_null(struct client *c)
{
    if (c->proto >= 3)
        reply_literal(c, "_\r\n", 3);
    else
        reply_literal(c, "$-1\r\n", 5);
}

void reply_null_array(struct client *c)
{
    if (c->proto >= 3)
        reply_literal(c, "_\r\n", 3);
    else
        reply_literal(c, "*-1\r\n", 5);
}

void reply_array(struct client *c, size_t n)
{
    reply_head(c, '*', n);
}

void reply_map(struct client *c, size_t n_pairs)
{
    if (c->proto >= 3)
        reply_head(c, '%', n_pairs);
    else
        reply_head(c, '*', 2 * n_pairs);
}

void reply_set(struct client *c, size_t n)
{
    reply_head(c, c->proto >= 3 ? '~' : '*', n);
}

void reply_push(struct client *c, size_t n)
{
    reply_head(c, c->proto >= 3 ? '>' : '*', n);
}

void reply_bool(struct client *c, bool v)
{
    if (c->proto >= 3)
        reply_literal(c, v ? "#t\r\n" : "#f\r\n", 4);
    else
        reply_int(c, v);
}

/* The shortest decimal text that reads back as v. */
static size_t reply_format_double(double v, char *out, size_t cap)
{
    int n = 0;

    if (isnan(v))
        return (size_t)snprintf(out, cap, "nan");
    if (isinf(v))
        return (size_t)snprintf(out, cap, v < 0 ? "-inf" : "inf");
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(out, cap, "%.*g", digits, v);
        if (strtod(out, NULL) == v)
            break;
    }
    return (size_t)n;
}

void reply_double(struct client *c, double v)
{
    char text[REPLY_HEAD_MAX];
    size_t n = reply_format_double(v, text, sizeof text);

    if (c->proto < 3) {
        reply_bulk(c, text, n);
        return;
    }
    outbuf_append(&c->out, ",", 1);
    outbuf_append(&c->out, text, n);
    outbuf_append(&c->out, "\r\n", 2);
}

void reply_verbatim(struct client *c, const void *p, size_t n)
{
    if (c->proto < 3) {
        reply_bulk(c, p, n);
        return;
    }
    reply_head(c, '=', n + 4);
    outbuf_append(&c->out, "txt:", 4);
    outbuf_append(&c->out, p, n);
    outbuf_append(&c->out, "\r\n", 2);
}

/* For "%.*s", which, as Redis does, also stops at the first zero byte. */
static int reply_cut_n(struct slice s, size_t max)
{
    return (int)(s.n < max ? s.n : max);
}

void reply_unknown_command(struct client *c, const struct slice *argv, size_t argc)
{
    char args[REPLY_ECHO_MAX + 8];
    size_t n = 0;

    args[0] = '\0';
    for (size_t i = 1; i < argc && n < REPLY_ECHO_MAX; i++)
        n += (size_t)snprintf(args + n, sizeof args - n, "'%.*s' ",
                              reply_cut_n(argv[i], REPLY_ECHO_MAX - n), (const char *)argv[i].p);
    reply_error(c, "ERR unknown command '%.*s', with args beginning with: %s",
                reply_cut_n(argv[0], REPLY_ECHO_MAX), (const char *)argv[0].p, args);
}

static void reply_upper(char *out, size_t cap, const char *name)
{
    size_t i = 0;

    for (; i + 1 < cap && name[i] != '\0'; i++)
        out[i] = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 'a' + 'A') : name[i];
    out[i] = '\0';
}

static void reply_try_help(struct client *c, const char *what, const struct command *container,
                           struct slice name)
{
    char upper[64];

    reply_upper(upper, sizeof upper, container->name);
    reply_error(c, "ERR %s '%.*s'. Try %s HELP.", what, reply_cut_n(name, REPLY_ECHO_MAX),
                (const char *)name.p, upper);
}

void reply_unknown_subcommand(struct client *c, const struct command *container, struct slice name)
{
    reply_try_help(c, "unknown subcommand", container, name);
}

void reply_subcommand_syntax(struct client *c, const struct command *container, struct slice name)
{
    reply_try_help(c, "unknown subcommand or wrong number of arguments for", container, name);
}

void reply_wrong_arity(struct client *c, const struct command *command)
{
    reply_error(c, "ERR wrong number of arguments for '%s' command", command->name);
}

void reply_noauth(struct client *c)
{
    reply_error(c, "NOAUTH Authentication required.");
}

void reply_syntax_error(struct client *c)
{
    reply_error(c, "ERR syntax error");
}

void reply_not_integer(struct client *c)
{
    reply_error(c, "ERR value is not an integer or out of range");
}

void reply_wrong_type(struct client *c)
{
    reply_error(c, "WRONGTYPE Operation against a key holding the wrong kind of value");
}

void reply_no_such_key(struct client *c)
{
    reply_error(c, "ERR no such key");
}

bool reply_is_error_at(const struct client *c, uint64_t pos)
{
    const struct outbuf *b = &c->out;
    uint64_t end = outbuf_end(b);

    if (pos < b->base || pos >= end)
        return false; /* R1: not in the tail as a whole, or nothing */
    return b->at[-(ptrdiff_t)(end - pos)] == '-';
}
