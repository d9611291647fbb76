/*
 * server.c - servers under a benchmark; see server.h.
 *
 * CPU comes from the scheduler's own count of nanoseconds a thread has run (/proc/<pid>/task/<tid>/schedstat),
 * which has the 10 ms steps of /proc/<pid>/stat not. fsyncs are counted by a preloaded shim, the same for
 * every server.
 */
#include "tests/lib/server.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SERVER_ARGS_MAX = 64, SERVER_WAIT_MS = 120000 };

static int server_free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), port = 0;

    if (fd >= 0 && bind(fd, (struct sockaddr *)&a, n) == 0 &&
        getsockname(fd, (struct sockaddr *)&a, &n) == 0)
        port = ntohs(a.sin_port);
    if (fd >= 0)
        close(fd);
    return port;
}

static int server_map_syncs(struct server *s, const char *path, struct err *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *p = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, 4096) == 0)
        p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (p == MAP_FAILED)
        return err_sys(e, ERR_IO, "map %s", path);
    s->syncs = p;
    return OK;
}

static void server_exec(const char *const *argv, const struct server *s)
{
    const struct rlimit limit = { s->memory_limit, s->memory_limit };
    char output[600], syncs[600];
    int fd;

    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not outlive the benchmark */
    snprintf(output, sizeof output, "%s/output", s->dir);
    snprintf(syncs, sizeof syncs, "%s/syncs", s->dir);
    fd = open(output, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    if (s->preload != NULL)
        setenv("LD_PRELOAD", s->preload, 1);
    setenv("BECK_SYNCS", syncs, 1);
    if (s->memory_limit > 0)
        setrlimit(RLIMIT_DATA, &limit);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    fprintf(stderr, "%s cannot be started: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* Whether the server answers PING, in whatever protocol: memcached says ERROR. */
static int server_answers(const struct load_target *t)
{
    int fd = socket(t->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), answers = 0;
    char reply[8];

    if (fd >= 0 && connect(fd, (const struct sockaddr *)&t->address, t->n_address) == 0 &&
        send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6)
        answers = recv(fd, reply, sizeof reply, 0) == 7 &&
                  (memcmp(reply, "+PONG\r\n", 7) == 0 || memcmp(reply, "ERROR\r\n", 7) == 0);
    if (fd >= 0)
        close(fd);
    return answers;
}

static int server_wait_ready(struct server *s, struct err *e)
{
    struct timespec ms = { 0, 1000000 };

    for (int i = 0; i < SERVER_WAIT_MS; i++) {
        if (server_answers(&s->target))
            return OK;
        if (waitpid(s->pid, NULL, WNOHANG) != 0)
            break;
        nanosleep(&ms, NULL);
    }
    return err_set(e, ERR_IO, "the server did not start: see %s/output", s->dir);
}

static void server_set_target(struct load_target *t, int port, const char *sock, int unix_socket)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&t->address;
    struct sockaddr_un *un = (struct sockaddr_un *)&t->address;

    memset(t, 0, sizeof *t);
    if (unix_socket) {
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, sock, strlen(sock) + 1);
        t->n_address = sizeof *un;
    } else {
        in->sin_family = AF_INET;
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        in->sin_port = htons((uint16_t)port);
        t->n_address = sizeof *in;
    }
}

/* Runs argv with the server's port, directory and socket in place of %p, %d and %s. */
static int server_run(struct server *s, const char *const *argv, struct err *e)
{
    const char *args[SERVER_ARGS_MAX + 1];
    char port_text[8], data[600], sock[600];
    size_t n = 0;

    snprintf(port_text, sizeof port_text, "%d", s->port);
    snprintf(data, sizeof data, "%s/data", s->dir);
    snprintf(sock, sizeof sock, "%s/sock", s->dir);
    for (; argv[n] != NULL && n < SERVER_ARGS_MAX; n++)
        args[n] = strcmp(argv[n], "%p") == 0   ? port_text
                  : strcmp(argv[n], "%d") == 0 ? data
                  : strcmp(argv[n], "%s") == 0 ? sock
                                               : argv[n];
    args[n] = NULL;
    s->pid = fork();
    if (s->pid < 0)
        return err_sys(e, ERR_IO, "fork");
    if (s->pid == 0)
        server_exec(args, s);
    return server_wait_ready(s, e);
}

int server_start(struct server *s, const char *const *argv, const char *base, const char *preload,
                 int unix_socket, struct err *e)
{
    char data[600], sock[600], syncs[600];
    uint64_t memory_limit = s->memory_limit;
    int rc;

    memset(s, 0, sizeof *s);
    s->memory_limit = memory_limit;
    s->preload = preload;
    s->port = server_free_port();
    s->unix_socket = unix_socket;
    snprintf(s->dir, sizeof s->dir, "%s/bench-XXXXXX", base);
    if (mkdtemp(s->dir) == NULL)
        return err_sys(e, ERR_IO, "make %s", s->dir);
    snprintf(data, sizeof data, "%s/data", s->dir);
    snprintf(sock, sizeof sock, "%s/sock", s->dir);
    snprintf(syncs, sizeof syncs, "%s/syncs", s->dir);
    if (strlen(sock) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return err_set(e, ERR_USAGE, "%s is too long for a socket", sock);
    if (mkdir(data, 0700) != 0)
        return err_sys(e, ERR_IO, "make %s", data);
    rc = server_map_syncs(s, syncs, e);
    if (rc != OK)
        return rc;
    server_set_target(&s->target, s->port, sock, unix_socket);
    return server_run(s, argv, e);
}

static double server_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int server_restart(struct server *s, const char *const *argv, const char *request, double *seconds,
                   struct err *e)
{
    double began = server_seconds();
    char reply[256];
    int rc = server_run(s, argv, e);

    if (rc == OK)
        rc = server_ask(s, request, reply, sizeof reply, e);
    *seconds = server_seconds() - began;
    return rc;
}

void server_kill(struct server *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

/* ---- asking ---- */

/* Reads a whole reply, as far as it tells that it is one: a line, or a bulk string. */
static int server_read_reply(FILE *f, char *reply, size_t n, struct err *e)
{
    size_t want;

    if (fgets(reply, (int)n, f) == NULL)
        return err_sys(e, ERR_IO, "the server closed the connection");
    if (reply[0] == '-')
        return err_set(e, ERR_PROTO, "the server replied %s", reply);
    if (reply[0] != '$' && reply[0] != '=')
        return OK;
    want = (size_t)strtoull(reply + 1, NULL, 10);
    if (want + 2 >= n || fread(reply, 1, want + 2, f) != want + 2)
        return err_set(e, ERR_IO, "the server's reply of %zu bytes is cut short", want);
    reply[want] = 0;
    return OK;
}

static FILE *server_send(const struct server *s, const char *request)
{
    int fd = socket(s->target.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "r+");

    if (f == NULL ||
        connect(fd, (const struct sockaddr *)&s->target.address, s->target.n_address) != 0 ||
        fprintf(f, "%s\r\n", request) < 0 || fflush(f) != 0) {
        if (f != NULL)
            fclose(f);
        return NULL;
    }
    return f;
}

int server_ask(const struct server *s, const char *request, char *reply, size_t n, struct err *e)
{
    FILE *f = server_send(s, request);
    int rc;

    if (f == NULL)
        return err_sys(e, ERR_IO, "send %s", request);
    rc = server_read_reply(f, reply, n, e);
    fclose(f);
    return rc;
}

/* BECK LOG is a flat array of names and values: after the name's line comes the value's. */
static uint64_t server_log_figure(const struct server *s, const char *name)
{
    FILE *f = server_send(s, "BECK LOG");
    char line[512];
    uint64_t value = 0;
    long long left = 0;
    bool found = false;

    if (f != NULL && fgets(line, sizeof line, f) != NULL && line[0] == '*')
        left = strtoll(line + 1, NULL, 10);
    while (left > 0 && fgets(line, sizeof line, f) != NULL) {
        if (line[0] == '$')
            continue; /* the length of what follows */
        left--;
        line[strcspn(line, "\r\n")] = 0;
        if (found) {
            value = strtoull(line + (line[0] == ':'), NULL, 10);
            break;
        }
        found = strcmp(line, name) == 0;
    }
    if (f != NULL)
        fclose(f);
    return value;
}

uint64_t server_figure(const struct server *s, const char *name, int beck)
{
    static char info[64 << 10];
    char line[128];
    const char *at;
    struct err e;

    if (beck)
        return server_log_figure(s, name);
    if (server_ask(s, "INFO all", info, sizeof info, &e) != OK)
        return 0;
    snprintf(line, sizeof line, "\n%s:", name);
    at = strstr(info, line);
    return at == NULL ? 0 : strtoull(at + strlen(line), NULL, 10);
}

static uint64_t server_cpu_ns(pid_t pid)
{
    char path[320];
    uint64_t sum = 0, ns;
    struct dirent *entry;
    DIR *tasks;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    tasks = opendir(path);
    while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
        FILE *f;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, entry->d_name);
        f = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (f != NULL && fscanf(f, "%" SCNu64, &ns) == 1)
            sum += ns;
        if (f != NULL)
            fclose(f);
    }
    if (tasks != NULL)
        closedir(tasks);
    return sum;
}

/* A line of /proc/<pid>/status that is a number of KiB, in bytes. */
static uint64_t server_status_bytes(pid_t pid, const char *name)
{
    char path[64], line[256];
    size_t n = strlen(name);
    uint64_t kib = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, n) == 0 && line[n] == ':') {
            kib = strtoull(line + n + 1, NULL, 10);
            break;
        }
    if (f != NULL)
        fclose(f);
    return kib * 1024;
}

void server_cost(const struct server *s, struct server_cost *out)
{
    out->cpu_ns = server_cpu_ns(s->pid);
    out->n_syncs = s->syncs[0];
    out->sync_ns = s->syncs[1];
    out->peak_bytes = server_status_bytes(s->pid, "VmHWM");
    out->rss_bytes = server_status_bytes(s->pid, "VmRSS");
}

static int server_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* Waits for the end; a server that takes longer than SERVER_WAIT_MS is killed, which its status shows. */
static void server_wait_end(pid_t pid, int *status)
{
    struct timespec ms = { 0, 1000000 };

    for (int i = 0; i < SERVER_WAIT_MS; i++) {
        if (waitpid(pid, status, WNOHANG) == pid)
            return;
        nanosleep(&ms, NULL);
    }
    kill(pid, SIGKILL);
    waitpid(pid, status, 0);
}

int server_stop(struct server *s)
{
    int status = 0;

    if (s->pid > 0) {
        kill(s->pid, SIGTERM);
        server_wait_end(s->pid, &status);
    }
    if (s->syncs != NULL)
        munmap((void *)(uintptr_t)s->syncs, 4096);
    nftw(s->dir, server_remove, 16, FTW_DEPTH | FTW_PHYS);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
