/* exec.h - a command that gets one entry, run by /bin/sh -c. */
#ifndef CLI_EXEC_H
#define CLI_EXEC_H
#include "cli/text.h"

struct cli;

/* How to run it; all borrowed. */
struct exec_call {
    const char *command;
    struct beck_slice input;                    /* what it reads on its stdin */
    const char *stream, *group, *consumer, *id; /* BECK_STREAM and so on in its environment */
};

struct exec_result {
    int status; /* it ended with this one, */
    int killed; /* or by this signal, if that is not 0 */
    int signal; /* SIGINT or SIGTERM that came for us meanwhile; 0 if none did */
};

/* Runs it and waits for its end. It shares stdout and stderr and nothing else: it has a process
 * group of its own, so that Ctrl-C at a terminal is ours alone. After a signal its end is waited
 * for; after a second one its group is killed. False after a message if it could not be started. */
bool exec_run(struct cli *cli, const struct exec_call *call, struct exec_result *out);

#endif
