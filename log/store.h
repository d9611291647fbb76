/* store.h - the file STORE: what makes a directory a store, and whose lock says that somebody uses
 * it. */
#ifndef LOG_STORE_H
#define LOG_STORE_H
#include <stdbool.h>
#include <stdint.h>
#include "log/err.h"
#include "log/wal.h"

struct io;

#define STORE_NAME "STORE"
#define STORE_TEMP "STORE.tmp"

enum { STORE_VERSION = 1, STORE_BYTES = 64 };

struct store {
    int fd;      /* holds the lock; -1: none */
    bool is_new; /* STORE is yet to be written: store_commit */
    uint8_t uuid[WAL_UUID_BYTES];
};

/* Creates the directory if it is not there, takes the lock, and reads and checks STORE. If the
 * directory holds no store but is empty (remains of an unfinished creation count as nothing),
 * is_new is set, the identity made up, and the caller prepares what a store needs before
 * store_commit. Errors: ERR_LOCKED, ERR_FORMAT, ERR_CORRUPT, ERR_IO, ERR_FULL; one line for the
 * operator. */
must_check int store_open(struct store *s, struct io *io, const char *dir, struct err *e);

/* Writes STORE durably: from here on the directory is a store. */
must_check int store_commit(struct store *s, struct io *io, const char *dir, struct err *e);

/* Gives the lock back. */
void store_close(struct store *s, struct io *io);

#endif
