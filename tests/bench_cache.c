/*
 * bench_cache.c - what the cache costs, beside Debian's redis-server and memcached in one run.
 *
 * `make bench-cache`. Sessions: keys of 30 bytes, values of 100, a TTL of two days. Parts, each with servers of its own in
 * directories on the same disk:
 *
 *   commands  SET with EX and GET over --keys sessions, 64 and 16 requests under way on each of 50 connections, and one:
 *             CPU of all threads a command, sealing included. In turns, --rounds times
 *   memory    what each of --keys sessions takes, also in memcached
 *   spill     five times as much data as `maxmemory` lets stay: GET of keys that are asked for all the time, beside a server
 *             without a limit; GET of keys that are not in memory
 *   restart   --many sessions: from kill -9 to the first answered GET, beside redis-server and its rewritten AOF
 *   expire    --many keys that expire at one second: latency of GET at a fixed rate, half of what is possible, before
 *             and meanwhile
 *
 * `interval` runs beside `appendfsync everysec`. A line says what was measured, and what it is to be; the exit status is 1
 * if something was missed.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "log/bytes.h"
#include "tests/lib/bed.h"
#include "tests/lib/load.h"

enum {
    CONNECTIONS = 50,
    ROUNDS_MAX = 20,
    KEY_BYTES = 30,
    VALUE_BYTES = 100,
    CHUNK = 100000, /* sessions whose requests are made at a time */
    N_SERVERS = 3,
};

enum { BECKD, REDIS, MEMCACHED };

struct bench {
    struct bed bed;
    size_t keys, many, rounds;
};

static const char *const bench_names[N_SERVERS] = { "beckd", "redis", "memcached" };

/* ---- sessions ---- */

/* xorshift64*, seeded with the number: the same session every time. */
static uint64_t bench_mix(uint64_t *x)
{
    *x ^= *x >> 12;
    *x ^= *x << 25;
    *x ^= *x >> 27;
    return *x * 0x2545f4914f6cdd1d;
}

static void bench_session(size_t i, char key[KEY_BYTES + 1], char value[VALUE_BYTES + 1])
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t x = i * 0x9e3779b97f4a7c15 + 1, bits = 0;

    snprintf(key, KEY_BYTES + 1, "session:%022" PRIx64, bench_mix(&x));
    for (int n = 0; n < VALUE_BYTES; n++, bits >>= 6) {
        if (n % 10 == 0)
            bits = bench_mix(&x);
        value[n] = letters[bits & 63];
    }
    value[VALUE_BYTES] = 0;
}

/* Requests about sessions [first, first + n): `ttl` is that of SET, an option and its argument (NULL: none). */
struct bench_wish {
    bool set;
    const char *option, *ttl;
};

static void bench_add(struct load_requests *r, const struct bench_wish *w, size_t first, size_t n)
{
    char key[KEY_BYTES + 1], value[VALUE_BYTES + 1];

    for (size_t i = first; i < first + n; i++) {
        struct slice argv[5] = { slice_str(w->set ? "SET" : "GET") };
        size_t argc = 2;
        bench_session(i, key, value);
        argv[1] = slice_str(key);
        if (w->set)
            argv[argc++] = slice_str(value);
        if (w->option != NULL) {
            argv[argc++] = slice_str(w->option);
            argv[argc++] = slice_str(w->ttl);
        }
        load_add(r, argv, argc);
    }
}

static const struct bench_wish bench_get = { false, NULL, NULL };
static const struct bench_wish bench_set = { true, "EX", "172800" };

/* Sends SET of `n` sessions from `first` on, some at a time. */
static int bench_fill(const struct server *s, const struct bench_wish *w, size_t first, size_t n,
                      struct err *e)
{
    int rc = OK;

    for (size_t i = 0; rc == OK && i < n; i += CHUNK) {
        size_t take = n - i < CHUNK ? n - i : CHUNK;
        struct load_requests r = { 0 };
        struct load_result result;
        bench_add(&r, w, first + i, take);
        rc = load_send(&s->target, CONNECTIONS, 64, &r, 0, take, &result, e);
        load_requests_fini(&r);
    }
    return rc;
}

