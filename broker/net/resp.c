/*
 * resp.c - the requests of the Redis protocol, split in place.
 *
 *   array    "*2\r\n" "$4\r\nECHO\r\n" "$2\r\nhi\r\n"
 *   inline   "ECHO 'hi'\r\n"              whatever does not begin with '*'
 *
 * There are two ways through. resp_fast takes what nearly every request is: whole, of at most 99
 * arguments with at most 999 bytes each. It looks at each length once, knows the digits by where the CR is,
 * calls nothing, and gives up without having changed anything when it meets something else. resp_array then
 * takes the same bytes with every limit and every error, and remembers where it was when they run out.
 * Where the two could disagree the fast way gives up: a leading zero, a sign, a missing '$'.
 *
 * What Redis lets pass passes here: any byte in the place of LF, any two bytes behind an argument.
 *
 *   R1  Nothing at or behind `end` is read, and nothing outside the request is written.
 *   R2  argc + n_left is what the request announced; memory is taken for arguments that have arrived, so it
 *       never exceeds a small multiple of the bytes received.
 *   R3  After RESP_REQUEST and RESP_ERROR the parser is as new.
 */
#include "broker/net/resp.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RESP_SHARED_ARGS = 1024,
    RESP_SHARED_ARGS_KEPT = 64 << 10,
    RESP_OWN_ARGS = 16,
    RESP_FAST_ARGS = 99,
    RESP_NUMBER_DIGITS = 19
};

int resp_args_init(struct resp_args *a, struct err *e)
{
    a->cap = RESP_SHARED_ARGS;
    a->v = malloc(a->cap * sizeof *a->v);
    if (a->v == NULL)
        return err_set(e, ERR_NOMEM, "room for arguments");
    return OK;
}

void resp_args_fini(struct resp_args *a)
{
    free(a->v);
    a->v = NULL;
    a->cap = 0;
}

void resp_args_trim(struct resp_args *a)
{
    struct slice *v;

    if (a->cap <= RESP_SHARED_ARGS_KEPT)
        return;
    v = realloc(a->v, RESP_SHARED_ARGS * sizeof *v);
    if (v == NULL)
        return;
    a->v = v;
    a->cap = RESP_SHARED_ARGS;
}

void resp_init(struct resp *r)
{
    memset(r, 0, sizeof *r);
    r->bulk = -1;
}

void resp_fini(struct resp *r)
{
    resp_args_fini(&r->own);
    resp_init(r);
}

/* ---- the fast way ---- */

static inline bool resp_is_digit(uint8_t c, uint8_t lowest)
{
    return (uint8_t)(c - lowest) <= (uint8_t)('9' - lowest);
}

/* Reads "<1 to 3 digits>CR." at p, of which 6 bytes can be read; returns the position behind, or NULL. */
static inline uint8_t *resp_fast_length(uint8_t *p, size_t *out)
{
    size_t n;

    if (p[1] == '\r') {
        if (!resp_is_digit(p[0], '0'))
            return NULL;
        *out = (size_t)(p[0] - '0');
        return p + 3;
    }
    if (!resp_is_digit(p[0], '1') || !resp_is_digit(p[1], '0'))
        return NULL;
    n = (size_t)(p[0] - '0') * 10 + (size_t)(p[1] - '0');
    if (p[2] == '\r') {
        *out = n;
        return p + 4;
    }
    if (!resp_is_digit(p[2], '0') || p[3] != '\r')
        return NULL;
    *out = n * 10 + (size_t)(p[2] - '0');
    return p + 5;
}

/* Splits a whole, ordinary request; returns the position behind it, or NULL if it is anything else. */
static uint8_t *resp_fast(struct slice *argv, uint8_t *p, uint8_t *end, size_t *out_argc)
{
    size_t argc, n;

    if (end - p < 7 || *p != '*')
        return NULL;
    p = resp_fast_length(p + 1, &argc);
    if (p == NULL || argc == 0 || argc > RESP_FAST_ARGS)
        return NULL;
    for (size_t i = 0; i < argc; i++) {
        if (end - p < 6 || *p != '$') /* the shortest argument is "$0\r\n\r\n" */
            return NULL;
        p = resp_fast_length(p + 1, &n);
        if (p == NULL || end - p < (ptrdiff_t)n + 2)
            return NULL;
        argv[i].p = p;
        argv[i].n = n;
        p += n + 2;
    }
    *out_argc = argc;
    return p;
}

/* ---- arrays, the whole way ---- */

static enum resp_result resp_fail(struct resp *r, struct resp_request *out, const char *text)
{
    snprintf(out->error, sizeof out->error, "Protocol error: %s", text);
    resp_fini(r); /* R3 */
    return RESP_ERROR;
}

/* A decimal number as Redis reads lengths: no blank, no plus, no leading zero, nothing behind it. */
static bool resp_number(const uint8_t *p, const uint8_t *end, int64_t *out)
{
    bool negative = p < end && *p == '-';
    int64_t v = 0;

    if (negative)
        p++;
    if (p == end || end - p > RESP_NUMBER_DIGITS || (*p == '0' && (negative || end - p > 1)))
        return false;
    for (; p < end; p++) {
        if (!resp_is_digit(*p, '0') || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, *p - '0', &v))
            return false;
    }
    *out = negative ? -v : v;
    return true;
}

