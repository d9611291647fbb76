/* bench_keys.c - keys in large numbers, as broker/engine/state.c keeps them: bytes and time. Usage: bench_keys [keys [bytes]] */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "broker/engine/state.h"
#include "tests/lib/random.h"

enum { NAME_BYTES = 30, VALUE_MAX = 1 << 16, ROUND = 100 };
static const uint64_t NOW_MS = 1700000000000, TTL_MS = 3600000, SPREAD_MS = 1000;

static uint64_t n_keys = 1000000;
static size_t value_bytes = 100;

struct bench {
    struct state s;
    uint64_t lsn;
    struct random rng;
    uint8_t value[VALUE_MAX];
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static size_t allocated(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

static void say(const char *what, uint64_t began_ns, uint64_t slowest_ns)
{
    printf("  %-48s %8.1f ns, the slowest round %8.1f us\n", what,
           (double)(now_ns() - began_ns) / (double)n_keys, (double)slowest_ns / 1000);
}

static struct slice name_of(uint64_t i)
{
    static char name[NAME_BYTES + 1];

    snprintf(name, sizeof name, "session:%022" PRIu64, i);
    return slice_of(name, NAME_BYTES);
}

static uint64_t any(struct bench *b)
{
    return random_below(&b->rng, n_keys);
}

/* As a command does: looked up, then set. */
static void set(struct bench *b, uint64_t i, uint64_t expiry_ms)
{
    struct slice name = name_of(i);
    const struct state_value v = { .type = OBJECT_STRING,
                                   .flags = OBJECT_BACKED,
                                   .rev = ++b->lsn,
                                   .expiry_ms = expiry_ms,
                                   .bytes = slice_of(b->value, value_bytes) };
    struct object *o;

    (void)state_find(&b->s, 0, name);
    if (state_put_value(&b->s, 0, name, &v, &o, NULL) != OK)
        exit(1);
}

static void set_all(struct bench *b, const char *what, bool in_order)
{
    uint64_t began = now_ns(), slowest = 0;

    for (uint64_t i = 0; i < n_keys;) {
        uint64_t t = now_ns();
        for (int n = 0; n < ROUND && i < n_keys; n++, i++)
            set(b, in_order ? i : any(b), NOW_MS + TTL_MS + random_below(&b->rng, SPREAD_MS));
        state_step(&b->s, 256);
        t = now_ns() - t;
        if (t > slowest)
            slowest = t;
    }
    say(what, began, slowest);
}

static void get_all(struct bench *b)
{
    uint64_t began = now_ns(), found = 0;

    for (uint64_t i = 0; i < n_keys; i++)
        found += state_find(&b->s, 0, name_of(any(b))) != NULL;
    say("a name that is there, at random", began, 0);
    if (found != n_keys)
        exit(1);
}

/* In slices as the engine has them: so many entries of the wheel are looked at in a round. */
static void expire_all(struct bench *b)
{
    enum { LOOKS = 1024, KEYS = 256 };
    uint64_t began = now_ns(), slowest = 0, n_rounds = 0, now_ms = NOW_MS;

    for (; b->s.n_objects > 0; n_rounds++) {
        size_t looks = LOOKS;
        uint64_t t = now_ns();
        struct object *o;
        for (int n = 0; n < KEYS && (o = state_take_expired(&b->s, now_ms, &looks)) != NULL; n++)
            state_unbind(&b->s, o);
        state_step(&b->s, 256);
        t = now_ns() - t;
        if (t > slowest)
            slowest = t;
        if (state_next_expiry_ms(&b->s) > now_ms)
            now_ms = state_next_expiry_ms(&b->s);
    }
    say("it expires", began, slowest);
    printf("  %" PRIu64 " rounds\n", n_rounds);
}

static void say_bytes(size_t before)
{
    size_t taken = (allocated() - before) / n_keys;

    printf("  %zu bytes a key in all; beside %d of the name and %zu of the value: %zu\n", taken,
           NAME_BYTES, value_bytes, taken - NAME_BYTES - value_bytes);
}

int main(int argc, char **argv)
{
    static struct bench b;
    static const uint8_t KEY[16] = { 1, 2, 3 };
    size_t before;

    if (argc > 1)
        n_keys = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        value_bytes = (size_t)strtoull(argv[2], NULL, 10);
    if (n_keys == 0 || value_bytes > VALUE_MAX)
        return 2;
    b.rng = random_seeded("bench_keys");
    state_init(&b.s, KEY);
    b.s.now_ms = NOW_MS;
    b.lsn = 1000;
    before = allocated();
    printf("%" PRIu64 " keys with a TTL\n", n_keys);
    set_all(&b, "SET, new", true);
    say_bytes(before);
    set_all(&b, "SET, of the same size, at random", false);
    get_all(&b);
    expire_all(&b);
    while (state_reap(&b.s, 3000))
        ;
    state_fini(&b.s);
    return 0;
}
