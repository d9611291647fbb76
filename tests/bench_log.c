/* bench_log.c - what appending costs the engine's thread: ns a record for rounds of 1, 16 and 64
 * records of 90 bytes, class `os`, so that no fdatasync is in it. `bench_log [directory
 * [records]]`; the store is removed afterwards.
 *
 * The second figure is the CPU time of all threads, the third what remains without pwritev:
 * reserve, append and commit on a disk that takes everything at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include "log/io.h"
#include "log/log.h"

enum { BODY_BYTES = 90, ROUNDS = 5, FILE_BYTES = 512 << 20 /* none is changed meanwhile */ };

static uint64_t now_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static ssize_t free_pwritev(struct io *io, int fd, const struct iovec *iov, int n_iov, uint64_t pos)
{
    ssize_t n = 0;

    (void)io;
    (void)fd;
    (void)pos;
    for (int i = 0; i < n_iov; i++)
        n += (ssize_t)iov[i].iov_len;
    return n;
}

static void die(const char *what, const struct err *e)
{
    fprintf(stderr, "bench_log: %s: %s\n", what, e->text);
    exit(1);
}

static int remove_one(void *ctx, const char *name)
{
    char path[4500];

    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    remove(path);
    return 0;
}

static void remove_store(struct io *io, char *dir)
{
    err_ignore(io->list(io, dir, remove_one, dir));
    remove(dir);
}

/* Appends n records in rounds of `per`; returns wall ns, and the CPU's in *cpu. */
static uint64_t append_all(struct log *l, uint64_t n, uint64_t per, uint64_t *cpu)
{
    static const uint8_t body[BODY_BYTES] = { 1, 2, 3 };
    uint64_t start = now_ns(CLOCK_MONOTONIC), start_cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    struct err e = { 0 };

    for (uint64_t i = 0; i < n; i += per) {
        log_set_clock(l, i << 16);
        for (uint64_t k = 0; k < per; k++) {
            uint64_t lsn;
            if (log_reserve(l, BODY_BYTES + 1024, &e) != OK)
                die("log_reserve", &e);
            memcpy(log_append(l, 3, LOG_OS, BODY_BYTES, &lsn), body, BODY_BYTES);
        }
        log_commit(l, false);
    }
    if (log_failure(l, &e) != OK)
        die("the log failed", &e);
    *cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - start_cpu;
    return now_ns(CLOCK_MONOTONIC) - start;
}

static uint64_t run(struct io *io, char *dir, uint64_t n, uint64_t per, uint64_t *cpu,
                    uint64_t *inl)
{
    struct log_options o = { .io = io,
                             .dir = dir,
                             .file_bytes = FILE_BYTES,
                             .batch_bytes_max = 256 << 20,
                             .interval_ms = 1000,
                             .threads = true };
    struct log_stats stats;
    struct err e = { 0 };
    struct log *l;
    uint64_t ns;

    if (log_open(&o, &l, NULL, &e) != OK)
        die("log_open", &e);
    ns = append_all(l, n, per, cpu);
    log_get_stats(l, &stats);
    *inl = stats.n_inline * 100 / stats.n_batches;
    log_abandon(l);
    remove_store(io, dir);
    return ns;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Medians of ROUNDS, in ns a record. */
static void measure(struct io *io, char *dir, uint64_t n, uint64_t per, double *ns, double *cpu,
                    uint64_t *inl)
{
    uint64_t all[ROUNDS], all_cpu[ROUNDS];

    for (int i = 0; i < ROUNDS; i++)
        all[i] = run(io, dir, n, per, &all_cpu[i], inl);
    qsort(all, ROUNDS, sizeof all[0], compare);
    qsort(all_cpu, ROUNDS, sizeof all_cpu[0], compare);
    *ns = (double)all[ROUNDS / 2] / (double)n;
    *cpu = (double)all_cpu[ROUNDS / 2] / (double)n;
}

int main(int argc, char **argv)
{
    static const uint64_t rounds[] = { 1, 16, 64 };
    uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    struct io real, idle;
    char dir[4000];

    snprintf(dir, sizeof dir, "%s/bench_log.%ld", argc > 1 ? argv[1] : ".",
             (long)now_ns(CLOCK_REALTIME));
    io_init_real(&real);
    idle = real;
    idle.pwritev = free_pwritev;
    printf("%llu records of %d bytes, class os, median of %d\n", (unsigned long long)n, BODY_BYTES,
           ROUNDS);
    for (size_t i = 0; i < sizeof rounds / sizeof rounds[0]; i++) {
        uint64_t count = rounds[i] == 1 ? n / 5 : n / rounds[i] * rounds[i], inl, ignored;
        double ns, cpu, bare, bare_cpu;

        measure(&real, dir, count, rounds[i], &ns, &cpu, &inl);
        measure(&idle, dir, count, rounds[i], &bare, &bare_cpu, &ignored);
        printf("round of %2llu: %7.1f ns a record, %7.1f ns CPU, %6.1f ns without pwritev, %llu %% "
               "inline\n",
               (unsigned long long)rounds[i], ns, cpu, bare, (unsigned long long)inl);
    }
    return 0;
}
