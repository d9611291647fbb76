/* walbed.h - a log of known records on a simulated disk, written and started without a keeper: the test plays it.
 *
 * Batches have WALBED_RECORDS records of WALBED_BODY bytes, which begin with their LSN; what a start gives back is checked and
 * counted. The store's identity is segments_uuid. */
#ifndef TESTS_LIB_WALBED_H
#define TESTS_LIB_WALBED_H
#include "log/arena.h"
#include "log/batch.h"
#include "log/recover.h"
#include "log/writer.h"
#include "tests/lib/simio.h"

enum {
    WALBED_TYPE = 0x80,
    WALBED_FILE_BYTES = LOG_FILE_BYTES_MIN,
    WALBED_BODY = 1000,
    WALBED_RECORDS = 10
};

struct walbed {
    struct simio *disk;
    struct log_options options;
    struct recover_options recover; /* what the next start is told */
    struct recover_result result;
    struct writer *writer;
    struct batch *batch;
    uint64_t next_lsn, next_index;
    uint8_t records[WALBED_RECORDS * (WALBED_BODY + 16)]; /* as they lie in a batch */
    struct err err;

    /* what a start gave */
    struct arena arena;
    uint64_t n, n_sealed, first_lsn, last_lsn;
    uint64_t n_took, took_first, took_last, n_ends;
    const uint8_t *took;
    size_t took_bytes;
    uint64_t n_turns, durable_lsn;
    int turn_rc; /* what the keeper says when it has its turn */
};

/* A disk with an empty directory `data`. */
struct walbed *walbed_new(void);
void walbed_free(struct walbed *b);

/* A start, without a writer. */
int walbed_start(struct walbed *b);
/* A start that has to succeed, with a writer behind it. */
void walbed_open(struct walbed *b);
void walbed_kill(struct walbed *b); /* the process dies; what it wrote is there */
void walbed_close(struct walbed *b);

void walbed_settle(struct walbed *b);
void walbed_put(struct walbed *b, int n_batches);

/* The files of the log in `dir`. */
struct walbed_names {
    size_t n;
    uint64_t first_lsn[64];
    const char *dir;
};
struct walbed_names walbed_files(struct simio *disk, const char *dir);

#endif
