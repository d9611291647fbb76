/* fuzz_state.c - records that nobody checked before, applied to two states with different hash keys.
 *
 * The input is a sequence of records, each a type, a length and so many bytes. Whatever they are, both states must say
 * the same about each one, keep their invariants, and have the same digest in the end. A stream with one
 * entry and settings of idempotence is there before the first one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/cache/changes.h"
#include "broker/engine/replay.h"
#include "broker/engine/state.h"
#include "log/record.h"

enum { STATES = 2, RECORDS_MAX = 512 };

struct fuzz {
    struct state s[STATES];
    uint8_t *bodies[RECORDS_MAX + 4]; /* of exactly their size: entries point into them */
    size_t n_bodies;
    uint64_t lsn, clock;
};

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void fuzz_fail(const char *why)
{
    fprintf(stderr, "broken: %s\n", why);
    abort();
}

static void fuzz_apply(struct fuzz *f, uint8_t type, const uint8_t *body, size_t len)
{
    struct log_record r = { .lsn = f->lsn++, .clock = f->clock += 100 << 16, .type = type };
    uint8_t *copy = malloc(len > 0 ? len : 1);
    int rc[STATES];

    if (copy == NULL)
        abort();
    if (len > 0)
        memcpy(copy, body, len);
    f->bodies[f->n_bodies++] = copy;
    r.body = copy;
    r.len = len;
    for (int i = 0; i < STATES; i++)
        rc[i] = replay_apply(&f->s[i], &r, NULL);
    if (rc[0] != rc[1])
        fuzz_fail("one state takes what the other refuses");
    if (rc[0] != OK && rc[0] != ERR_CORRUPT)
        fuzz_fail("neither taken nor refused");
}

static void fuzz_start(struct fuzz *f)
{
    static const uint8_t keys[STATES][16] = { "a hash key", "another one" };
    static const uint8_t stream[] = { 0, 1, 'a' };
    static const uint8_t config[] = { 0x80, 8, 100, 3 };
    static const uint8_t entry[] = { 0x80, 8, 1, 1, 1, 1, 'f', 1, 'v' };

    f->lsn = LOG_FIRST_LSN;
    for (int i = 0; i < STATES; i++) {
        state_init(&f->s[i], keys[i]);
        if (changes_open(&f->s[i], slice_str("beck:changes"), NULL) != OK)
            abort();
    }
    fuzz_apply(f, RECORD_STREAM, stream, sizeof stream);
    fuzz_apply(f, RECORD_IDMP_CONFIG, config, sizeof config);
    fuzz_apply(f, RECORD_ENTRY, entry, sizeof entry);
}

static void fuzz_end(struct fuzz *f)
{
    uint64_t sums[STATES][2];

    for (int i = 0; i < STATES; i++) {
        const char *broken = state_check(&f->s[i]);
        if (broken == NULL)
            broken = changes_check(&f->s[i]);
        if (broken != NULL)
            fuzz_fail(broken);
        if (state_digest(&f->s[i], NULL, f->clock, sums[i], NULL) != OK)
            abort();
        changes_close(&f->s[i]);
        state_fini(&f->s[i]);
    }
    if (memcmp(sums[0], sums[1], sizeof sums[0]) != 0)
        fuzz_fail("the digests differ");
    for (size_t i = 0; i < f->n_bodies; i++)
        free(f->bodies[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct fuzz *f = calloc(1, sizeof *f);

    if (f == NULL)
        abort();
    fuzz_start(f);
    for (int i = 0; i < RECORDS_MAX && n >= 2; i++) {
        size_t len = p[1] <= n - 2 ? p[1] : n - 2;
        fuzz_apply(f, p[0] & 0x8f, p + 2, len);
        p += 2 + len;
        n -= 2 + len;
    }
    fuzz_end(f);
    free(f);
    return 0;
}