/* ---- servers ---- */

static int bench_memcached(struct bench *b, struct server *s, struct err *e)
{
    const char *argv[] = { "/usr/bin/memcached",
                           "-p",
                           "%p",
                           "-l",
                           "127.0.0.1",
                           "-m",
                           "65536",
                           "-u",
                           "nobody",
                           "-t",
                           "1",
                           NULL };

    return server_start(s, argv, b->bed.base, NULL, 0, e);
}

static int bench_start(struct bench *b, int server, struct server *s, struct err *e)
{
    if (server == MEMCACHED)
        return bench_memcached(b, s, e);
    return server == BECKD ? bed_beckd(&b->bed, s, "--maxmemory", "0", e)
                           : bed_redis(&b->bed, s, e);
}

/* ---- commands ---- */

static const struct commands_load {
    const char *name;
    bool set;
    size_t pipeline;
    double limit; /* beckd's share of Redis's CPU; 0: none is set */
} commands_loads[] = {
    { "SET EX, pipeline 64", true, 64, 0.4 }, { "GET, pipeline 64", false, 64, 0.5 },
    { "SET EX, pipeline 16", true, 16, 0 },   { "GET, pipeline 16", false, 16, 0 },
    { "SET EX, unpipelined", true, 1, 1.0 },  { "GET, unpipelined", false, 1, 1.0 },
};

enum { N_LOADS = sizeof commands_loads / sizeof commands_loads[0] };

struct commands_sample {
    double cpu_us[N_LOADS], p99_us[N_LOADS];
};

static int commands_server(struct bench *b, int server, const struct load_requests *r,
                           struct commands_sample *out, struct err *e)
{
    struct server s = { 0 };
    int rc = bench_start(b, server, &s, e);

    if (rc == OK)
        rc = bench_fill(&s, &bench_set, 0, b->keys, e);
    for (size_t i = 0; rc == OK && i < N_LOADS; i++) {
        const struct commands_load *l = &commands_loads[i];
        size_t count = l->pipeline == 1 ? b->keys / 4 : b->keys;
        uint64_t began = bed_cost(&s).cpu_ns;
        struct load_result result = { 0 };
        rc = load_send(&s.target, CONNECTIONS, l->pipeline, &r[l->set], 0, count, &result, e);
        out->cpu_us[i] = (double)(bed_cost(&s).cpu_ns - began) / 1e3 / (double)count;
        out->p99_us[i] = result.p99_us;
    }
    server_stop(&s);
    return rc;
}

static void commands_print(struct bench *b, struct commands_sample (*samples)[ROUNDS_MAX], size_t i)
{
    double values[ROUNDS_MAX];
    char what[96];

    for (int server = 0; server < 2; server++) {
        for (size_t r = 0; r < b->rounds; r++)
            values[r] = samples[server][r].cpu_us[i];
        snprintf(what, sizeof what, "%s: %s, CPU", bench_names[server], commands_loads[i].name);
        bed_line(&b->bed, what, bed_median(values, b->rounds), "us", 0);
        for (size_t r = 0; r < b->rounds; r++)
            values[r] = samples[server][r].p99_us[i];
        snprintf(what, sizeof what, "%s: the same, p99 of a pipeline", bench_names[server]);
        bed_line(&b->bed, what, bed_median(values, b->rounds), "us", 0);
    }
    for (size_t r = 0; r < b->rounds; r++)
        values[r] = samples[BECKD][r].cpu_us[i] / samples[REDIS][r].cpu_us[i];
    snprintf(what, sizeof what, "%s: beckd's share of Redis's CPU", commands_loads[i].name);
    bed_line(&b->bed, what, bed_median(values, b->rounds), "", commands_loads[i].limit);
}

