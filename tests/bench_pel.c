/* bench_pel.c - pending entries in large numbers: bytes and time. Usage: bench_pel [entries [consumers]] */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include "groups/pel.h"
#include "tests/lib/random.h"

enum { BATCH = 100, TIMES = 1000 };
static const uint64_t NOW_MS = 1700000000000;

static uint64_t n_entries = 10000000;
static uint64_t n_slots = 50;
static uint64_t sink; /* so that nothing is left out */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void say(const char *what, double began, uint64_t n)
{
    double each = (seconds() - began) * 1e9 / (double)n;

    if (each < 10000)
        printf("  %-58s %9.1f ns\n", what, each);
    else
        printf("  %-58s %9.1f us\n", what, each / 1000);
}

static struct id id_of(uint64_t i)
{
    return (struct id){ NOW_MS + i / 3, i % 3 };
}

static void fill(struct pel *p)
{
    struct err e;

    for (uint64_t i = 0; i < n_entries; i++) {
        struct pel_entry x = { .id = id_of(i),
                               .time_ms = NOW_MS + i / BATCH,
                               .count = 1,
                               .slot = (uint16_t)(1 + i / BATCH % n_slots) };
        if (i % BATCH == 0 && pel_reserve(p, BATCH, ID_MIN, &e) != OK)
            exit(1);
        pel_set(p, &x);
    }
}

static struct pel *filled(const char *what, bool ordered)
{
    struct pel *p;
    struct err e;
    double began = seconds();

    if (pel_new(ordered, &p, &e) != OK)
        exit(1);
    fill(p);
    if (what != NULL) {
        say(what, began, n_entries);
        printf("  %-58s %9.2f bytes\n", "", (double)pel_bytes(p) / (double)pel_n(p));
    }
    return p;
}

static void acknowledge_in_order(void)
{
    struct pel *p = filled("pel_set, appended, BATCH at a time", false);
    double began = seconds();
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) == 0)
        printf("  %-58s %9.2f bytes\n", "all that the process has used",
               (double)usage.ru_maxrss * 1024 / (double)n_entries);

    for (uint64_t i = 0; i < n_entries; i++)
        sink += pel_remove(p, id_of(i), NULL);
    say("pel_remove, ascending", began, n_entries);
    pel_free(p);
}

static void acknowledge_at_random(void)
{
    struct pel *p = filled(NULL, false);
    struct random r = { 1 };
    double began = seconds();

    for (uint64_t i = 0; i < n_entries / 2; i++)
        sink += pel_remove(p, id_of(random_below(&r, n_entries)), NULL);
    say("pel_remove, at random, until 61 % are left", began, n_entries / 2);
    printf("  %-58s %9.2f bytes\n", "", (double)pel_bytes(p) / (double)pel_n(p));
    began = seconds();
    for (uint64_t i = 0; i < n_entries; i++)
        sink += pel_remove(p, id_of(random_below(&r, n_entries)), NULL);
    say("pel_remove, at random, until 22 % are left", began, n_entries);
    printf("  %-58s %9.2f bytes\n", "", (double)pel_bytes(p) / (double)pel_n(p));
    pel_free(p);
}

/* 10,000 in flight of which any one may be the next to be acknowledged: a group as it mostly runs. */
static void deliver_and_acknowledge(void)
{
    enum { FLIGHT = 10000 };
    static struct id ids[FLIGHT];
    struct random r = { 1 };
    struct pel *p;
    struct err e;
    uint64_t next = 0;
    double began = seconds();

    if (pel_new(false, &p, &e) != OK)
        exit(1);
    for (; next < n_entries / 4; next++) {
        size_t k = next < FLIGHT ? next : random_below(&r, FLIGHT);
        struct pel_entry x = { .id = id_of(next), .time_ms = NOW_MS, .count = 1, .slot = 1 };
        if (next >= FLIGHT)
            sink += pel_remove(p, ids[k], NULL);
        if (pel_reserve(p, 1, ID_MIN, &e) != OK)
            exit(1);
        pel_set(p, &x);
        ids[k] = x.id;
    }
    say("one delivered, one of 10,000 acknowledged", began, n_entries / 4);
    pel_free(p);
}

