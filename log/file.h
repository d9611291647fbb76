/* file.h - steps that all who read or write whole files of the store share; errors name the file. */
#ifndef LOG_FILE_H
#define LOG_FILE_H
#include <stddef.h>
#include <stdint.h>
#include "log/cursor.h"
#include "log/err.h"

struct io;

/* dir/name, cut off if it is too long (store_open has refused such a directory). */
void file_path(char out[CURSOR_PATH_MAX], const char *dir, const char *name);

/* Right after a failed call that takes space: ERR_FULL if errno says that space, or anything else that comes back by
 * itself, has run out; else ERR_IO. */
int file_error(void);

/* Reads n bytes at `pos`; *got is less at the end of the file. Errors: ERR_IO. */
must_check int file_read(struct io *io, int fd, const char *path, uint64_t pos, void *to, size_t n,
                         size_t *got, struct err *e);

/* Creates the directory, if it is not there, and makes its name durable. Errors: ERR_FULL, ERR_IO. */
must_check int file_make_dir(struct io *io, const char *dir, struct err *e);

/* Renames dir/from to dir/to. Errors: ERR_FULL (nothing has changed), ERR_IO. */
must_check int file_rename(struct io *io, const char *dir, const char *from, const char *to,
                           struct err *e);

/* The same, and makes that durable. Errors: ERR_FULL (nothing has changed), ERR_IO. */
must_check int file_publish(struct io *io, const char *dir, const char *from, const char *to,
                            struct err *e);

#endif