static int commands_run(struct bench *b, struct err *e)
{
    static struct commands_sample samples[2][ROUNDS_MAX];
    struct load_requests r[2] = { { 0 }, { 0 } }; /* GET, SET */
    int rc = OK;

    printf("commands: %zu sessions, %d connections, median of %zu rounds\n", b->keys, CONNECTIONS,
           b->rounds);
    bench_add(&r[0], &bench_get, 0, b->keys);
    bench_add(&r[1], &bench_set, 0, b->keys);
    for (size_t round = 0; round < b->rounds && rc == OK; round++)
        for (size_t turn = 0; turn < 2 && rc == OK; turn++) {
            int server = (int)((round + turn) % 2);
            rc = commands_server(b, server, r, &samples[server][round], e);
        }
    for (size_t i = 0; i < N_LOADS && rc == OK; i++)
        commands_print(b, samples, i);
    load_requests_fini(&r[0]);
    load_requests_fini(&r[1]);
    return rc;
}

/* ---- memory ---- */

/* memcached's own protocol, whose every reply is a line too. */
static int memory_fill_memcached(const struct server *s, size_t n, struct err *e)
{
    char key[KEY_BYTES + 1], value[VALUE_BYTES + 1], line[KEY_BYTES + VALUE_BYTES + 64];
    int rc = OK;

    for (size_t i = 0; rc == OK && i < n; i += CHUNK) {
        struct load_requests r = { 0 };
        struct load_result result;
        size_t end = i + CHUNK < n ? i + CHUNK : n;
        for (size_t k = i; k < end; k++) {
            bench_session(k, key, value);
            load_add_raw(&r, line,
                         (size_t)snprintf(line, sizeof line, "set %s 0 172800 %d\r\n%s\r\n", key,
                                          VALUE_BYTES, value));
        }
        rc = load_send(&s->target, 8, 64, &r, 0, end - i, &result, e);
        load_requests_fini(&r);
    }
    return rc;
}

/* Bytes that a session takes: what the empty process has does not count. */
static int memory_server(struct bench *b, int server, double *out, struct err *e)
{
    struct server s = { 0 };
    uint64_t before;
    int rc = bench_start(b, server, &s, e);

    if (rc != OK)
        return rc;
    before = bed_cost(&s).rss_bytes;
    rc = server == MEMCACHED ? memory_fill_memcached(&s, b->keys, e)
                             : bench_fill(&s, &bench_set, 0, b->keys, e);
    if (rc == OK && server == BECKD)
        rc = bed_ask(&s, "BECK SEAL", e); /* the arena is not the keys' */
    *out = (double)(bed_cost(&s).rss_bytes - before) / (double)b->keys;
    server_stop(&s);
    return rc;
}

static int memory_run(struct bench *b, struct err *e)
{
    double bytes[N_SERVERS];
    char what[96];
    int rc = OK;

    printf("memory: %zu sessions, resident after less before\n", b->keys);
    for (int server = 0; server < N_SERVERS && rc == OK; server++) {
        rc = memory_server(b, server, &bytes[server], e);
        snprintf(what, sizeof what, "%s: memory of a session", bench_names[server]);
        if (rc == OK)
            bed_line(&b->bed, what, bytes[server], "bytes", 0);
    }
    if (rc != OK)
        return rc;
    bed_line(&b->bed, "beckd's share of Redis's", bytes[BECKD] / bytes[REDIS], "", 0.75);
    bed_line(&b->bed, "beckd's share of memcached's", bytes[BECKD] / bytes[MEMCACHED], "", 1);
    return OK;
}

/* ---- spill ---- */

enum { SPILL_HOT = 1000, SPILL_FACTOR = 5, SPILL_COLD = 2000 };

/* GET of every `step`-th of sessions [first, first + keys * step). */
static int spill_get(const struct server *s, size_t first, size_t keys, size_t step, size_t count,
                     size_t connections, size_t pipeline, double *cpu_us,
                     struct load_result *result, struct err *e)
{
    struct load_requests r = { 0 };
    uint64_t began;
    int rc;

