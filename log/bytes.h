/* bytes.h - fixed-width little-endian fields, LEB128 varints and borrowed slices of bytes.
 *
 * Decoders never read past `end`, and believe no length before comparing it with what is left. */
#ifndef LOG_BYTES_H
#define LOG_BYTES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that belong to somebody else; n may be 0, and p is then not read. */
struct slice {
    const uint8_t *p;
    size_t n;
};

static inline struct slice slice_of(const void *p, size_t n)
{
    struct slice s = { p, n };
    return s;
}

static inline struct slice slice_str(const char *text)
{
    return slice_of(text, strlen(text));
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline void put_u16le(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void put_u32le(uint8_t *p, uint32_t v)
{
    put_u16le(p, (uint16_t)v);
    put_u16le(p + 2, (uint16_t)(v >> 16));
}

static inline void put_u64le(uint8_t *p, uint64_t v)
{
    put_u32le(p, (uint32_t)v);
    put_u32le(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t get_u16le(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get_u32le(const uint8_t *p)
{
    return get_u16le(p) | (uint32_t)get_u16le(p + 2) << 16;
}

static inline uint64_t get_u64le(const uint8_t *p)
{
    return get_u32le(p) | (uint64_t)get_u32le(p + 4) << 32;
}

/* memcpy for what is mostly short: up to 16 bytes are two overlapping loads and stores, without a
 * call. */
static inline void bytes_copy(uint8_t *to, const uint8_t *from, size_t n)
{
    if (n > 16) {
        memcpy(to, from, n);
    } else if (n >= 8) {
        uint64_t head, tail;
        memcpy(&head, from, 8);
        memcpy(&tail, from + n - 8, 8);
        memcpy(to, &head, 8);
        memcpy(to + n - 8, &tail, 8);
    } else if (n >= 4) {
        uint32_t head, tail;
        memcpy(&head, from, 4);
        memcpy(&tail, from + n - 4, 4);
        memcpy(to, &head, 4);
        memcpy(to + n - 4, &tail, 4);
    } else if (n > 0) {
        uint8_t middle = from[n / 2], last = from[n - 1];
        to[0] = from[0];
        to[n / 2] = middle;
        to[n - 1] = last;
    }
}

enum { VARINT_MAX = 10 }; /* bytes that a 64-bit varint takes at most */

/* How many bytes varint_put writes for v: 1..VARINT_MAX. */
static inline size_t varint_size(uint64_t v)
{
    unsigned bits = 64u - (unsigned)__builtin_clzll(v | 1);
    return (bits + 6) / 7;
}

/* Writes v at p, seven bits a byte, lowest first; returns the position behind it. */
static inline uint8_t *varint_put(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

/* Reads a varint of [*p, end) and moves *p behind it. False, with nothing changed, if it is cut
 * short or does not fit 64 bits. */
static inline bool varint_get(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
    const uint8_t *at = *p;
    uint64_t v = 0;

    for (unsigned shift = 0; at < end && shift < 64; shift += 7) {
        uint8_t byte = *at++;
        if (shift == 63 && byte > 1)
            return false;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = v;
            *p = at;
            return true;
        }
    }
    return false;
}

/* Reads `varint length, bytes` of [*p, end) as a slice of them. False, with nothing changed, if cut
 * short. */
static inline bool slice_get(const uint8_t **p, const uint8_t *end, struct slice *out)
{
    const uint8_t *at = *p;
    uint64_t n;

    if (!varint_get(&at, end, &n) || n > (uint64_t)(end - at))
        return false;
    *out = slice_of(at, (size_t)n);
    *p = at + n;
    return true;
}

static inline size_t slice_size(struct slice s)
{
    return varint_size(s.n) + s.n;
}

static inline uint8_t *slice_put(uint8_t *p, struct slice s)
{
    p = varint_put(p, s.n);
    bytes_copy(p, s.p, s.n);
    return p + s.n;
}

#endif
