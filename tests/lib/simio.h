/* simio.h - a disk in memory that crashes, tears, reorders, fills up and fails when a test says so.
 *
 * It implements struct io (log/io.h). What a power cut leaves is decided by the model that simio.c opens
 * with. Clocks stand still unless the test moves them; randomness comes from the seed, so a run is a
 * function of its seed. All calls may come from several threads; the functions of this header but
 * simio_io belong to the test's own thread. Running out of memory ends the program. With SIMIO_TRACE in the
 * environment each operation is printed to stderr (not those of copies). */
#ifndef TESTS_LIB_SIMIO_H
#define TESTS_LIB_SIMIO_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/io.h"

struct simio;

enum { SIMIO_SECTOR = 512, SIMIO_BLOCK = 4096 }; /* bytes: unit of tearing, unit of allocation */

/* Every call but close, the clocks and random is an operation; operations are numbered from 0. */
enum simio_kind {
    SIMIO_OPEN,
    SIMIO_CREATE,
    SIMIO_READ,
    SIMIO_WRITE,
    SIMIO_SYNC,
    SIMIO_ALLOCATE,
    SIMIO_TRUNCATE,
    SIMIO_SIZE,
    SIMIO_LOCK,
    SIMIO_RENAME,
    SIMIO_LINK,
    SIMIO_UNLINK,
    SIMIO_MKDIR,
    SIMIO_SYNC_DIR,
    SIMIO_LIST,
    SIMIO_SPACE,
    SIMIO_N_KINDS
};

struct simio_op {
    enum simio_kind kind;
    uint64_t number;
    const char *path; /* of the file or directory; borrowed for the call */
    uint64_t pos;     /* reads and writes; the new size of allocate and truncate */
    size_t n;         /* bytes asked for */
};

/* What happens to an operation instead of success. */
enum simio_fault {
    SIMIO_NO_FAULT,
    SIMIO_CRASH, /* it does nothing; everything fails from now on until simio_restart or simio_crash */
    SIMIO_EIO,    /* it fails; a failed sync drops what it should have written, see simio.c */
    SIMIO_ENOSPC, /* it fails if it is one that takes space, else it succeeds */
    SIMIO_SHORT,  /* a write writes only a part; anything else succeeds */
};

/* What a crash leaves of that which was not synced. */
enum simio_mode {
    SIMIO_KILL,    /* K: the process dies, the machine does not: everything, still not synced */
    SIMIO_PREFIX,  /* P: the first so many operations, in the order in which they were made */
    SIMIO_REORDER, /* R: any subset of sectors */
    SIMIO_ZERO,    /* Z: sizes, but zeros where a file grew (delayed allocation) */
    SIMIO_GARBAGE, /* G: as R, and one sector of each file holds garbage */
    SIMIO_DIRS,  /* D: any subset of created, renamed and removed names; all or nothing of a file */
    SIMIO_MIXED, /* M: any subset of names, and for each file its own one of P, R, Z and G */
    SIMIO_N_MODES
};

struct simio *simio_new(uint64_t seed);
void simio_free(struct simio *s);

/* Another disk in the same state, synced and not, with the same clocks and randomness, and nothing else:
 * no file is open, no lock held, no fault planned, no hook set. */
struct simio *simio_copy(const struct simio *s);

/* Borrowed until simio_free. */
struct io *simio_io(struct simio *s);

/* The clocks. Wall time may be set back; simio_advance_ms moves both. An operation of `kind` takes
 * `ns` of both clocks. */
void simio_set_wall_ms(struct simio *s, uint64_t ms);
void simio_advance_ms(struct simio *s, uint64_t ms);
void simio_set_latency_ns(struct simio *s, enum simio_kind kind, uint64_t ns);

/* Operations begun so far, and the name of a kind and of a mode (one letter). */
uint64_t simio_n_ops(const struct simio *s);
const char *simio_kind_name(enum simio_kind kind);
char simio_mode_letter(enum simio_mode mode);

/* Whether operations of this kind change what is on the disk. */
bool simio_kind_changes(enum simio_kind kind);

/* Calls `hook` before every operation, on the thread that makes it, with the disk as it is before. The hook
 * may copy the disk. NULL: no more. */
typedef void simio_hook(void *ctx, const struct simio_op *op);
void simio_set_hook(struct simio *s, simio_hook *hook, void *ctx);

/* Plans `fault` for the operations number .. number + n_times - 1 (replaces an earlier plan). */
void simio_fault_at(struct simio *s, uint64_t number, uint64_t n_times, enum simio_fault fault);

/* How many operations the plan has hit so far, and whether the machine is down. */
uint64_t simio_n_faults(const struct simio *s);
bool simio_is_down(const struct simio *s);

/* After a failed sync: false (the start), what was not synced stays readable until the crash, as on ext4;
 * true, the file reads as it is on the disk at once, as on Btrfs. */
void simio_set_sync_reverts(struct simio *s, bool reverts);

/* How large the disk is, 0 without limit. With `honoured`, space that allocate gave is there for the
 * writes; without, a write may find the disk full even so, as on file systems that copy on write. */
void simio_set_capacity(struct simio *s, uint64_t bytes, bool honoured);
uint64_t simio_capacity(const struct simio *s);
uint64_t simio_used_bytes(const struct simio *s);

/* The process is gone (files closed, locks released) and the next one may start; the disk, synced and not, is
 * as it was. A crash that was planned is over; other planned faults still come. */
void simio_restart(struct simio *s);

/* The same with a power cut. `variant` chooses among what the mode allows: 0 .. simio_crash_count - 1 are
 * all possibilities; anything else is one drawn at random from it as seed. The count is 0 if there are
 * too many to number them. */
void simio_crash(struct simio *s, enum simio_mode mode, uint64_t variant);
uint64_t simio_crash_count(const struct simio *s, enum simio_mode mode);

/* Looks and damage from outside; no operations, no faults. The bytes are borrowed until the next call that
 * changes the file; NULL if it is not there. simio_put makes or replaces a file, synced with its name,
 * in a directory that exists; simio_cut sets its size. */
const uint8_t *simio_bytes(const struct simio *s, const char *path, size_t *out_n);
void simio_put(struct simio *s, const char *path, const void *bytes, size_t n);
void simio_poke(struct simio *s, const char *path, uint64_t pos, uint8_t byte);
void simio_cut(struct simio *s, const char *path, uint64_t size);
void simio_remove(struct simio *s, const char *path);

/* Reads of the sector at `pos` fail until it is written. */
void simio_break_sector(struct simio *s, const char *path, uint64_t pos);

/* A hash of all names, sizes and bytes as a process sees them now. */
uint64_t simio_digest(const struct simio *s);

/* Calls `each` with the path of every file (not directory), in order of name. */
void simio_each_file(const struct simio *s, void (*each)(void *ctx, const char *path), void *ctx);

/* A small generator of random numbers that tests share: splitmix64. simio_below gives 0 .. n - 1. */
uint64_t simio_random(uint64_t *state);
uint64_t simio_below(uint64_t *state, uint64_t n);

#endif
