/* logger.c - see logger.h. A token bucket decides what is written; a line is one write(2), so lines of
 * several processes on one pipe do not mix. */
#include "broker/logger.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log/io.h"

static uint64_t logger_now_ms(const struct logger *l)
{
    return l->io->monotonic_ns(l->io) / 1000000;
}

void logger_init(struct logger *l, struct io *io, const int64_t *level, int fd)
{
    l->io = io;
    l->level = level;
    l->fd = fd;
    l->tokens_ms = LOGGER_BURST * 1000;
    l->last_ms = logger_now_ms(l);
    l->n_suppressed = 0;
}

static bool logger_take_token(struct logger *l)
{
    uint64_t now = logger_now_ms(l);

    l->tokens_ms += (now - l->last_ms) * LOGGER_PER_S;
    l->last_ms = now;
    if (l->tokens_ms > LOGGER_BURST * 1000)
        l->tokens_ms = LOGGER_BURST * 1000;
    if (l->tokens_ms < 1000) {
        l->n_suppressed++;
        return false;
    }
    l->tokens_ms -= 1000;
    return true;
}

/* "2026-11-24T08:30:12.345Z notice "; returns its length. */
static size_t logger_head(struct logger *l, enum config_log_level level, char *out, size_t size)
{
    static const char *const names[] = { "debug", "verbose", "notice", "warning" };
    uint64_t ms = l->io->wall_ms(l->io);
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char when[32];

    gmtime_r(&s, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    return (size_t)snprintf(out, size, "%s.%03uZ %s ", when, (unsigned)(ms % 1000), names[level]);
}

static void logger_put(struct logger *l, char *line, size_t n)
{
    ssize_t rc;

    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    }
    line[n++] = '\n';
    rc = write(l->fd, line, n);
    (void)rc; /* nowhere to tell it */
}

void logger_write(struct logger *l, enum config_log_level level, const char *format, ...)
{
    char line[LOGGER_LINE_MAX + 1];
    size_t n;
    va_list args;

    if ((int64_t)level < *l->level || !logger_take_token(l))
        return;
    if (l->n_suppressed > 0) {
        n = logger_head(l, CONFIG_LOG_WARNING, line, LOGGER_LINE_MAX);
        n += (size_t)snprintf(line + n, LOGGER_LINE_MAX - n,
                              "%llu lines were too many and not written",
                              (unsigned long long)l->n_suppressed);
        l->n_suppressed = 0;
        logger_put(l, line, n);
    }
    n = logger_head(l, level, line, LOGGER_LINE_MAX);
    va_start(args, format);
    n += (size_t)vsnprintf(line + n, LOGGER_LINE_MAX - n, format, args);
    va_end(args);
    logger_put(l, line, n < LOGGER_LINE_MAX ? n : LOGGER_LINE_MAX - 1);
}
