/* offline.h - a store's directory, looked at without a server: what the `beck log` commands share.
 *
 * The one place of the command line that uses log/: what is read here is judged by the functions that a start of beckd uses. */
#ifndef CLI_OFFLINE_H
#define CLI_OFFLINE_H
#include "cli/cli.h"
#include "cli/output.h"
#include "log/io.h"
#include "log/manifest.h"
#include "log/recover.h"
#include "log/store.h"

enum offline_kind {
    OFFLINE_STORE,
    OFFLINE_MANIFEST,
    OFFLINE_WAL,        /* number: the LSN in its name */
    OFFLINE_SEGMENT,    /* its ordinal */
    OFFLINE_CHECKPOINT, /* its start LSN */
    OFFLINE_SPARE,      /* holds nothing that counts: *.tmp, wal-reserve, work-reserve */
    OFFLINE_QUARANTINE,
    OFFLINE_FOREIGN
};

struct offline_file {
    char *name; /* owned */
    enum offline_kind kind;
    uint64_t number;
    uint64_t bytes; /* of a directory: 0 */
};

struct offline {
    struct cli *cli;
    const char *dir; /* borrowed */
    struct io io;
    struct store store;         /* locked */
    struct offline_file *files; /* in order of kind and number */
    size_t n, cap;
    /* What MANIFEST says; where it is damaged or lost (manifest_error.code is not OK), as if it said nothing but that
     * the log begins with the oldest file that is there. */
    struct manifest manifest;
    bool has_manifest; /* there is one, and it is sound */
    struct err manifest_error;
};

/* Takes the store's lock and reads which files there are, and MANIFEST. Changes nothing. Returns EXIT_OK, or after a message
 * the status to end with: EXIT_USAGE if there is no store or it is in use. offline_close in any case. */
int offline_open(struct offline *o, struct cli *cli, const char *dir);
void offline_close(struct offline *o);

/* Prints what is wrong, e's text, and returns EXIT_RUNTIME. */
int offline_fail(const struct offline *o, const struct err *e);

/* The file, or NULL. */
const struct offline_file *offline_find(const struct offline *o, enum offline_kind kind,
                                        uint64_t number);
/* Whether the store has it as one of its own: what is neither named by MANIFEST nor older than the log is. */
bool offline_is_part(const struct offline *o, const struct offline_file *f);

/* Where a start would begin to read the log, with the newest of m's checkpoints that is whole. Errors: ERR_CORRUPT (there are
 * checkpoints, and none is whole), ERR_IO, ERR_NOMEM. */
must_check int offline_start(struct offline *o, const struct manifest *m, struct keeper_start *out,
                             struct err *e);

/* recover_look from there on; `replay` may be NULL. */
must_check int offline_look(struct offline *o, const struct keeper_start *start,
                            int (*replay)(void *ctx, const struct log_record *r, struct err *e),
                            void *ctx, struct recover_verdict *out, struct err *e);

/* Gives dir/name a second name in quarantine/, name.<milliseconds>, durably; `from` is what has to disappear afterwards, which
 * offline_remove does. So a file is never lost by a crash in between. */
must_check int offline_keep(struct offline *o, const char *name, struct err *e);
must_check int offline_remove(struct offline *o, const char *name, struct err *e);

#endif
