/*
 * preload_trace.c - writes down what a program does to its files and tells its clients, in one order.
 *
 * power_cut.py starts beckd with this in LD_PRELOAD, the name of a file in BECK_TRACE and the data directory in
 * BECK_TRACE_DIR. Each call on that directory's files becomes a record with its bytes once it has succeeded;
 * so a record says that the effect was there. An fdatasync has two records, because it covers what had been
 * recorded before its first one, and holds only from its second one on. What goes to a client is recorded before it is
 * sent (and again, with the count, afterwards): from that record on the client may know it. One lock makes the order: a
 * program that waits for one call before it makes another finds them in that order in the trace. With a number n in
 * BECK_TRACE_FAIL the n-th sync fails with EIO, and nothing is synced by it; those of a segment or a checkpoint are not
 * counted, since only that file is given up for them.
 *
 *   record   u64 time in ns, u32 kind, i32 descriptor, u64 position or size, u32 bytes of path, u32 bytes of data; path; data
 *
 * An exception to "no mutable statics": nothing could hand it a context.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "log/bytes.h"

enum trace_kind {
    TRACE_START,
    TRACE_OPEN,
    TRACE_CLOSE,
    TRACE_WRITE,
    TRACE_SYNC_BEGIN,
    TRACE_SYNC_END,
    TRACE_ALLOCATE,
    TRACE_TRUNCATE,
    TRACE_RENAME,
    TRACE_LINK,
    TRACE_UNLINK,
    TRACE_MKDIR,
    TRACE_ACCEPT,
    TRACE_SEND,
    TRACE_SENT
};
enum { TRACE_FDS = 65536, TRACE_HEADER_BYTES = 32, TRACE_IOV_MAX = 1026 };
enum { FD_OTHER, FD_FILE, FD_SOCKET };

static int trace_fd = -1;
static const char *trace_dir;
static pthread_mutex_t trace_lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t trace_fds[TRACE_FDS];
static bool trace_fails;
static uint64_t trace_syncs_left; /* until one does */

static uint64_t trace_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static size_t trace_total(const struct iovec *iov, int n_iov)
{
    size_t n = 0;

    for (int i = 0; i < n_iov; i++)
        n += iov[i].iov_len;
    return n;
}

/* Writes one record; of the data at most `n` bytes. */
static void trace_put(enum trace_kind kind, int fd, uint64_t pos, const char *path, size_t path_n,
                      const struct iovec *data, int n_data, size_t n)
{
    uint8_t header[TRACE_HEADER_BYTES];
    struct iovec iov[TRACE_IOV_MAX] = { { header, sizeof header },
                                        { (void *)(uintptr_t)path, path_n } };
    int saved = errno, used = 2;

    if (trace_fd < 0)
        return;
    put_u32le(header + 8, kind);
    put_u32le(header + 12, (uint32_t)fd);
    put_u64le(header + 16, pos);
    put_u32le(header + 24, (uint32_t)path_n);
    put_u32le(header + 28, (uint32_t)n);
    for (int i = 0; i < n_data && n > 0 && used < TRACE_IOV_MAX; i++) {
        iov[used] = data[i];
        if (iov[used].iov_len > n)
            iov[used].iov_len = n;
        n -= iov[used++].iov_len;
    }
    pthread_mutex_lock(&trace_lock);
    put_u64le(header, trace_now_ns());
    if (n > 0 || syscall(SYS_writev, trace_fd, iov, used) != (ssize_t)trace_total(iov, used))
        abort(); /* a trace with a hole proves nothing */
    pthread_mutex_unlock(&trace_lock);
    errno = saved;
}

static void trace_note(enum trace_kind kind, int fd, uint64_t pos)
{
    trace_put(kind, fd, pos, NULL, 0, NULL, 0, 0);
}

static bool trace_is(int fd, int what)
{
    return fd >= 0 && fd < TRACE_FDS && trace_fds[fd] == what;
}

static void trace_mark(int fd, int what)
{
    if (fd >= TRACE_FDS)
        abort();
    trace_fds[fd] = (uint8_t)what;
}

