/* io.h - every file operation, the clocks and randomness, behind one table of functions.
 *
 * log/io.c has the real one; tests/lib/simio.c simulates disks that crash, tear, reorder, fill up
 * and fail. Nothing else in log/ makes a system call on files or reads a clock. The functions
 * follow their POSIX namesakes: -1 and errno on failure, EINTR already retried. A write may be
 * short, as write(2)'s.
 *
 * Calls may come from several threads at once, each on files of its own or at positions of its own. */
#ifndef LOG_IO_H
#define LOG_IO_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum io_open_flags {
    IO_READ = 0,      /* read only; must exist */
    IO_WRITE = 1,     /* read and write; must exist unless IO_CREATE */
    IO_CREATE = 2,    /* with IO_WRITE: create it, mode 0600 */
    IO_EXCLUSIVE = 4, /* with IO_CREATE: fail with EEXIST if it is there */
};

struct io {
    int (*open)(struct io *io, const char *path, int flags);
    int (*close)(struct io *io, int fd);
    ssize_t (*pread)(struct io *io, int fd, void *buf, size_t n, uint64_t pos);
    ssize_t (*pwritev)(struct io *io, int fd, const struct iovec *iov, int n_iov, uint64_t pos);
    int (*fdatasync)(struct io *io, int fd);
    /* fallocate: the file reads as zeros up to size */
    int (*allocate)(struct io *io, int fd, uint64_t size);
    int (*truncate)(struct io *io, int fd, uint64_t size);
    int (*size)(struct io *io, int fd, uint64_t *out);
    int (*lock)(struct io *io, int fd); /* flock, exclusive, EWOULDBLOCK if taken */
    int (*rename)(struct io *io, const char *from, const char *to);
    /* A second name for a file; fails with EEXIST if there is one, EXDEV across file systems. */
    int (*link)(struct io *io, const char *from, const char *to);
    int (*unlink)(struct io *io, const char *path);
    int (*mkdir)(struct io *io, const char *path);    /* mode 0700 */
    int (*sync_dir)(struct io *io, const char *path); /* makes the directory's entries durable */
    /* Calls `each` for every name but . and .. until it returns non-zero; that, or 0, is the
     * result. */
    int (*list)(struct io *io, const char *path, int (*each)(void *ctx, const char *name),
                void *ctx);
    /* statvfs: what a user may take */
    int (*space)(struct io *io, const char *path, uint64_t *free_bytes);
    uint64_t (*wall_ms)(struct io *io);      /* Unix time */
    uint64_t (*monotonic_ns)(struct io *io); /* never goes back */
    int (*random)(struct io *io, void *buf, size_t n);
};

/* Fills `io` with the real operations. It holds nothing that would need releasing. */
void io_init_real(struct io *io);

#endif
