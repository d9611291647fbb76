/* flights.h - the flights of tests/lib/flights.py, field by field, for benchmarks in C. */
#ifndef TESTS_LIB_FLIGHTS_H
#define TESTS_LIB_FLIGHTS_H
#include <stddef.h>
#include "log/bytes.h"
#include "log/err.h"

enum { FLIGHT_STRINGS_MAX = 32 }; /* names and values of one flight */

/* One flight as n_strings = 2 x fields names and values; they are borrowed for the call. */
typedef void flights_fn(void *ctx, const struct slice *strings, size_t n_strings);

/* Calls `each` for n flights of FLIGHTS, or of tests/data. Prints which they are to stderr.
 * Errors: ERR_IO, ERR_FORMAT (a line that is no object of at most FLIGHT_STRINGS_MAX / 2 fields). */
must_check int flights_each(size_t n, flights_fn *each, void *ctx, struct err *e);

#endif
