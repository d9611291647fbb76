/*
 * bench_append.c - appends and replays of flights, beckd beside Debian's redis-server, in one run.
 *
 * Each round starts each server anew, in turns that change from round to round, in a directory on the same
 * disk, and gives it the same loads from the same generator (lib/load.c): XADD at 64, 16 and 1 requests under
 * way on each of 50 connections, and reading the stream back by XRANGE COUNT 1000. `interval` runs against
 * `appendfsync everysec`, `always` against `appendfsync always`. What a server spends is the CPU time of all
 * its threads between the start and the end of a load. What is printed are medians over the rounds, with the
 * lowest and highest behind them; ratios are those of one round's neighbours.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include "log/bytes.h"
#include "tests/lib/flights.h"
#include "tests/lib/load.h"
#include "tests/lib/server.h"

enum { ROUNDS_MAX = 50, N_SERVERS = 2, N_LOADS = 7, TMPFS = 0x01021994 };

enum measure { BENCH_CPU, BENCH_THROUGHPUT };

static const struct bench_load {
    const char *name, *class, *redis;
    size_t pipeline; /* 0: a replay */
    double share;    /* of --count */
    enum measure measure;
    double target; /* the ratio to Redis: CPU at most, throughput at least; 0: none is set */
} bench_loads[N_LOADS] = {
    { "append, pipeline 64", "interval", "everysec", 64, 1, BENCH_CPU,
      0.33 }, /* sealing included */
    { "append, pipeline 16", "interval", "everysec", 16, 1, BENCH_CPU, 0 },
    { "append, unpipelined", "interval", "everysec", 1, 0.5, BENCH_CPU, 1.0 },
    { "replay, XRANGE COUNT 1000", "interval", "everysec", 0, 0, BENCH_CPU, 0.5 },
    { "append, pipeline 64", "always", "always", 64, 1, BENCH_THROUGHPUT, 3 },
    { "append, pipeline 16", "always", "always", 16, 0.5, BENCH_THROUGHPUT, 1.8 },
    { "append, unpipelined", "always", "always", 1, 0.2, BENCH_THROUGHPUT, 1.0 },
};

struct bench_sample {
    double per_s, cpu_us, p50_us, p99_us, bytes_per_s;
    double n_syncs, per_sync, sync_us;
};

struct bench {
    size_t rounds, count, connections, replay_connections;
    const char *only, *base, *program[N_SERVERS], *preload;
    int unix_socket;
    struct load_requests requests;
    struct bench_sample samples[N_LOADS][N_SERVERS][ROUNDS_MAX];
    uint64_t peak_bytes[N_SERVERS];
};

static const char *const bench_server_name[N_SERVERS] = { "beckd", "redis" };

static void bench_add_flight(void *ctx, const struct slice *strings, size_t n_strings)
{
    struct slice argv[3 + FLIGHT_STRINGS_MAX] = { slice_str("XADD"), slice_str("flights"),
                                                  slice_str("*") };

    memcpy(argv + 3, strings, n_strings * sizeof *strings);
    load_add(ctx, argv, 3 + n_strings);
}

static int bench_start(struct bench *b, int server, const char *class, const char *redis,
                       struct server *s, struct err *e)
{
    const char *beckd_argv[] = { b->program[0], "--port", "%p", "--unixsocket",
                                 "%s",          "--dir",  "%d", "--stream-durability",
                                 class,         NULL };
    const char *redis_argv[] = { b->program[1],
                                 "--port",
                                 "%p",
                                 "--unixsocket",
                                 "%s",
                                 "--dir",
                                 "%d",
                                 "--save",
                                 "",
                                 "--appendonly",
                                 "yes",
                                 "--appendfsync",
                                 redis,
                                 "--auto-aof-rewrite-percentage",
                                 "0",
                                 "--daemonize",
                                 "no",
                                 NULL };

    return server_start(s, server == 0 ? beckd_argv : redis_argv, b->base, b->preload,
                        b->unix_socket, e);
}

/* Runs one load against a running server and keeps what it cost. */
static int bench_one(struct bench *b, const struct bench_load *load, const struct server *s,
                     struct bench_sample *out, struct err *e)
{
    struct load_result r, warm;
    struct server_cost before, after;
    size_t count = (size_t)((double)b->count * load->share), warm_up = count / 50;
    int rc = OK;

    if (load->pipeline > 0)
        rc = load_send(&s->target, b->connections, load->pipeline, &b->requests, 0, warm_up, &warm,
                       e);
    if (rc != OK)
        return rc;
    server_cost(s, &before);
    rc = load->pipeline > 0
             ? load_send(&s->target, b->connections, load->pipeline, &b->requests, warm_up, count,
                         &r, e)
             : load_replay(&s->target, b->replay_connections, "flights", 1000, &r, e);
    if (rc != OK)
        return rc;
    server_cost(s, &after);
    out->per_s = (double)r.n / r.seconds;
    out->bytes_per_s = (double)r.bytes / r.seconds;
    out->cpu_us = (double)(after.cpu_ns - before.cpu_ns) / 1e3 / (double)r.n;
    out->p50_us = r.p50_us;
    out->p99_us = r.p99_us;
    out->n_syncs = (double)(after.n_syncs - before.n_syncs);
    out->per_sync = out->n_syncs > 0 ? (double)r.n / out->n_syncs : 0;
    out->sync_us =
        out->n_syncs > 0 ? (double)(after.sync_ns - before.sync_ns) / 1e3 / out->n_syncs : 0;
    return OK;
}