/* The line of a length that begins at p: its CR, with a byte behind it, or NULL. */
static uint8_t *resp_line_end(uint8_t *p, uint8_t *end)
{
    uint8_t *cr = memchr(p, '\r', (size_t)(end - p));

    return cr != NULL && end - cr >= 2 ? cr : NULL;
}

static bool resp_line_too_long(const uint8_t *p, const uint8_t *end)
{
    return end - p > RESP_LINE_MAX && memchr(p, '\r', (size_t)(end - p)) == NULL;
}

/* Arguments collected so far: the parser's own once a request has been interrupted, else the shared ones. */
static struct resp_args *resp_where(struct resp *r, struct resp_args *shared)
{
    return r->own.v != NULL ? &r->own : shared;
}

static bool resp_push(struct resp *r, struct resp_args *shared, const uint8_t *p, size_t n)
{
    struct resp_args *args = resp_where(r, shared);

    if (r->argc == args->cap) {
        size_t cap = args->cap * 2;
        struct slice *v = realloc(args->v, cap * sizeof *v);
        if (v == NULL)
            return false;
        args->v = v;
        args->cap = cap;
    }
    args->v[r->argc++] = slice_of(p, n);
    return true;
}

/* The bytes run out: keeps what has been found, since others will use the shared room. */
static enum resp_result resp_suspend(struct resp *r, struct resp_args *shared)
{
    size_t cap = r->argc < RESP_OWN_ARGS ? RESP_OWN_ARGS : r->argc * 2;

    if (r->n_left == 0 || r->own.v != NULL)
        return RESP_MORE;
    r->own.v = malloc(cap * sizeof *r->own.v);
    if (r->own.v == NULL)
        return RESP_NOMEM;
    r->own.cap = cap;
    if (r->argc > 0)
        memcpy(r->own.v, shared->v, r->argc * sizeof *r->own.v);
    return RESP_MORE;
}

/* The bytes have moved since the last call: so have the arguments in them. */
static void resp_rebase(struct resp *r, const uint8_t *base)
{
    for (size_t i = 0; i < r->argc; i++) {
        uintptr_t offset = (uintptr_t)r->own.v[i].p - (uintptr_t)r->base;
        r->own.v[i].p = base + offset;
    }
    r->base = base;
}

/* A whole request: hands out its arguments, in the shared room so that the parser is as new. */
static enum resp_result resp_finish(struct resp *r, struct resp_args *shared,
                                    struct resp_request *out)
{
    if (r->own.v != NULL) {
        struct resp_args whole = r->own;
        if (whole.cap < shared->cap) { /* the shared room never shrinks */
            memcpy(shared->v, whole.v, r->argc * sizeof *whole.v);
        } else {
            r->own = *shared;
            *shared = whole;
        }
    }
    out->argv = shared->v;
    out->argc = r->argc;
    out->size = r->pos;
    out->is_inline = false;
    resp_fini(r); /* R3 */
    return RESP_REQUEST;
}

/* Reads "*<n>\r\n". RESP_REQUEST with n_left 0 means: nothing was announced. */
static enum resp_result resp_announcement(struct resp *r, bool authenticated, uint8_t *p,
                                          uint8_t *end, struct resp_request *out)
{
    uint8_t *cr = resp_line_end(p, end);
    int64_t n;

    if (cr == NULL) {
        if (resp_line_too_long(p, end))
            return resp_fail(r, out, "too big mbulk count string");
        return RESP_MORE;
    }
    if (!resp_number(p + 1, cr, &n) || n > RESP_ARGS_MAX)
        return resp_fail(r, out, "invalid multibulk length");
    if (n > RESP_STRANGER_ARGS_MAX && !authenticated)
        return resp_fail(r, out, "unauthenticated multibulk length");
    r->pos = (size_t)(cr + 2 - p);
    r->n_left = n > 0 ? n : 0;
    r->bulk = -1;
    r->base = p;
    return RESP_REQUEST;
}

/* Reads "$<n>\r\n" at `at` and says in r->bulk what it announced. */
static enum resp_result resp_header(struct resp *r, uint64_t max_bulk, bool authenticated,
                                    uint8_t *at, uint8_t *end, struct resp_request *out)
{
    uint8_t *cr = resp_line_end(at, end);
    char text[32];
    int64_t n;

    if (cr == NULL) {
        if (resp_line_too_long(at, end))
            return resp_fail(r, out, "too big bulk count string");
        return RESP_MORE;
    }
    if (*at != '$') {
        snprintf(text, sizeof text, "expected '$', got '%c'", *at);
        return resp_fail(r, out, text);
    }
    if (!resp_number(at + 1, cr, &n) || n < 0 || (uint64_t)n > max_bulk)
        return resp_fail(r, out, "invalid bulk length");
    if (n > RESP_STRANGER_BULK_MAX && !authenticated)
        return resp_fail(r, out, "unauthenticated bulk length");
    r->bulk = n;
    r->pos += (size_t)(cr + 2 - at);
    return RESP_REQUEST;
}

