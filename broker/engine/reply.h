/* reply.h - writes replies into a client's output, in the protocol version that it speaks.
 *
 * Aggregates are announced with their length first; the elements follow as replies of their own. */
#ifndef BROKER_ENGINE_REPLY_H
#define BROKER_ENGINE_REPLY_H
#include "broker/engine/client.h"

struct command;

void reply_simple(struct client *c, const char *text); /* +text */
void reply_ok(struct client *c);
/* -text; the text includes its prefix ("ERR ..."). CR and LF in it become blanks, it is cut at
 * 1,024 bytes. */
void reply_error(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reply_int(struct client *c, int64_t v);
void reply_u64(struct client *c, uint64_t v); /* as a : number, may exceed INT64_MAX */
void reply_bulk(struct client *c, const void *bytes, size_t n);
void reply_str(struct client *c, const char *text); /* bulk of a C string */
void reply_id(struct client *c, struct id id);      /* bulk "<ms>-<seq>" */
void reply_u64_bulk(struct client *c, uint64_t v);  /* bulk of its decimal digits */
void reply_null(struct client *c);                  /* RESP2 $-1, RESP3 _ */
void reply_null_array(struct client *c);            /* RESP2 *-1, RESP3 _ */
void reply_array(struct client *c, size_t n);
void reply_map(struct client *c, size_t n_pairs);               /* RESP2: an array of 2n */
void reply_set(struct client *c, size_t n);                     /* RESP2: an array */
void reply_push(struct client *c, size_t n);                    /* RESP2: an array */
void reply_bool(struct client *c, bool v);                      /* RESP2: 1 or 0 */
void reply_double(struct client *c, double v);                  /* RESP2: bulk */
void reply_verbatim(struct client *c, const void *p, size_t n); /* RESP2: bulk; RESP3: =txt: */

/* How much of `s` an error repeats, for "%.*s". */
static inline int reply_echo_n(struct slice s)
{
    return (int)(s.n < 1024 ? s.n : 1024);
}

/* The errors that the engine gives before a command runs; the texts are Redis's. argv[0] is what
 * was sent. */
void reply_unknown_command(struct client *c, const struct slice *argv, size_t argc);
void reply_unknown_subcommand(struct client *c, const struct command *container, struct slice name);
void reply_subcommand_syntax(struct client *c, const struct command *container, struct slice name);
void reply_wrong_arity(struct client *c, const struct command *command);
void reply_noauth(struct client *c); /* -NOAUTH Authentication required. */

/* Errors that many commands share. */
void reply_syntax_error(struct client *c); /* -ERR syntax error */
void reply_not_integer(struct client *c);  /* -ERR value is not an integer or out of range */
void reply_wrong_type(struct client *c);   /* -WRONGTYPE ... */
void reply_no_such_key(struct client *c);  /* -ERR no such key */

/* Whether the reply that began at `pos` (outbuf_end before it) is an error. */
bool reply_is_error_at(const struct client *c, uint64_t pos);

#endif
