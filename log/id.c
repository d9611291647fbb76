/* id.c - see id.h. */
#include "log/id.h"

bool id_next(struct id *id)
{
    if (id->seq == UINT64_MAX && id->ms == UINT64_MAX)
        return false;
    if (++id->seq == 0)
        id->ms++;
    return true;
}

bool id_prev(struct id *id)
{
    if (id->seq == 0 && id->ms == 0)
        return false;
    if (id->seq-- == 0)
        id->ms--;
    return true;
}

static size_t id_format_u64(uint64_t v, char *out)
{
    char digits[20];
    size_t n = 0;

    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    for (size_t i = 0; i < n; i++)
        out[i] = digits[n - 1 - i];
    return n;
}

size_t id_format(struct id id, char *out)
{
    size_t n = id_format_u64(id.ms, out);

    out[n++] = '-';
    return n + id_format_u64(id.seq, out + n);
}

bool id_parse_u64(struct slice text, uint64_t *out)
{
    uint64_t v = 0;

    if (text.n == 0 || text.n > 20)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        unsigned digit = (unsigned)text.p[i] - '0';
        if (digit > 9 || v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}
