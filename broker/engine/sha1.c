/*
 * sha1.c - SHA-1 as FIPS 180-4 describes it.
 *
 * The text is taken in blocks of 64 bytes; the last one or two end with a one bit, zeros, and the length in bits. A script is
 * hashed once, when it is given as text, so clarity counts here and speed does not.
 */
#include "broker/engine/sha1.h"

enum { SHA1_BLOCK = 64, SHA1_LENGTH_AT = 56 };

static uint32_t sha1_roll(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static uint32_t sha1_get_be(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* What round i does with three of the words, and its constant. */
static uint32_t sha1_mix(unsigned i, uint32_t b, uint32_t c, uint32_t d)
{
    if (i < 20)
        return ((b & c) | (~b & d)) + 0x5a827999;
    if (i < 40)
        return (b ^ c ^ d) + 0x6ed9eba1;
    if (i < 60)
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    return (b ^ c ^ d) + 0xca62c1d6;
}

static void sha1_block(uint32_t h[5], const uint8_t *p)
{
    uint32_t w[80], x[5];

    for (unsigned i = 0; i < 16; i++)
        w[i] = sha1_get_be(p + 4 * i);
    for (unsigned i = 16; i < 80; i++)
        w[i] = sha1_roll(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    memcpy(x, h, sizeof x);
    for (unsigned i = 0; i < 80; i++) {
        uint32_t next = sha1_roll(x[0], 5) + sha1_mix(i, x[1], x[2], x[3]) + x[4] + w[i];
        x[4] = x[3];
        x[3] = x[2];
        x[2] = sha1_roll(x[1], 30);
        x[1] = x[0];
        x[0] = next;
    }
    for (unsigned i = 0; i < 5; i++)
        h[i] += x[i];
}

/* The rest of the text, shorter than a block, and what comes behind it. */
static void sha1_end(uint32_t h[5], struct slice rest, uint64_t n_bits)
{
    uint8_t last[2 * SHA1_BLOCK] = { 0 };
    size_t n = rest.n < SHA1_LENGTH_AT ? SHA1_BLOCK : sizeof last;

    if (rest.n > 0)
        memcpy(last, rest.p, rest.n);
    last[rest.n] = 0x80;
    for (unsigned i = 0; i < 8; i++)
        last[n - 1 - i] = (uint8_t)(n_bits >> 8 * i);
    for (size_t at = 0; at < n; at += SHA1_BLOCK)
        sha1_block(h, last + at);
}

void sha1_hex(struct slice text, char out[SHA1_HEX])
{
    static const char digits[] = "0123456789abcdef";
    uint32_t h[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
    size_t at = 0;

    for (; text.n - at >= SHA1_BLOCK; at += SHA1_BLOCK)
        sha1_block(h, text.p + at);
    sha1_end(h, slice_of(text.p + at, text.n - at), (uint64_t)text.n * 8);
    for (unsigned i = 0; i < SHA1_HEX - 1; i++)
        out[i] = digits[h[i / 8] >> (28 - i % 8 * 4) & 15];
    out[SHA1_HEX - 1] = '\0';
}
