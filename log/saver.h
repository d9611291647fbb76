/* saver.h - writes checkpoints of the host's state, a slice at a time. Essay: saver.c. The engine's thread. */
#ifndef LOG_SAVER_H
#define LOG_SAVER_H
#include <stdbool.h>
#include <stdint.h>
#include "log/checkpoint.h"
#include "log/log.h"
#include "log/work.h"

enum saver_state {
    SAVER_IDLE,
    SAVER_CREATES,
    SAVER_SAVES,    /* slices; each is written before the next is made */
    SAVER_FINISHES, /* the file becomes durable */
    SAVER_WAITS,    /* until the log is durable up to its end */
    SAVER_NAMES     /* the manifest is to name it */
};

struct saver {
    struct work work; /* first */
    enum saver_state state;
    struct checkpoint_writer *writer;
    struct log_buffer chunk;
    uint64_t as_of;              /* of the chunk */
    bool more;                   /* the host has more to save */
    uint64_t start_lsn, end_lsn; /* of the one being written */
    uint64_t start_wal;          /* bytes of the log at its start */
    uint64_t clock;
    struct manifest_checkpoint done;
    uint64_t generation; /* of the manifest that names it */
    bool asked;          /* one is due: a part was sealed */
    uint64_t asked_lsn;  /* one is due that starts at or behind it */
    uint64_t last_wal;   /* start_wal of the last one */
    bool again;          /* the last one failed */
    bool starved;        /* that was for lack of space */
    uint64_t retry_ns;   /* not before; 0: at once */
};

struct keeper;

void saver_turn(struct keeper *k);
void saver_fini(struct keeper *k);   /* no job of it runs */
void saver_sealed(struct keeper *k); /* a part was installed */
/* Whether a checkpoint that starts at or behind `lsn` is named; if not, one will be. */
bool saver_has(struct keeper *k, uint64_t lsn);

#endif
