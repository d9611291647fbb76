/*
 * expiry.c - reading times for keys.
 *
 * Redis multiplies, checks for overflow of 64 bits, then adds the clock and checks again; the same values are refused here, by
 * the same texts. What it would take but exceeds 48 bits of milliseconds (OBJECT_EXPIRY_MAX) becomes the latest time there is.
 */
#include "broker/commands/expiry.h"
#include "broker/engine/args.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"

static void expiry_refuse(struct client *c, const char *command)
{
    reply_error(c, "ERR invalid expire time in '%s' command", command);
}

/* Counts a number in the unit: false if that does not fit. */
static bool expiry_count(const struct engine *e, enum expiry_unit unit, int64_t when, int64_t *out)
{
    int64_t ms, base = unit == EXPIRY_EX || unit == EXPIRY_PX ? (int64_t)e->now_ms : 0;
    int64_t unit_ms = unit == EXPIRY_EX || unit == EXPIRY_EXAT ? 1000 : 1;

    if (__builtin_mul_overflow(when, unit_ms, &ms) || __builtin_add_overflow(ms, base, &ms))
        return false;
    *out = ms > (int64_t)OBJECT_EXPIRY_MAX ? (int64_t)OBJECT_EXPIRY_MAX : ms;
    return true;
}

bool expiry_read_any(struct engine *e, struct client *c, enum expiry_unit unit, struct slice text,
                     const char *command, int64_t *out)
{
    int64_t when;

    if (!args_i64(text, &when)) {
        reply_not_integer(c);
        return false;
    }
    if (!expiry_count(e, unit, when, out)) {
        expiry_refuse(c, command);
        return false;
    }
    return true;
}

bool expiry_read(struct engine *e, struct client *c, enum expiry_unit unit, struct slice text,
                 const char *command, uint64_t *out)
{
    int64_t when, ms;

    if (!args_i64(text, &when)) {
        reply_not_integer(c);
        return false;
    }
    if (when <= 0 || !expiry_count(e, unit, when, &ms)) {
        expiry_refuse(c, command);
        return false;
    }
    *out = (uint64_t)ms;
    return true;
}
