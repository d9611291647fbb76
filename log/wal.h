/* wal.h - how the files of the log are laid out: names, file headers, frame headers. Format:
 * docs/format.md.
 *
 * Encoding and checking only; nothing here reads or writes a file. */
#ifndef LOG_WAL_H
#define LOG_WAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/err.h"

enum {
    WAL_VERSION = 1,
    WAL_HEADER_BYTES = 4096,
    WAL_FRAME_BYTES = 64,    /* a frame's header */
    WAL_SECTOR_BYTES = 512,  /* where the first frame after an fdatasync starts */
    WAL_RECORDS_MAX = 65535, /* that end in one frame */
    WAL_TAIL_BYTES = 2048,   /* of a file that batches leave to the markers */
    WAL_UUID_BYTES = 16,
    WAL_NAME_MAX = 32 /* bytes of a file's name with its final zero */
};

enum wal_file_flags { WAL_RECOVERED = 1 /* a start copied it from a file that was there before */ };

enum wal_frame_flags {
    WAL_MORE = 1,  /* the batch goes on in the next frame */
    WAL_SEAL = 2,  /* marker: the last frame of a full file */
    WAL_SYNC = 4,  /* marker: only tells what is durable */
    WAL_CLOSE = 8, /* marker: the process ended in good order */
    WAL_MARKERS = WAL_SEAL | WAL_SYNC | WAL_CLOSE
};

#define WAL_NEXT_NAME    "wal-next.tmp" /* the file after the current one, being prepared */
#define WAL_RESERVE_NAME "wal-reserve"  /* the file that goes on when the disk is full */

struct wal_header {
    uint8_t uuid[WAL_UUID_BYTES]; /* of the store */
    uint32_t flags;               /* enum wal_file_flags */
    uint64_t size;                /* of the file, as allocated */
    uint64_t first_lsn;           /* of the first record in it, or of the next one to come */
    uint64_t first_index;         /* the same for batches */
    uint64_t salt;
    uint64_t prev_end; /* where the frames of the file before end; 0: none is before */
    uint32_t prev_crc; /* header_crc of its last frame; 0: none */
};

struct wal_frame {
    /* what this copy of the frame says */
    uint32_t header_crc;
    uint64_t synced_lsn;
    uint32_t prev_crc;
    uint32_t payload_len;
    uint8_t flags;
    /* made once */
    uint32_t payload_crc;
    uint32_t term;
    uint16_t count; /* records that end in it */
    uint16_t region;
    uint64_t index;
    uint64_t first_lsn; /* of the first record that ends in it or later */
    uint64_t clock;
};

/* A file of the log as it is on the disk. */
struct wal_file {
    uint64_t first_lsn; /* its name */
    uint64_t bytes;     /* allocated */
};

/* Names: "wal-<first_lsn as 20 digits>.log". wal_name_parse is false for any other name. */
void wal_name(uint64_t first_lsn, char out[WAL_NAME_MAX]);
bool wal_name_parse(const char *name, uint64_t *first_lsn);

/* Writes WAL_HEADER_BYTES at p. */
void wal_header_put(uint8_t *p, const struct wal_header *h);

/* Checks and reads WAL_HEADER_BYTES at p. Errors, with a text that says what is wrong: ERR_CORRUPT,
 * ERR_FORMAT (of a version that this program does not know). */
must_check int wal_header_get(const uint8_t *p, struct wal_header *out, struct err *e);

/* What header CRCs of a file with this salt start from. */
uint32_t wal_seed(uint64_t salt);

/* Writes WAL_FRAME_BYTES at p in two steps, because payload_crc covers part of the header and the
 * records: wal_frame_put_once writes the part made once and returns its CRC, which the caller
 * continues over the records and puts into payload_crc; wal_frame_put writes the rest and returns
 * header_crc. */
uint32_t wal_frame_put_once(uint8_t *p, const struct wal_frame *f);
uint32_t wal_frame_put(uint8_t *p, uint32_t seed, const struct wal_frame *f);

/* The CRC that payload_crc starts from: of the part made once in the frame header at p. */
uint32_t wal_frame_once_crc(const uint8_t *p);

/* Whether a frame header is at p: magic, header CRC, version, and every field within its bounds.
 * The payload is the caller's to check. */
bool wal_frame_get(const uint8_t *p, uint32_t seed, struct wal_frame *out);

/* The fields of what may be a frame whose file's salt is lost; false if it cannot be one. */
bool wal_frame_guess(const uint8_t *p, struct wal_frame *out);

static inline bool wal_frame_is_marker(const struct wal_frame *f)
{
    return (f->flags & WAL_MARKERS) != 0;
}

/* Bytes from the start of a frame to the end of its padding. */
static inline uint64_t wal_frame_size(uint32_t payload_len)
{
    return (WAL_FRAME_BYTES + (uint64_t)payload_len + 7) & ~(uint64_t)7;
}

static inline uint64_t wal_sector_up(uint64_t pos)
{
    return (pos + WAL_SECTOR_BYTES - 1) & ~(uint64_t)(WAL_SECTOR_BYTES - 1);
}

#endif
