/* slab.h - pieces of one small size, a great many of them, whose memory goes back when they have gone.
 *
 * What malloc gives lies among other things, so the space of a million short-lived pieces stays with the process as holes
 * between longer-lived ones. Here they have pages of their own, and an empty page is unmapped. One thread. */
#ifndef LOG_SLAB_H
#define LOG_SLAB_H
#include <stddef.h>
#include <stdint.h>

enum { SLAB_PAGE_BYTES = 64 << 10, SLAB_SIZE_MAX = 1024 };

struct slab_page;

struct slab {                  /* stays where it is while pages point to it */
    size_t size;               /* of a piece */
    struct slab_page *partial; /* pages with room, in a list */
    struct slab_page
        *spare;     /* an empty page, so that one piece coming and going maps nothing; or NULL */
    size_t n_pages; /* mapped */
};

/* `size` bytes a piece, a multiple of 8, at most SLAB_SIZE_MAX. */
void slab_init(struct slab *s, size_t size);
/* Every piece has been given back. */
void slab_fini(struct slab *s);

/* A piece, aligned to 8 bytes; NULL if there is no memory. */
void *slab_take(struct slab *s);
void slab_give(void *p);

#endif
