/* memory.h - memory that runs out when a test says so. The test includes the module's sources, with those of malloc, calloc, realloc
 * and free defined as these. */
#ifndef TESTS_LIB_MEMORY_H
#define TESTS_LIB_MEMORY_H
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "tests/lib/random.h"

static long memory_left = -1;        /* allocations until one fails; -1: none does */
static struct random *memory_random; /* if not NULL, one allocation in three fails */
static long memory_held;             /* blocks allocated and not released */

static inline bool memory_fails(void)
{
    return (memory_left >= 0 && memory_left-- == 0) ||
           (memory_random != NULL && random_below(memory_random, 3) == 0);
}

static inline void *memory_realloc(void *p, size_t n)
{
    if (memory_fails())
        return NULL;
    memory_held += p == NULL;
    return realloc(p, n);
}

static inline void *memory_malloc(size_t n)
{
    return memory_realloc(NULL, n);
}

static inline void *memory_calloc(size_t n, size_t size)
{
    void *p = memory_malloc(n * size);

    return p == NULL ? NULL : memset(p, 0, n * size);
}

static inline void memory_free(void *p)
{
    memory_held -= p != NULL;
    free(p);
}

#endif
