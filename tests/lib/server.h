/* server.h - starts a server (beckd, or Redis beside it) for a benchmark and watches what it spends. */
#ifndef TESTS_LIB_SERVER_H
#define TESTS_LIB_SERVER_H
#include <stdint.h>
#include <sys/types.h>
#include "log/err.h"
#include "tests/lib/load.h"

struct server {
    pid_t pid;
    char dir[512]; /* its own, removed by server_stop */
    struct load_target target;
    volatile uint64_t *syncs; /* of preload_syncs.c: calls, nanoseconds */
    const char *preload;      /* borrowed */
    int port, unix_socket;
    uint64_t memory_limit; /* RLIMIT_DATA of the next process; 0: none */
};

/* What a server has spent since it started. */
struct server_cost {
    uint64_t cpu_ns; /* user and system time of all its threads */
    uint64_t n_syncs, sync_ns;
    uint64_t peak_bytes; /* VmHWM */
    uint64_t rss_bytes;  /* VmRSS */
};

/* Starts argv[0] in a new directory under `base`. "%p", "%d" and "%s" as whole arguments stand for a free
 * port, the directory and a Unix socket in it. Returns when the server answers PING over TCP, or over the
 * socket if `unix_socket`. `preload` is the shared object of preload_syncs.c; NULL: nothing is counted.
 * Errors: ERR_IO (its output is in <dir>/output, which then stays). */
must_check int server_start(struct server *s, const char *const *argv, const char *base,
                            const char *preload, int unix_socket, struct err *e);

void server_cost(const struct server *s, struct server_cost *out);

/* Starts it again in the directory where it was, after server_kill; *seconds is the time from the start of
 * the process to the first answer to `request` (a whole line). Errors: as server_start. */
must_check int server_restart(struct server *s, const char *const *argv, const char *request,
                              double *seconds, struct err *e);
void server_kill(struct server *s); /* kill -9, and waits for the end */

/* Sends one request and gives the first line of its reply, or, of a bulk string, its content. Errors: ERR_IO,
 * ERR_PROTO (an error reply: its text). Waits as long as it takes. */
must_check int server_ask(const struct server *s, const char *request, char *reply, size_t n,
                          struct err *e);

/* The number behind `name` in the server's INFO, or that of BECK LOG (`beck` is set); 0 if it has none. */
uint64_t server_figure(const struct server *s, const char *name, int beck);

/* SIGTERM, waits, removes the directory. Returns whether the server ended with status 0. */
int server_stop(struct server *s);

#endif
