/* expiry.h - when a key is to expire, as commands are told: a number of seconds or milliseconds, from now or of Unix time. */
#ifndef BROKER_COMMANDS_EXPIRY_H
#define BROKER_COMMANDS_EXPIRY_H
#include <stdbool.h>
#include <stdint.h>
#include "broker/cache/cache.h"
#include "log/bytes.h"

struct client;
struct engine;

enum expiry_unit { /* as the option words say it */
                   EXPIRY_NONE,
                   EXPIRY_EX,
                   EXPIRY_PX,
                   EXPIRY_EXAT,
                   EXPIRY_PXAT
};

/* Reads a time for the options EX, PX, EXAT, PXAT: above 0. False after an error reply, which names the command. *out is
 * absolute, and at least 1. */
must_check bool expiry_read(struct engine *e, struct client *c, enum expiry_unit unit,
                            struct slice text, const char *command, uint64_t *out);

/* The same for the EXPIRE family, where any time is allowed: *out may be negative. */
must_check bool expiry_read_any(struct engine *e, struct client *c, enum expiry_unit unit,
                                struct slice text, const char *command, int64_t *out);

/* What a key that is not to lose them is written with. */
static inline uint64_t expiry_of(const struct object *o)
{
    return o == NULL ? 0 : o->expiry_ms;
}

/* Whether a key with that expiry would be gone at once. */
static inline bool expiry_is_past(const struct engine *e, uint64_t expiry_ms)
{
    return expiry_ms != 0 && expiry_ms <= e->now_ms;
}

#endif
