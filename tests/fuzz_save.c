/* fuzz_save.c - a checkpoint that nobody checked before, and records after it.
 *
 * The input is `u16 n, n bytes of a checkpoint, records`, each record a type, how far its LSN lies behind the one before,
 * a length and so many bytes. What is loaded has to keep its invariants whatever it says; saved again and loaded
 * by another process, it has to be the same state. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/cache/changes.h"
#include "broker/engine/replay.h"
#include "broker/engine/save.h"
#include "log/bytes.h"

enum { START = 2000, END = 2500, RECORDS_MAX = 256 };

static const uint8_t KEYS[2][16] = { "a hash key", "another one" };

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void fuzz_fail(const char *why)
{
    fprintf(stderr, "broken: %s\n", why);
    abort();
}

static void fuzz_check(const struct state *s)
{
    const char *broken = state_check(s);

    if (broken != NULL)
        fuzz_fail(broken);
}

/* The same of the history of changes, which is whole only if it was not refused. */
static void fuzz_check_history(const struct state *s)
{
    const char *broken = changes_check(s);

    if (broken != NULL)
        fuzz_fail(broken);
}

/* Replays until a record is refused; entries point into `p`, which is there to the end. */
static int fuzz_replay(struct state *s, const uint8_t *p, size_t n)
{
    struct log_record r = { .lsn = START - 500, .clock = 1ull << 30 };
    int rc = OK;

    for (int i = 0; i < RECORDS_MAX && n >= 3 && rc == OK; i++) {
        r.type = p[0] & 0x8f;
        r.sealed = p[0] & 0x40;
        r.lsn += 1u + p[1];
        r.len = p[2] <= n - 3 ? p[2] : n - 3;
        r.body = p + 3;
        rc = replay_apply(s, &r, NULL);
        if (rc != OK && rc != ERR_CORRUPT)
            fuzz_fail("neither taken nor refused");
        fuzz_check(s);
        p += 3 + r.len;
        n -= 3 + r.len;
    }
    return rc;
}

static struct log_buffer fuzz_save(struct state *s)
{
    struct log_buffer out = { 0 };
    struct save save;

    save_begin(&save, s);
    while (save_some(&save, 1, &out)) {
    }
    save_end(&save);
    if (out.failed)
        abort();
    return out;
}

static void fuzz_again(struct state *s)
{
    struct log_buffer chunk = fuzz_save(s);
    struct state again;

    state_init(&again, KEYS[1]);
    if (changes_open(&again, slice_str("beck:changes"), NULL) != OK)
        abort();
    if (replay_begin(&again, NULL) != OK)
        abort();
    if (save_load(&again, 1ull << 40, slice_of(chunk.p, chunk.n), NULL) != OK)
        fuzz_fail("what was saved is refused");
    replay_loaded(&again, 1ull << 40, 1ull << 40);
    if (replay_end(&again, NULL) != OK)
        fuzz_fail("a name is lost");
    fuzz_check(&again);
    fuzz_check_history(&again);
    if (again.n_objects != s->n_objects)
        fuzz_fail("not as many names as before");
    changes_close(&again);
    state_fini(&again);
    free(chunk.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    size_t chunk = n < 2 ? 0 : get_u16le(p);
    struct state s;
    int rc;

    if (n < 2 || chunk > n - 2)
        return 0;
    state_init(&s, KEYS[0]);
    if (changes_open(&s, slice_str("beck:changes"), NULL) != OK)
        abort();
    if (replay_begin(&s, NULL) != OK)
        abort();
    rc = save_load(&s, (START + END) / 2, slice_of(p + 2, chunk), NULL);
    if (rc != OK && rc != ERR_CORRUPT)
        fuzz_fail("neither loaded nor refused");
    fuzz_check(&s);
    if (rc == OK) {
        fuzz_check_history(&s);
        replay_loaded(&s, START, END);
        rc = fuzz_replay(&s, p + 2 + chunk, n - 2 - chunk);
    }
    if (rc == OK && replay_end(&s, NULL) == OK)
        fuzz_again(&s);
    changes_close(&s);
    state_fini(&s);
    return 0;
}
