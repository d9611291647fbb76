/*
 * main.c - the program beckd: what belongs to the process rather than to a broker.
 *
 * Exit status: 0 stopped as asked, 1 failed while running, 2 never served (usage, configuration, store).
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/config.h"
#include "broker/engine/command.h"
#include "broker/version.h"

enum { EXIT_SERVED = 0, EXIT_FAILED = 1, EXIT_REFUSED = 2 };

enum { MAIN_OTHER_DESCRIPTORS = 64 }; /* log files, listening sockets, the loop's own */

static int main_complain(const char *text, int status)
{
    fprintf(stderr, "beckd: %s\n", text);
    return status;
}

static void main_print_help(void)
{
    printf("Usage: beckd [--config FILE] [--KEY VALUE]...\n"
           "\n"
           "A durable event streaming server that speaks the Redis protocol.\n"
           "\n"
           "  --config FILE                settings as lines of `key value`; flags override them\n"
           "  --check-config               say whether the settings are good, and end\n"
           "  --print-commands             print the protocol's documentation, docs/protocol.md\n"
           "  --help, --version\n"
           "\n"
           "Settings, with their defaults:\n");
    config_print_help();
    printf("\n"
           "When it serves, beckd prints one line to stdout: ready port=... dir=... pid=...\n"
           "SIGTERM and SIGINT stop it: what was read is answered, the log synced.\n"
           "Exit status: 0 stopped as asked, 1 failed while running, 2 never served.\n");
}

/* Takes `flag` out of the arguments; whether it was there. */
static bool main_take_flag(int *argc, char **argv, const char *flag)
{
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], flag) == 0) {
            memmove(&argv[i], &argv[i + 1], (size_t)(*argc - i) * sizeof argv[0]);
            (*argc)--;
            return true;
        }
    }
    return false;
}

/* Raises the limit of descriptors, and lowers maxclients to what it allows. */
static void main_fit_descriptors(struct config *c)
{
    struct rlimit limit;
    rlim_t most;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && getrlimit(RLIMIT_NOFILE, &limit) != 0)
            return;
    }
    most =
        limit.rlim_cur > MAIN_OTHER_DESCRIPTORS + 1 ? limit.rlim_cur - MAIN_OTHER_DESCRIPTORS : 1;
    if (limit.rlim_cur != RLIM_INFINITY && (rlim_t)c->maxclients > most) {
        fprintf(stderr,
                "beckd: maxclients lowered from %lld to %lld: the limit of open files is %lld\n",
                (long long)c->maxclients, (long long)most, (long long)limit.rlim_cur);
        c->maxclients = (int64_t)most;
    }
}

/* Without these, glibc gives memory back and takes it again with every large reply, or merges a million small pieces in
 * one call of free after a FLUSHALL (0.4 s). Each thread keeps an arena of its own: the engine must not wait for a lock
 * of one that merges, and that gets no processor while others want it (log/pool.c). */
static void main_tune_malloc(void)
{
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 4 << 20);
    mallopt(M_MXFAST, 0);
}

static int main_serve(struct config *c)
{
    struct broker *b;
    struct err e, closing;
    int rc = broker_open(c, &b, &e);

    if (rc != OK) {
        config_fini(c);
        return main_complain(e.text, rc == ERR_NOMEM ? EXIT_FAILED : EXIT_REFUSED);
    }
    rc = broker_catch_signals(b, &e);
    if (rc == OK) {
        printf("ready port=%u dir=%s pid=%ld\n", broker_port(b), broker_config(b)->dir,
               (long)getpid());
        fflush(stdout);
        rc = broker_run(b, &e);
    }
    if (broker_close(b, &closing) != OK)
        return main_complain(closing.text, EXIT_FAILED);
    return rc == OK ? EXIT_SERVED : main_complain(e.text, EXIT_FAILED);
}

int main(int argc, char **argv)
{
    struct config c;
    struct err e;
    bool check;

    if (main_take_flag(&argc, argv, "--help") || main_take_flag(&argc, argv, "-h")) {
        main_print_help();
        return EXIT_SERVED;
    }
    if (main_take_flag(&argc, argv, "--version")) {
        printf("beckd %s\n", BECKD_VERSION);
        return EXIT_SERVED;
    }
    if (main_take_flag(&argc, argv, "--print-commands")) {
        command_print_docs(stdout);
        return EXIT_SERVED;
    }
    check = main_take_flag(&argc, argv, "--check-config");
    if (config_init(&c, &e) != OK)
        return main_complain(e.text, EXIT_FAILED);
    if (config_parse_args(&c, argc, argv, &e) != OK || config_check(&c, &e) != OK) {
        config_fini(&c);
        return main_complain(e.text, EXIT_REFUSED);
    }
    if (check) {
        printf("the settings are good\n");
        config_fini(&c);
        return EXIT_SERVED;
    }
    umask(077);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit of file sizes is an error of write(2) */
    main_fit_descriptors(&c);
    main_tune_malloc();
    return main_serve(&c);
}
