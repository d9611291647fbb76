/*
 * test_planted_bugs.c - the crash suites fail when the log has a bug. A suite that cannot fail proves nothing.
 *
 * log/ and the host of tests/lib/host.c are built into this program with BECK_PLANTED_BUGS (log/bug.h). Each bug is planted in turn in a child
 * process and the suites run until one fails; an assertion of the log that stops the child counts too. Without a
 * bug all of them must hold.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "log/bug.h"
#include "tests/lib/crash.h"

int planted_bug;

static const struct {
    const char *what;
    crash_suite *
        first; /* the suite that is run first, where it isn't the first of all; only to save time */
} bugs[BUG_COUNT] = {
    [BUG_NONE] = { "none", NULL },
    [BUG_ACK_BEFORE_SYNC] = { "durable before fdatasync returned", NULL },
    [BUG_NO_DIRECTORY_SYNC] = { "no directory sync after a rename", NULL },
    [BUG_INLINE_OVERTAKES_QUEUE] = { "an inline batch overtakes a queued one", NULL },
    [BUG_RETRY_FAILED_SYNC] = { "a failed fdatasync tried again and believed", crash_errors },
    [BUG_APPEND_TO_OLD_FILE] = { "a start appends to the old file", NULL },
    [BUG_STOP_AT_BAD_CRC] = { "the first bad checksum is the end", crash_damage },
    [BUG_ROTATE_WITHOUT_SYNC] = { "the old file isn't synced at rotation", NULL },
    [BUG_TORN_RUN_ACCEPTED] = { "an unfinished run of frames is a batch", NULL },
    [BUG_CLOCK_NOT_CARRIED] = { "a start doesn't tell the highest clock", NULL },
    [BUG_UNALIGNED_AFTER_SYNC] = { "new frames share a sector with synced ones", NULL },
    [BUG_SYNCED_BEFORE_DURABLE] = { "synced_lsn claims what is only written", NULL },
    [BUG_MANIFEST_BEFORE_SYNC] = { "a manifest names what is not durable", seal_points },
    [BUG_SEGMENT_NOT_SYNCED] = { "a segment is installed unsynced", seal_points },
    [BUG_UNLINK_BEFORE_MANIFEST] = { "inputs of a merge go before the manifest", seal_points },
    [BUG_WAL_RELEASED_EARLY] = { "the log that an older checkpoint needs is gone", seal_damage },
    [BUG_CHECKPOINT_END_IGNORED] = { "a log that ends before its checkpoint does", seal_damage },
    [BUG_REPLAY_COUNTS_TWICE] = { "what a chunk has seen is applied again", seal_random },
    [BUG_DELETES_FORGOTTEN] = { "deletes that a merge has not folded are lost", seal_points },
    [BUG_SEAL_REVIVES] = { "deleted entries are sealed and come back", seal_random },
    [BUG_INSTALL_AT_ONCE] = { "a segment counts before the tail is cut", seal_points },
    [BUG_NAME_LOSER_KEPT] = { "of two bindings of a name the older one wins", seal_points },
    [BUG_CHANGE_DROPPED] = { "a merge drops the change that a value is in", seal_points },
    [BUG_HISTORY_DROPPED] = { "a merge drops changes that are history", seal_points },
    [BUG_CHANGES_ASKED_EARLY] = { "dropped changes do not wait for what dropped them",
                                  seal_points },
    [BUG_CHANGES_KEPT] = { "a merge keeps overwritten values for ever", seal_points },
};

/* All suites, those of the log alone first. */
enum { N_SUITES = CRASH_SUITES + SEAL_SUITES };

static const struct crash_named *suite_of(size_t i)
{
    return i < CRASH_SUITES ? &crash_suites[i] : &seal_suites[i - CRASH_SUITES];
}

/* What a child tells its parent. */
struct verdict {
    size_t suite; /* the one that failed, or that ran when the child died */
    struct crash_result result;
};

/* Runs one suite; the parent hears which one before it starts. */
static void child_suite(size_t suite, const struct crash_options *options, struct verdict *v,
                        int fd)
{
    if (v->result.why[0] != '\0')
        return;
    v->suite = suite;
    if (write(fd, v, sizeof *v) != sizeof *v)
        _exit(2);
    suite_of(suite)->run(options, &v->result);
}

static void child_run(int bug, int fd)
{
    struct crash_options options;
    struct verdict v;

    crash_options_get(&options);
    options.full = false;
    options.scale = bug == BUG_NONE ? 0.02 : 0.2; /* without a bug, test_crash_log does it all */
    if (getenv("SEED") == NULL || *getenv("SEED") == '\0')
        options.seed = 1;
    planted_bug = bug;
    memset(&v, 0, sizeof v);
    for (size_t i = 0; i < N_SUITES; i++)
        if (suite_of(i)->run == bugs[bug].first)
            child_suite(i, &options, &v, fd);
    for (size_t i = 0; i < N_SUITES; i++)
        if (suite_of(i)->run != bugs[bug].first)
            child_suite(i, &options, &v, fd);
    if (write(fd, &v, sizeof v) != sizeof v)
        _exit(2);
    _exit(v.result.why[0] != '\0');
}

/* The last thing that the child said; its status from wait. */
static int child_wait(pid_t pid, int fd, struct verdict *out)
{
    struct verdict v;
    int status = -1;

    memset(out, 0, sizeof *out);
    while (read(fd, &v, sizeof v) == sizeof v)
        *out = v;
    while (waitpid(pid, &status, 0) < 0)
        ;
    return status;
}

static bool bug_try(int bug)
{
    struct timespec began, ended;
    struct verdict v;
    int fds[2], status;
    bool caught;
    pid_t pid;

    clock_gettime(CLOCK_MONOTONIC, &began);
    fflush(NULL);
    if (pipe(fds) != 0 || (pid = fork()) < 0)
        return false;
    if (pid == 0) {
        close(fds[0]);
        child_run(bug, fds[1]);
    }
    close(fds[1]);
    status = child_wait(pid, fds[0], &v);
    close(fds[0]);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    caught = WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 1);
    printf("%-47s %-10s %-24s %8" PRIu64 " starts %6.1f s\n", bugs[bug].what,
           caught ? "caught by" : "not caught", caught ? suite_of(v.suite)->name : "",
           v.result.n_opens,
           (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) * 1e-9);
    printf("    %s\n", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : v.result.why);
    fflush(stdout);
    return caught == (bug != BUG_NONE) &&
           (caught || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;

    for (int bug = 0; bug < BUG_COUNT; bug++) {
        if (argc > 1 && strtol(argv[1], NULL, 10) != bug)
            continue;
        if (bugs[bug].what != NULL && bug_try(bug))
            passed++;
        else
            failed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
