/* wheel.h - what is due when, for very many keys: a hash of four bytes for each, in slots by time.
 *
 * A key that has a deadline notes the slot of its entry (WHEEL_NONE: it has none). The entry may be earlier than the deadline, never
 * later: so a deadline that is put off costs nothing, and the key is asked again when its entry comes up. Entries of
 * keys that are gone stay until their time and find nobody. */
#ifndef BROKER_ENGINE_WHEEL_H
#define BROKER_ENGINE_WHEEL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/err.h"

enum {
    WHEEL_TICK_MS = 16,
    WHEEL_SLOTS = 256, /* of a level; a slot of a level is as long as all of the level below */
    WHEEL_LEVELS = 5,  /* 557 years */
    WHEEL_NONE = 0,
};

struct wheel_slot {
    uint32_t *hashes;
    uint32_t n, cap;
};

struct wheel {       /* zeroed: empty, and not set yet */
    uint64_t at;     /* the tick whose slot is being emptied; what was before is */
    unsigned moving; /* levels above 0 whose slot of `at` is still to be spread: bits */
    size_t n, bytes; /* entries; memory */
    uint64_t used[WHEEL_LEVELS][WHEEL_SLOTS / 64]; /* slots that have entries */
    struct wheel_slot slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_fini(struct wheel *w);

/* No entry will be looked for before that time, of the engine's clock. Does nothing if it goes on already. */
void wheel_begin(struct wheel *w, uint64_t now_ms);

/* Sees to it that an entry for `hash` comes up at `due_ms` at the latest, if the one in slot *slot does not already: sets *slot.
 * Errors: ERR_NOMEM, with nothing changed. */
must_check int wheel_add(struct wheel *w, uint32_t hash, uint64_t due_ms, uint16_t *slot,
                         struct err *e);

/* Takes the next entry that has come up by now: its hash, and the slot that it was in. False if there is none. */
bool wheel_take(struct wheel *w, uint64_t now_ms, uint32_t *hash, uint16_t *slot);

/* The hash that wheel_take will give n entries later, if it goes on; false if that is not known yet. */
bool wheel_peek(const struct wheel *w, size_t n, uint32_t *hash);

/* When wheel_take will have something to look at; UINT64_MAX: never. */
uint64_t wheel_next_ms(const struct wheel *w);

/* Whether that slot has entries, and they come up at `due_ms` at the latest; for whoever checks. */
bool wheel_covers(const struct wheel *w, uint16_t slot, uint64_t due_ms);

/* Walks everything; NULL, or the name of the first invariant found broken. */
const char *wheel_check(const struct wheel *w);

#endif
