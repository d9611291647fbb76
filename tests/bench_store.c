/*
 * bench_store.c - what the log promises for data larger than memory, beside Debian's redis-server in one run.
 *
 * `make bench-log`. Parts, each with servers of its own in directories on the same disk:
 *
 *   flights   --count flights (FLIGHTS) into one stream over 50 connections, 64 under way on each, class
 *             `interval` beside `appendfsync everysec`; then BECK SEAL, a kill, a restart, BECK MERGE, a replay
 *             with a cold cache. CPU is that of all threads, sealing included. Redis' size is that of a fresh RDB base.
 *   long      four times as many: memory and restart must not grow
 *   latency   XADD at a fixed rate of half the measured maximum, in turns with an arena so large that nothing is sealed,
 *             and with one of 1 MiB and BECK MERGE again and again
 *   streams   --streams streams of three entries: memory of each once sealed, restart
 *   large     --large-mib MiB of random values of 1 KiB under RLIMIT_DATA of 256 MiB: appends, replay, random reads,
 *             compared byte for byte; resident memory is looked at after every 1,024 requests and must stay below it
 *
 * A line says what was measured, and what it is to be; the exit status is 1 if something was missed.
 */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "log/bytes.h"
#include "tests/lib/bed.h"
#include "tests/lib/flights.h"
#include "tests/lib/load.h"
#include "tests/lib/random.h"

enum {
    CONNECTIONS = 50,
    PIPELINE = 64,
    VALUE_BYTES = 1024,
    LARGE_LIMIT = 256 << 20,
    READ_COUNT = 10,
    LATENCY_ROUNDS = 3,
    MIB = 1 << 20
};

struct bench {
    struct bed bed;
    size_t count, streams, large_mib;
    struct load_requests requests;
    uint64_t logical_bytes; /* of the names and values of all flights */
};

static double bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* CPU of all threads since `since`, in microseconds for each of n. */
static double bench_cpu_us(const struct server *s, uint64_t since_ns, double n)
{
    return (double)(bed_cost(s).cpu_ns - since_ns) / 1e3 / n;
}

static double bench_mib(uint64_t bytes)
{
    return (double)bytes / MIB;
}

static void bench_peak(struct bench *b, const struct server *s, const char *what, double limit)
{
    bed_line(&b->bed, what, bench_mib(bed_cost(s).peak_bytes), "MiB", limit);
}

/* ---- flights ---- */

static int bench_append(const struct bench *b, const struct server *s, size_t count,
                        struct load_result *r, struct err *e)
{
    return load_send(&s->target, CONNECTIONS, PIPELINE, &b->requests, 0, count, r, e);
}

/* Appends to beckd and seals; *cpu is what one event cost. */
static int flights_append(struct bench *b, struct server *s, double *cpu, struct err *e)
{
    struct load_result r;
    uint64_t began = bed_cost(s).cpu_ns;
    int rc = bench_append(b, s, b->count, &r, e);

    if (rc != OK)
        return rc;
    bed_line(&b->bed, "beckd: XADD a second, while sealing", (double)r.n / r.seconds / 1e3, "k/s",
             0);
    rc = bed_ask(s, "BECK SEAL", e);
    *cpu = bench_cpu_us(s, began, (double)b->count);
    return rc;
}

static void flights_figures(struct bench *b, const struct server *s, const char *when)
{
    char what[96];
    uint64_t written = server_figure(s, "total_written_bytes", 1);

    snprintf(what, sizeof what, "beckd: bytes of segments an event, %s", when);
    bed_line(&b->bed, what, (double)server_figure(s, "segment_bytes", 1) / (double)b->count,
             "bytes", strcmp(when, "merged") == 0 ? 8 : 0);
    snprintf(what, sizeof what, "beckd: segments, %s", when);
    bed_line(&b->bed, what, (double)server_figure(s, "segments", 1), "files", 0);
    snprintf(what, sizeof what, "beckd: written bytes a byte of names and values, %s", when);
    bed_line(&b->bed, what, (double)written / (double)b->logical_bytes, "",
             strcmp(when, "merged") == 0 ? 1.6 : 0);
}

