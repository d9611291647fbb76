/*
 * progress.c - see progress.h. On a terminal one line that is written over; elsewhere, and only
 * with --progress, a plain line every ten seconds.
 */
#include "cli/progress.h"

#include <stdio.h>

#include "cli/cli.h"

static const double progress_every_s = 0.2;
static const double progress_line_every_s = 10;

void progress_init(struct progress *p, struct cli *cli, uint64_t total)
{
    *p = (struct progress){ .cli = cli, .total = total };
    p->shown = cli->stderr_is_terminal || cli->globals.progress;
    p->began = p->told = cli_now();
}

double progress_seconds(const struct progress *p)
{
    double spent = cli_now() - p->began;

    return spent > 1e-6 ? spent : 1e-6;
}

void progress_format_bytes(char *out, unsigned size, double n)
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB" };
    unsigned i = 0;

    while (n >= 999.5 && i < 5) {
        n /= 1000;
        i++;
    }
    snprintf(out, size, i == 0 || n >= 99.95 ? "%.0f %s" : "%.1f %s", n, units[i]);
}

void progress_tell(struct progress *p, uint64_t events, uint64_t done)
{
    double now, spent;

    if (!p->shown)
        return;
    now = cli_now();
    if (now - p->told < (p->cli->stderr_is_terminal ? progress_every_s : progress_line_every_s))
        return;
    p->told = now;
    spent = now - p->began;
    fprintf(stderr, "%s%llu events, %.0f/s", p->cli->stderr_is_terminal ? "\r\033[K" : "",
            (unsigned long long)events, (double)events / spent);
    if (p->total > 0 && done > 0 && done <= p->total) {
        double left = spent * (double)(p->total - done) / (double)done;
        fprintf(stderr, ", %.0f %%, %.0f s left", 100.0 * (double)done / (double)p->total, left);
    }
    p->line = p->cli->stderr_is_terminal;
    fputs(p->line ? "" : "\n", stderr);
    fflush(stderr);
}

void progress_end(struct progress *p)
{
    if (p->line)
        fputs("\r\033[K", stderr);
    p->line = false;
}
