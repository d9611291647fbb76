/* nomemory.h - takes the place of the library's malloc for a whole program, which is one file: it fails when told to, and what is
 * not free yet is counted. The checkers' own malloc is in the way of that: with them MALLOC_FAILS is 0. */
#ifndef TESTS_LIB_NOMEMORY_H
#define TESTS_LIB_NOMEMORY_H
#include <stdbool.h>
#include <stdlib.h>

static bool no_memory;  /* all of malloc fails */
static size_t n_pieces; /* of memory that are not free yet */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MALLOC_FAILS = 0 };
#else
enum { MALLOC_FAILS = 1 };

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void __libc_free(void *p);

void *malloc(size_t n)
{
    void *p = no_memory ? NULL : __libc_malloc(n);

    n_pieces += p != NULL;
    return p;
}

void *calloc(size_t n, size_t size)
{
    void *p = __libc_calloc(n, size);

    n_pieces += p != NULL;
    return p;
}

void free(void *p)
{
    n_pieces -= p != NULL;
    __libc_free(p);
}
#endif

#endif