static int flights_replay(const struct server *s, double *cpu, uint64_t want, struct err *e)
{
    struct load_result r;
    uint64_t began = bed_cost(s).cpu_ns;
    int rc = load_replay(&s->target, 1, "flights", 1000, &r, e);

    if (rc == OK && r.n != want)
        rc = err_set(e, ERR_CORRUPT, "the replay gave %" PRIu64 " of %" PRIu64 " entries", r.n,
                     want);
    if (rc == OK)
        *cpu = bench_cpu_us(s, began, (double)r.n);
    return rc;
}

struct flights_cost {
    double append_us, replay_us;
};

static int flights_redis(struct bench *b, struct flights_cost *cost, struct err *e)
{
    struct server s = { 0 };
    struct load_result r;
    uint64_t began;
    int rc = bed_redis(&b->bed, &s, e);

    if (rc != OK)
        return rc;
    began = bed_cost(&s).cpu_ns;
    rc = bench_append(b, &s, b->count, &r, e);
    cost->append_us = bench_cpu_us(&s, began, (double)b->count);
    if (rc == OK)
        rc = flights_replay(&s, &cost->replay_us, b->count, e);
    if (rc == OK) {
        bed_line(&b->bed, "redis: XADD a second", (double)r.n / r.seconds / 1e3, "k/s", 0);
        bench_peak(b, &s, "redis: peak memory", 0);
        rc = bed_ask(&s, "SAVE", e);
    }
    if (rc == OK) {
        char path[700];
        struct stat st;
        snprintf(path, sizeof path, "%s/data/dump.rdb", s.dir);
        if (stat(path, &st) == 0)
            bed_line(&b->bed, "redis: bytes an event of a fresh RDB",
                     (double)st.st_size / (double)b->count, "bytes", 0);
    }
    server_stop(&s);
    return rc;
}

/* Restarts right after appends, with as much unsealed as there can be. */
static int flights_kill(struct bench *b, struct server *s, const char *what, struct err *e)
{
    struct load_result r;
    double seconds;
    int rc = bench_append(b, s, 700000, &r, e);

    if (rc == OK)
        rc = bed_beckd_again(&b->bed, s, "XLEN flights", &seconds, e);
    if (rc == OK)
        bed_line(&b->bed, what, seconds, "s", 0.3);
    return rc;
}

static int flights_beckd(struct bench *b, struct flights_cost *cost, struct err *e)
{
    struct server s = { 0 };
    uint64_t extra = 700000;
    double seconds;
    int rc = bed_beckd(&b->bed, &s, NULL, NULL, e);

    if (rc == OK)
        rc = flights_append(b, &s, &cost->append_us, e);
    if (rc == OK)
        bench_peak(b, &s, "beckd: peak memory, sealing", 96);
    if (rc == OK) {
        flights_figures(b, &s, "sealed");
        rc = bed_ask(&s, "BECK MERGE", e);
    }
    if (rc == OK) {
        flights_figures(b, &s, "merged");
        bench_peak(b, &s, "beckd: peak memory, merging too", 96);
        rc = bed_beckd_again(&b->bed, &s, "XLEN flights", &seconds, e); /* the cache is cold */
    }
    if (rc == OK)
        rc = flights_replay(&s, &cost->replay_us, b->count, e);
    if (rc == OK) {
        bench_peak(b, &s, "beckd: peak memory, replaying", 96);
        rc = flights_kill(b, &s, "beckd: restart after kill -9 to the first XLEN", e);
    }
    if (rc == OK) {
        double cpu;
        rc = flights_replay(&s, &cpu, b->count + extra, e);
    }
    server_stop(&s);
    return rc;
}

static int bench_flights(struct bench *b, struct err *e)
{
    struct flights_cost beckd = { 0 }, redis = { 0 };
    int rc;

    printf("flights: %zu, %.1f bytes of names and values each\n", b->count,
           (double)b->logical_bytes / (double)b->count);
    rc = flights_redis(b, &redis, e);
    if (rc == OK)
        rc = flights_beckd(b, &beckd, e);
    if (rc != OK)
        return rc;
    bed_line(&b->bed, "redis: CPU an XADD", redis.append_us, "us", 0);
    bed_line(&b->bed, "beckd: CPU an XADD, sealing included", beckd.append_us, "us", 0);
    bed_line(&b->bed, "ratio", beckd.append_us / redis.append_us, "", 0.33);
    bed_line(&b->bed, "redis: CPU a replayed entry, from memory", redis.replay_us, "us", 0);
    bed_line(&b->bed, "beckd: CPU a replayed entry, from cold blocks", beckd.replay_us, "us", 0);
    bed_line(&b->bed, "ratio", beckd.replay_us / redis.replay_us, "", 1.0);
    return OK;
}

