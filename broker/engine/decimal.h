/* decimal.h - fractions as text: INCRBYFLOAT, HINCRBYFLOAT, time-outs in seconds. */
#ifndef BROKER_ENGINE_DECIMAL_H
#define BROKER_ENGINE_DECIMAL_H
#include <stdbool.h>
#include "log/bytes.h"

enum { DECIMAL_TEXT_MAX = 5 * 1024 }; /* the largest number has 4,933 digits before the point */

/* Reads a number as Redis does: all that strtold takes, "inf", exponents and hexadecimal ones too, with nothing around it.
 * False, with *out unchanged, if it is another text, not a number or outside of what a long double holds. */
bool decimal_parse(struct slice text, long double *out);

/* Writes a finite number with at most 17 digits behind the point, and no zeros at its end; returns how many bytes. */
size_t decimal_format(long double v, char out[DECIMAL_TEXT_MAX]);

#endif
