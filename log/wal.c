/*
 * wal.c - the bytes of the log's files. docs/format.md defines them; this is the same table in
 * code.
 *
 *   file    | header, 4 KiB | frame | frame | (zeros to a sector) frame | ... | zeros
 *
 *          0       8     12      16     32    40      48     56         64         68  72     80    4092
 *   header | magic | ver | flags | uuid | lsn | index | salt | prev_end | prev_crc | 0 | size | 0 | crc
 *
 *          0       4            8            16         20           24      25    26
 *   frame  | magic | header_crc | synced_lsn | prev_crc | payload_len| flags | ver | 0
 *          28            32     36      38       40      48          56      64
 *          | payload_crc | term | count | region | index | first_lsn | clock | records, zeros to 8
 *
 * The first line of a frame belongs to this copy of it and is guarded by header_crc, which covers
 * bytes 8 to 63 and starts from the file's salt: bytes of another file, or of an earlier life of
 * this one, never pass for a frame here. The second line is made once, when the batch is, and stays
 * as it is wherever the batch is copied to: payload_crc covers bytes 32 to 63 and the records,
 * without salt.
 *
 * prev_crc chains each frame to the one before, over file boundaries too. A marker carries no
 * records; its index and LSN are 0.
 */
#include "log/wal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "log/bytes.h"
#include "log/crc32c.h"
#include "log/log.h"

static const char wal_file_magic[8] = "BECKWAL"; /* with its final zero */
enum { WAL_FRAME_MAGIC = 0x314b4c42 };           /* "BLK1" */
enum { WAL_NAME_DIGITS = 20 };

void wal_name(uint64_t first_lsn, char out[WAL_NAME_MAX])
{
    snprintf(out, WAL_NAME_MAX, "wal-%020" PRIu64 ".log", first_lsn);
}

bool wal_name_parse(const char *name, uint64_t *first_lsn)
{
    char again[WAL_NAME_MAX];
    uint64_t lsn = 0;

    if (strlen(name) != 4 + WAL_NAME_DIGITS + 4)
        return false;
    for (int i = 0; i < WAL_NAME_DIGITS; i++)
        lsn = lsn * 10 + (uint64_t)(name[4 + i] - '0'); /* wraps on nonsense: compared below */
    wal_name(lsn, again);
    if (strcmp(name, again) != 0)
        return false;
    *first_lsn = lsn;
    return true;
}

void wal_header_put(uint8_t *p, const struct wal_header *h)
{
    memset(p, 0, WAL_HEADER_BYTES);
    memcpy(p, wal_file_magic, sizeof wal_file_magic);
    put_u32le(p + 8, WAL_VERSION);
    put_u32le(p + 12, h->flags);
    memcpy(p + 16, h->uuid, WAL_UUID_BYTES);
    put_u64le(p + 32, h->first_lsn);
    put_u64le(p + 40, h->first_index);
    put_u64le(p + 48, h->salt);
    put_u64le(p + 56, h->prev_end);
    put_u32le(p + 64, h->prev_crc);
    put_u64le(p + 72, h->size);
    put_u32le(p + WAL_HEADER_BYTES - 4, crc32c(0, p, WAL_HEADER_BYTES - 4));
}

static bool wal_all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