static int bench_long(struct bench *b, struct err *e)
{
    struct server s = { 0 };
    struct load_result r;
    int rc;

    printf("long: %zu flights\n", 4 * b->count);
    rc = bed_beckd(&b->bed, &s, NULL, NULL, e);
    if (rc == OK)
        rc = bench_append(b, &s, 4 * b->count, &r, e);
    if (rc == OK) {
        bench_peak(b, &s, "beckd: peak memory", 96);
        rc = flights_kill(b, &s, "beckd: restart after kill -9 to the first XLEN", e);
    }
    server_stop(&s);
    return rc;
}

/* ---- latency ---- */

struct latency_merger {
    const struct server *s;
    atomic_bool stop;
    size_t n;
};

static void *latency_merge(void *arg)
{
    struct latency_merger *m = arg;
    struct err e;

    while (!atomic_load(&m->stop) && bed_ask(m->s, "BECK MERGE", &e) == OK)
        m->n++;
    return NULL;
}

static int latency_one(struct bench *b, const char *arena, bool merge, double per_s,
                       struct load_result *r, struct err *e)
{
    struct server s = { 0 };
    struct load_result before;
    struct latency_merger m = { .s = &s };
    pthread_t thread;
    size_t n = b->count / 3;
    int rc = bed_beckd(&b->bed, &s, "--arena-bytes", arena, e);

    if (rc == OK)
        rc = bench_append(b, &s, n, &before, e);
    if (rc == OK && per_s == 0)
        rc = load_send(&s.target, CONNECTIONS, 1, &b->requests, 0, n / 2, r, e);
    else if (rc == OK) {
        bool running = merge && pthread_create(&thread, NULL, latency_merge, &m) == 0;
        rc = load_rate(&s.target, CONNECTIONS, &b->requests, 0, n, per_s, r, e);
        atomic_store(&m.stop, true);
        if (running)
            pthread_join(thread, NULL);
    }
    if (rc == OK && merge)
        printf("  %zu merges and %" PRIu64 " seals meanwhile\n", m.n,
               server_figure(&s, "seals", 1));
    server_stop(&s);
    return rc;
}

/* The middle one; the lowest and the highest are printed with it. */
static double latency_line(struct bench *b, const char *what, double values[LATENCY_ROUNDS])
{
    double median = bed_median(values, LATENCY_ROUNDS);
    char text[96];

    snprintf(text, sizeof text, "%s [%.2f..%.2f]", what, values[0], values[LATENCY_ROUNDS - 1]);
    bed_line(&b->bed, text, median, "ms", 0);
    return median;
}

static int bench_latency(struct bench *b, struct err *e)
{
    double without[LATENCY_ROUNDS], with[LATENCY_ROUNDS], max[LATENCY_ROUNDS], per_s, p99;
    struct load_result r;
    int rc;

    printf("latency: XADD, %d connections, unpipelined, medians of %d rounds\n", CONNECTIONS,
           LATENCY_ROUNDS);
    rc = latency_one(b, "1gb", false, 0, &r, e);
    if (rc != OK)
        return rc;
    per_s = (double)r.n / r.seconds / 2;
    bed_line(&b->bed, "half of the measured maximum", per_s / 1e3, "k/s", 0);
    for (size_t i = 0; i < LATENCY_ROUNDS; i++) {
        rc = latency_one(b, "1gb", false, per_s, &r, e);
        without[i] = r.p99_us / 1e3;
        if (rc == OK)
            rc = latency_one(b, "1mb", true, per_s, &r, e);
        if (rc != OK)
            return rc;
        with[i] = r.p99_us / 1e3;
        max[i] = r.max_us / 1e3;
    }
    p99 = latency_line(b, "p99 without sealing", without);
    p99 = latency_line(b, "p99 while sealing and merging", with) / p99;
    bed_line(&b->bed, "ratio", p99, "", 3);
    latency_line(b, "maximum while sealing and merging", max);
    return OK;
}

