/* heap.h - large pages for what malloc gives: names and values lie all over it, and finding the page of each is a good part of
 * what a look at a large table of keys costs. */
#ifndef BROKER_ENGINE_HEAP_H
#define BROKER_ENGINE_HEAP_H
#include <stdint.h>

struct heap {
    uintptr_t advised; /* up to here the system has been asked; 0: not begun */
};

/* Has malloc take memory from the system some MiB at a time; once for the process. */
void heap_begin(struct heap *h);

/* Asks for large pages where the heap has grown since. Cheap when it has not: to be called now and then. */
void heap_grown(struct heap *h);

#endif
