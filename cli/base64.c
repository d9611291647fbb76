/*
 * base64.c - see base64.h.
 *
 * Only the canonical spelling is accepted: padding present, unused bits zero, no blanks. So bytes
 * and spelling belong to each other one to one, and what was read is printed again.
 */
#include "cli/base64.h"

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct text *t, const char *p, size_t n)
{
    const unsigned char *s = (const unsigned char *)p;
    char *to = text_room(t, (n / 3 + 1) * 4);

    for (; n >= 3; n -= 3, s += 3) {
        *to++ = base64_digits[s[0] >> 2];
        *to++ = base64_digits[(s[0] & 3) << 4 | s[1] >> 4];
        *to++ = base64_digits[(s[1] & 15) << 2 | s[2] >> 6];
        *to++ = base64_digits[s[2] & 63];
    }
    if (n > 0) {
        unsigned second = n == 2 ? s[1] : 0;
        *to++ = base64_digits[s[0] >> 2];
        *to++ = base64_digits[(s[0] & 3u) << 4 | second >> 4];
        *to++ = n == 2 ? base64_digits[(second & 15) << 2] : '=';
        *to++ = '=';
    }
    t->n = (size_t)(to - t->p);
}

static int base64_value(char c)
{
    const char *at = c == '\0' ? NULL : strchr(base64_digits, c);

    return at == NULL ? -1 : (int)(at - base64_digits);
}

bool base64_decode(const char *p, size_t n, char *out, size_t *out_n)
{
    size_t pad = n >= 1 && p[n - 1] == '=' ? (n >= 2 && p[n - 2] == '=' ? 2 : 1) : 0;
    unsigned bits = 0;
    size_t len = 0;

    if (n % 4 != 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        int v = i < n - pad ? base64_value(p[i]) : 0;
        if (v < 0)
            return false;
        bits = bits << 6 | (unsigned)v;
        if (i % 4 != 3)
            continue;
        out[len++] = (char)(bits >> 16);
        out[len++] = (char)(bits >> 8);
        out[len++] = (char)bits;
        bits = 0;
    }
    for (size_t i = 0; i < pad; i++)
        if (out[--len] != 0) /* bits that belong to no byte */
            return false;
    *out_n = len;
    return true;
}