/* ---- many streams ---- */

static void streams_make(struct load_requests *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char key[32], value[32];
        struct slice argv[] = {
            slice_str("XADD"), { NULL, 0 }, slice_str("*"), slice_str("value"), { NULL, 0 }
        };
        snprintf(key, sizeof key, "stream:%zu", i);
        snprintf(value, sizeof value, "%zu", i * 7919 % 1000003);
        argv[1] = slice_str(key);
        argv[4] = slice_str(value);
        load_add(r, argv, 5);
    }
}

static int bench_streams(struct bench *b, struct err *e)
{
    struct load_requests r = { 0 };
    struct server s = { 0 };
    struct server_cost empty, full;
    struct load_result sent;
    double seconds;
    int rc;

    printf("streams: %zu of 3 entries\n", b->streams);
    streams_make(&r, b->streams);
    rc = bed_beckd(&b->bed, &s, NULL, NULL, e);
    if (rc == OK)
        rc = bed_ask(&s, "BECK SEAL", e);
    server_cost(&s, &empty);
    if (rc == OK)
        rc = load_send(&s.target, CONNECTIONS, PIPELINE, &r, 0, 3 * b->streams, &sent, e);
    load_requests_fini(&r);
    if (rc == OK)
        rc = bed_ask(&s, "BECK SEAL", e);
    if (rc == OK) {
        server_cost(&s, &full);
        bed_line(&b->bed, "memory a stream, sealed",
                 (double)(full.rss_bytes - empty.rss_bytes) / (double)b->streams, "bytes", 250);
        rc = bed_beckd_again(&b->bed, &s, "XLEN stream:0", &seconds, e);
    }
    if (rc == OK)
        bed_line(&b->bed, "restart after kill -9 to the first XLEN", seconds, "s", 5);
    server_stop(&s);
    return rc;
}

/* ---- larger than memory ---- */

/* The value of entry k: bytes that no compressor makes smaller, the same for the same k. */
static void large_value(uint64_t k, uint8_t value[VALUE_BYTES])
{
    uint64_t x = k * 0x9e3779b97f4a7c15u + 1;

    for (size_t i = 0; i < VALUE_BYTES; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        put_u64le(value + i, x * 0x2545f4914f6cdd1du);
    }
}

struct large {
    const struct server *s;
    FILE *in;
    int fd;
    uint64_t n, peak;
    struct err *e;
};

static int large_look(struct large *l)
{
    struct server_cost c;

    server_cost(l->s, &c);
    if (c.rss_bytes > l->peak)
        l->peak = c.rss_bytes;
    if (c.rss_bytes <= LARGE_LIMIT)
        return OK;
    return err_set(l->e, ERR_TOO_BIG, "%.1f MiB are resident", bench_mib(c.rss_bytes));
}

static int large_send(struct large *l, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t got = send(l->fd, p, n, MSG_NOSIGNAL);
        if (got < 0)
            return err_sys(l->e, ERR_IO, "send");
        p += got;
        n -= (size_t)got;
    }
    return OK;
}

static int large_line(struct large *l, const char *want)
{
    char line[256];

    if (fgets(line, sizeof line, l->in) == NULL)
        return err_sys(l->e, ERR_IO, "the server closed the connection");
    line[strcspn(line, "\r\n")] = 0;
    if (want != NULL && strcmp(line, want) != 0)
        return err_set(l->e, ERR_CORRUPT, "the reply has '%s' where '%s' belongs", line, want);
    return OK;
}

