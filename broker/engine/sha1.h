/* sha1.h - SHA-1 (FIPS 180-4), by which scripts are named. It protects nothing. */
#ifndef BROKER_ENGINE_SHA1_H
#define BROKER_ENGINE_SHA1_H
#include "log/bytes.h"

enum { SHA1_BYTES = 20, SHA1_HEX = 41 /* with its zero */ };

/* The digest of `text` as 40 lower-case hexadecimal digits. */
void sha1_hex(struct slice text, char out[SHA1_HEX]);

#endif
