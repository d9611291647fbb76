/*
 * heap.c - see heap.h.
 *
 * Linux gives large pages to whoever asks (transparent huge pages, `madvise`), for addresses that have not been touched. glibc's heap grows at
 * its end; as it takes HEAP_STEP at a time, nearly all of that is untouched when the next call comes. Where the system knows no
 * such pages, or has none, nothing changes.
 */
#include "broker/engine/heap.h"
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HEAP_PAGE = 2 << 20, HEAP_STEP = 4 << 20 };

static uintptr_t heap_end(void)
{
    return (uintptr_t)sbrk(0);
}

void heap_begin(struct heap *h)
{
    mallopt(M_TOP_PAD, HEAP_STEP);
    h->advised = (heap_end() + HEAP_PAGE - 1) / HEAP_PAGE * HEAP_PAGE;
}

void heap_grown(struct heap *h)
{
    uintptr_t end = heap_end() / HEAP_PAGE * HEAP_PAGE;

    if (h->advised == 0 || end <= h->advised)
        return;
    (void)madvise((void *)h->advised, end - h->advised, MADV_HUGEPAGE);
    h->advised = end;
}
