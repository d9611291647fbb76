/*
 * cli.c - see cli.h.
 *
 * Signals: SIGINT and SIGTERM are blocked and arrive at a signalfd(2), which every wait of the
 * client and of the commands includes. So no handler runs, nothing is half done, and a command ends
 * where it chooses to. SIGPIPE keeps its default: a reader that has left ends the program without a
 * word.
 *
 * Where the server is: BECK_URL, then --url, then -h -p -s -n, each over the one before. The
 * password comes from -a, --password-file or BECK_PASSWORD, in this order, or from the URL.
 */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "cli/output.h"

enum { CLI_PASSWORD_MAX = 4096 };

#define GLOBAL(letter, name, value, kind, field, help)                   \
    {                                                                    \
        letter, name, value, kind, offsetof(struct globals, field), help \
    }

const struct option_spec globals_options[] = {
    GLOBAL('h', "host", "HOST", OPTION_TEXT, host, "Server's name or address (127.0.0.1)."),
    GLOBAL('p', "port", "PORT", OPTION_TEXT, port, "Server's port (7878)."),
    GLOBAL('s', "socket", "PATH", OPTION_TEXT, socket,
           "Server's Unix socket, instead of host and port."),
    GLOBAL(
        0, "url", "URL", OPTION_SECRET, url,
        "Server as beck://[user:password@]host:port/db or unix://path; BECK_URL is the default."),
    GLOBAL('n', "db", "N", OPTION_TEXT, db, "Database number (0)."),
    GLOBAL(0, "user", "NAME", OPTION_TEXT, user, "Log in as this user."),
    GLOBAL('a', "password", "PASSWORD", OPTION_SECRET, password,
           "Log in with this password; better use --password-file or BECK_PASSWORD."),
    GLOBAL(0, "password-file", "FILE", OPTION_TEXT, password_file,
           "Log in with the password in the first line of this file."),
    GLOBAL(0, "timeout", "SECONDS", OPTION_SECONDS, timeout_ms,
           "How long to wait for the server's answer (30); 0 waits forever."),
    GLOBAL(0, "connect-timeout", "SECONDS", OPTION_SECONDS, connect_timeout_ms,
           "How long to wait for a connection (5)."),
    GLOBAL(0, "json", NULL, OPTION_FLAG, json, "Print JSON."),
    GLOBAL(0, "progress", NULL, OPTION_FLAG, progress,
           "Print progress to stderr even when it is no terminal, a line every 10 seconds."),
};
const size_t n_globals_options = sizeof globals_options / sizeof globals_options[0];

