/* fuzz_journal.c - groups of a checkpoint that nobody checked before, and records after them.
 *
 * The input is `u16 n, n bytes of items, records`. An item is a byte, 0 for a group and 1 for pending entries, and what
 * journal_save_... writes; a record a type, how far its LSN lies behind the one before, a length, and so many bytes of a body behind
 * its oid. Other types are what happens in the stream. Whatever is taken has to keep the groups' invariants; saved again and loaded
 * by another process, it has to be the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "groups/groups.h"
#include "log/record.h"

enum { START = 2000, END = 2500, AS_OF = 2200, RECORDS_MAX = 64, SAVED = 40 };

static const uint8_t KEYS[2][16] = { "a hash key 12345", "another one 6789" };

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void fuzz_fail(const char *why)
{
    fprintf(stderr, "broken: %s\n", why);
    abort();
}

static void fuzz_check(const struct groups *gs)
{
    const char *broken = groups_check(gs);

    if (broken != NULL)
        fuzz_fail(broken);
}

static int fuzz_load(struct groups **gs, const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n;
    int rc = OK;

    while (rc == OK && p < end) {
        bool pending = *p++ & 1;
        rc = pending ? journal_load_pending(*gs, &p, end, NULL)
                     : journal_load_group(gs, KEYS[0], AS_OF, &p, end, NULL);
        if (rc != OK && rc != ERR_CORRUPT)
            fuzz_fail("neither loaded nor refused");
        fuzz_check(*gs);
    }
    return rc;
}

/* What the stream does: the first bytes are an ID. */
static void fuzz_stream(struct groups *gs, uint8_t type, uint64_t lsn, const uint8_t *p, size_t n)
{
    struct id id = { n > 0 ? p[0] : 0, n > 1 ? p[1] : 0 };

    switch (type & 3) {
    case 0: groups_entry_added(gs, id, lsn); break;
    case 1: groups_entries_removed(gs, &id, 1, lsn); break;
    case 2: groups_entries_cut(gs, id, id.seq, id.seq == 0, lsn); break;
    case 3: groups_begin_anew(gs, lsn); break;
    }
}

static int fuzz_record(struct groups **gs, uint8_t type, uint64_t lsn, const uint8_t *p, size_t n)
{
    struct group *dropped = NULL;
    int rc = OK;

    if (type >= RECORD_GROUP && type <= RECORD_UNREF)
        rc = journal_apply(gs, KEYS[0], type, lsn, p, p + n, END, &dropped, NULL);
    else
        fuzz_stream(*gs, type, lsn, p, n);
    if (rc != OK && rc != ERR_CORRUPT)
        fuzz_fail("neither taken nor refused");
    group_free(dropped);
    fuzz_check(*gs);
    return rc;
}

static void fuzz_replay(struct groups **gs, const uint8_t *p, size_t n)
{
    uint64_t lsn = START;
    int rc = OK;

    for (int i = 0; i < RECORDS_MAX && n >= 3 && rc == OK; i++) {
        size_t len = p[2] <= n - 3 ? p[2] : n - 3;
        lsn += 1u + p[1];
        rc = fuzz_record(gs, p[0], lsn, p + 3, len);
        p += 3 + len;
        n -= 3 + len;
    }
}

static void fuzz_rebuild(struct groups *gs)
{
    uint64_t n;

    for (size_t i = 0; i < groups_n(gs); i++) {
        if (group_rebuild(groups_at(gs, i), &n, NULL) != OK)
            fuzz_fail("a group cannot be rebuilt");
        fuzz_check(gs);
        while (group_step(groups_at(gs, i), 1u << 20, 4)) {
        }
        fuzz_check(gs);
    }
}

/* Saves a group and loads it into `to`. */
static void fuzz_again_group(struct groups **to, const struct group *g)
{
    size_t max = journal_save_group_size(g) + JOURNAL_RECORD_MAX + SAVED * JOURNAL_SAVED_MAX;
    uint8_t *bytes = malloc(max), *end;
    const uint8_t *p = bytes;
    struct id from = ID_MIN;
    bool more = true;

    if (bytes == NULL)
        abort();
    end = journal_save_group(bytes, g);
    if (journal_load_group(to, KEYS[1], 1ull << 40, &p, end, NULL) != OK || p != end)
        fuzz_fail("a group that was saved is refused");
    while (more) {
        p = bytes;
        end = journal_save_pending(bytes, g, &from, SAVED, &more);
        if (journal_load_pending(*to, &p, end, NULL) != OK || p != end)
            fuzz_fail("entries that were saved are refused");
    }
    free(bytes);
}

static void fuzz_again(const struct groups *gs)
{
    struct groups *again = NULL;

    for (size_t i = 0; i < groups_n(gs); i++)
        fuzz_again_group(&again, groups_at(gs, i));
    fuzz_rebuild(again);
    if (groups_n(gs) != groups_n(again))
        fuzz_fail("not as many groups as before");
    for (size_t i = 0; i < groups_n(gs); i++) {
        const struct group *a = groups_at(gs, i), *b = groups_at(again, i);
        if (a->gid != b->gid || group_n_consumers(a) != group_n_consumers(b) ||
            pel_n(a->pel) != pel_n(b->pel) || pel_n_nacked(a->pel) != pel_n_nacked(b->pel) ||
            pel_n_parked(a->pel) != pel_n_parked(b->pel) ||
            pel_n_dead(a->pel) != pel_n_dead(b->pel))
            fuzz_fail("a group is not the same as before");
    }
    groups_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    size_t items = n < 2 ? 0 : get_u16le(p);
    struct groups *gs = NULL;

    if (n < 2 || items > n - 2)
        return 0;
    if (fuzz_load(&gs, p + 2, items) == OK) {
        fuzz_replay(&gs, p + 2 + items, n - 2 - items);
        fuzz_rebuild(gs);
        fuzz_again(gs);
    }
    groups_free(gs);
    return 0;
}
