/* args.h - reading the arguments of a command: numbers, option words, names. */
#ifndef BROKER_ENGINE_ARGS_H
#define BROKER_ENGINE_ARGS_H
#include "log/bytes.h"

/* Reads a decimal number as Redis does: the whole text, an optional minus, no plus, no blank, no
 * leading zero but "0" itself. False, with *out unchanged, if it is another text or too large. */
bool args_i64(struct slice text, int64_t *out);

/* The same within [min, max]. */
bool args_i64_in(struct slice text, int64_t min, int64_t max, int64_t *out);

/* Reads a cursor of SCAN and the like as strtoul would: nothing at all is 0, a sign is allowed. */
bool args_cursor(struct slice text, uint64_t *out);

/* Reads a size in bytes: "64mb", "100k", "17"; kb, mb, gb are powers of 1024, k, m, g of 1000, in any case. */
bool args_bytes(struct slice text, uint64_t *out);

/* Whether the argument is this option, which is written in lower case, in any case. */
bool args_word(struct slice arg, const char *word);

/* Whether the text has neither blanks nor control bytes nor bytes beyond ASCII: what a client's
 * name may be. */
bool args_printable(struct slice text);

/* A zero-terminated copy that the caller frees; NULL if memory ran out. */
char *args_copy(struct slice text);

/* A copy of all arguments, slices and bytes, that the caller frees as one; NULL if memory ran out. */
struct slice *args_copy_all(const struct slice *argv, size_t argc);

#endif
