/* crc32c.h - the Castagnoli CRC that guards everything on disk. Any thread; no state. */
#ifndef LOG_CRC32C_H
#define LOG_CRC32C_H
#include <stddef.h>
#include <stdint.h>

/* The CRC of `n` bytes at `p` that follow bytes whose CRC is `crc` (0: none do), so that
 * crc32c(crc32c(0, a), b) is the CRC of a and b together. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

/* The same by the table alone: what machines without the instruction use, and what tests compare
 * with. */
uint32_t crc32c_table(uint32_t crc, const void *p, size_t n);

#endif