/* Whether a path is in the data directory, or the directory itself. */
static bool trace_has(const char *path)
{
    size_t n = trace_dir != NULL ? strlen(trace_dir) : 0;
    return n > 0 && strncmp(path, trace_dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

__attribute__((constructor)) static void trace_start(void)
{
    const char *path = getenv("BECK_TRACE");

    trace_dir = getenv("BECK_TRACE_DIR");
    if (path == NULL || trace_dir == NULL)
        return;
    trace_fd =
        (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace_fd < 0)
        abort();
    if (getenv("BECK_TRACE_FAIL") != NULL)
        trace_syncs_left = strtoull(getenv("BECK_TRACE_FAIL"), NULL, 10);
    trace_fails = getenv("BECK_TRACE_FAIL") != NULL;
    trace_note(TRACE_START, 0, 0);
}

/* ---- files ------------------------------------------------------------------------------------- */

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;
    int fd;

    if (flags & (O_CREAT | __O_TMPFILE)) {
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && trace_has(path)) {
        trace_mark(fd, FD_FILE);
        trace_put(TRACE_OPEN, fd, (uint64_t)(flags & O_TRUNC), path, strlen(path), NULL, 0, 0);
    }
    return fd;
}

/* Before the call: afterwards another thread may have the number. */
int close(int fd)
{
    if (trace_is(fd, FD_FILE) || trace_is(fd, FD_SOCKET)) {
        trace_mark(fd, FD_OTHER);
        trace_note(TRACE_CLOSE, fd, 0);
    }
    return (int)syscall(SYS_close, fd);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n_iov, off_t pos)
{
    ssize_t n = syscall(SYS_pwritev, fd, iov, n_iov, pos, 0);

    if (n > 0 && trace_is(fd, FD_FILE))
        trace_put(TRACE_WRITE, fd, (uint64_t)pos, NULL, 0, iov, n_iov, (size_t)n);
    return n;
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t pos)
{
    struct iovec iov = { (void *)(uintptr_t)buf, n };
    return pwritev(fd, &iov, 1, pos);
}

static bool trace_is_derived(int fd)
{
    char link[40], path[4096];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return strstr(path, "/st-") != NULL || strstr(path, "/ckpt-") != NULL;
}

static int trace_sync(long number, int fd)
{
    int rc;

    if (!trace_is(fd, FD_FILE))
        return (int)syscall(number, fd);
    trace_note(TRACE_SYNC_BEGIN, fd, 0);
    if (trace_fails && !trace_is_derived(fd) &&
        __atomic_fetch_sub(&trace_syncs_left, 1, __ATOMIC_RELAXED) == 1) {
        errno = EIO;
        return -1;
    }
    rc = (int)syscall(number, fd);
    if (rc == 0)
        trace_note(TRACE_SYNC_END, fd, 0);
    return rc;
}

int fsync(int fd)
{
    return trace_sync(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return trace_sync(SYS_fdatasync, fd);
}

int fallocate(int fd, int mode, off_t pos, off_t n)
{
    int rc = (int)syscall(SYS_fallocate, fd, mode, pos, n);

    if (rc == 0 && trace_is(fd, FD_FILE))
        trace_note(TRACE_ALLOCATE, fd, (uint64_t)(pos + n));
    return rc;
}

int posix_fallocate(int fd, off_t pos, off_t n)
{
    return fallocate(fd, 0, pos, n) == 0 ? 0 : errno;
}

int ftruncate(int fd, off_t size)
{
    int rc = (int)syscall(SYS_ftruncate, fd, size);

    if (rc == 0 && trace_is(fd, FD_FILE))
        trace_note(TRACE_TRUNCATE, fd, (uint64_t)size);
    return rc;
}

int rename(const char *from, const char *to)
{
    int rc = (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    struct iovec data = { (void *)(uintptr_t)to, strlen(to) };

    if (rc == 0 && trace_has(from))
        trace_put(TRACE_RENAME, 0, 0, from, strlen(from), &data, 1, data.iov_len);
    return rc;
}

int link(const char *from, const char *to)
{
    int rc = (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
    struct iovec data = { (void *)(uintptr_t)to, strlen(to) };

    if (rc == 0 && trace_has(from) && trace_has(to))
        trace_put(TRACE_LINK, 0, 0, from, strlen(from), &data, 1, data.iov_len);
    return rc;
}

int unlink(const char *path)
{
    int rc = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);

    if (rc == 0 && trace_has(path))
        trace_put(TRACE_UNLINK, 0, 0, path, strlen(path), NULL, 0, 0);
    return rc;
}

int mkdir(const char *path, mode_t mode)
{
    int rc = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);

    if (rc == 0 && trace_has(path))
        trace_put(TRACE_MKDIR, 0, 0, path, strlen(path), NULL, 0, 0);
    return rc;
}

/* ---- clients ----------------------------------------------------------------------------------- */

int accept4(int fd, struct sockaddr *address, socklen_t *n, int flags)
{
    int client = (int)syscall(SYS_accept4, fd, address, n, flags);

    if (client >= 0 && trace_fd >= 0) {
        trace_mark(client, FD_SOCKET);
        trace_note(TRACE_ACCEPT, client, 0);
    }
    return client;
}

int accept(int fd, struct sockaddr *address, socklen_t *n)
{
    return accept4(fd, address, n, 0);
}

static ssize_t trace_send(int fd, const struct iovec *iov, int n_iov, int flags)
{
    struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)iov,
                              .msg_iovlen = (size_t)n_iov };
    ssize_t n;

    trace_put(TRACE_SEND, fd, 0, NULL, 0, iov, n_iov, trace_total(iov, n_iov));
    n = syscall(SYS_sendmsg, fd, &message, flags);
    trace_note(TRACE_SENT, fd, n > 0 ? (uint64_t)n : 0);
    return n;
}

ssize_t writev(int fd, const struct iovec *iov, int n_iov)
{
    if (trace_is(fd, FD_SOCKET))
        return trace_send(fd, iov, n_iov, 0);
    return syscall(SYS_writev, fd, iov, n_iov);
}

/* A data file has no write() in beckd; one that appeared would be missing in the trace. */
ssize_t write(int fd, const void *buf, size_t n)
{
    struct iovec iov = { (void *)(uintptr_t)buf, n };

    if (trace_is(fd, FD_FILE))
        abort();
    return trace_is(fd, FD_SOCKET) ? trace_send(fd, &iov, 1, 0) : syscall(SYS_write, fd, buf, n);
}

ssize_t send(int fd, const void *buf, size_t n, int flags)
{
    struct iovec iov = { (void *)(uintptr_t)buf, n };

    if (trace_is(fd, FD_SOCKET))
        return trace_send(fd, &iov, 1, flags);
    return syscall(SYS_sendto, fd, buf, n, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (trace_is(fd, FD_SOCKET))
        return trace_send(fd, message->msg_iov, (int)message->msg_iovlen, flags);
    return syscall(SYS_sendmsg, fd, message, flags);
}