/* Entries with the IDs 1-0, 2-0, ..., 64 requests under way. */
static int large_append(struct large *l)
{
    uint8_t *out = malloc(PIPELINE * (VALUE_BYTES + 128));
    int rc = out == NULL ? err_set(l->e, ERR_NOMEM, "out of memory") : OK;

    for (uint64_t k = 0; rc == OK && k < l->n;) {
        size_t n = 0, batch = 0;
        for (; batch < PIPELINE && k + batch < l->n; batch++) {
            char id[32];
            snprintf(id, sizeof id, "%" PRIu64 "-0", k + batch + 1);
            n += (size_t)snprintf(
                (char *)out + n, 128,
                "*5\r\n$4\r\nXADD\r\n$5\r\nlarge\r\n$%zu\r\n%s\r\n$1\r\nv\r\n$%d\r\n", strlen(id),
                id, VALUE_BYTES);
            large_value(k + batch + 1, out + n);
            n += VALUE_BYTES;
            memcpy(out + n, "\r\n", 2);
            n += 2;
        }
        rc = large_send(l, out, n);
        for (size_t i = 0; rc == OK && i < 2 * batch; i++)
            rc = large_line(l, NULL);
        k += batch;
        if (rc == OK && k % 1024 == 0)
            rc = large_look(l);
    }
    free(out);
    return rc;
}

/* One entry of a reply, which has to be number k. */
static int large_entry(struct large *l, uint64_t k)
{
    uint8_t want[VALUE_BYTES], got[VALUE_BYTES + 2];
    char id[32];
    int rc = large_line(l, "*2");

    snprintf(id, sizeof id, "%" PRIu64 "-0", k);
    if (rc == OK)
        rc = large_line(l, NULL);
    if (rc == OK)
        rc = large_line(l, id);
    if (rc == OK)
        rc = large_line(l, "*2");
    if (rc == OK)
        rc = large_line(l, "$1");
    if (rc == OK)
        rc = large_line(l, "v");
    if (rc == OK)
        rc = large_line(l, "$1024");
    if (rc != OK)
        return rc;
    if (fread(got, 1, sizeof got, l->in) != sizeof got)
        return err_sys(l->e, ERR_IO, "the server closed the connection");
    large_value(k, want);
    if (memcmp(got, want, VALUE_BYTES) != 0)
        return err_set(l->e, ERR_CORRUPT, "entry %s has another value", id);
    return OK;
}

/* Reads `n` entries from number k on. */
static int large_read(struct large *l, uint64_t k, uint64_t n)
{
    char request[160], start[32], count[32], head[32];
    int rc;

    snprintf(start, sizeof start, "%" PRIu64, k);
    snprintf(count, sizeof count, "%" PRIu64, n);
    snprintf(request, sizeof request, "XRANGE large %s + COUNT %s\r\n", start, count);
    if (k + n > l->n + 1)
        n = l->n + 1 - k;
    snprintf(head, sizeof head, "*%" PRIu64, n);
    rc = large_send(l, (const uint8_t *)request, strlen(request));
    if (rc == OK)
        rc = large_line(l, head);
    for (uint64_t i = 0; rc == OK && i < n; i++)
        rc = large_entry(l, k + i);
    return rc;
}

static int large_run(struct bench *b, struct large *l)
{
    struct random rng = { .state = 1 };
    double began = bench_now();
    int rc = large_append(l);

    if (rc != OK)
        return rc;
    bed_line(&b->bed, "appended", (double)l->n / 1024 / (bench_now() - began), "MiB/s", 0);
    began = bench_now();
    for (uint64_t k = 1; rc == OK && k <= l->n; k += 1000) {
        rc = large_read(l, k, 1000);
        if (rc == OK && k % 16 == 1)
            rc = large_look(l);
    }
    if (rc != OK)
        return rc;
    bed_line(&b->bed, "replayed and compared", (double)l->n / 1024 / (bench_now() - began), "MiB/s",
             0);
    began = bench_now();
    for (size_t i = 0; rc == OK && i < 20000; i++) {
        rc = large_read(l, 1 + random_below(&rng, l->n), READ_COUNT);
        if (rc == OK && i % 1024 == 0)
            rc = large_look(l);
    }
    if (rc == OK)
        bed_line(&b->bed, "random reads of 10 entries, one at a time",
                 20000 / (bench_now() - began) / 1e3, "k/s", 0);
    return rc;
}