    for (size_t i = 0; i < keys; i++)
        bench_add(&r, &bench_get, first + i * step, 1);
    began = bed_cost(s).cpu_ns;
    rc = load_send(&s->target, connections, pipeline, &r, 0, count, result, e);
    *cpu_us = (double)(bed_cost(s).cpu_ns - began) / 1e3 / (double)count;
    load_requests_fini(&r);
    return rc;
}

/* A server with `maxmemory`: hot keys are asked for in turns of rounds, cold ones once each. */
static int spill_server(struct bench *b, const char *maxmemory, double hot_us[ROUNDS_MAX],
                        double *cold_us, double *cold_p50, struct err *e)
{
    struct server s = { 0 };
    struct load_result result = { 0 };
    size_t n = b->keys * SPILL_FACTOR;
    double ignored;
    int rc = bed_beckd(&b->bed, &s, "--maxmemory", maxmemory, e);

    if (rc != OK)
        return rc;
    rc = bench_fill(&s, &bench_set, 0, n, e);
    if (rc == OK)
        rc = bed_ask(&s, "BECK SEAL", e);
    if (rc == OK)
        rc = spill_get(&s, 0, SPILL_HOT, 1, b->keys, CONNECTIONS, 16, &ignored, &result, e);
    for (size_t r = 0; rc == OK && r < b->rounds; r++)
        rc = spill_get(&s, 0, SPILL_HOT, 1, b->keys, CONNECTIONS, 16, &hot_us[r], &result, e);
    if (rc == OK)
        rc = spill_get(&s, SPILL_HOT, SPILL_COLD, (n - SPILL_HOT) / SPILL_COLD, SPILL_COLD, 1, 1,
                       cold_us, &result, e);
    *cold_p50 = result.p50_us;
    printf("  maxmemory %s: %" PRIu64 " keys spilled, %" PRIu64 " loaded, %.1f MiB resident\n",
           maxmemory, server_figure(&s, "spilled_keys", 0), server_figure(&s, "loaded_values", 0),
           (double)bed_cost(&s).rss_bytes / 1048576);
    server_stop(&s);
    return rc;
}

static int spill_run(struct bench *b, struct err *e)
{
    static double with[ROUNDS_MAX], without[ROUNDS_MAX];
    double cold_us = 0, cold_p50 = 0, warm_us = 0, warm_p50 = 0, hot, free_hot;
    char limit[32];
    /* keys and metadata of all stay; of the values' bytes a fifth may */
    size_t n = b->keys * SPILL_FACTOR;
    int rc;

    snprintf(limit, sizeof limit, "%zu", n * (KEY_BYTES + 64) + b->keys * VALUE_BYTES);
    printf("spill: %zu sessions, maxmemory %s\n", n, limit);
    rc = spill_server(b, limit, with, &cold_us, &cold_p50, e);
    if (rc == OK)
        rc = spill_server(b, "0", without, &warm_us, &warm_p50, e);
    if (rc != OK)
        return rc;
    hot = bed_median(with, b->rounds);
    free_hot = bed_median(without, b->rounds);
    bed_line(&b->bed, "GET of hot keys, CPU, without a limit", free_hot, "us", 0);
    bed_line(&b->bed, "GET of hot keys, CPU, with spilling", hot, "us", 0);
    bed_line(&b->bed, "the latter's share", hot / free_hot, "", 1.1);
    bed_line(&b->bed, "GET of keys in memory, one at a time, p50", warm_p50, "us", 0);
    bed_line(&b->bed, "GET of cold keys, one at a time, p50", cold_p50, "us", 0);
    bed_line(&b->bed, "GET of cold keys, CPU", cold_us, "us", 0);
    return OK;
}

/* ---- restart ---- */

