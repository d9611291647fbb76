/* glob.h - patterns of names as KEYS, SCAN, CONFIG GET and COMMAND LIST take them, with Redis's
 * rules. */
#ifndef BROKER_ENGINE_GLOB_H
#define BROKER_ENGINE_GLOB_H
#include "log/bytes.h"

/* Whether all of `text` matches `pattern`:
 *
 *     *       any bytes, also none          ?    any one byte
 *     [a-z]   one byte of a class           [^x] one byte that is not in it
 *     \x      x itself, whatever it means
 *
 * A class that is not closed ends with the pattern; a final backslash is itself. Bytes are compared
 * as unsigned numbers; with `nocase` ASCII letters are equal in both cases. Never takes more than
 * pattern.n x text.n steps, and no memory. */
bool glob_match(struct slice pattern, struct slice text, bool nocase);

#endif
