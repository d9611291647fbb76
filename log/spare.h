/* spare.h - a file allocated before it is needed, which becomes part of the log by a rename. */
#ifndef LOG_SPARE_H
#define LOG_SPARE_H
#include <stdbool.h>
#include <stdint.h>
#include "log/err.h"
#include "log/wal.h"

struct io;

struct spare {
    int fd; /* -1: there is none */
    uint64_t size;
};

static inline bool spare_is_ready(const struct spare *s)
{
    return s->fd >= 0;
}

/* Creates dir/name with `size` bytes of zeros, in place of a left-over of that name; *s was empty
 * and stays so on failure. Errors: ERR_FULL (no space, or no descriptor: worth another try later),
 * ERR_IO. */
must_check int spare_make(struct spare *s, struct io *io, const char *dir, const char *name,
                          uint64_t size, struct err *e);

/* Makes it at least `size` bytes. Errors as spare_make; the file is then as it was. */
must_check int spare_grow(struct spare *s, struct io *io, const char *dir, const char *name,
                          uint64_t size, struct err *e);

/* Writes the header (its size is the spare's), makes everything durable and gives the file its name
 * in the log, replacing a file of that name; the caller takes s->fd over. ERR_FULL leaves the spare
 * as it was; after ERR_IO nothing is known. */
must_check int spare_enlist(struct spare *s, struct io *io, const char *dir, const char *name,
                            struct wal_header *h, struct err *e);

/* The second half of spare_enlist, for a file whose content is already durable. */
must_check int spare_rename(struct io *io, const char *dir, const char *name, uint64_t first_lsn,
                            struct err *e);

/* Closes and removes it, if there is one. */
void spare_drop(struct spare *s, struct io *io, const char *dir, const char *name);

#endif
