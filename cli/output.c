/*
 * output.c - see output.h.
 *
 * A pipe takes its time when the reader does. Signals are blocked (cli.c), so a write that waits
 * could not be interrupted: before each write to anything but a file we wait for room or a signal,
 * whichever comes first, and then write no more than a pipe takes at once when it says that it has
 * room.
 */
#include "cli/output.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

void output_init(struct output *o, struct cli *cli)
{
    struct stat st;

    memset(o, 0, sizeof *o);
    o->cli = cli;
    o->terminal = isatty(STDOUT_FILENO) == 1;
    o->regular = fstat(STDOUT_FILENO, &st) == 0 &&
                 (S_ISREG(st.st_mode) || (S_ISCHR(st.st_mode) && !o->terminal));
}

void output_fini(struct output *o)
{
    text_fini(&o->text);
}

/* Waits until stdout takes PIPE_BUF bytes. EXIT_OK, or the status of a signal. */
static int output_wait(struct output *o)
{
    struct pollfd fds[2] = { { .fd = STDOUT_FILENO, .events = POLLOUT },
                             { .fd = o->cli->signal_fd, .events = POLLIN } };
    int signal;

    while (poll(fds, 2, -1) < 0)
        if (errno != EINTR)
            return EXIT_OK; /* write will tell */
    if (fds[1].revents != 0 && (signal = cli_signal(o->cli)) != 0)
        return EXIT_SIGNAL + signal;
    return EXIT_OK;
}

int output_flush(struct output *o)
{
    size_t at = 0;
    int rc = EXIT_OK;

    while (at < o->text.n && rc == EXIT_OK) {
        size_t n = o->text.n - at;
        ssize_t written;
        if (!o->regular) {
            rc = output_wait(o);
            n = n < PIPE_BUF ? n : PIPE_BUF;
        }
        written = rc == EXIT_OK ? write(STDOUT_FILENO, o->text.p + at, n) : 0;
        if (written >= 0) {
            at += (size_t)written;
        } else if (errno == EPIPE) {
            o->closed = true;
            rc = EXIT_RUNTIME;
        } else if (errno != EINTR && errno != EAGAIN) {
            cli_message(o->cli, "cannot write to stdout: %s", strerror(errno));
            rc = EXIT_RUNTIME;
        }
    }
    o->text.n = 0;
    return rc;
}

int output_flush_if_full(struct output *o)
{
    return o->text.n >= OUTPUT_FULL ? output_flush(o) : EXIT_OK;
}
