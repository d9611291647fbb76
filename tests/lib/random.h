/* random.h - random numbers for tests: a seed that is printed and can be given, rounds that can be scaled. */
#ifndef TESTS_LIB_RANDOM_H
#define TESTS_LIB_RANDOM_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct random {
    uint64_t state;
};

/* splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
static inline uint64_t random_u64(struct random *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* 0 .. n - 1; n > 0. */
static inline size_t random_below(struct random *r, size_t n)
{
    return (size_t)(random_u64(r) % n);
}

/* Seeds from SEED, else from the clock, and prints the seed. */
static inline struct random random_seeded(const char *test)
{
    const char *given = getenv("SEED");
    struct timespec now;
    struct random r;

    clock_gettime(CLOCK_REALTIME, &now);
    r.state = given != NULL
                  ? strtoull(given, NULL, 10)
                  : (uint64_t)now.tv_nsec % 1000000 + (uint64_t)now.tv_sec % 1000 * 1000000;
    printf("%s: SEED=%llu\n", test, (unsigned long long)r.state);
    return r;
}

/* Rounds times SCALE, at least one. */
static inline size_t random_rounds(size_t rounds)
{
    const char *scale = getenv("SCALE");
    double n = (double)rounds * (scale != NULL ? strtod(scale, NULL) : 1);

    return n < 1 ? 1 : (size_t)n;
}

#endif
