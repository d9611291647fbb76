/*
 * decimal.c - fractions as text, exactly as Redis reads and writes them: its clients compare these texts.
 *
 * Numbers are long doubles, 64 bits of mantissa on x86-64, so sums of amounts with a few digits come out as people would
 * write them. What goes into the log is the text, never the number: another machine's arithmetic does not matter there.
 */
#include "broker/engine/decimal.h"
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool decimal_parse(struct slice text, long double *out)
{
    char copy[DECIMAL_TEXT_MAX], *end;
    long double v;

    if (text.n == 0 || text.n >= sizeof copy || isspace(text.p[0]))
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    errno = 0;
    v = strtold(copy, &end);
    if (end != copy + text.n || isnan(v))
        return false;
    if (errno == ERANGE && (isinf(v) || v == 0))
        return false;
    *out = v;
    return true;
}

size_t decimal_format(long double v, char out[DECIMAL_TEXT_MAX])
{
    int wrote = snprintf(out, DECIMAL_TEXT_MAX, "%.17Lf", v);
    size_t n = (size_t)wrote;

    assert(isfinite(v));
    assert(wrote > 0 && wrote < DECIMAL_TEXT_MAX);
    while (out[n - 1] == '0')
        n--;
    if (out[n - 1] == '.')
        n--;
    if (n == 2 && memcmp(out, "-0", 2) == 0) {
        out[0] = '0';
        n = 1;
    }
    out[n] = '\0';
    return n;
}
