/* host.h - the other side of struct log_host, as small and simple as it can be: streams by name, written
 * from log/log.h and docs/format.md alone, so that it and broker/engine check each other.
 *
 * Beside streams there are values by key, each set by a change (LOG_CHANGES_OID) that has all of it.
 *
 * It knows of each stream what has to survive in a checkpoint, and where its unsealed entries lie. What it notices
 * of a log that does not keep its side of the contract it writes into `why`. */
#ifndef TESTS_LIB_HOST_H
#define TESTS_LIB_HOST_H
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/id.h"
#include "log/log.h"
#include "log/record.h"

struct host_entry { /* in the arena */
    struct id id;
    const uint8_t *at;
    size_t len;
};

struct host_stream {
    uint64_t oid;
    uint32_t name;
    uint64_t rev;   /* LSN of the record that bound the name */
    uint64_t as_of; /* what it has seen in a checkpoint; 0: it isn't from one */
    bool displaced; /* a newer binding has its name: a record has to explain that */
    struct id floor, last, max_deleted, sealed_last;
    uint64_t n, bytes, added; /* live entries, sealed or not; their size as rows; ever added */
    struct delset *deletes;
    struct host_entry *tail;
    size_t n_tail, cap_tail;
};

/* A change is an entry whose first pair says what was done to which key: "set" or "del", and four bytes. */
struct host_value {
    uint32_t key;
    uint64_t lsn; /* of the change that set it */
};

struct host {
    struct host_stream **streams; /* in order of oid */
    size_t n, cap;
    struct host_value *values; /* in order of key */
    size_t n_values, cap_values;
    struct host_stream
        changes; /* only tail and last, sealed_last; its floor is where the history begins */
    uint64_t start_lsn, end_lsn; /* of the checkpoint that was loaded */
    uint64_t last_lsn;           /* the highest that it has applied; a checkpoint has it too */
    uint64_t last_replayed, last_clock;
    uint64_t n_replayed;
    uint64_t saved_oid; /* a checkpoint is written: this one was the last */
    uint64_t saved_key; /* and this one, + 1 */
    bool saving, is_loaded;
    unsigned inside;  /* calls that may ask us are under way: log_open, _turn, _step, _close */
    uint64_t n_asked; /* describe, sealed, folded and objects saved since the last host_enter */
    uint64_t n_sealed_calls, n_folded_calls, n_saves;
    void (*on_replay)(void *ctx, const struct log_record *r); /* before it; may be NULL */
    void *replay_ctx;
    sem_t progress; /* posted by on_progress, on any thread */
    char why[300];  /* the first thing that the log did wrong; empty: nothing */
};

struct host *host_new(void);
void host_free(struct host *h); /* NULL is fine */
void host_set_calls(struct host *h, struct log_host *out);

/* Around log_open, log_turn, log_step and log_close, the only ones that may call us. */
void host_enter(struct host *h);
void host_leave(struct host *h);

/* After log_open: two streams of one name that no record has explained. Errors: ERR_CORRUPT. */
must_check int host_complete(struct host *h, struct err *e);

/* Appends a record and applies it; false if the log has no room. */
bool host_append(struct host *h, struct log *l, enum record_type type, enum log_class class,
                 const uint8_t *body, size_t len, uint64_t *out_lsn, struct err *e);

struct host_stream *host_find(const struct host *h, uint64_t oid);
struct host_value *host_find_value(const struct host *h, uint32_t key);
/* A change that is not sealed; NULL: it is not there. */
const struct host_entry *host_find_change(const struct host *h, uint64_t lsn);
struct host_stream *host_find_name(const struct host *h, uint32_t name);

#endif
