/*
 * bench_groups.c - what consumer groups cost, beside Debian's redis-server in one run.
 *
 * `make bench-groups`. Parts, each with servers of its own in directories on the same disk:
 *
 *   deliver   --count flights (FLIGHTS) in one stream; a group of 1 and one of 10 consumers read and acknowledge all of it,
 *             COUNT 100: CPU of all threads an entry, and bytes of the journal an entry. In turns, --rounds times
 *   pending   --pending entries of one small field are delivered and not acknowledged: memory of each (a tenth as many in
 *             Redis); then XAUTOCLAIM and XPENDING IDLE, the slowest of 100
 *   cold      the flights are sealed and not in memory; a group of 1 and one of 50 consumers catch up
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
#include "log/bytes.h"
#include "tests/lib/bed.h"
#include "tests/lib/consume.h"
#include "tests/lib/flights.h"
#include "tests/lib/load.h"

enum { CONNECTIONS = 50, PIPELINE = 64, COUNT = 100, ROUNDS_MAX = 20, ASKED = 100 };

struct bench {
    struct bed bed;
    size_t count, pending, rounds;
    struct load_requests flights, small;
};

/* ---- servers ---- */

static const char *const bench_names[] = { "beckd", "redis" };

static int bench_start(struct bench *b, int server, struct server *s, struct err *e)
{
    return server == 0 ? bed_beckd(&b->bed, s, NULL, NULL, e) : bed_redis(&b->bed, s, e);
}

/* Bytes of the files of Redis's append-only log; what beckd has given to write(2). */
static uint64_t bench_journal(const struct server *s, int server)
{
    return server == 0 ? server_figure(s, "total_written_bytes", 1)
                       : server_figure(s, "aof_current_size", 0);
}

static int bench_append(const struct server *s, const struct load_requests *r, size_t count,
                        struct err *e)
{
    struct load_result result;

    return load_send(&s->target, CONNECTIONS, PIPELINE, r, 0, count, &result, e);
}

static int bench_group(const struct server *s, const char *group, struct err *e)
{
    char request[128];

    snprintf(request, sizeof request, "XGROUP CREATE stream %s 0", group);
    return bed_ask(s, request, e);
}

/* All of the stream through a group of `connections` consumers; CPU and journal of one entry. */
static int bench_consume(struct bench *b, const struct server *s, int server, const char *group,
                         size_t connections, double *cpu_us, double *journal, struct err *e)
{
    const struct consume q = {
        .key = "stream", .group = group, .connections = connections, .count = COUNT, .ack = true
    };
    uint64_t began, bytes, n = 0;
    int rc = bench_group(s, group, e);

    if (rc != OK)
        return rc;
    bytes = bench_journal(s, server);
    began = bed_cost(s).cpu_ns;
    rc = consume(&s->target, &q, &n, e);
    if (rc == OK && n != b->count)
        rc = err_set(e, ERR_CORRUPT, "%s: %" PRIu64 " of %zu entries", group, n, b->count);
    *cpu_us = (double)(bed_cost(s).cpu_ns - began) / 1e3 / (double)b->count;
    *journal = (double)(bench_journal(s, server) - bytes) / (double)b->count;
    return rc;
}

/* ---- deliver ---- */

struct deliver_sample {
    double cpu_us[2], journal[2]; /* of 1 and of 10 consumers */
};

static int deliver_server(struct bench *b, int server, struct deliver_sample *out, struct err *e)
{
    struct server s = { 0 };
    int rc = bench_start(b, server, &s, e);

    if (rc != OK)
        return rc;
    rc = bench_append(&s, &b->flights, b->count, e);
    if (rc == OK)
        rc = bench_consume(b, &s, server, "one", 1, &out->cpu_us[0], &out->journal[0], e);
    if (rc == OK)
        rc = bench_consume(b, &s, server, "ten", 10, &out->cpu_us[1], &out->journal[1], e);
    server_stop(&s);
    return rc;
}

