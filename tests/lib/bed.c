/*
 * bed.c - see bed.h.
 */
#include "tests/lib/bed.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *bed_env(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value && *value ? value : otherwise;
}

bool bed_find(struct bed *b, const char *target)
{
    char shim[PATH_MAX];

    b->beckd = bed_env("BECKD", "build/beckd");
    b->redis = bed_env("REDIS_SERVER", "build/redis-server"); /* a link that bench-deps makes */
    b->base = realpath(b->base, NULL);
    snprintf(shim, sizeof shim, "%s/tests/preload_syncs.so", bed_env("BUILD", "build"));
    if (b->base != NULL && realpath(shim, b->preload) != NULL)
        return true;
    fprintf(stderr, "%s: run it by `make %s`: --dir or build/tests is not there\n", b->program,
            target);
    return false;
}

bool bed_wants(const struct bed *b, const char *part)
{
    return b->only == NULL || strcmp(b->only, part) == 0;
}

size_t bed_number(const struct bed *b, const char *text, size_t max)
{
    char *end;
    unsigned long long v = strtoull(text, &end, 10);

    if (*end == 0 && v >= 1 && v <= max)
        return (size_t)v;
    fprintf(stderr, "%s: %s is not a number of 1..%zu\n", b->program, text, max);
    exit(2);
}

/* ---- servers ---- */

int bed_beckd(const struct bed *b, struct server *s, const char *option, const char *value,
              struct err *e)
{
    const char *argv[] = { b->beckd,   "--port", "%p",  "--dir", "%d", "--stream-durability",
                           "interval", option,   value, NULL };

    return server_start(s, argv, b->base, b->preload, 0, e);
}

int bed_redis(const struct bed *b, struct server *s, struct err *e)
{
    const char *argv[] = { b->redis, "--port",        "%p",       "--dir",
                           "%d",     "--save",        "",         "--appendonly",
                           "yes",    "--appendfsync", "everysec", "--auto-aof-rewrite-percentage",
                           "0",      "--daemonize",   "no",       NULL };

    return server_start(s, argv, b->base, b->preload, 0, e);
}

int bed_beckd_again(const struct bed *b, struct server *s, const char *request, double *seconds,
                    struct err *e)
{
    const char *argv[] = { b->beckd,   "--port", "%p", "--dir", "%d", "--stream-durability",
                           "interval", NULL };

    server_kill(s);
    return server_restart(s, argv, request, seconds, e);
}

int bed_ask(const struct server *s, const char *request, struct err *e)
{
    char reply[65536];
    int rc = server_ask(s, request, reply, sizeof reply, e);

    return rc == OK ? OK : err_add(e, "%s", request);
}

struct server_cost bed_cost(const struct server *s)
{
    struct server_cost c;

    server_cost(s, &c);
    return c;
}

/* ---- what is printed ---- */

void bed_line(struct bed *b, const char *what, double value, const char *unit, double limit)
{
    printf("  %-62s %10.3f %-9s", what, value, unit);
    if (limit > 0) {
        printf(" at most %.2f: %s", limit, value <= limit ? "met" : "MISSED");
        b->missed |= value > limit;
    }
    printf("\n");
    fflush(stdout);
}

static int bed_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

double bed_median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, bed_compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}