int wal_header_get(const uint8_t *p, struct wal_header *out, struct err *e)
{
    struct wal_header h;

    if (memcmp(p, wal_file_magic, sizeof wal_file_magic) != 0)
        return err_set(e, ERR_CORRUPT, "does not begin as a log file does");
    if (get_u32le(p + WAL_HEADER_BYTES - 4) != crc32c(0, p, WAL_HEADER_BYTES - 4))
        return err_set(e, ERR_CORRUPT, "the checksum of its header is wrong");
    if (get_u32le(p + 8) != WAL_VERSION)
        return err_set(e, ERR_FORMAT, "is of format %u, which a newer beckd wrote",
                       (unsigned)get_u32le(p + 8));
    h.flags = get_u32le(p + 12);
    memcpy(h.uuid, p + 16, WAL_UUID_BYTES);
    h.first_lsn = get_u64le(p + 32);
    h.first_index = get_u64le(p + 40);
    h.salt = get_u64le(p + 48);
    h.prev_end = get_u64le(p + 56);
    h.prev_crc = get_u32le(p + 64);
    h.size = get_u64le(p + 72);
    if ((h.flags & ~(uint32_t)WAL_RECOVERED) != 0 || get_u32le(p + 68) != 0 ||
        !wal_all_zero(p + 80, WAL_HEADER_BYTES - 4 - 80))
        return err_set(e, ERR_FORMAT, "uses what only a newer beckd knows");
    if (h.size < WAL_HEADER_BYTES || h.size > INT64_MAX)
        return err_set(e, ERR_CORRUPT, "its header gives an impossible size");
    *out = h;
    return OK;
}

uint32_t wal_seed(uint64_t salt)
{
    uint8_t bytes[8];

    put_u64le(bytes, salt);
    return crc32c(0, bytes, sizeof bytes);
}

uint32_t wal_frame_once_crc(const uint8_t *p)
{
    return crc32c(0, p + 32, WAL_FRAME_BYTES - 32);
}

uint32_t wal_frame_put_once(uint8_t *p, const struct wal_frame *f)
{
    put_u32le(p + 32, f->term);
    put_u16le(p + 36, f->count);
    put_u16le(p + 38, f->region);
    put_u64le(p + 40, f->index);
    put_u64le(p + 48, f->first_lsn);
    put_u64le(p + 56, f->clock);
    return wal_frame_once_crc(p);
}

uint32_t wal_frame_put(uint8_t *p, uint32_t seed, const struct wal_frame *f)
{
    uint32_t crc;

    put_u32le(p, WAL_FRAME_MAGIC);
    put_u64le(p + 8, f->synced_lsn);
    put_u32le(p + 16, f->prev_crc);
    put_u32le(p + 20, f->payload_len);
    p[24] = f->flags;
    p[25] = WAL_VERSION;
    put_u16le(p + 26, 0);
    put_u32le(p + 28, f->payload_crc);
    crc = crc32c(seed, p + 8, WAL_FRAME_BYTES - 8);
    put_u32le(p + 4, crc);
    return crc;
}

static bool wal_frame_flags_fit(const struct wal_frame *f)
{
    switch (f->flags) {
    case 0: return f->count > 0 && f->payload_len > 0;
    case WAL_MORE: return f->payload_len > 0;
    case WAL_SEAL:
    case WAL_SYNC:
    case WAL_CLOSE:
        return f->count == 0 && f->payload_len == 0 && f->index == 0 && f->first_lsn == 0;
    default: return false;
    }
}

bool wal_frame_guess(const uint8_t *p, struct wal_frame *out)
{
    struct wal_frame f;

    if (get_u32le(p) != WAL_FRAME_MAGIC)
        return false;
    f.header_crc = get_u32le(p + 4);
    f.synced_lsn = get_u64le(p + 8);
    f.prev_crc = get_u32le(p + 16);
    f.payload_len = get_u32le(p + 20);
    f.flags = p[24];
    f.payload_crc = get_u32le(p + 28);
    f.term = get_u32le(p + 32);
    f.count = get_u16le(p + 36);
    f.region = get_u16le(p + 38);
    f.index = get_u64le(p + 40);
    f.first_lsn = get_u64le(p + 48);
    f.clock = get_u64le(p + 56);
    if (p[25] != WAL_VERSION || get_u16le(p + 26) != 0 || f.payload_len > LOG_FRAME_BYTES_MAX ||
        !wal_frame_flags_fit(&f))
        return false;
    *out = f;
    return true;
}

bool wal_frame_get(const uint8_t *p, uint32_t seed, struct wal_frame *out)
{
    return get_u32le(p) == WAL_FRAME_MAGIC &&
           get_u32le(p + 4) == crc32c(seed, p + 8, WAL_FRAME_BYTES - 8) && wal_frame_guess(p, out);
}
