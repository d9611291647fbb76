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

static const char ID_DIGITS[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";

enum { ID_EIGHT_DIGITS = 100000000 };

/* Writes v with leading zeros as eight digits: four pairs that do not wait for each other. */
static void id_put_eight(char *out, uint32_t v)
{
    uint32_t high = v / 10000, low = v % 10000;

    memcpy(out, &ID_DIGITS[high / 100 * 2], 2);
    memcpy(out + 2, &ID_DIGITS[high % 100 * 2], 2);
    memcpy(out + 4, &ID_DIGITS[low / 100 * 2], 2);
    memcpy(out + 6, &ID_DIGITS[low % 100 * 2], 2);
}

/* Writes v below 10^8 without leading zeros; returns the end. */
static char *id_put_short(char *out, uint32_t v)
{
    char digits[8];
    size_t skip = 0;

    if (v < 10) { /* most sequence numbers */
        *out = (char)('0' + v);
        return out + 1;
    }
    id_put_eight(digits, v);
    while (digits[skip] == '0')
        skip++;
    memcpy(out, digits + skip, sizeof digits - skip);
    return out + sizeof digits - skip;
}

static char *id_put_u64(char *out, uint64_t v)
{
    if (v < ID_EIGHT_DIGITS)
        return id_put_short(out, (uint32_t)v);
    out = id_put_u64(out, v / ID_EIGHT_DIGITS); /* at most twice */
    id_put_eight(out, (uint32_t)(v % ID_EIGHT_DIGITS));
    return out + 8;
}

size_t id_format(struct id id, char *out)
{
    char *p = id_put_u64(out, id.ms);

    *p++ = '-';
    return (size_t)(id_put_u64(p, id.seq) - out);
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
