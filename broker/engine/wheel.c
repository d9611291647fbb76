/*
 * wheel.c - a hierarchical timing wheel of hashes.
 *
 * Level 0 has 256 slots of one tick, level 1 256 slots of 256 ticks, and so on. A deadline goes to the lowest level on which it is
 * less than a whole turn away. When `at` reaches the first tick of a slot of a higher level, the entries in it come up as those
 * of a level-0 slot do: whoever takes them asks the key, and adds it again, lower down, if its time has not come. So an entry is
 * touched at most once a level, and nothing is sorted.
 *
 * Ticks without entries are skipped: a bit for each slot tells where the next one is.
 *
 *   W1  Slots of `at` on levels above 0 are empty, but for those in `moving`.
 *   W2  A slot's bit is set exactly if it has entries; n and bytes are sums over the slots.
 *   W3  No entry is in a slot before `at`.
 */
#include "broker/engine/wheel.h"
#include <stdlib.h>
#include <string.h>

enum { WHEEL_BITS = 8, WHEEL_FIRST = 4 };

void wheel_fini(struct wheel *w)
{
    for (int level = 0; level < WHEEL_LEVELS; level++)
        for (int i = 0; i < WHEEL_SLOTS; i++)
            free(w->slots[level][i].hashes);
    memset(w, 0, sizeof *w);
}

void wheel_begin(struct wheel *w, uint64_t now_ms)
{
    if (w->at == 0)
        w->at = now_ms / WHEEL_TICK_MS;
}

/* ---- slots ---- */

static unsigned wheel_index(uint64_t tick, int level)
{
    return (unsigned)(tick >> WHEEL_BITS * level) % WHEEL_SLOTS;
}

static uint16_t wheel_number(int level, unsigned i)
{
    return (uint16_t)(1 + level * WHEEL_SLOTS + (int)i);
}

/* The first tick of a slot, in the turn that is on. */
static uint64_t wheel_begins(const struct wheel *w, int level, unsigned i)
{
    uint64_t now = w->at >> WHEEL_BITS * level;

    return (now + ((i - (unsigned)now) % WHEEL_SLOTS)) << WHEEL_BITS * level;
}

static uint64_t wheel_slot_begins(const struct wheel *w, uint16_t slot)
{
    return wheel_begins(w, (slot - 1) / WHEEL_SLOTS, (unsigned)(slot - 1) % WHEEL_SLOTS);
}

/* The first tick at which that time has come, of those that are not over. */
static uint64_t wheel_tick(const struct wheel *w, uint64_t due_ms)
{
    uint64_t tick = due_ms / WHEEL_TICK_MS + (due_ms % WHEEL_TICK_MS != 0);

    return tick < w->at ? w->at : tick;
}

static int wheel_grow(struct wheel *w, struct wheel_slot *s, struct err *e)
{
    uint32_t cap = s->cap < WHEEL_FIRST ? WHEEL_FIRST : s->cap + s->cap / 4 + 1;
    uint32_t *hashes;

    if (s->n < s->cap)
        return OK;
    hashes = s->cap > UINT32_MAX / 2 ? NULL : realloc(s->hashes, cap * sizeof *hashes);
    if (hashes == NULL)
        return err_set(e, ERR_NOMEM, "no memory to note when a key expires");
    w->bytes += (cap - s->cap) * sizeof *hashes;
    s->hashes = hashes;
    s->cap = cap;
    return OK;
}

int wheel_add(struct wheel *w, uint32_t hash, uint64_t due_ms, uint16_t *slot, struct err *e)
{
    uint64_t tick = wheel_tick(w, due_ms);
    struct wheel_slot *s;
    int level = 0, rc;
    unsigned i;

    if (*slot != WHEEL_NONE && wheel_slot_begins(w, *slot) <= tick)
        return OK;
    while (level < WHEEL_LEVELS - 1 &&
           (tick >> WHEEL_BITS * level) - (w->at >> WHEEL_BITS * level) >= WHEEL_SLOTS)
        level++;
    i = wheel_index(tick, level);
    if ((tick >> WHEEL_BITS * level) - (w->at >> WHEEL_BITS * level) >= WHEEL_SLOTS)
        i = wheel_index(w->at, level) + WHEEL_SLOTS - 1; /* centuries: asked again before */
    i %= WHEEL_SLOTS;
    s = &w->slots[level][i];
    rc = wheel_grow(w, s, e);
    if (rc != OK)
        return rc;
    s->hashes[s->n++] = hash;
    w->used[level][i / 64] |= 1ull << i % 64;
    w->n++;
    *slot = wheel_number(level, i);
    return OK;
}

/* ---- time ---- */

