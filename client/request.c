/*
 * request.c - the encoder: `*<n>\r\n`, then `$<bytes>\r\n<bytes>\r\n` for each argument.
 *
 * Commands are put behind each other in one buffer. What is sent moves `at` on; the buffer starts
 * from its front again when everything is sent, so that a pipeline of any length runs in the same
 * few pages. The room for a whole command is made before its first byte is written: there is never
 * half of one.
 */
#include "client/request.h"

#include <assert.h>
#include <stdlib.h>

enum {
    REQUEST_CAP_FIRST = 16 << 10,
    REQUEST_CAP_KEPT = 8 << 20, /* a larger buffer is released when it is empty */
    REQUEST_HEADER_MAX = 23     /* '$', 20 digits, CR LF */
};

void request_init(struct request *r)
{
    memset(r, 0, sizeof *r);
}

void request_fini(struct request *r)
{
    free(r->buf);
    memset(r, 0, sizeof *r);
}

void request_reset(struct request *r)
{
    r->at = r->len = 0;
    if (r->cap > REQUEST_CAP_KEPT)
        request_fini(r);
}

static int request_reserve(struct request *r, size_t bytes, struct fail *f)
{
    size_t cap = r->cap == 0 ? REQUEST_CAP_FIRST : r->cap;
    char *buf;

    if (r->cap - r->len >= bytes)
        return BECK_OK;
    if (r->at > 0 && r->at >= r->len / 2) {
        memmove(r->buf, r->buf + r->at, r->len - r->at);
        r->len -= r->at;
        r->at = 0;
    }
    if (bytes > SIZE_MAX / 4 - r->len)
        return fail_set(f, BECK_ERR_TOO_BIG, "a command is larger than memory can hold");
    while (cap - r->len < bytes)
        cap *= 2;
    if (cap == r->cap)
        return BECK_OK;
    buf = realloc(r->buf, cap);
    if (buf == NULL)
        return fail_set(f, BECK_ERR_NOMEM, "no memory for %zu bytes of commands", cap);
    r->buf = buf;
    r->cap = cap;
    return BECK_OK;
}

/* Writes kind, the number and CR LF; returns the position behind them. */
static char *request_header(char *at, char kind, size_t number)
{
    char digits[20];
    size_t n = 0;

    do
        digits[n++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    *at++ = kind;
    while (n > 0)
        *at++ = digits[--n];
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

int request_append(struct request *r, const struct beck_slice *args, size_t n, struct fail *f)
{
    size_t bytes = REQUEST_HEADER_MAX;
    char *at;
    int rc;

    if (n > REQUEST_ARGS_MAX)
        return fail_set(f, BECK_ERR_TOO_BIG, "a command has more than %d arguments",
                        REQUEST_ARGS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (args[i].n > SIZE_MAX / 4 - bytes)
            return fail_set(f, BECK_ERR_TOO_BIG, "a command is larger than memory can hold");
        bytes += args[i].n + REQUEST_HEADER_MAX + 2;
    }
    rc = request_reserve(r, bytes, f);
    if (rc != BECK_OK)
        return rc;
    at = request_header(r->buf + r->len, '*', n);
    for (size_t i = 0; i < n; i++) {
        at = request_header(at, '$', args[i].n);
        if (args[i].n > 0)
            memcpy(at, args[i].p, args[i].n);
        at += args[i].n;
        *at++ = '\r';
        *at++ = '\n';
    }
    r->len = (size_t)(at - r->buf);
    assert(r->len <= r->cap);
    return BECK_OK;
}

void request_sent(struct request *r, size_t n)
{
    assert(n <= r->len - r->at);
    r->at += n;
    if (r->at == r->len)
        request_reset(r);
}
