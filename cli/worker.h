/* worker.h - a consumer of a group: gets entries, prints them or has a command work on them, and
 * tells the group what became of each. */
#ifndef CLI_WORKER_H
#define CLI_WORKER_H
#include <stdbool.h>
#include <stdint.h>

#include "cli/event.h"

struct cli;

enum worker_ack {
    WORKER_ACK_AUTO,   /* when an entry is printed, or its command has ended with 0 */
    WORKER_ACK_MANUAL, /* not here: who reads what we print does it */
    WORKER_ACK_NONE    /* entries do not become pending at all */
};

struct worker_options {
    const char *group;
    const char *consumer; /* NULL: a name that is ours alone */
    const char *from;     /* where a group begins that is not there yet; NULL: it has to be there */
    const char *exec;     /* the command for each entry; NULL: print them */
    enum worker_ack ack;
    struct event_style style;
    uint64_t count;         /* entries to end after; 0: no end */
    uint64_t batch;         /* entries to get at once; 0: as suits */
    uint64_t claim_idle_ms; /* OPTION_NOT_GIVEN: take over nothing */
    uint64_t block_ms;      /* how long to wait for an entry; OPTION_NOT_GIVEN: until one comes */
    bool exit_empty;        /* do not wait, and end with EXIT_NOTHING if there was none */
};

/* Works until --count, the end of waiting, a signal or an error. All is borrowed for the call. */
int worker_run(struct cli *cli, const char *stream, const struct worker_options *options);

#endif
