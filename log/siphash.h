/* siphash.h - SipHash-1-3, a keyed hash of short strings that outsiders cannot make collide.
 *
 * By Jean-Philippe Aumasson and Daniel J. Bernstein (https://cr.yp.to/siphash/siphash-20120918.pdf), with
 * one round a word and three at the end. */
#ifndef LOG_SIPHASH_H
#define LOG_SIPHASH_H
#include <stddef.h>
#include <stdint.h>

uint64_t siphash13(const uint8_t key[16], const void *bytes, size_t n);

#endif
