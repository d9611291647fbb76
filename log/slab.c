/*
 * slab.c - pages of pieces.
 *
 * A page is SLAB_PAGE_BYTES of memory at a multiple of its size, so the page of a piece follows from the piece's address.
 * It begins with its header; behind it lie the pieces. Those given back form a list inside the page, those behind `fresh` have
 * never been used, and touch no memory yet.
 *
 *   L1  A page is in `partial` exactly if it has room and is not the spare one.
 *   L2  n_used counts the pieces that are taken; a page with none is the spare one, or unmapped.
 */
#include "log/slab.h"

#include <assert.h>
#include <sys/mman.h>

struct slab_page {
    struct slab *slab;
    struct slab_page *next, *prev; /* in `partial` */
    void *given;                   /* list of pieces, linked through their first word */
    uint32_t fresh;                /* offset of the first piece that was never taken */
    uint32_t n_used;
};

static_assert(sizeof(struct slab_page) % 8 == 0, "pieces are aligned to 8 bytes");

void slab_init(struct slab *s, size_t size)
{
    assert(size >= 8 && size % 8 == 0 && size <= SLAB_SIZE_MAX);
    *s = (struct slab){ .size = size };
}

static void slab_unmap(struct slab *s, struct slab_page *page)
{
    munmap(page, SLAB_PAGE_BYTES);
    s->n_pages--;
}

void slab_fini(struct slab *s)
{
    assert(s->partial == NULL);
    if (s->spare != NULL)
        slab_unmap(s, s->spare);
    assert(s->n_pages == 0);
}

static void slab_link(struct slab *s, struct slab_page *page)
{
    page->prev = NULL;
    page->next = s->partial;
    if (page->next != NULL)
        page->next->prev = page;
    s->partial = page;
}

static void slab_unlink(struct slab *s, struct slab_page *page)
{
    if (page->prev != NULL)
        page->prev->next = page->next;
    else
        s->partial = page->next;
    if (page->next != NULL)
        page->next->prev = page->prev;
}

/* Maps twice as much as it needs, and gives back what lies beside the aligned part. */
static struct slab_page *slab_map(struct slab *s)
{
    uint8_t *p = mmap(NULL, (size_t)2 * SLAB_PAGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct slab_page *page;
    size_t before;

    if (p == MAP_FAILED)
        return NULL;
    before = (size_t)(-(uintptr_t)p & (SLAB_PAGE_BYTES - 1));
    if (before > 0)
        munmap(p, before);
    munmap(p + before + SLAB_PAGE_BYTES, SLAB_PAGE_BYTES - before);
    page = (struct slab_page *)(void *)(p + before);
    page->slab = s;
    page->fresh = sizeof *page; /* the rest is zero */
    s->n_pages++;
    return page;
}

static int slab_has_room(const struct slab *s, const struct slab_page *page)
{
    return page->given != NULL || page->fresh + s->size <= SLAB_PAGE_BYTES;
}

void *slab_take(struct slab *s)
{
    struct slab_page *page = s->partial;
    void *p;

    if (page == NULL) {
        page = s->spare != NULL ? s->spare : slab_map(s);
        if (page == NULL)
            return NULL;
        s->spare = NULL;
        slab_link(s, page);
    }
    p = page->given;
    if (p != NULL) {
        page->given = *(void **)p;
    } else {
        p = (uint8_t *)page + page->fresh;
        page->fresh += (uint32_t)s->size;
    }
    page->n_used++;
    if (!slab_has_room(s, page))
        slab_unlink(s, page); /* L1 */
    return p;
}

void slab_give(void *p)
{
    struct slab_page *page = (struct slab_page *)((uintptr_t)p & ~(uintptr_t)(SLAB_PAGE_BYTES - 1));
    struct slab *s = page->slab;

    assert(page->n_used > 0);
    if (!slab_has_room(s, page))
        slab_link(s, page);
    *(void **)p = page->given;
    page->given = p;
    if (--page->n_used > 0)
        return;
    slab_unlink(s, page); /* L2 */
    if (s->spare == NULL)
        s->spare = page;
    else
        slab_unmap(s, page);
}