static void deliver_print(struct bench *b, struct deliver_sample (*samples)[ROUNDS_MAX], int i)
{
    static const char *const who[] = { "1 consumer", "10 consumers" };
    double ratios[ROUNDS_MAX], values[ROUNDS_MAX];
    char what[96];

    for (int server = 0; server < 2; server++) {
        for (size_t r = 0; r < b->rounds; r++)
            values[r] = samples[server][r].cpu_us[i];
        snprintf(what, sizeof what, "%s: deliver and acknowledge, %s, CPU an entry",
                 bench_names[server], who[i]);
        bed_line(&b->bed, what, bed_median(values, b->rounds), "us", 0);
        for (size_t r = 0; r < b->rounds; r++)
            values[r] = samples[server][r].journal[i];
        snprintf(what, sizeof what, "%s: the same, bytes of the journal an entry",
                 bench_names[server]);
        bed_line(&b->bed, what, bed_median(values, b->rounds), "bytes", server == 0 ? 5 : 0);
    }
    for (size_t r = 0; r < b->rounds; r++)
        ratios[r] = samples[0][r].cpu_us[i] / samples[1][r].cpu_us[i];
    snprintf(what, sizeof what, "CPU, beckd's share of Redis's, %s", who[i]);
    bed_line(&b->bed, what, bed_median(ratios, b->rounds), "", 0.33);
}

static int deliver_run(struct bench *b, struct err *e)
{
    static struct deliver_sample samples[2][ROUNDS_MAX];
    int rc = OK;

    printf("deliver: %zu flights, COUNT %d, median of %zu rounds\n", b->count, COUNT, b->rounds);
    for (size_t r = 0; r < b->rounds && rc == OK; r++)
        for (size_t turn = 0; turn < 2 && rc == OK; turn++) {
            int server = (int)((r + turn) % 2);
            rc = deliver_server(b, server, &samples[server][r], e);
        }
    for (int i = 0; i < 2 && rc == OK; i++)
        deliver_print(b, samples, i);
    return rc;
}

/* ---- pending ---- */