static void look(struct pel *p)
{
    struct pel_filter all = { .kinds = PEL_HELD | PEL_NACKED,
                              .held_until = UINT64_MAX,
                              .nacked_until = UINT64_MAX };
    struct pel_filter none = all, idle = all, of = all;
    static struct pel_entry out[BATCH];
    struct random r = { 2 };
    struct id from = ID_MIN;
    double began = seconds();

    none.held_until = NOW_MS - 1;
    idle.held_until = NOW_MS + n_entries / BATCH / 2;
    of.by_slot = true;
    of.slot = 7;
    for (int i = 0; i < TIMES; i++)
        sink += pel_get(p, id_of(random_below(&r, n_entries)), out);
    say("pel_get, at random", began, TIMES);
    began = seconds();
    for (uint64_t i = 0; i < n_entries; i++)
        sink += pel_get(p, id_of(i), out);
    say("pel_get, ascending", began, n_entries);
    began = seconds();
    for (int i = 0; i < TIMES; i++)
        sink += pel_list(p, ID_MIN, &none, BATCH, out);
    say("pel_list, idle for longer than any", began, TIMES);
    began = seconds();
    for (int i = 0; i < TIMES; i++)
        sink += pel_list(p, id_of(random_below(&r, n_entries)), &idle, BATCH, out);
    say("pel_list, BATCH that are idle, from anywhere", began, TIMES);
    began = seconds();
    for (int i = 0; i < TIMES; i++)
        sink += pel_list(p, id_of(random_below(&r, n_entries)), &of, BATCH, out);
    say("pel_list, BATCH of one consumer, from anywhere", began, TIMES);
    began = seconds();
    for (uint64_t i = 0; i < n_entries / BATCH; i++) {
        sink += pel_list(p, from, &all, BATCH, out);
        from = out[BATCH - 1].id;
        from.seq++;
    }
    say("pel_list, BATCH of all, one after the other", began, n_entries / BATCH);
    began = seconds();
    for (int i = 0; i < TIMES; i++)
        sink += pel_oldest(p, &all, BATCH, out);
    say("pel_oldest, BATCH", began, TIMES);
    began = seconds();
    for (int i = 0; i < TIMES; i++)
        sink += pel_oldest(p, &none, BATCH, out);
    say("pel_oldest, idle for longer than any", began, TIMES);
}

/* What XAUTOCLAIM and CLAIM do: those that are oldest are anew. */
static void claim(struct pel *p)
{
    struct pel_filter all = { .kinds = PEL_HELD | PEL_NACKED,
                              .held_until = UINT64_MAX,
                              .nacked_until = UINT64_MAX };
    static struct pel_entry out[BATCH];
    struct err e;
    double began = seconds();

    for (int i = 0; i < TIMES; i++) {
        size_t n = pel_oldest(p, &all, BATCH, out);
        if (pel_reserve(p, n, ID_MIN, &e) != OK)
            exit(1);
        for (size_t k = 0; k < n; k++) {
            out[k].time_ms = NOW_MS + n_entries + (uint64_t)i;
            out[k].count++;
            pel_set(p, &out[k]);
        }
    }
    say("pel_oldest and pel_set of BATCH", began, TIMES);
}

static void run_out(struct pel *p)
{
    struct pel_rule rule = {
        .ack_wait_ms = 1000, .max_deliver = 3, .redelivers = true, .buries = true
    };
    static struct pel_entry out[BATCH];
    uint64_t steps = 0, now_ms = NOW_MS + 2 * n_entries;
    double began = seconds(), longest = 0;

    pel_set_rule(p, &rule);
    for (bool more = true; more; steps++) {
        double at = seconds();
        more = pel_step(p, NOW_MS, 64, NULL, NULL);
        longest = seconds() - at > longest ? seconds() - at : longest;
    }
    say("pel_step, a new rule, per entry", began, n_entries);
    began = seconds();
    for (bool more = true; more;)
        more = pel_step(p, now_ms, 64, NULL, NULL);
    say("pel_step, all become ready, per entry", began, n_entries);
    printf("  %-58s %9.1f us\n", "the longest pel_step of 64 pages", longest * 1e6);
    began = seconds();
    for (int i = 0; i < TIMES; i++)
        sink += pel_ready(p, BATCH, out);
    say("pel_ready, BATCH", began, TIMES);
}

static void hash(void *ctx, const struct pel_entry *x, uint64_t out[2])
{
    (void)ctx;
    out[0] = x->id.ms * 31 + x->id.seq;
    out[1] = x->time_ms;
}

static void sum_up(struct pel *p)
{
    struct pel_sum s = { .hash = hash };
    double began = seconds();

    pel_sum_begin(p, &s);
    while (pel_sum_step(p, 10000))
        ;
    pel_sum_end(p);
    sink += s.sum[0];
    say("pel_sum_step, per entry", began, n_entries);
}

static void leave(struct pel *p)
{
    double began = seconds();

    sink += pel_hand_back(p, 7, NOW_MS);
    say("pel_hand_back, in all", began, 1);
    began = seconds();
    sink += pel_drop_slot(p, 8);
    say("pel_drop_slot, in all", began, 1);
    began = seconds();
    sink += pel_drop_below(p, id_of(n_entries / 2));
    say("pel_drop_below, half of all, per entry", began, n_entries / 2);
    began = seconds();
    pel_free(p);
    say("pel_free, in all", began, 1);
}

int main(int argc, char **argv)
{
    struct pel *p;

    if (argc > 1)
        n_entries = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        n_slots = strtoull(argv[2], NULL, 10);
    printf("%" PRIu64 " entries of %" PRIu64 " consumers, BATCH %d\n", n_entries, n_slots, BATCH);
    acknowledge_in_order();
    deliver_and_acknowledge();
    acknowledge_at_random();
    p = filled("pel_set with keys, appended", true);
    pel_free(p);
    p = filled(NULL, false);
    look(p);
    claim(p);
    run_out(p);
    sum_up(p);
    leave(p);
    return sink == 0;
}