/* One server through all loads of one class. */
static int bench_class(struct bench *b, int server, size_t first, size_t end, size_t round,
                       struct err *e)
{
    struct server s = { 0 };
    struct server_cost cost;
    int rc = bench_start(b, server, bench_loads[first].class, bench_loads[first].redis, &s, e);

    if (rc != OK)
        return rc;
    for (size_t i = first; rc == OK && i < end; i++)
        rc = bench_one(b, &bench_loads[i], &s, &b->samples[i][server][round], e);
    server_cost(&s, &cost);
    if (cost.peak_bytes > b->peak_bytes[server])
        b->peak_bytes[server] = cost.peak_bytes;
    if (!server_stop(&s) && rc == OK)
        rc = err_set(e, ERR_IO, "%s did not end with status 0", bench_server_name[server]);
    return rc;
}

static bool bench_wants(const struct bench *b, int server)
{
    return b->only == NULL || strcmp(b->only, bench_server_name[server]) == 0;
}

static int bench_rounds(struct bench *b, struct err *e)
{
    for (size_t round = 0; round < b->rounds; round++)
        for (size_t first = 0, end; first < N_LOADS; first = end) {
            for (end = first; end < N_LOADS && bench_loads[end].class == bench_loads[first].class;
                 end++)
                ;
            for (int turn = 0; turn < N_SERVERS; turn++) {
                int server = (int)((round + (size_t)turn) % N_SERVERS), rc = OK;
                if (bench_wants(b, server))
                    rc = bench_class(b, server, first, end, round, e);
                if (rc != OK)
                    return err_add(e, "%s, round %zu, %s", bench_server_name[server], round + 1,
                                   bench_loads[first].class);
            }
        }
    return OK;
}

/* ---- what is printed ---- */

static int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

struct bench_spread {
    double median, low, high;
};

static struct bench_spread bench_spread(const double *values, size_t n)
{
    double sorted[ROUNDS_MAX];

    memcpy(sorted, values, n * sizeof *values);
    qsort(sorted, n, sizeof *sorted, bench_compare);
    return (struct bench_spread){ n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2,
                                  sorted[0], sorted[n - 1] };
}

/* The spread of one member of all rounds' samples. */
static struct bench_spread bench_of(const struct bench *b, size_t load, int server, size_t offset)
{
    double values[ROUNDS_MAX];

    for (size_t i = 0; i < b->rounds; i++)
        memcpy(&values[i], (const char *)&b->samples[load][server][i] + offset, sizeof values[i]);
    return bench_spread(values, b->rounds);
}

static void bench_print_server(const struct bench *b, size_t load, int server)
{
    struct bench_spread rate = bench_of(b, load, server, offsetof(struct bench_sample, per_s));
    struct bench_spread cpu = bench_of(b, load, server, offsetof(struct bench_sample, cpu_us));
    struct bench_spread p50 = bench_of(b, load, server, offsetof(struct bench_sample, p50_us));
    struct bench_spread p99 = bench_of(b, load, server, offsetof(struct bench_sample, p99_us));
    struct bench_spread bytes =
        bench_of(b, load, server, offsetof(struct bench_sample, bytes_per_s));
    struct bench_spread syncs = bench_of(b, load, server, offsetof(struct bench_sample, n_syncs));
    struct bench_spread per = bench_of(b, load, server, offsetof(struct bench_sample, per_sync));
    struct bench_spread us = bench_of(b, load, server, offsetof(struct bench_sample, sync_us));

    printf("    %-6s %9.0f/s [%.0f..%.0f]  %6.1f MB/s  CPU %6.3f us [%.3f..%.3f]  p50 %.2f ms  p99 "
           "%.2f ms\n",
           bench_server_name[server], rate.median, rate.low, rate.high, bytes.median / 1e6,
           cpu.median, cpu.low, cpu.high, p50.median / 1e3, p99.median / 1e3);
    if (bench_loads[load].measure == BENCH_THROUGHPUT)
        printf("           %9.0f fsyncs, %.1f operations each, %.0f us each\n", syncs.median,
               per.median, us.median);
}

static void bench_print_ratio(const struct bench *b, size_t load)
{
    const struct bench_load *l = &bench_loads[load];
    bool cpu = l->measure == BENCH_CPU;
    double ratios[ROUNDS_MAX];
    struct bench_spread r;

    for (size_t i = 0; i < b->rounds; i++) {
        const struct bench_sample *beckd = &b->samples[load][0][i],
                                  *redis = &b->samples[load][1][i];
        ratios[i] = cpu ? beckd->cpu_us / redis->cpu_us : beckd->per_s / redis->per_s;
    }
    r = bench_spread(ratios, b->rounds);
    printf("    ratio of %s %.3f [%.3f..%.3f]", cpu ? "CPU" : "throughput", r.median, r.low,
           r.high);
    if (l->target > 0)
        printf("   target %s %.2f: %s", cpu ? "at most" : "at least", l->target,
               (cpu ? r.median <= l->target : r.median >= l->target) ? "met" : "MISSED");
    printf("\n");
}

