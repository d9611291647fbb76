/* base64.h - RFC 4648 base64 with padding, in its one canonical spelling. */
#ifndef CLI_BASE64_H
#define CLI_BASE64_H
#include "cli/text.h"

/* Adds the base64 of n bytes. */
void base64_put(struct text *t, const char *p, size_t n);

/* Decodes [p, p + n) to `out`, which has room for n / 4 * 3 bytes. False unless it is exactly what
 * base64_put writes for those bytes. */
bool base64_decode(const char *p, size_t n, char *out, size_t *out_n);

#endif