static int restart_redis(struct bench *b, struct server *s, const char *get, double *seconds,
                         struct err *e)
{
    const char *argv[] = {
        b->bed.redis, "--port",        "%p",       "--dir",
        "%d",         "--save",        "",         "--appendonly",
        "yes",        "--appendfsync", "everysec", "--auto-aof-rewrite-percentage",
        "0",          "--daemonize",   "no",       NULL
    };
    int rc = bed_ask(s, "BGREWRITEAOF", e);

    while (rc == OK && (server_figure(s, "aof_rewrite_in_progress", 0) != 0 ||
                        server_figure(s, "aof_rewrite_scheduled", 0) != 0))
        usleep(100000);
    server_kill(s);
    return rc == OK ? server_restart(s, argv, get, seconds, e) : rc;
}

static int restart_server(struct bench *b, int server, double *seconds, struct err *e)
{
    struct server s = { 0 };
    char key[KEY_BYTES + 1], value[VALUE_BYTES + 1], get[KEY_BYTES + 16];
    int rc = bench_start(b, server, &s, e);

    if (rc != OK)
        return rc;
    bench_session(b->many / 3, key, value);
    snprintf(get, sizeof get, "GET %s", key);
    rc = bench_fill(&s, &bench_set, 0, b->many, e);
    if (rc == OK && server == BECKD)
        rc = bed_ask(&s, "BECK SEAL", e); /* and a checkpoint */
    if (rc == OK)
        rc = server == BECKD ? bed_beckd_again(&b->bed, &s, get, seconds, e)
                             : restart_redis(b, &s, get, seconds, e);
    server_stop(&s);
    return rc;
}

static int restart_run(struct bench *b, struct err *e)
{
    double seconds[2] = { 0, 0 };
    int rc;

    printf("restart: %zu sessions, from kill -9 to the first answered GET\n", b->many);
    rc = restart_server(b, BECKD, &seconds[BECKD], e);
    if (rc == OK)
        rc = restart_server(b, REDIS, &seconds[REDIS], e);
    if (rc != OK)
        return rc;
    bed_line(&b->bed, "beckd, from its checkpoint", seconds[BECKD], "s", 3);
    bed_line(&b->bed, "redis, from its rewritten AOF", seconds[REDIS], "s", 0);
    bed_line(&b->bed, "beckd's share", seconds[BECKD] / seconds[REDIS], "", 1.0 / 3);
    return OK;
}

/* ---- expire ---- */

enum { EXPIRE_SECONDS = 10 };

static uint64_t expire_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Until then, or at once if that is over. */
static void expire_wait(uint64_t at_ms)
{
    uint64_t now = expire_now_ms();

    if (now < at_ms)
        usleep((useconds_t)(at_ms - now) * 1000);
}

static int expire_server(struct bench *b, struct server *s, struct err *e)
{
    const struct bench_wish keep = { true, NULL, NULL };
    struct load_requests r = { 0 };
    struct load_result fast = { 0 }, before = { 0 }, during = { 0 };
    struct bench_wish doomed = { true, "PXAT", NULL };
    uint64_t at_ms = expire_now_ms() + 30000 + b->many / 100; /* about what filling takes */
    char at[32];
    double rate;
    int rc;

    snprintf(at, sizeof at, "%" PRIu64, at_ms);
    doomed.ttl = at;
    rc = bench_fill(s, &doomed, 0, b->many, e);
    if (rc == OK)
        rc = bench_fill(s, &keep, b->many, 1000, e);
    if (rc == OK && expire_now_ms() + 2000 > at_ms)
        rc = err_set(e, ERR_IO, "filling took longer than was planned for");
    bench_add(&r, &bench_get, b->many, 1000);
    if (rc == OK)
        rc = load_send(&s->target, CONNECTIONS, 1, &r, 0, 300000, &fast, e);
    rate = (double)fast.n / fast.seconds / 2;
    if (rc == OK)
        rc = load_rate(&s->target, CONNECTIONS, &r, 0, (size_t)(rate * EXPIRE_SECONDS), rate,
                       &before, e);
    expire_wait(at_ms - 1000);
    if (rc == OK)
        rc = load_rate(&s->target, CONNECTIONS, &r, 0, (size_t)(rate * EXPIRE_SECONDS), rate,
                       &during, e);
    load_requests_fini(&r);
    if (rc != OK)
        return rc;
    bed_line(&b->bed, "GET at half of the possible rate, a second", rate, "", 0);
    bed_line(&b->bed, "p99 before", before.p99_us, "us", 0);
    bed_line(&b->bed, "p99 while they expire", during.p99_us, "us", 0);
    bed_line(&b->bed, "the slowest then", during.max_us, "us", 0);
    bed_line(&b->bed, "the latter p99's share of the former", during.p99_us / before.p99_us, "", 3);
    bed_line(&b->bed, "keys left", (double)server_figure(s, "expired_keys", 0) - (double)b->many,
             "", 0);
    return OK;
}