/* The first slot of a level with entries from index `from` on, counted around; WHEEL_SLOTS: none. */
static unsigned wheel_seek(const struct wheel *w, int level, unsigned from)
{
    for (unsigned n = 0; n < WHEEL_SLOTS;) {
        unsigned i = (from + n) % WHEEL_SLOTS;
        uint64_t word = w->used[level][i / 64] >> i % 64;
        if (word != 0) {
            n += (unsigned)__builtin_ctzll(word);
            return n < WHEEL_SLOTS ? n : WHEEL_SLOTS;
        }
        n += 64 - i % 64;
    }
    return WHEEL_SLOTS;
}

/* The tick at which the next entry comes up; UINT64_MAX: there is none. */
static uint64_t wheel_next_tick(const struct wheel *w)
{
    uint64_t next = UINT64_MAX;

    if (w->moving != 0)
        return w->at;
    for (int level = 0; level < WHEEL_LEVELS; level++) {
        unsigned n = wheel_seek(w, level, wheel_index(w->at, level));
        uint64_t begins = ((w->at >> WHEEL_BITS * level) + n) << WHEEL_BITS * level;
        if (n < WHEEL_SLOTS && begins < next)
            next = begins;
    }
    return next < w->at ? w->at : next;
}

uint64_t wheel_next_ms(const struct wheel *w)
{
    uint64_t tick = wheel_next_tick(w);

    return tick == UINT64_MAX ? UINT64_MAX : tick * WHEEL_TICK_MS;
}

/* Goes on to a tick before which nothing comes up: slots of higher levels that begin there are spread first. */
static void wheel_go(struct wheel *w, uint64_t tick)
{
    w->at = tick;
    for (int level = 1; level < WHEEL_LEVELS; level++) {
        unsigned i = wheel_index(tick, level);
        if (tick % (1ull << WHEEL_BITS * level) == 0 && w->slots[level][i].n > 0)
            w->moving |= 1u << level;
    }
}

/* Takes an entry of a slot. */
static bool wheel_pop(struct wheel *w, int level, uint32_t *hash, uint16_t *slot)
{
    unsigned i = wheel_index(w->at, level);
    struct wheel_slot *s = &w->slots[level][i];

    if (s->n == 0)
        return false;
    *hash = s->hashes[--s->n];
    *slot = wheel_number(level, i);
    w->n--;
    if (s->n > 0)
        return true;
    w->bytes -= s->cap * sizeof *s->hashes;
    free(s->hashes);
    *s = (struct wheel_slot){ NULL, 0, 0 };
    w->used[level][i / 64] &= ~(1ull << i % 64);
    return true;
}

bool wheel_peek(const struct wheel *w, size_t n, uint32_t *hash)
{
    int level = w->moving != 0 ? 31 - __builtin_clz(w->moving) : 0;
    const struct wheel_slot *s = &w->slots[level][wheel_index(w->at, level)];

    if (n >= s->n)
        return false;
    *hash = s->hashes[s->n - 1 - n];
    return true;
}

bool wheel_take(struct wheel *w, uint64_t now_ms, uint32_t *hash, uint16_t *slot)
{
    uint64_t now = now_ms / WHEEL_TICK_MS;

    for (;;) {
        uint64_t next;
        while (w->moving != 0) {
            int level = 31 - __builtin_clz(w->moving);
            if (wheel_pop(w, level, hash, slot))
                return true;
            w->moving &= ~(1u << level);
        }
        if (w->at <= now && wheel_pop(w, 0, hash, slot))
            return true;
        next = wheel_next_tick(w);
        if (next > now)
            next = now;
        if (next <= w->at)
            return false;
        wheel_go(w, next);
    }
}

bool wheel_covers(const struct wheel *w, uint16_t slot, uint64_t due_ms)
{
    const struct wheel_slot *s = &w->slots[(slot - 1) / WHEEL_SLOTS][(slot - 1) % WHEEL_SLOTS];

    return s->n > 0 && wheel_slot_begins(w, slot) <= wheel_tick(w, due_ms);
}

const char *wheel_check(const struct wheel *w)
{
    size_t n = 0, bytes = 0;

    for (int level = 0; level < WHEEL_LEVELS; level++)
        for (unsigned i = 0; i < WHEEL_SLOTS; i++) {
            const struct wheel_slot *s = &w->slots[level][i];
            bool marked = w->used[level][i / 64] >> i % 64 & 1;
            if (marked != (s->n > 0) || s->n > s->cap)
                return "W2: a slot's bit";
            if (level > 0 && i == wheel_index(w->at, level) && s->n > 0 &&
                !(w->moving >> level & 1))
                return "W1: entries that nobody spreads";
            n += s->n;
            bytes += s->cap * sizeof *s->hashes;
        }
    return n != w->n || bytes != w->bytes ? "W2: a wheel's numbers" : NULL;
}