static enum resp_result resp_array(struct resp *r, struct resp_args *shared, uint64_t max_bulk,
                                   bool authenticated, uint8_t *p, uint8_t *end,
                                   struct resp_request *out)
{
    enum resp_result result;

    if (r->n_left == 0) {
        result = resp_announcement(r, authenticated, p, end, out);
        if (result != RESP_REQUEST)
            return result;
    } else if (r->base != p) {
        resp_rebase(r, p);
    }
    while (r->n_left > 0) {
        assert(r->pos <= (size_t)(end - p)); /* the caller has kept what was there */
        if (r->bulk < 0) {
            result = resp_header(r, max_bulk, authenticated, p + r->pos, end, out);
            if (result == RESP_MORE)
                return resp_suspend(r, shared);
            if (result != RESP_REQUEST)
                return result;
        }
        if ((uint64_t)(end - p) - r->pos < (uint64_t)r->bulk + 2)
            return resp_suspend(r, shared);
        if (!resp_push(r, shared, p + r->pos, (size_t)r->bulk))
            return RESP_NOMEM;
        r->pos += (size_t)r->bulk + 2;
        r->bulk = -1;
        r->n_left--;
    }
    return resp_finish(r, shared, out);
}

/* ---- inline commands ---- */

static bool resp_is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int resp_hex(uint8_t c)
{
    if (resp_is_digit(c, '0'))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One escape of a double-quoted part, behind its backslash; returns how many bytes it took. */
static size_t resp_escape(const uint8_t *p, const uint8_t *end, uint8_t *out)
{
    static const char names[] = "nrtba", bytes[] = "\n\r\t\b\a";
    const char *name;

    if (*p == 'x' && end - p >= 3 && resp_hex(p[1]) >= 0 && resp_hex(p[2]) >= 0) {
        *out = (uint8_t)(resp_hex(p[1]) << 4 | resp_hex(p[2]));
        return 3;
    }
    name = *p == '\0' ? NULL : strchr(names, *p);
    *out = name != NULL ? (uint8_t)bytes[name - names] : *p;
    return 1;
}

/* Unquotes the part that begins behind the quote at *at, to *to; moves both. False if it does not end, or
 * something follows its end at once. */
static bool resp_quoted(uint8_t quote, uint8_t **at, uint8_t *end, uint8_t **to)
{
    uint8_t *p = *at, *w = *to;

    while (p < end && *p != quote) {
        if (*p == '\\' && quote == '"' && end - p >= 2)
            p += 1 + resp_escape(p + 1, end, w++);
        else if (*p == '\\' && quote == '\'' && end - p >= 2 && p[1] == '\'')
            *w++ = *++p, p++;
        else
            *w++ = *p++;
    }
    if (p == end || (p + 1 < end && !resp_is_blank(p[1])))
        return false;
    *at = p + 1;
    *to = w;
    return true;
}

/* One word from *at on; *at is not a blank. */
static bool resp_word(uint8_t **at, uint8_t *end, struct slice *out)
{
    uint8_t *p = *at, *w = *at;

    while (p < end && !resp_is_blank(*p)) {
        if (*p == '"' || *p == '\'') {
            uint8_t quote = *p++;
            if (!resp_quoted(quote, &p, end, &w))
                return false;
            break; /* a closing quote ends the word */
        }
        *w++ = *p++;
    }
    *out = slice_of(*at, (size_t)(w - *at));
    *at = p;
    return true;
}

static enum resp_result resp_inline(struct resp *r, struct resp_args *shared, uint8_t *p,
                                    uint8_t *end, struct resp_request *out)
{
    uint8_t *lf = memchr(p, '\n', (size_t)(end - p)), *at = p;
    struct slice word;

    if (lf == NULL)
        return end - p > RESP_LINE_MAX ? resp_fail(r, out, "too big inline request") : RESP_MORE;
    r->argc = 0;
    for (;;) {
        while (at < lf && resp_is_blank(*at))
            at++;
        if (at == lf)
            break;
        if (!resp_word(&at, lf, &word))
            return resp_fail(r, out, "unbalanced quotes in request");
        if (!resp_push(r, shared, word.p, word.n))
            return RESP_NOMEM;
    }
    r->pos = (size_t)(lf + 1 - p);
    resp_finish(r, shared, out);
    out->is_inline = true;
    return RESP_REQUEST;
}

enum resp_result resp_parse(struct resp *r, struct resp_args *shared, uint64_t max_bulk,
                            bool authenticated, uint8_t *p, uint8_t *end, struct resp_request *out)
{
    if (r->n_left == 0 && authenticated) {
        uint8_t *next = resp_fast(shared->v, p, end, &out->argc);
        if (next != NULL) {
            out->argv = shared->v;
            out->size = (size_t)(next - p);
            out->is_inline = false;
            return RESP_REQUEST;
        }
    }
    if (p == end)
        return RESP_MORE;
    if (r->n_left > 0 || *p == '*')
        return resp_array(r, shared, max_bulk, authenticated, p, end, out);
    return resp_inline(r, shared, p, end, out);
}
