/*
 * preload_syncs.c - counts a program's fsync and fdatasync calls from outside, the same way for every server.
 *
 * bench_append starts each server with this in LD_PRELOAD and the name of a file in BECK_SYNCS; the file is
 * mapped by both sides and holds two numbers: how many calls, and the nanoseconds that they took in all. A
 * shim costs a clock reading for each call, where tracing the calls would slow every other one as well. It
 * has to be the exception to "no mutable statics": nothing could hand it a context.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t *preload_counts; /* calls, nanoseconds; NULL if nobody asked */

__attribute__((constructor)) static void preload_start(void)
{
    const char *path = getenv("BECK_SYNCS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p;

    if (fd < 0)
        return;
    p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p != MAP_FAILED)
        preload_counts = p;
}

static uint64_t preload_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int preload_call(long number, int fd)
{
    uint64_t began = preload_now_ns();
    int rc = (int)syscall(number, fd), saved = errno;

    if (preload_counts != NULL) {
        __atomic_add_fetch(&preload_counts[0], 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&preload_counts[1], preload_now_ns() - began, __ATOMIC_RELAXED);
    }
    errno = saved;
    return rc;
}

int fsync(int fd)
{
    return preload_call(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return preload_call(SYS_fdatasync, fd);
}