/* The slowest of many times `request`, in milliseconds. */
static int pending_slowest(struct bench *b, const struct server *s, const char *what,
                           const char *request, double limit, struct err *e)
{
    double slowest = 0, values[ASKED];
    char line[96];
    int rc = OK;

    for (int i = 0; i < ASKED && rc == OK; i++) {
        struct timespec from, to;

        clock_gettime(CLOCK_MONOTONIC, &from);
        rc = bed_ask(s, request, e);
        clock_gettime(CLOCK_MONOTONIC, &to);
        values[i] =
            (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
        slowest = values[i] > slowest ? values[i] : slowest;
    }
    if (rc != OK)
        return rc;
    snprintf(line, sizeof line, "%s, median of %d with its connection", what, ASKED);
    bed_line(&b->bed, line, bed_median(values, ASKED), "ms", limit);
    snprintf(line, sizeof line, "%s, slowest of them", what);
    bed_line(&b->bed, line, slowest, "ms", 0);
    return OK;
}

static int pending_asks(struct bench *b, const struct server *s, int server, struct err *e)
{
    char what[96];
    int rc;

    snprintf(what, sizeof what, "%s: XPENDING IDLE that matches nothing", bench_names[server]);
    rc = pending_slowest(b, s, what, "XPENDING stream g IDLE 999999999 - + 100",
                         server == 0 ? 1 : 0, e);
    snprintf(what, sizeof what, "%s: XAUTOCLAIM COUNT 100, nothing idle", bench_names[server]);
    if (rc == OK)
        rc = pending_slowest(b, s, what, "XAUTOCLAIM stream g other 999999999 0 COUNT 100",
                             server == 0 ? 1 : 0, e);
    snprintf(what, sizeof what, "%s: XAUTOCLAIM COUNT 100 JUSTID", bench_names[server]);
    if (rc == OK)
        rc = pending_slowest(b, s, what, "XAUTOCLAIM stream g other 0 0 COUNT 100 JUSTID",
                             server == 0 ? 1 : 0, e);
    snprintf(what, sizeof what, "%s: XAUTOCLAIM COUNT 100", bench_names[server]);
    if (rc == OK)
        rc = pending_slowest(b, s, what, "XAUTOCLAIM stream g other 0 0 COUNT 100",
                             server == 0 ? 1 : 0, e);
    return rc;
}

static int pending_restart(struct bench *b, struct server *s, struct err *e)
{
    double seconds = 0;
    int rc = bed_ask(s, "BECK SEAL", e); /* and a checkpoint */

    if (rc == OK)
        rc = bed_beckd_again(&b->bed, s, "PING", &seconds, e);
    if (rc == OK)
        bed_line(&b->bed, "beckd: from kill -9 to the first answer, with them", seconds, "s", 0);
    return rc;
}

static int pending_server(struct bench *b, int server, size_t n, struct err *e)
{
    struct consume q = { .key = "stream", .group = "warm", .connections = 10, .count = COUNT };
    struct server s = { 0 };
    uint64_t before, got = 0;
    char what[96];
    int rc = bench_start(b, server, &s, e);

    if (rc != OK)
        return rc;
    rc = bench_append(&s, &b->small, n, e);
    if (rc == OK)
        rc = bench_group(&s, "warm", e);
    q.ack = true;
    if (rc == OK)
        rc = consume(&s.target, &q, &got, e); /* buffers and caches have their size then */
    if (rc == OK)
        rc = bench_group(&s, "g", e);
    before = bed_cost(&s).rss_bytes;
    q.group = "g";
    q.ack = false;
    if (rc == OK)
        rc = consume(&s.target, &q, &got, e);
    if (rc == OK) {
        snprintf(what, sizeof what, "%s: memory of each of %" PRIu64 " pending entries",
                 bench_names[server], got);
        bed_line(&b->bed, what, (double)(bed_cost(&s).rss_bytes - before) / (double)got, "bytes",
                 server == 0 ? 20 : 0);
        rc = pending_asks(b, &s, server, e);
    }
    if (rc == OK && server == 0)
        rc = pending_restart(b, &s, e);
    server_stop(&s);
    return rc;
}

static int pending_run(struct bench *b, struct err *e)
{
    int rc;

    printf("pending: %zu entries, in Redis %zu\n", b->pending, b->pending / 10);
    rc = pending_server(b, 0, b->pending, e);
    return rc == OK ? pending_server(b, 1, b->pending / 10, e) : rc;
}

/* ---- cold ---- */

static int cold_consume(struct bench *b, struct server *s, size_t connections, double *cpu_us,
                        struct err *e)
{
    char group[32], what[96];
    double seconds, journal;
    int rc = bed_beckd_again(&b->bed, s, "PING", &seconds, e);

    if (rc != OK)
        return rc;
    snprintf(group, sizeof group, "of-%zu", connections);
    rc = bench_consume(b, s, 0, group, connections, cpu_us, &journal, e);
    if (rc != OK)
        return rc;
    snprintf(what, sizeof what, "beckd: %zu consumers catch up, cold, CPU an entry", connections);
    bed_line(&b->bed, what, *cpu_us, "us", 0);
    return OK;
}

static int cold_run(struct bench *b, struct err *e)
{
    struct server s = { 0 };
    double one = 0, fifty = 0;
    int rc = bench_start(b, 0, &s, e);

    if (rc != OK)
        return rc;
    printf("cold: %zu flights, sealed\n", b->count);
    rc = bench_append(&s, &b->flights, b->count, e);
    if (rc == OK)
        rc = bed_ask(&s, "BECK SEAL", e);
    if (rc == OK)
        rc = cold_consume(b, &s, 1, &one, e);
    if (rc == OK)
        rc = cold_consume(b, &s, 50, &fifty, e);
    if (rc == OK) {
        bed_line(&b->bed, "CPU, 50 consumers' share of one's", fifty / one, "", 1.2);
        bed_line(&b->bed, "beckd: reads on the engine's thread",
                 (double)server_figure(&s, "sync_reads", 1), "", 0);
    }
    server_stop(&s);
    return rc;
}

/* ---- the command line ---- */

static const struct bench_part {
    const char *name;
    int (*run)(struct bench *b, struct err *e);
    bool flights;
} bench_parts[] = {
    { "deliver", deliver_run, true },
    { "pending", pending_run, false },
    { "cold", cold_run, true },
};

enum { N_PARTS = sizeof bench_parts / sizeof bench_parts[0] };

static void bench_usage(FILE *to)
{
    fputs(
        "usage: bench_groups [--count N] [--pending N] [--rounds N] [--only deliver|pending|cold]\n"
        "                    [--dir DIR]\n"
        "Measures consumer groups in beckd and in redis-server.\n"
        "DIR must be on a disk (default: build). BECKD and REDIS_SERVER name the programs.\n",
        to);
}

static void bench_parse(struct bench *b, int argc, char **argv)
{
    static const struct option options[] = {
        { "count", 1, NULL, 'n' },  { "dir", 1, NULL, 'd' },  { "only", 1, NULL, 'o' },
        { "rounds", 1, NULL, 'r' }, { "help", 0, NULL, 'h' }, { "pending", 1, NULL, 'p' },
        { NULL, 0, NULL, 0 },
    };
    size_t wanted = 0;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'n': b->count = bed_number(&b->bed, optarg, 100000000); break;
        case 'p': b->pending = bed_number(&b->bed, optarg, 100000000); break;
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

static void bench_add_flight(void *ctx, const struct slice *strings, size_t n_strings)
{
    struct slice argv[3 + FLIGHT_STRINGS_MAX] = { slice_str("XADD"), slice_str("stream"),
                                                  slice_str("*") };

    memcpy(argv + 3, strings, n_strings * sizeof *strings);
    load_add(ctx, argv, 3 + n_strings);
}

static void bench_add_small(struct bench *b)
{
    const struct slice argv[] = { slice_str("XADD"), slice_str("stream"), slice_str("*"),
                                  slice_str("n"), slice_str("1") };

    for (int i = 0; i < 1000; i++)
        load_add(&b->small, argv, sizeof argv / sizeof argv[0]);
}

static int bench_run(struct bench *b, struct err *e)
{
    bool flights = false;
    int rc = OK;

    for (size_t i = 0; i < N_PARTS; i++)
        flights |= bench_parts[i].flights && bed_wants(&b->bed, bench_parts[i].name);
    if (flights)
        rc = flights_each(b->count, bench_add_flight, &b->flights, e);
    for (size_t i = 0; rc == OK && i < N_PARTS; i++)
        if (bed_wants(&b->bed, bench_parts[i].name) && bench_parts[i].run(b, e) != OK)
            rc = err_add(e, "%s", bench_parts[i].name);
    return rc;
}

int main(int argc, char **argv)
{
    static struct bench b = { .count = 3000000,
                              .pending = 10000000,
                              .rounds = 3,
                              .bed = { .program = "bench_groups", .base = "build" } };
    struct err e = { 0 };
    int rc;

    bench_parse(&b, argc, argv);
    if (!bed_find(&b.bed, "bench-groups"))
        return 2;
    printf("beckd (interval) beside redis-server (appendfsync everysec), in %s\n", b.bed.base);
    bench_add_small(&b);
    rc = bench_run(&b, &e);
    load_requests_fini(&b.flights);
    load_requests_fini(&b.small);
    if (rc != OK) {
        fprintf(stderr, "bench_groups: %s\n", e.text);
        return 1;
    }
    return b.bed.missed;
}