static void bench_print(const struct bench *b)
{
    for (size_t i = 0; i < N_LOADS; i++) {
        const struct bench_load *l = &bench_loads[i];
        printf("%s (%s, appendfsync %s), %zu connections\n", l->name, l->class, l->redis,
               l->pipeline ? b->connections : b->replay_connections);
        for (int server = 0; server < N_SERVERS; server++)
            if (bench_wants(b, server))
                bench_print_server(b, i, server);
        if (b->only == NULL)
            bench_print_ratio(b, i);
    }
    for (int server = 0; server < N_SERVERS; server++)
        if (bench_wants(b, server))
            printf("%s: peak memory %.1f MiB\n", bench_server_name[server],
                   (double)b->peak_bytes[server] / 1048576);
}

/* ---- the command line ---- */

static void bench_usage(void)
{
    puts("usage: bench_append [--rounds N] [--count N] [--connections N] [--replay-connections N]\n"
         "                    [--only beckd|redis] [--dir DIR] [--unix]\n"
         "Appends flights to beckd and to redis-server and reads them back; compares what both "
         "spend.\n"
         "DIR must be on a disk (default: build). BECKD and REDIS_SERVER name the programs.");
}

static size_t bench_number(const char *text, size_t low, size_t high)
{
    char *end;
    unsigned long long v = strtoull(text, &end, 10);

    if (*end != 0 || v < low || v > high) {
        fprintf(stderr, "bench_append: %s is not a number of %zu..%zu\n", text, low, high);
        exit(2);
    }
    return (size_t)v;
}

static void bench_parse(struct bench *b, int argc, char **argv)
{
    static const struct option options[] = {
        { "rounds", 1, NULL, 'r' },
        { "count", 1, NULL, 'n' },
        { "connections", 1, NULL, 'c' },
        { "dir", 1, NULL, 'd' },
        { "only", 1, NULL, 'o' },
        { "replay-connections", 1, NULL, 'R' },
        { "unix", 0, NULL, 'u' },
        { "help", 0, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'r': b->rounds = bench_number(optarg, 1, ROUNDS_MAX); break;
        case 'n': b->count = bench_number(optarg, 1000, 100000000); break;
        case 'c': b->connections = bench_number(optarg, 1, LOAD_CONNECTIONS_MAX); break;
        case 'R': b->replay_connections = bench_number(optarg, 1, LOAD_CONNECTIONS_MAX); break;
        case 'd': b->base = optarg; break;
        case 'o': b->only = optarg; break;
        case 'u': b->unix_socket = 1; break;
        case 'h': bench_usage(); exit(0);
        default: bench_usage(); exit(2);
        }
    }
    if (b->only != NULL && !bench_wants(b, 0) && !bench_wants(b, 1)) {
        fprintf(stderr, "bench_append: --only takes beckd or redis\n");
        exit(2);
    }
}

static const char *bench_env(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value && *value ? value : otherwise;
}

int main(int argc, char **argv)
{
    static struct bench b = {
        .rounds = 3, .count = 300000, .connections = 50, .replay_connections = 4
    };
    struct statfs fs;
    struct err e = { 0 };
    char shim[PATH_MAX], *preload;

    b.base = "build";
    b.program[0] = bench_env("BECKD", "build/beckd");
    b.program[1] = realpath(bench_env("REDIS_SERVER", "build/redis-server"), NULL)
                       ? bench_env("REDIS_SERVER", "build/redis-server")
                       : "redis-server";
    bench_parse(&b, argc, argv);
    b.base = realpath(b.base, NULL);
    snprintf(shim, sizeof shim, "%s/tests/preload_syncs.so", bench_env("BUILD", "build"));
    preload = realpath(shim, NULL);
    if (b.base == NULL || statfs(b.base, &fs) != 0 || preload == NULL) {
        fprintf(stderr,
                "bench_append: run it by `make bench-append`: --dir or build/tests is not there\n");
        return 2;
    }
    if (fs.f_type == TMPFS)
        fprintf(stderr, "bench_append: %s is in memory, so what fsync costs is not seen\n", b.base);
    b.preload = preload;
    printf("%zu rounds of %zu flights (half unpipelined; of `always` half at 16, a fifth "
           "unpipelined), %zu "
           "connections, %s, in %s\n",
           b.rounds, b.count, b.connections, b.unix_socket ? "Unix socket" : "TCP over loopback",
           b.base);
    if (flights_each(b.count < 1000000 ? b.count : 1000000, bench_add_flight, &b.requests, &e) !=
            OK ||
        bench_rounds(&b, &e) != OK) {
        fprintf(stderr, "bench_append: %s\n", e.text);
        return 1;
    }
    bench_print(&b);
    load_requests_fini(&b.requests);
    return 0;
}
