/* cli.h - what `beck`'s commands share: settings, connection, signals, messages, exit codes. */
#ifndef CLI_CLI_H
#define CLI_CLI_H
#include <stdbool.h>
#include <stdint.h>

#include "cli/options.h"
#include "cli/text.h"
#include "client/beck.h"

/* Exit codes; the texts are in help.c. A signal's is 128 and its number. */
enum {
    EXIT_OK = 0,
    EXIT_RUNTIME = 1,
    EXIT_USAGE = 2,
    EXIT_CONNECTION = 3,
    EXIT_NOTHING = 4,
    EXIT_PARTIAL = 5,
    EXIT_SIGNAL = 128
};

/* The options that every command has. */
struct globals {
    const char *host, *socket, *user, *password_file;
    char *url, *password;  /* owned */
    const char *port, *db; /* checked by the client library */
    uint64_t timeout_ms, connect_timeout_ms;
    bool json, progress;
};

struct cli {
    struct globals globals;
    const struct command *command; /* the one that runs; NULL before */
    struct beck_conf *conf;
    struct beck_client *client;
    int signal_fd; /* readable when SIGINT or SIGTERM has come */
    bool stderr_is_terminal;
    bool colour; /* of messages */
};

/* For the options' table and its place in help. */
extern const struct option_spec globals_options[];
extern const size_t n_globals_options;

/* Prints "beck COMMAND: message" to stderr. Ends a progress line before. */
void cli_message(const struct cli *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same with where the help is; returns EXIT_USAGE. */
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Connects as the options and the environment say; prints what is wrong and what to try. Returns
 * EXIT_OK, or the status to end with. */
int cli_connect(struct cli *cli);

/* Prints the client's last error (behind `what`, unless NULL) and returns the status for `code`. */
int cli_fail(const struct cli *cli, int code, const char *what);

/* Prints what to try after an error of that code, if there is something to try. */
void cli_advise(const struct cli *cli, int code);

/* The status for a code of the client's, without a message. */
int cli_status(const struct cli *cli, int code);

/* Sends one command and waits. As beck_client_call. */
int cli_call(struct cli *cli, const struct beck_slice *args, size_t n,
             const struct beck_reply **out);

/* Milliseconds since 1970 by the server's clock. EXIT_OK, or the status to end with. */
int cli_server_time(struct cli *cli, uint64_t *out_ms);

/* The signal that has come and was not told yet, 0 if none. Never waits. */
int cli_signal(struct cli *cli);

/* Takes signals away from calls of the client, so that what is under way can be finished; the next
 * one then ends the program at once, by its default action. */
void cli_finish_quietly(struct cli *cli);

/* Monotonic time in seconds. */
double cli_now(void);

#endif
