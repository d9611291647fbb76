/*
 * exec.c - see exec.h.
 *
 * The entry is in a file that exists in memory only, which is the command's stdin. So a command
 * that reads slowly or not at all holds up nothing and ends nothing: no pipe can break or be full.
 *
 * The command begins with the signals' defaults, none of them blocked (cli.c blocks SIGINT and
 * SIGTERM). Its end is told by a descriptor for the process, beside the one for our signals.
 */
#include "cli/exec.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

extern char **environ;

enum { EXEC_OWN = 4 /* variables of our own */ };

/* A file in memory with the input, to be read from its begin; -1 with errno. */
static int exec_input(struct beck_slice input)
{
    int fd = memfd_create("beck-entry", MFD_CLOEXEC);
    size_t at = 0;

    while (fd >= 0 && at < input.n) {
        ssize_t n = write(fd, input.p + at, input.n - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int error = errno;
            close(fd);
            errno = error;
            return -1;
        }
        at += (size_t)n;
    }
    if (fd >= 0 && lseek(fd, 0, SEEK_SET) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* "NAME=value", which the caller frees. */
static char *exec_variable(const char *name, const char *value)
{
    struct text t = { 0 };

    text_put_str(&t, name);
    text_put_str(&t, value);
    text_put_char(&t, '\0');
    return t.p;
}

/* Whether a variable of our environment is one that the command gets from us. */
static bool exec_is_own(const char *variable, char *const *own)
{
    size_t n = strcspn(variable, "=") + 1;

    for (size_t i = 0; i < EXEC_OWN; i++)
        if (strncmp(variable, own[i], n) == 0)
            return true;
    return false;
}

/* Our environment with the command's own variables, which are first. */
static char **exec_environment(const struct exec_call *call)
{
    size_t n = 0;
    char **env;

    while (environ[n] != NULL)
        n++;
    env = calloc(n + EXEC_OWN + 1, sizeof *env);
    if (env == NULL)
        return NULL;
    env[0] = exec_variable("BECK_STREAM=", call->stream);
    env[1] = exec_variable("BECK_GROUP=", call->group);
    env[2] = exec_variable("BECK_CONSUMER=", call->consumer);
    env[3] = exec_variable("BECK_ID=", call->id);
    n = EXEC_OWN;
    for (char **from = environ; *from != NULL; from++)
        if (!exec_is_own(*from, env))
            env[n++] = *from;
    return env;
}

static void exec_environment_free(char **env)
{
    for (size_t i = 0; env != NULL && i < EXEC_OWN; i++)
        free(env[i]);
    free(env);
}

/* Starts it with `input` as its stdin: 0, or errno. */
static int exec_start(const struct exec_call *call, int input, pid_t *out)
{
    char *argv[] = { (char *)"sh", (char *)"-c", (char *)call->command, NULL };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    char **env = exec_environment(call);
    int rc;

    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
    rc = env == NULL ? ENOMEM : posix_spawn(out, "/bin/sh", &actions, &attributes, argv, env);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    exec_environment_free(env);
    return rc;
}

/* Waits for its end, and watches for signals meanwhile. */
static void exec_wait(struct cli *cli, pid_t pid, struct exec_result *out)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd fds[2] = { { .fd = fd, .events = POLLIN },
                             { .fd = cli->signal_fd, .events = POLLIN } };
    int status = 0;

    while (fd >= 0) {
        int signal;
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        signal = fds[1].revents != 0 ? cli_signal(cli) : 0;
        if (signal != 0 && out->signal != 0)
            kill(-pid, SIGKILL);
        if (signal != 0)
            out->signal = signal;
        if (fds[0].revents != 0)
            break;
    }
    if (fd >= 0)
        close(fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    out->killed = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    out->status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

bool exec_run(struct cli *cli, const struct exec_call *call, struct exec_result *out)
{
    int input = exec_input(call->input);
    int rc = input < 0 ? errno : 0;
    pid_t pid;

    memset(out, 0, sizeof *out);
    if (rc == 0)
        rc = exec_start(call, input, &pid);
    if (input >= 0)
        close(input);
    if (rc == 0)
        exec_wait(cli, pid, out);
    else
        cli_message(cli, "cannot start the command: %s", strerror(rc));
    return rc == 0;
}
