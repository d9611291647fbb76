/* check.h - reads every file of a store in use and says what is damaged. Essay: check.c. */
#ifndef LOG_CHECK_H
#define LOG_CHECK_H
#include <stddef.h>
#include <stdint.h>
#include "log/chain.h"
#include "log/err.h"
#include "log/manifest.h"
#include "log/view.h"

struct io;
struct pool;

enum { CHECK_PLACES_MAX = 100 }; /* damaged places that are remembered; all are counted */

struct check_place {
    char path[CURSOR_PATH_MAX];
    uint64_t pos;
    char what[200];
};

struct check {
    struct io *io;
    const char *dir;
    const uint8_t *uuid;
    const struct manifest
        *manifest; /* whose files stay until check_run is back; generation 0: there is none */
    const struct view *view;      /* its segments, held */
    const struct wal_file *files; /* of the log, held (writer_hold) after the manifest was true */
    size_t n_files;
    uint64_t lsn;            /* the end of a batch; the log is durable up to it */
    const struct pool *pool; /* when it stops, the check is given up; NULL: it goes on to its end */

    /* out */
    uint64_t n_files_read, bytes;
    uint64_t n_damaged; /* places */
    struct check_place *places;
    size_t n_places, cap_places;
};

/* Blocks in file operations, for minutes. check_fini afterwards in any case. Errors: ERR_CORRUPT (something is damaged: the
 * places), ERR_IO (given up, or a file cannot be read), ERR_NOMEM. */
must_check int check_run(struct check *c, struct err *e);
void check_fini(struct check *c);

#endif