static int expire_run(struct bench *b, struct err *e)
{
    struct server s = { 0 };
    int rc = bench_start(b, BECKD, &s, e);

    if (rc != OK)
        return rc;
    printf("expire: %zu keys at one second, %d connections\n", b->many, CONNECTIONS);
    rc = expire_server(b, &s, e);
    server_stop(&s);
    return rc;
}

/* ---- the command line ---- */

static const struct bench_part {
    const char *name;
    int (*run)(struct bench *b, struct err *e);
} bench_parts[] = {
    { "commands", commands_run }, { "memory", memory_run }, { "spill", spill_run },
    { "restart", restart_run },   { "expire", expire_run },
};

enum { N_PARTS = sizeof bench_parts / sizeof bench_parts[0] };

static void bench_usage(FILE *to)
{
    fputs("usage: bench_cache [--keys N] [--many N] [--rounds N]\n"
          "                   [--only commands|memory|spill|restart|expire] [--dir DIR]\n"
          "Measures the cache of beckd beside redis-server and memcached.\n"
          "DIR must be on a disk (default: build). BECKD and REDIS_SERVER name the programs.\n",
          to);
}

static void bench_parse(struct bench *b, int argc, char **argv)
{
    static const struct option options[] = {
        { "keys", 1, NULL, 'k' },   { "dir", 1, NULL, 'd' },  { "only", 1, NULL, 'o' },
        { "rounds", 1, NULL, 'r' }, { "help", 0, NULL, 'h' }, { "many", 1, NULL, 'm' },
        { NULL, 0, NULL, 0 },
    };
    size_t wanted = 0;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'k': b->keys = bed_number(&b->bed, optarg, 10000000); break;
        case 'm': b->many = bed_number(&b->bed, optarg, 100000000); break;
        case 'r': b->rounds = bed_number(&b->bed, optarg, ROUNDS_MAX); break;
        case 'd': b->bed.base = optarg; break;
        case 'o': b->bed.only = optarg; break;
        case 'h': bench_usage(stdout); exit(0);
        default: bench_usage(stderr); exit(2);
        }
    }
    for (size_t i = 0; i < N_PARTS; i++)
        wanted += bed_wants(&b->bed, bench_parts[i].name);
    if (wanted == 0) {
        bench_usage(stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    static struct bench b = { .keys = 1000000,
                              .many = 10000000,
                              .rounds = 3,
                              .bed = { .program = "bench_cache", .base = "build" } };
    struct err e = { 0 };
    int rc = OK;

    bench_parse(&b, argc, argv);
    if (!bed_find(&b.bed, "bench-cache"))
        return 2;
    printf("beckd (interval) beside redis-server (appendfsync everysec), in %s\n", b.bed.base);
    for (size_t i = 0; rc == OK && i < N_PARTS; i++)
        if (bed_wants(&b.bed, bench_parts[i].name) && bench_parts[i].run(&b, &e) != OK)
            rc = err_add(&e, "%s", bench_parts[i].name);
    if (rc != OK) {
        fprintf(stderr, "bench_cache: %s\n", e.text);
        return 1;
    }
    return b.bed.missed;
}