double cli_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Texts may come from the server or a file: what could steer a terminal is not printed. */
static void cli_print(const struct cli *cli, const char *format, va_list args)
{
    char text[1024];

    vsnprintf(text, sizeof text, format, args);
    for (char *at = text; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    fprintf(stderr, "%sbeck%s%s:%s %s\n", cli->colour ? "\033[1;31m" : "",
            cli->command != NULL ? " " : "", cli->command != NULL ? cli->command->name : "",
            cli->colour ? "\033[0m" : "", text);
}

void cli_message(const struct cli *cli, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    cli_print(cli, format, args);
    va_end(args);
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    cli_print(cli, format, args);
    va_end(args);
    if (cli->command != NULL)
        fprintf(stderr, "Usage: beck %s [OPTION...] %s\nTry: beck help %s\n", cli->command->name,
                cli->command->arguments, cli->command->name);
    else
        fprintf(stderr, "Try: beck help\n");
    return EXIT_USAGE;
}

int cli_status(const struct cli *cli, int code)
{
    struct signalfd_siginfo info;

    switch (code) {
    case BECK_OK: return EXIT_OK;
    case BECK_ERR_CONNECT:
    case BECK_ERR_AUTH: return EXIT_CONNECTION;
    case BECK_ERR_TIMEOUT: return EXIT_NOTHING;
    case BECK_ERR_USAGE: return EXIT_USAGE;
    case BECK_ERR_INTERRUPTED:
        if (read(cli->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
            return EXIT_SIGNAL + (int)info.ssi_signo;
        return EXIT_RUNTIME;
    default: return EXIT_RUNTIME;
    }
}

void cli_advise(const struct cli *cli, int code)
{
    const char *text = beck_last_error(cli->client);

    if (code == BECK_ERR_TIMEOUT)
        fputs("Try a longer --timeout.\n", stderr);
    else if (code == BECK_ERR_CLOSED || code == BECK_ERR_IO)
        fputs("The server's log says why. Is it still there? Try: beck ping\n", stderr);
    else if (code == BECK_ERR_AUTH)
        fputs("Give the login with --user and --password-file FILE, or in BECK_PASSWORD.\n",
              stderr);
    else if (code == BECK_ERR_SERVER && strncmp(text, "WRONGTYPE", 9) == 0)
        fputs("That key is no stream. See which are with: beck stream ls\n", stderr);
    else if (code == BECK_ERR_SERVER && strncmp(text, "ERR unknown command", 19) == 0)
        fputs("See what the server knows with: beck call COMMAND LIST\n", stderr);
    else if (code == BECK_ERR_SERVER && beck_last_error_retriable(cli->client))
        fputs("This may pass: try again later.\n", stderr);
}

int cli_fail(const struct cli *cli, int code, const char *what)
{
    if (code != BECK_ERR_INTERRUPTED)
        cli_message(cli, "%s%s%s", what != NULL ? what : "", what != NULL ? ": " : "",
                    beck_last_error(cli->client));
    cli_advise(cli, code);
    return cli_status(cli, code);
}

int cli_call(struct cli *cli, const struct beck_slice *args, size_t n,
             const struct beck_reply **out)
{
    return beck_client_call(cli->client, args, n, out);
}

int cli_server_time(struct cli *cli, uint64_t *out_ms)
{
    struct beck_slice args[] = { beck_str("TIME") };
    const struct beck_reply *reply;
    int rc = cli_call(cli, args, 1, &reply);

    if (rc != BECK_OK)
        return cli_fail(cli, rc, NULL);
    if (beck_reply_count(reply) != 2)
        return EXIT_RUNTIME;
    *out_ms = strtoull(beck_reply_string(beck_reply_at(reply, 0)).p, NULL, 10) * 1000 +
              strtoull(beck_reply_string(beck_reply_at(reply, 1)).p, NULL, 10) / 1000;
    return EXIT_OK;
}

int cli_signal(struct cli *cli)
{
    struct signalfd_siginfo info;

    if (read(cli->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        return (int)info.ssi_signo;
    return 0;
}

void cli_finish_quietly(struct cli *cli)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    beck_client_set_wakeup(cli->client, -1);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* The first line of a file, which the caller frees; NULL after a message. */
static char *cli_read_password(const struct cli *cli, const char *path)
{
    char line[CLI_PASSWORD_MAX + 2];
    FILE *file = fopen(path, "re");
    char *password = NULL;

    if (file == NULL) {
        cli_message(cli, "cannot read the password file %s: %s", path, strerror(errno));
        return NULL;
    }
    if (fgets(line, sizeof line, file) == NULL || strcspn(line, "\r\n") == 0)
        cli_message(cli, "the password file %s begins with an empty line", path);
    else if (strlen(line) > CLI_PASSWORD_MAX)
        cli_message(cli, "the password in %s is longer than %d bytes", path, CLI_PASSWORD_MAX);
    else {
        line[strcspn(line, "\r\n")] = '\0';
        password = strdup(line);
    }
    fclose(file);
    explicit_bzero(line, sizeof line);
    return password;
}

/* Sets one value of the client's settings, if there is one; prints what is wrong with it. */
static bool cli_set(struct cli *cli, const char *name, const char *value)
{
    if (value == NULL)
        return true;
    if (beck_conf_set(cli->conf, name, value) == BECK_OK)
        return true;
    cli_message(cli, "%s", beck_conf_last_error(cli->conf));
    return false;
}

static bool cli_set_url(struct cli *cli, const char *url, const char *from)
{
    if (url == NULL || *url == '\0')
        return true;
    if (beck_conf_set_url(cli->conf, url) == BECK_OK)
        return true;
    cli_message(cli, "%s: %s", from, beck_conf_last_error(cli->conf));
    return false;
}

static bool cli_set_password(struct cli *cli)
{
    struct globals *g = &cli->globals;
    const char *password;

    if (g->password == NULL && g->password_file != NULL) {
        g->password = cli_read_password(cli, g->password_file);
        if (g->password == NULL)
            return false;
    }
    password = g->password != NULL ? g->password : getenv("BECK_PASSWORD");
    return cli_set(cli, "password", password != NULL && *password != '\0' ? password : NULL);
}

/* Whether the URL in force names a Unix socket, which a port alone then replaces. */
static bool cli_url_is_unix(const struct cli *cli)
{
    const char *url = cli->globals.url != NULL ? cli->globals.url : getenv("BECK_URL");

    return url != NULL && strncmp(url, "unix:", 5) == 0;
}

static bool cli_configure(struct cli *cli)
{
    const struct globals *g = &cli->globals;
    const char *host = g->host;
    char timeout[24], connect[24];

    if (g->socket != NULL && (g->host != NULL || g->port != NULL)) {
        cli_message(cli, "-s and -%c exclude each other", g->host != NULL ? 'h' : 'p');
        return false;
    }
    if (host == NULL && g->port != NULL && cli_url_is_unix(cli))
        host = "127.0.0.1";
    snprintf(timeout, sizeof timeout, "%llu", (unsigned long long)g->timeout_ms);
    snprintf(connect, sizeof connect, "%llu", (unsigned long long)g->connect_timeout_ms);
    return cli_set_url(cli, getenv("BECK_URL"), "BECK_URL") && cli_set_url(cli, g->url, "--url") &&
           cli_set(cli, "host", host) && cli_set(cli, "port", g->port) &&
           cli_set(cli, "path", g->socket) && cli_set(cli, "db", g->db) &&
           cli_set(cli, "user", g->user) && cli_set_password(cli) &&
           cli_set(cli, "timeout-ms", timeout) && cli_set(cli, "connect-timeout-ms", connect);
}

static int cli_catch_signals(struct cli *cli)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    cli->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (cli->signal_fd >= 0)
        return EXIT_OK;
    cli_message(cli, "cannot watch for signals: %s", strerror(errno));
    return EXIT_RUNTIME;
}

static int cli_connect_fail(struct cli *cli, int code)
{
    if (code == BECK_ERR_INTERRUPTED)
        return cli_status(cli, code);
    cli_message(cli, "%s", beck_last_error(cli->client));
    if (code == BECK_ERR_CONNECT || code == BECK_ERR_TIMEOUT)
        fputs("Is the server running there? Start one with: beckd\n"
              "Name another with -h HOST -p PORT, -s PATH, --url URL or BECK_URL.\n",
              stderr);
    if (code == BECK_ERR_AUTH)
        cli_advise(cli, code);
    if (code == BECK_ERR_PROTO)
        fputs("Is it really a Beck or Redis server that listens there?\n", stderr);
    return code == BECK_ERR_SERVER ? EXIT_RUNTIME : EXIT_CONNECTION;
}

int cli_connect(struct cli *cli)
{
    int rc;

    if (beck_conf_new(&cli->conf) != BECK_OK) {
        cli_message(cli, "out of memory");
        return EXIT_RUNTIME;
    }
    if (!cli_configure(cli)) {
        fprintf(stderr, "Try: beck help\n");
        return EXIT_USAGE;
    }
    if (beck_client_new(cli->conf, &cli->client) != BECK_OK) {
        cli_message(cli, "out of memory");
        return EXIT_RUNTIME;
    }
    rc = cli_catch_signals(cli);
    if (rc != EXIT_OK)
        return rc;
    beck_client_set_wakeup(cli->client, cli->signal_fd);
    rc = beck_client_connect(cli->client);
    return rc == BECK_OK ? EXIT_OK : cli_connect_fail(cli, rc);
}
