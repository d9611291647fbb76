/* logger.h - one line to stderr for each event that an operator may want to know about.
 *
 *     2026-11-24T08:30:12.345Z notice ready: port 7878, directory ./beck-data
 *
 * Belongs to the engine's thread. Whoever is called for each client or each request need not fear for the
 * disk: beyond LOGGER_BURST lines, and LOGGER_PER_S more a second, lines are counted and not written, and the
 * next line that is written tells how many. */
#ifndef BROKER_LOGGER_H
#define BROKER_LOGGER_H
#include <stdint.h>
#include "broker/config.h"

struct io;

enum { LOGGER_LINE_MAX = 1024, LOGGER_BURST = 200, LOGGER_PER_S = 20 };

struct logger {
    struct io *io;        /* borrowed: the clocks */
    const int64_t *level; /* borrowed: the configuration's log_level, lines below it are dropped */
    int fd;               /* where lines go */
    uint64_t tokens_ms;   /* lines that may still be written, in thousandths */
    uint64_t last_ms;     /* when tokens_ms was right */
    uint64_t n_suppressed;
};

void logger_init(struct logger *l, struct io *io, const int64_t *level, int fd);

/* Writes one line; a line that cannot be written is lost. Control characters become '?', since texts may
 * come from clients. */
void logger_write(struct logger *l, enum config_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
