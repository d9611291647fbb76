/*
 * io.c - the real file operations, clocks and randomness behind struct io.
 *
 * Thin on purpose: what the log relies on is decided above, and simulated in tests. EINTR is
 * retried everywhere but in close, where Linux has released the descriptor by then.
 */
#include "log/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define IO_RETRY(result, call) \
    do                         \
        (result) = (call);     \
    while ((result) < 0 && errno == EINTR)

static int io_real_open(struct io *io, const char *path, int flags)
{
    int mode = (flags & IO_WRITE) != 0 ? O_RDWR : O_RDONLY;
    int fd;

    (void)io;
    if ((flags & IO_CREATE) != 0)
        mode |= O_CREAT;
    if ((flags & IO_EXCLUSIVE) != 0)
        mode |= O_EXCL;
    IO_RETRY(fd, open(path, mode | O_CLOEXEC | O_NOCTTY, 0600));
    return fd;
}

static int io_real_close(struct io *io, int fd)
{
    (void)io;
    return close(fd) == 0 || errno == EINTR ? 0 : -1;
}

static ssize_t io_real_pread(struct io *io, int fd, void *buf, size_t n, uint64_t pos)
{
    ssize_t got;

    (void)io;
    IO_RETRY(got, pread(fd, buf, n, (off_t)pos));
    return got;
}

static ssize_t io_real_pwritev(struct io *io, int fd, const struct iovec *iov, int n_iov,
                               uint64_t pos)
{
    ssize_t put;

    (void)io;
    IO_RETRY(put, pwritev(fd, iov, n_iov, (off_t)pos));
    return put;
}

static int io_real_fdatasync(struct io *io, int fd)
{
    int rc;

    (void)io;
    IO_RETRY(rc, fdatasync(fd));
    return rc;
}

/* Where the file system cannot allocate, zeros are written: slower once, the same afterwards. */
static int io_real_allocate(struct io *io, int fd, uint64_t size)
{
    int rc;

    (void)io;
    IO_RETRY(rc, fallocate(fd, 0, 0, (off_t)size));
    if (rc == 0 || errno != EOPNOTSUPP)
        return rc;
    rc = posix_fallocate(fd, 0, (off_t)size);
    if (rc == 0)
        return 0;
    errno = rc;
    return -1;
}

static int io_real_truncate(struct io *io, int fd, uint64_t size)
{
    int rc;

    (void)io;
    IO_RETRY(rc, ftruncate(fd, (off_t)size));
    return rc;
}

static int io_real_size(struct io *io, int fd, uint64_t *out)
{
    struct stat st;

    (void)io;
    if (fstat(fd, &st) != 0)
        return -1;
    *out = (uint64_t)st.st_size;
    return 0;
}

static int io_real_lock(struct io *io, int fd)
{
    int rc;

    (void)io;
    IO_RETRY(rc, flock(fd, LOCK_EX | LOCK_NB));
    return rc;
}

static int io_real_rename(struct io *io, const char *from, const char *to)
{
    (void)io;
    return rename(from, to);
}

static int io_real_link(struct io *io, const char *from, const char *to)
{
    (void)io;
    return link(from, to);
}

static int io_real_unlink(struct io *io, const char *path)
{
    (void)io;
    return unlink(path);
}

static int io_real_mkdir(struct io *io, const char *path)
{
    (void)io;
    return mkdir(path, 0700);
}

static int io_real_sync_dir(struct io *io, const char *path)
{
    int fd, rc, sys;

    (void)io;
    IO_RETRY(fd, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0)
        return -1;
    IO_RETRY(rc, fsync(fd));
    sys = errno;
    close(fd);
    errno = sys;
    return rc;
}

static int io_real_list(struct io *io, const char *path, int (*each)(void *ctx, const char *name),
                        void *ctx)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    int rc = 0, sys;

    (void)io;
    if (dir == NULL)
        return -1;
    errno = 0;
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = each(ctx, entry->d_name);
        if (rc == 0)
            errno = 0;
    }
    sys = errno;
    closedir(dir);
    errno = sys;
    return rc == 0 && sys != 0 ? -1 : rc;
}

static int io_real_space(struct io *io, const char *path, uint64_t *free_bytes)
{
    struct statvfs vfs;
    int rc;

    (void)io;
    IO_RETRY(rc, statvfs(path, &vfs));
    if (rc == 0)
        *free_bytes = (uint64_t)vfs.f_bavail * (uint64_t)vfs.f_frsize;
    return rc;
}

static uint64_t io_real_time(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t io_real_wall_ms(struct io *io)
{
    (void)io;
    return io_real_time(CLOCK_REALTIME) / 1000000;
}

static uint64_t io_real_monotonic_ns(struct io *io)
{
    (void)io;
    return io_real_time(CLOCK_MONOTONIC);
}

static int io_real_random(struct io *io, void *buf, size_t n)
{
    uint8_t *at = buf;
    ssize_t got;

    (void)io;
    while (n > 0) {
        IO_RETRY(got, getrandom(at, n, 0));
        if (got < 0)
            return -1;
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

void io_init_real(struct io *io)
{
    *io = (struct io){
        .open = io_real_open,
        .close = io_real_close,
        .pread = io_real_pread,
        .pwritev = io_real_pwritev,
        .fdatasync = io_real_fdatasync,
        .allocate = io_real_allocate,
        .truncate = io_real_truncate,
        .size = io_real_size,
        .lock = io_real_lock,
        .rename = io_real_rename,
        .link = io_real_link,
        .unlink = io_real_unlink,
        .mkdir = io_real_mkdir,
        .sync_dir = io_real_sync_dir,
        .list = io_real_list,
        .space = io_real_space,
        .wall_ms = io_real_wall_ms,
        .monotonic_ns = io_real_monotonic_ns,
        .random = io_real_random,
    };
}
