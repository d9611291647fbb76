/* output.h - stdout: gathered in big pieces, interruptible, quiet when the reader has left. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H
#include "cli/text.h"

struct cli;

enum { OUTPUT_FULL = 256 << 10 }; /* bytes at which it is worth writing */

struct output {
    struct cli *cli;
    struct text text; /* put here what is to be printed */
    bool regular;     /* a file, or /dev/null: writing does not wait for a reader */
    bool terminal;
    bool closed; /* the reader has left; only seen by those who have SIGPIPE ignored */
};

void output_init(struct output *o, struct cli *cli);
void output_fini(struct output *o);

/* Writes all of `text`. Returns EXIT_OK, or the status to end with: a signal's, or EXIT_RUNTIME
 * (after a message, unless the reader has just left). */
int output_flush(struct output *o);

/* The same if there is enough to be worth it. */
int output_flush_if_full(struct output *o);

#endif
