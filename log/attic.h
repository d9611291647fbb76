/* attic.h - files of a store that its manifest does not explain, and what a start does with them. Essay:
 * attic.c. */
#ifndef LOG_ATTIC_H
#define LOG_ATTIC_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/err.h"

struct io;
struct log_recovery;
struct manifest;

enum { ATTIC_NAME_MAX = 48 };

struct attic_file {
    char name[ATTIC_NAME_MAX];
    bool foreign; /* set it aside; else it is an own left-over, to be removed */
};

struct attic {
    struct io *io;
    const char *dir;     /* borrowed, as io */
    const uint8_t *uuid; /* the same */
    bool keep_all;       /* salvage: nothing is certain, so nothing is removed */
    struct attic_file *files;
    size_t n, cap;
    uint64_t next_ordinal; /* above all that are there */
    char note[320];        /* names what is set aside */
};

/* Removes unfinished files, and finds those that `m` does not explain; changes nothing else. Errors: ERR_IO, ERR_NOMEM. */
must_check int attic_scan(struct attic *a, const struct manifest *m, struct err *e);
/* One more to be set aside: it is damaged. Errors: ERR_NOMEM. */
must_check int attic_add(struct attic *a, const char *name, const char *why, struct err *e);
/* The start has succeeded: removes left-overs, sets foreign files aside in quarantine/, and tells. Errors: ERR_IO, ERR_FULL. */
must_check int attic_settle(struct attic *a, struct log_recovery *info, struct err *e);
void attic_fini(struct attic *a);

#endif
