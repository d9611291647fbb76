/* walk.h - stepping through replies of RESP2 that lie in memory, for load generators: no allocation, no tree. */
#ifndef TESTS_LIB_WALK_H
#define TESTS_LIB_WALK_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "log/bytes.h"

/* Reads the line at p: the number behind its first byte, and where it ends; NULL if it is not whole. */
static inline const uint8_t *walk_line(const uint8_t *p, const uint8_t *end, long long *number)
{
    const uint8_t *at = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;

    if (at == NULL)
        return NULL;
    *number = strtoll((const char *)p + 1, NULL, 10);
    return at + 1;
}

/* Where the value at p ends; NULL if it is not whole. */
static inline const uint8_t *walk_skip(const uint8_t *p, const uint8_t *end)
{
    long long left = 1, n = 0; /* values to come */

    while (left-- > 0) {
        uint8_t kind = p < end ? *p : 0;
        p = walk_line(p, end, &n);
        if (p == NULL)
            return NULL;
        if (kind == '*' && n > 0)
            left += n;
        if (kind == '$' && n >= 0) {
            if (end - p < n + 2)
                return NULL;
            p += n + 2;
        }
    }
    return p;
}

/* The bulk string at p, and the position behind it. Of a whole reply only. */
static inline const uint8_t *walk_string(const uint8_t *p, const uint8_t *end, struct slice *out)
{
    long long n = 0;

    p = walk_line(p, end, &n);
    *out = n > 0 ? slice_of(p, (size_t)n) : slice_of(p, 0);
    return n >= 0 ? p + n + 2 : p;
}

#endif
