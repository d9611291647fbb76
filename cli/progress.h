/* progress.h - how far, how fast, how long still: on stderr, at most 5 times a second. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H
#include <stdbool.h>
#include <stdint.h>

struct cli;

struct progress {
    struct cli *cli;
    bool shown; /* at all */
    bool line;  /* a line is on the terminal and has no end yet */
    double began, told;
    uint64_t total; /* of what `done` counts; 0 if unknown */
};

/* `total` is what 100 % is, 0 if nobody knows. */
void progress_init(struct progress *p, struct cli *cli, uint64_t total);

/* Shows how far it is, if it is time to: `events` so far, `done` of the total. Cheap otherwise. */
void progress_tell(struct progress *p, uint64_t events, uint64_t done);

/* Removes the line from the terminal. Before any message. */
void progress_end(struct progress *p);

double progress_seconds(const struct progress *p);

/* Writes n bytes as "285 MB" to `out`. */
void progress_format_bytes(char *out, unsigned size, double n);

#endif