static int bench_large(struct bench *b, struct err *e)
{
    struct server s = { .memory_limit = LARGE_LIMIT };
    struct large l = { .s = &s, .n = b->large_mib * 1024, .e = e };
    int rc;

    printf("large: %zu MiB of random values of 1 KiB, RLIMIT_DATA %d MiB\n", b->large_mib,
           LARGE_LIMIT / MIB);
    rc = bed_beckd(&b->bed, &s, NULL, NULL, e);
    l.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (rc == OK && (l.fd < 0 || connect(l.fd, (const struct sockaddr *)&s.target.address,
                                         s.target.n_address) != 0))
        rc = err_sys(e, ERR_IO, "connect");
    l.in = l.fd < 0 ? NULL : fdopen(l.fd, "r");
    if (rc == OK)
        rc = large_run(b, &l);
    if (rc == OK)
        bed_line(&b->bed, "highest resident memory seen", bench_mib(l.peak), "MiB",
                 LARGE_LIMIT / MIB);
    if (rc == OK)
        bench_peak(b, &s, "peak memory", LARGE_LIMIT / MIB);
    if (l.in != NULL)
        fclose(l.in);
    server_stop(&s);
    return rc;
}

/* ---- the command line ---- */

static void bench_add_flight(void *ctx, const struct slice *strings, size_t n_strings)
{
    struct bench *b = ctx;
    struct slice argv[3 + FLIGHT_STRINGS_MAX] = { slice_str("XADD"), slice_str("flights"),
                                                  slice_str("*") };

    for (size_t i = 0; i < n_strings; i++)
        b->logical_bytes += strings[i].n;
    memcpy(argv + 3, strings, n_strings * sizeof *strings);
    load_add(&b->requests, argv, 3 + n_strings);
}

static const struct bench_part {
    const char *name;
    bool flights; /* it sends them */
    int (*run)(struct bench *b, struct err *e);
} bench_parts[] = {
    { "flights", true, bench_flights }, { "long", true, bench_long },
    { "latency", true, bench_latency }, { "streams", false, bench_streams },
    { "large", false, bench_large },
};
enum { N_PARTS = sizeof bench_parts / sizeof bench_parts[0] };

static void bench_usage(FILE *to)
{
    fputs("usage: bench_store [--only flights|long|latency|streams|large] [--count FLIGHTS]\n"
          "                   [--streams N] [--large-mib MIB] [--dir DIR]\n"
          "What the log promises for data larger than memory, beside redis-server. DIR must be on "
          "a disk\n"
          "(default: build). BECKD and REDIS_SERVER name the programs, FLIGHTS and FLIGHTS_N the "
          "events.\n",
          to);
}

static void bench_parse(struct bench *b, int argc, char **argv)
{
    static const struct option options[] = {
        { "count", 1, NULL, 'n' },   { "dir", 1, NULL, 'd' },  { "only", 1, NULL, 'o' },
        { "streams", 1, NULL, 's' }, { "help", 0, NULL, 'h' }, { "large-mib", 1, NULL, 'l' },
        { NULL, 0, NULL, 0 },
    };
    size_t wanted = 0;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'n': b->count = bed_number(&b->bed, optarg, 1000000000); break;
        case 's': b->streams = bed_number(&b->bed, optarg, 1000000000); break;
        case 'l': b->large_mib = bed_number(&b->bed, optarg, 1000000000); break;
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

static int bench_run(struct bench *b, struct err *e)
{
    bool flights = false;
    int rc = OK;

    for (size_t i = 0; i < N_PARTS; i++)
        flights |= bench_parts[i].flights && bed_wants(&b->bed, bench_parts[i].name);
    if (flights)
        rc = flights_each(b->count, bench_add_flight, b, e);
    for (size_t i = 0; rc == OK && i < N_PARTS; i++)
        if (bed_wants(&b->bed, bench_parts[i].name) && bench_parts[i].run(b, e) != OK)
            rc = err_add(e, "%s", bench_parts[i].name);
    return rc;
}

int main(int argc, char **argv)
{
    static struct bench b = { .count = 3000000,
                              .streams = 1000000,
                              .large_mib = 4096,
                              .bed = { .program = "bench_store", .base = "build" } };
    struct err e = { 0 };
    int rc;

    bench_parse(&b, argc, argv);
    if (!bed_find(&b.bed, "bench-log"))
        return 2;
    printf("beckd (interval) beside redis-server (appendfsync everysec), in %s\n", b.bed.base);
    rc = bench_run(&b, &e);
    load_requests_fini(&b.requests);
    if (rc != OK) {
        fprintf(stderr, "bench_store: %s\n", e.text);
        return 1;
    }
    return b.bed.missed;
}
