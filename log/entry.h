/* entry.h - one entry of a stream as it lies in a record: `id, n fields, n times (str name, str
 * value)`.
 *
 * An entry is self-delimiting, so a pointer to its first byte is all that an index holds. Whoever
 * makes an entry reachable has checked it with entry_check first; the cursor then trusts the bytes. */
#ifndef LOG_ENTRY_H
#define LOG_ENTRY_H
#include "log/id.h"

/* Size of an entry of n_strings = 2 x fields, and writing it at p; returns the end. */
size_t entry_size(struct id id, const struct slice *strings, size_t n_strings);
uint8_t *entry_put(uint8_t *p, struct id id, const struct slice *strings, size_t n_strings);

/* Whether [p, end) is exactly one well-formed entry; *out is its ID. */
bool entry_check(const uint8_t *p, const uint8_t *end, struct id *out);

/* Where a checked entry ends. */
const uint8_t *entry_end(const uint8_t *entry);

/* Reads a varint that entry_check has seen to be whole: at most VARINT_MAX bytes. */
static inline const uint8_t *entry_varint(const uint8_t *p, uint64_t *out)
{
    uint64_t v = *p & 0x7f;
    unsigned shift = 7;

    while (*p++ >= 0x80) {
        v |= (uint64_t)(*p & 0x7f) << shift;
        shift += 7;
    }
    *out = v;
    return p;
}

static inline const uint8_t *entry_str(const uint8_t *p, struct slice *out)
{
    uint64_t n;

    p = entry_varint(p, &n);
    *out = slice_of(p, (size_t)n);
    return p + n;
}

/* The ID of a checked entry, and the position behind it, where the number of fields stands. */
static inline const uint8_t *entry_id(const uint8_t *entry, struct id *out)
{
    const uint8_t *p = entry_varint(entry, &out->ms);
    return entry_varint(p, &out->seq);
}

#endif
