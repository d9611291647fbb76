/* segments.h - entries and segments for tests: made at random, written to a simulated disk, opened.
 *
 * What cannot go wrong ends the program if it does. */
#ifndef TESTS_LIB_SEGMENTS_H
#define TESTS_LIB_SEGMENTS_H
#include "log/segment.h"
#include "tests/lib/random.h"
#include "tests/lib/simio.h"

struct entry {
    uint64_t oid;
    struct id id;
    uint8_t *p; /* the list's */
    size_t len;
};

/* In order of (oid, id). */
struct entries {
    struct entry *at;
    size_t n, cap;
};

void entries_fini(struct entries *l);
/* Adds one at the end; `size` is about how many bytes its value has. */
void entries_add(struct entries *l, struct random *r, uint64_t oid, struct id id, size_t size);
/* Adds `n` of stream `oid` with rising IDs behind *last, which moves. */
void entries_grow(struct entries *l, struct random *r, uint64_t oid, struct id *last, size_t n,
                  size_t size);

extern const uint8_t segments_uuid[WAL_UUID_BYTES];
#define SEGMENTS_DIR "data"

/* A disk with the directory. */
struct simio *segments_disk(uint64_t seed);
void segments_options(struct simio *disk, uint64_t ordinal, uint32_t block_bytes,
                      struct segment_options *out);
/* Writes the entries from `first` to `end` of the list as segment `ordinal`, which stands for the LSNs from
 * 1000 x ordinal on, and gives it its name; then opens it. */
void segments_write(struct simio *disk, uint64_t ordinal, uint32_t block_bytes,
                    enum block_codec codec, const struct entries *l, size_t first, size_t end,
                    struct segment_info *info);
struct segment *segments_open(struct simio *disk, uint64_t ordinal);
void segments_path(uint64_t ordinal, char out[64]);

#endif
