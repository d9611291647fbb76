/*
 * simio.c - a simulated disk, and what a power cut may leave of it.
 *
 * A file is its bytes on the disk (`durable`), its bytes as a process sees them (`now`), and the changes
 * that lead from the one to the other, in order: writes and new sizes. fdatasync is a barrier for that file
 * alone: it makes all its changes durable. A directory is names in the same way: durable ones, present
 * ones, and the bindings made or undone since; sync_dir makes those of one directory durable, and
 * fdatasync of a file says nothing about its name. A rename is one step: it is kept or lost as a whole, and
 * one between two directories stays unsynced until both are.
 *
 * A crash decides for each pending change whether it reached the disk. Data tears at SIMIO_SECTOR bytes: a
 * sector holds what it held after any one of the writes that touched it. A file's size is that after some
 * prefix of its changes, whatever became of the bytes. In mode G a sector being written comes back as
 * noise, with synced bytes that share it; so who wants his bytes safe must not write to their sector again.
 * Every choice goes through `choose`, which counts the possibilities, decodes one of them from its number,
 * or draws one at random; a draw first picks how likely things are kept, so that images where nearly all
 * or nearly nothing is lost are as common as an even mix.
 *
 * A failed fdatasync follows ext4: its changes count as clean. They stay readable, no later fdatasync
 * writes them, and the crash loses them, except for a random part that had reached the disk before.
 *
 * Bytes and changes are shared between copies of a disk and copied when written, so a copy is cheap: the
 * crash tests make one at every operation.
 */
#include "tests/lib/simio.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64, FIRST_FD = 3, ROOT = 0, NOWHERE = UINT32_MAX };
enum { COUNT_MAX = 1u << 31 }; /* possibilities that are worth numbering */

struct blob { /* a file's bytes; changed only while refs is 1 */
    unsigned refs;
    uint64_t size;
    uint64_t hash; /* 0: not known */
    uint8_t bytes[];
};

struct change { /* of a file; never changed once made */
    unsigned refs;
    bool resize;
    uint64_t seq;
    uint64_t pos; /* of the write, or the new size */
    size_t n;
    uint8_t bytes[];
};

struct inode {
    bool is_dir, used;
    struct blob *durable, *now;
    struct change **changes;
    size_t n_changes, cap_changes;
    uint8_t *taken; /* a byte for each block: whether it has space on the disk */
    size_t n_blocks, n_taken;
    uint64_t *broken; /* positions of sectors that cannot be read */
    size_t n_broken;
    int lock_fd; /* 0: nobody's */
};

struct name {
    uint32_t dir, inode;
    char text[NAME_BYTES];
};

struct names {
    struct name *at;
    size_t n, cap;
};

struct place { /* where a name is, or dir == NOWHERE */
    uint32_t dir;
    char text[NAME_BYTES];
    bool synced;
};

struct rebind { /* takes the name `from` off the inode and puts `to` on it; either may be nowhere */
    uint64_t seq;
    uint32_t inode;
    struct place from, to;
};

struct handle {
    bool open, writable;
    uint32_t inode;
    char path[4 * NAME_BYTES];
};

struct simio {
    struct io io; /* first: a struct io * is a struct simio * */
    pthread_mutex_t lock;
    struct inode *inodes;
    size_t n_inodes, cap_inodes;
    struct names durable, now;
    struct rebind *rebinds;
    size_t n_rebinds, cap_rebinds;
    struct handle *handles;
    size_t n_handles, cap_handles;
    uint64_t next_seq, rng;
    uint64_t wall_ns, mono_ns, latency_ns[SIMIO_N_KINDS];
    uint64_t n_ops, fault_at, fault_times, n_faults;
    enum simio_fault fault;
    bool down, sync_reverts, space_honoured, trace;
    uint64_t capacity;
    simio_hook *hook;
    void *hook_ctx;
};

/* ---- memory and numbers ------------------------------------------------------------------------ */

static void *simio_alloc(void *old, size_t n)
{
    void *p = realloc(old, n > 0 ? n : 1);

    if (p == NULL) {
        fprintf(stderr, "simio: out of memory\n");
        abort();
    }
    return p;
}

static void *simio_zalloc(size_t n)
{
    return memset(simio_alloc(NULL, n), 0, n);
}

/* Makes room for one more item of `size` bytes behind the n at `at`. */
static void *simio_room(void *at, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return at;
    *cap = *cap ? *cap * 2 : 8;
    return simio_alloc(at, *cap * size);
}

uint64_t simio_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t simio_below(uint64_t *state, uint64_t n)
{
    assert(n > 0);
    return simio_random(state) % n;
}

/* ---- a file's bytes ---------------------------------------------------------------------------- */

static struct blob *blob_new(uint64_t size)
{
    struct blob *b = simio_zalloc(sizeof *b + size);

    b->refs = 1;
    b->size = size;
    return b;
}

static struct blob *blob_ref(struct blob *b)
{
    b->refs++;
    return b;
}

static void blob_unref(struct blob *b)
{
    if (b != NULL && --b->refs == 0)
        free(b);
}

/* Makes *at one that may be changed, of the given size. */
static struct blob *blob_own(struct blob **at, uint64_t size)
{
    struct blob *old = *at;
    uint64_t keep = old->size < size ? old->size : size;

    if (old->refs == 1 && old->size == size) {
        old->hash = 0;
        return old;
    }
    *at = simio_alloc(NULL, sizeof *old + size);
    (*at)->refs = 1;
    (*at)->size = size;
    (*at)->hash = 0;
    memcpy((*at)->bytes, old->bytes, keep);
    memset((*at)->bytes + keep, 0, size - keep);
    blob_unref(old);
    return *at;
}

static void blob_write(struct blob **at, uint64_t pos, const void *bytes, size_t n)
{
    uint64_t size = (*at)->size;

    if (n > 0)
        memcpy(blob_own(at, pos + n > size ? pos + n : size)->bytes + pos, bytes, n);
}

static void blob_apply(struct blob **at, const struct change *c)
{
    if (c->resize)
        blob_own(at, c->pos);
    else
        blob_write(at, c->pos, c->bytes, c->n);
}

static void change_unref(struct change *c)
{
    if (--c->refs == 0)
        free(c);
}

static void inode_drop_changes(struct inode *f)
{
    for (size_t i = 0; i < f->n_changes; i++)
        change_unref(f->changes[i]);
    f->n_changes = 0;
}

static void inode_free(struct inode *f)
{
    inode_drop_changes(f);
    blob_unref(f->durable);
    blob_unref(f->now);
    free(f->changes);
    free(f->taken);
    free(f->broken);
    memset(f, 0, sizeof *f);
}

static void inode_set_bytes(struct inode *f, struct blob *b)
{
    inode_drop_changes(f);
    blob_unref(f->durable);
    blob_unref(f->now);
    f->durable = b;
    f->now = blob_ref(b);
}

/* Adds a change and shows it to readers. */
static void inode_change(struct simio *s, struct inode *f, bool resize, uint64_t pos,
                         const void *bytes, size_t n)
{
    struct change *c = simio_alloc(NULL, sizeof *c + n);

    *c = (struct change){ .refs = 1, .resize = resize, .seq = s->next_seq++, .pos = pos, .n = n };
    if (n > 0)
        memcpy(c->bytes, bytes, n);
    f->changes = simio_room(f->changes, f->n_changes, &f->cap_changes, sizeof(struct change *));
    f->changes[f->n_changes++] = c;
    blob_apply(&f->now, c);
}

static void inode_sync(struct inode *f)
{
    for (size_t i = 0; i < f->n_changes; i++)
        blob_apply(&f->durable, f->changes[i]);
    inode_drop_changes(f);
}

/* ---- names ------------------------------------------------------------------------------------- */

static struct name *names_find(const struct names *x, uint32_t dir, const char *text)
{
    for (size_t i = 0; i < x->n; i++)
        if (x->at[i].dir == dir && strcmp(x->at[i].text, text) == 0)
            return &x->at[i];
    return NULL;
}

static void names_bind(struct names *x, uint32_t dir, const char *text, uint32_t inode)
{
    struct name *found = names_find(x, dir, text);

    if (found == NULL) {
        x->at = simio_room(x->at, x->n, &x->cap, sizeof *x->at);
        found = &x->at[x->n++];
        found->dir = dir;
        snprintf(found->text, sizeof found->text, "%s", text);
    }
    found->inode = inode;
}

static void names_apply(struct names *x, const struct rebind *r)
{
    struct name *old;

    if (r->from.dir != NOWHERE) {
        old = names_find(x, r->from.dir, r->from.text);
        if (old != NULL && old->inode == r->inode)
            *old = x->at[--x->n];
    }
    if (r->to.dir != NOWHERE)
        names_bind(x, r->to.dir, r->to.text, r->inode);
}

static void names_copy(struct names *out, const struct names *x)
{
    free(out->at);
    out->n = out->cap = x->n;
    out->at = simio_alloc(NULL, x->n * sizeof *x->at);
    if (x->n > 0)
        memcpy(out->at, x->at, x->n * sizeof *x->at);
}

/* Finds the directory that `path` is in, and its last part. False with errno if there is none. */
static bool simio_split(const struct simio *s, const char *path, struct place *out)
{
    const struct name *found;
    size_t n;

    out->dir = ROOT;
    out->synced = false;
    out->text[0] = '\0';
    for (const char *p = path; *p != '\0'; p += n) {
        p += strspn(p, "/");
        n = strcspn(p, "/");
        if (n == 0 || (n == 1 && *p == '.'))
            continue;
        if (out->text[0] != '\0') {
            found = names_find(&s->now, out->dir, out->text);
            if (found == NULL || !s->inodes[found->inode].is_dir) {
                errno = found == NULL ? ENOENT : ENOTDIR;
                return false;
            }
            out->dir = found->inode;
        }
        assert(n < NAME_BYTES);
        memcpy(out->text, p, n);
        out->text[n] = '\0';
    }
    return true;
}

/* The inode that a path names, NOWHERE with errno if there is none. */
static uint32_t simio_lookup(const struct simio *s, const char *path)
{
    struct place at;
    const struct name *found;

    if (!simio_split(s, path, &at))
        return NOWHERE;
    if (at.text[0] == '\0')
        return ROOT;
    found = names_find(&s->now, at.dir, at.text);
    errno = ENOENT;
    return found == NULL ? NOWHERE : found->inode;
}

/* Changes names now, and on the disk once their directories are synced. */
static void simio_rebind(struct simio *s, uint32_t inode, const struct place *from,
                         const struct place *to)
{
    struct rebind *r;

    s->rebinds = simio_room(s->rebinds, s->n_rebinds, &s->cap_rebinds, sizeof *s->rebinds);
    r = &s->rebinds[s->n_rebinds++];
    memset(r, 0, sizeof *r);
    r->seq = s->next_seq++;
    r->inode = inode;
    r->from.dir = r->to.dir = NOWHERE;
    r->from.synced = r->to.synced = true;
    if (from != NULL)
        r->from = *from;
    if (to != NULL)
        r->to = *to;
    names_apply(&s->now, r);
}

/* Makes the oldest rebindings durable, up to the first that waits for a directory. */
static void simio_fold_names(struct simio *s)
{
    size_t n = 0;

    while (n < s->n_rebinds && s->rebinds[n].from.synced && s->rebinds[n].to.synced)
        names_apply(&s->durable, &s->rebinds[n++]);
    memmove(s->rebinds, s->rebinds + n, (s->n_rebinds - n) * sizeof *s->rebinds);
    s->n_rebinds -= n;
}

static uint32_t simio_new_inode(struct simio *s, bool is_dir)
{
    size_t i = 0;

    while (i < s->n_inodes && s->inodes[i].used)
        i++;
    if (i == s->n_inodes) {
        s->inodes = simio_room(s->inodes, s->n_inodes, &s->cap_inodes, sizeof *s->inodes);
        s->n_inodes++;
    }
    memset(&s->inodes[i], 0, sizeof s->inodes[i]);
    s->inodes[i].is_dir = is_dir;
    s->inodes[i].used = true;
    inode_set_bytes(&s->inodes[i], blob_new(0));
    return (uint32_t)i;
}

static bool simio_has_name(const struct names *x, uint32_t inode)
{
    for (size_t i = 0; i < x->n; i++)
        if (x->at[i].inode == inode)
            return true;
    return false;
}

static bool simio_is_open(const struct simio *s, uint32_t inode)
{
    for (size_t i = 0; i < s->n_handles; i++)
        if (s->handles[i].open && s->handles[i].inode == inode)
            return true;
    return false;
}

/* Frees what no name, present, durable or pending, and no open file leads to. */
static void simio_collect(struct simio *s)
{
    for (uint32_t i = ROOT + 1; i < s->n_inodes; i++) {
        bool live =
            simio_has_name(&s->now, i) || simio_has_name(&s->durable, i) || simio_is_open(s, i);
        for (size_t k = 0; !live && k < s->n_rebinds; k++)
            live = s->rebinds[k].inode == i;
        if (!live && s->inodes[i].used)
            inode_free(&s->inodes[i]);
    }
}

/* ---- space ------------------------------------------------------------------------------------- */

uint64_t simio_used_bytes(const struct simio *s)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < s->n_inodes; i++)
        if (s->inodes[i].used && (simio_has_name(&s->now, i) || simio_is_open(s, i)))
            n += s->inodes[i].n_taken * SIMIO_BLOCK;
    return n;
}

static bool simio_has_block(const struct simio *s)
{
    uint64_t used = simio_used_bytes(s);
    return s->capacity == 0 || (used < s->capacity && s->capacity - used >= SIMIO_BLOCK);
}

/* Takes space for [pos, pos + n); returns how many bytes of it, from the front, have it. */
static uint64_t simio_take(struct simio *s, struct inode *f, uint64_t pos, uint64_t n)
{
    size_t first = (size_t)(pos / SIMIO_BLOCK),
           end = (size_t)((pos + n + SIMIO_BLOCK - 1) / SIMIO_BLOCK);

    if (end > f->n_blocks) {
        f->taken = simio_alloc(f->taken, end);
        memset(f->taken + f->n_blocks, 0, end - f->n_blocks);
        f->n_blocks = end;
    }
    for (size_t i = first; i < end; i++) {
        bool need = !f->taken[i] || !s->space_honoured;
        if (need && !simio_has_block(s))
            return i == first ? 0 : i * SIMIO_BLOCK - pos;
        f->n_taken += !f->taken[i];
        f->taken[i] = true;
    }
    return n;
}

/* Gives back the blocks that lie wholly behind `size`. */
static void simio_give_back(struct inode *f, uint64_t size)
{
    for (size_t i = (size_t)((size + SIMIO_BLOCK - 1) / SIMIO_BLOCK); i < f->n_blocks; i++) {
        f->n_taken -= f->taken[i];
        f->taken[i] = false;
    }
}

/* ---- what a crash leaves ----------------------------------------------------------------------- */

struct chooser {
    enum { CHOOSE_COUNT, CHOOSE_DIGIT, CHOOSE_DRAW } how;
    uint64_t v;            /* the product so far, the digits left, the generator's state */
    uint64_t newest, none; /* per cent of draws that keep all, that keep nothing */
};

static void chooser_draw(struct chooser *c, uint64_t seed)
{
    static const uint64_t newest[] = { 45, 96, 2, 0 }, none[] = { 45, 2, 96, 0 };
    uint64_t i;

    c->how = CHOOSE_DRAW;
    c->v = seed;
    i = simio_below(&c->v, 4);
    c->newest = newest[i];
    c->none = none[i];
}

/* One of 0 .. n - 1, where n - 1 keeps all and 0 nothing. */
static uint64_t choose(struct chooser *c, uint64_t n)
{
    uint64_t d;

    switch (c->how) {
    case CHOOSE_COUNT: c->v = c->v > COUNT_MAX / n ? COUNT_MAX : c->v * n; return 0;
    case CHOOSE_DIGIT:
        d = c->v % n;
        c->v /= n;
        return d;
    case CHOOSE_DRAW:
        d = simio_below(&c->v, 100);
        if (d < c->newest)
            return n - 1;
        return d < c->newest + c->none ? 0 : simio_below(&c->v, n);
    }
    abort();
}

/* Which of a file's sectors its changes touch, and which of their versions is on the disk. */
struct tear {
    size_t n_sectors, n_touched;
    uint32_t *versions; /* writes that touch it */
    uint32_t *keep;     /* how many of them, from the first, reached it */
    uint32_t *seen;
    uint64_t size;
};

static uint64_t size_after(uint64_t size, const struct change *c)
{
    if (c->resize)
        return c->pos;
    return c->pos + c->n > size ? c->pos + c->n : size;
}

/* The size after some prefix of the changes: one choice among those that differ from the one before. */
static uint64_t tear_size(const struct inode *f, struct chooser *c)
{
    uint64_t size = f->durable->size, n = 1, k;

    for (size_t i = 0; i < f->n_changes; i++) {
        n += size_after(size, f->changes[i]) != size;
        size = size_after(size, f->changes[i]);
    }
    k = choose(c, n);
    size = f->durable->size;
    for (size_t i = 0; i < f->n_changes && k > 0; i++) {
        k -= size_after(size, f->changes[i]) != size;
        size = size_after(size, f->changes[i]);
    }
    return size;
}

static void tear_init(struct tear *t, const struct inode *f, struct chooser *c)
{
    uint64_t max = f->durable->size;

    for (size_t i = 0; i < f->n_changes; i++)
        if (f->changes[i]->pos + f->changes[i]->n > max)
            max = f->changes[i]->pos + f->changes[i]->n;
    memset(t, 0, sizeof *t);
    t->n_sectors = (size_t)(max / SIMIO_SECTOR) + 1;
    t->versions = simio_zalloc(3 * t->n_sectors * sizeof *t->versions);
    t->keep = t->versions + t->n_sectors;
    t->seen = t->keep + t->n_sectors;
    for (size_t i = 0; i < f->n_changes; i++) {
        const struct change *w = f->changes[i];
        for (uint64_t at = w->pos; !w->resize && at < w->pos + w->n;
             at = (at / SIMIO_SECTOR + 1) * SIMIO_SECTOR)
            t->versions[at / SIMIO_SECTOR]++;
    }
    t->size = tear_size(f, c);
    for (size_t i = 0; i < t->n_sectors; i++) {
        t->n_touched += t->versions[i] > 0;
        t->keep[i] = (uint32_t)choose(c, t->versions[i] + 1);
    }
}

static void tear_write(struct tear *t, struct blob **out, const struct change *w)
{
    uint64_t end;

    for (uint64_t at = w->pos; at < w->pos + w->n; at = end) {
        size_t sector = (size_t)(at / SIMIO_SECTOR);
        end = (at / SIMIO_SECTOR + 1) * SIMIO_SECTOR;
        if (end > w->pos + w->n)
            end = w->pos + w->n;
        if (t->seen[sector]++ < t->keep[sector])
            blob_write(out, at, w->bytes + (at - w->pos), (size_t)(end - at));
    }
}

/* Fills one touched sector with noise. */
static void tear_garbage(const struct tear *t, struct blob **out, struct chooser *c)
{
    uint64_t k, noise = c->v ^ 0x6a5b;

    if (t->n_touched == 0)
        return;
    k = choose(c, t->n_touched);
    for (size_t i = 0; i < t->n_sectors; i++)
        if (t->versions[i] > 0 && k-- == 0)
            for (uint64_t at = i * SIMIO_SECTOR; at < (i + 1) * SIMIO_SECTOR && at < (*out)->size;
                 at++)
                (*out)->bytes[at] = (uint8_t)simio_random(&noise);
}

static struct blob *crash_reorder(const struct inode *f, struct chooser *c, bool garbage)
{
    struct blob *out = blob_ref(f->durable);
    uint64_t size = out->size;
    struct tear t;

    tear_init(&t, f, c);
    for (size_t i = 0; i < f->n_changes; i++) {
        const struct change *w = f->changes[i];
        size = size_after(size, w);
        if (w->resize && w->pos < out->size)
            blob_own(&out, w->pos);
        else if (!w->resize)
            tear_write(&t, &out, w);
    }
    blob_own(&out, t.size);
    if (garbage)
        tear_garbage(&t, &out, c);
    free(t.versions);
    return out;
}

static struct blob *crash_prefix(const struct inode *f, uint64_t seq_end)
{
    struct blob *out = blob_ref(f->durable);

    for (size_t i = 0; i < f->n_changes && f->changes[i]->seq < seq_end; i++)
        blob_apply(&out, f->changes[i]);
    return out;
}

/* The sizes are those of now; what lies behind the durable end reads as zeros. */
static struct blob *crash_zero(const struct inode *f)
{
    struct blob *out = blob_ref(f->now);
    uint64_t from = f->durable->size;

    blob_own(&out, out->size);
    if (from < out->size)
        memset(out->bytes + from, 0, out->size - from);
    return out;
}

static struct blob *crash_mixed(const struct inode *f, struct chooser *c)
{
    uint64_t k;

    switch (choose(c, 5)) {
    case 0:
        k = choose(c, f->n_changes + 1);
        return crash_prefix(f, k == f->n_changes ? UINT64_MAX : f->changes[k]->seq);
    case 1: return crash_reorder(f, c, false);
    case 2: return crash_zero(f);
    case 3: return crash_reorder(f, c, true);
    default: return crash_prefix(f, UINT64_MAX);
    }
}

/* What is left of one file's bytes; the caller owns it. seq_end is for mode P. */
static struct blob *crash_file(const struct inode *f, enum simio_mode mode, struct chooser *c,
                               uint64_t seq_end)
{
    if (f->n_changes == 0)
        return blob_ref(f->durable);
    switch (mode) {
    case SIMIO_PREFIX: return crash_prefix(f, seq_end);
    case SIMIO_REORDER: return crash_reorder(f, c, false);
    case SIMIO_ZERO: return choose(c, 2) ? crash_prefix(f, UINT64_MAX) : crash_zero(f);
    case SIMIO_GARBAGE: return crash_reorder(f, c, true);
    case SIMIO_DIRS: return crash_prefix(f, choose(c, 2) ? UINT64_MAX : 0);
    case SIMIO_MIXED: return crash_mixed(f, c);
    default: abort();
    }
}

/* Removes what lies in directories that have no name themselves. */
static void names_prune(struct names *x)
{
    bool changed = true;

    while (changed) {
        changed = false;
        for (size_t i = 0; i < x->n; i++) {
            bool found = x->at[i].dir == ROOT;
            for (size_t k = 0; k < x->n && !found; k++)
                found = x->at[k].inode == x->at[i].dir;
            if (!found) {
                x->at[i--] = x->at[--x->n];
                changed = true;
            }
        }
    }
}

static void crash_names(const struct simio *s, enum simio_mode mode, struct chooser *c,
                        uint64_t seq_end, struct names *out)
{
    bool each = mode == SIMIO_DIRS || mode == SIMIO_MIXED;
    bool all = !each && mode != SIMIO_PREFIX && s->n_rebinds > 0 && choose(c, 2);

    names_copy(out, &s->durable);
    for (size_t i = 0; i < s->n_rebinds; i++) {
        const struct rebind *r = &s->rebinds[i];
        bool keep = r->from.synced && r->to.synced;
        if (!keep)
            keep = each ? choose(c, 2) : mode == SIMIO_PREFIX ? r->seq < seq_end : all;
        if (keep)
            names_apply(out, r);
    }
    names_prune(out);
}

static int seq_cmp(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Mode P: the number of the first operation that is lost. */
static uint64_t crash_seq_end(const struct simio *s, struct chooser *c)
{
    uint64_t *seqs, end;
    size_t n = 0, k;

    for (size_t i = 0; i < s->n_inodes; i++)
        n += s->inodes[i].n_changes;
    seqs = simio_alloc(NULL, (n + s->n_rebinds) * sizeof *seqs);
    n = 0;
    for (size_t i = 0; i < s->n_inodes; i++)
        for (k = 0; k < s->inodes[i].n_changes; k++)
            seqs[n++] = s->inodes[i].changes[k]->seq;
    for (size_t i = 0; i < s->n_rebinds; i++)
        seqs[n++] = s->rebinds[i].seq;
    qsort(seqs, n, sizeof *seqs, seq_cmp);
    k = (size_t)choose(c, n + 1);
    end = k == n ? UINT64_MAX : seqs[k];
    free(seqs);
    return end;
}

uint64_t simio_crash_count(const struct simio *s, enum simio_mode mode)
{
    struct chooser c = { .how = CHOOSE_COUNT, .v = 1 };
    struct names names = { 0 };
    uint64_t seq_end;

    if (mode == SIMIO_KILL)
        return 1;
    if (mode == SIMIO_MIXED)
        return 0; /* its choices depend on each other */
    seq_end = mode == SIMIO_PREFIX ? crash_seq_end(s, &c) : UINT64_MAX;
    for (size_t i = 0; i < s->n_inodes; i++)
        if (s->inodes[i].used)
            blob_unref(crash_file(&s->inodes[i], mode, &c, seq_end));
    crash_names(s, mode, &c, seq_end, &names);
    free(names.at);
    return c.v >= COUNT_MAX ? 0 : c.v;
}

void simio_crash(struct simio *s, enum simio_mode mode, uint64_t variant)
{
    struct chooser c = { .how = CHOOSE_DIGIT, .v = variant };
    uint64_t seq_end;

    simio_restart(s);
    if (mode == SIMIO_KILL)
        return;
    if (variant >= simio_crash_count(s, mode))
        chooser_draw(&c, variant ^ s->rng);
    seq_end = mode == SIMIO_PREFIX ? crash_seq_end(s, &c) : UINT64_MAX;
    for (size_t i = 0; i < s->n_inodes; i++) {
        struct inode *f = &s->inodes[i];
        if (f->used) {
            inode_set_bytes(f, crash_file(f, mode, &c, seq_end));
            simio_give_back(f, f->now->size);
        }
    }
    crash_names(s, mode, &c, seq_end, &s->now);
    names_copy(&s->durable, &s->now);
    s->n_rebinds = 0;
    simio_collect(s);
}

/* What a failed fdatasync leaves: nothing or a part of its changes on the disk, none of them pending. */
static void inode_fail_sync(struct simio *s, struct inode *f)
{
    struct chooser c;
    struct blob *durable;

    chooser_draw(&c, simio_random(&s->rng));
    durable = simio_below(&s->rng, 2) ? blob_ref(f->durable) : crash_file(f, SIMIO_REORDER, &c, 0);
    blob_unref(f->durable);
    f->durable = durable;
    inode_drop_changes(f);
    if (s->sync_reverts) {
        blob_unref(f->now);
        f->now = blob_ref(durable);
    }
}

/* ---- operations: number, hook, fault ----------------------------------------------------------- */

static struct simio *simio_of(struct io *io)
{
    return (struct simio *)io;
}

bool simio_kind_changes(enum simio_kind kind)
{
    switch (kind) {
    case SIMIO_CREATE:
    case SIMIO_WRITE:
    case SIMIO_SYNC:
    case SIMIO_ALLOCATE:
    case SIMIO_TRUNCATE:
    case SIMIO_RENAME:
    case SIMIO_LINK:
    case SIMIO_UNLINK:
    case SIMIO_MKDIR:
    case SIMIO_SYNC_DIR: return true;
    default: return false;
    }
}

static bool simio_takes_space(enum simio_kind kind)
{
    return kind == SIMIO_CREATE || kind == SIMIO_WRITE || kind == SIMIO_ALLOCATE ||
           kind == SIMIO_RENAME || kind == SIMIO_LINK || kind == SIMIO_MKDIR;
}

/* The fault planned for operation `number`, if it is one that `kind` can have. */
static enum simio_fault simio_next_fault(struct simio *s, enum simio_kind kind, uint64_t number)
{
    if (s->fault == SIMIO_NO_FAULT || number < s->fault_at ||
        number - s->fault_at >= s->fault_times)
        return SIMIO_NO_FAULT;
    if (s->fault == SIMIO_ENOSPC && !simio_takes_space(kind))
        return SIMIO_NO_FAULT;
    if (s->fault == SIMIO_SHORT && kind != SIMIO_WRITE)
        return SIMIO_NO_FAULT;
    s->n_faults++;
    return s->fault;
}

/* Begins an operation and takes the lock. False: it fails, errno is set, and simio_end comes next all the
 * same. SIMIO_SHORT is left to the write in *out_short. */
static bool simio_begin(struct simio *s, enum simio_kind kind, const char *path, uint64_t pos,
                        size_t n, bool *out_short)
{
    enum simio_fault fault;
    uint64_t number = __atomic_fetch_add(&s->n_ops, 1, __ATOMIC_RELAXED);
    struct simio_op op = { .kind = kind, .number = number, .path = path, .pos = pos, .n = n };

    if (s->hook != NULL && !s->down)
        s->hook(s->hook_ctx, &op);
    pthread_mutex_lock(&s->lock);
    s->wall_ns += s->latency_ns[kind];
    s->mono_ns += s->latency_ns[kind];
    fault = s->down ? SIMIO_CRASH : simio_next_fault(s, kind, op.number);
    s->down = s->down || fault == SIMIO_CRASH;
    if (out_short != NULL)
        *out_short = fault == SIMIO_SHORT;
    if (s->trace)
        fprintf(stderr, "%6" PRIu64 " %-8s %s at %" PRIu64 ", %zu bytes%s\n", number,
                simio_kind_name(kind), path, pos, n, fault == SIMIO_NO_FAULT ? "" : " FAULT");
    errno = fault == SIMIO_ENOSPC ? ENOSPC : EIO;
    return fault == SIMIO_NO_FAULT || fault == SIMIO_SHORT;
}

static int simio_end(struct simio *s, int rc)
{
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int simio_fail(struct simio *s, int sys)
{
    errno = sys;
    return simio_end(s, -1);
}

/* The handle of an open file; NULL with EBADF. Under the lock. */
static struct handle *simio_handle(struct simio *s, int fd)
{
    if (fd < FIRST_FD || (size_t)(fd - FIRST_FD) >= s->n_handles ||
        !s->handles[fd - FIRST_FD].open) {
        errno = EBADF;
        return NULL;
    }
    return &s->handles[fd - FIRST_FD];
}

/* Copies the path of an open file, for the operation's record. */
static const char *simio_fd_path(struct simio *s, int fd, char *out, size_t n)
{
    const struct handle *h;

    pthread_mutex_lock(&s->lock);
    h = simio_handle(s, fd);
    snprintf(out, n, "%s", h == NULL ? "?" : h->path);
    pthread_mutex_unlock(&s->lock);
    return out;
}

/* Begins an operation on an open file. NULL: it fails, errno is set and the lock is released. */
static struct inode *simio_begin_fd(struct simio *s, enum simio_kind kind, int fd, uint64_t pos,
                                    size_t n, bool *out_short)
{
    char path[4 * NAME_BYTES];
    bool ok;
    int sys;
    struct handle *h;

    simio_fd_path(s, fd, path, sizeof path);
    ok = simio_begin(s, kind, path, pos, n, out_short);
    sys = errno;
    h = simio_handle(s, fd);
    if (h != NULL && !ok && kind == SIMIO_SYNC && !s->down)
        inode_fail_sync(s, &s->inodes[h->inode]);
    if (h != NULL && (kind == SIMIO_WRITE || kind == SIMIO_ALLOCATE || kind == SIMIO_TRUNCATE) &&
        !h->writable) {
        sys = EBADF;
        ok = false;
    }
    if (h == NULL || !ok) {
        simio_fail(s, ok ? EBADF : sys);
        return NULL;
    }
    return &s->inodes[h->inode];
}

static int simio_add_handle(struct simio *s, uint32_t inode, bool writable, const char *path)
{
    struct handle *h;

    s->handles = simio_room(s->handles, s->n_handles, &s->cap_handles, sizeof *s->handles);
    h = &s->handles[s->n_handles++];
    h->open = true;
    h->writable = writable;
    h->inode = inode;
    snprintf(h->path, sizeof h->path, "%s", path);
    return FIRST_FD + (int)s->n_handles - 1;
}

static int simio_open(struct io *io, const char *path, int flags)
{
    struct simio *s = simio_of(io);
    struct place at;
    uint32_t inode;
    bool create;

    pthread_mutex_lock(&s->lock);
    create = (flags & IO_CREATE) && simio_lookup(s, path) == NOWHERE;
    pthread_mutex_unlock(&s->lock);
    if (!simio_begin(s, create ? SIMIO_CREATE : SIMIO_OPEN, path, 0, 0, NULL))
        return simio_end(s, -1);
    if (!simio_split(s, path, &at))
        return simio_end(s, -1);
    inode = simio_lookup(s, path);
    if (inode == NOWHERE && !(flags & IO_CREATE))
        return simio_fail(s, ENOENT);
    if (inode != NOWHERE && (flags & IO_EXCLUSIVE))
        return simio_fail(s, EEXIST);
    if (inode != NOWHERE && s->inodes[inode].is_dir && (flags & IO_WRITE))
        return simio_fail(s, EISDIR);
    if (inode == NOWHERE) {
        inode = simio_new_inode(s, false);
        simio_rebind(s, inode, NULL, &at);
    }
    return simio_end(s, simio_add_handle(s, inode, flags & IO_WRITE, path));
}

static int simio_close(struct io *io, int fd)
{
    struct simio *s = simio_of(io);
    struct handle *h;

    pthread_mutex_lock(&s->lock);
    h = simio_handle(s, fd);
    if (h == NULL)
        return simio_fail(s, EBADF);
    h->open = false;
    if (s->inodes[h->inode].lock_fd == fd)
        s->inodes[h->inode].lock_fd = 0;
    simio_collect(s);
    return simio_end(s, 0);
}

static bool simio_hits_broken(const struct inode *f, uint64_t pos, uint64_t n)
{
    for (size_t i = 0; i < f->n_broken; i++)
        if (f->broken[i] < pos + n && pos < f->broken[i] + SIMIO_SECTOR)
            return true;
    return false;
}

static ssize_t simio_pread(struct io *io, int fd, void *buf, size_t n, uint64_t pos)
{
    struct simio *s = simio_of(io);
    struct inode *f = simio_begin_fd(s, SIMIO_READ, fd, pos, n, NULL);
    uint64_t left;

    if (f == NULL)
        return -1;
    if (f->is_dir)
        return simio_fail(s, EISDIR);
    left = pos < f->now->size ? f->now->size - pos : 0;
    if (n > left)
        n = (size_t)left;
    if (simio_hits_broken(f, pos, n))
        return simio_fail(s, EIO);
    if (n > 0)
        memcpy(buf, f->now->bytes + pos, n);
    simio_end(s, 0);
    return (ssize_t)n;
}

static size_t iov_total(const struct iovec *iov, int n_iov)
{
    size_t n = 0;

    for (int i = 0; i < n_iov; i++)
        n += iov[i].iov_len;
    return n;
}

static uint8_t *iov_gather(const struct iovec *iov, int n_iov, size_t total)
{
    uint8_t *out = simio_alloc(NULL, total), *p = out;

    for (int i = 0; i < n_iov; i++) {
        if (iov[i].iov_len > 0)
            memcpy(p, iov[i].iov_base, iov[i].iov_len);
        p += iov[i].iov_len;
    }
    return out;
}

static void simio_mend(struct inode *f, uint64_t pos, uint64_t n)
{
    for (size_t i = f->n_broken; i-- > 0;)
        if (f->broken[i] < pos + n && pos < f->broken[i] + SIMIO_SECTOR)
            f->broken[i] = f->broken[--f->n_broken];
}

static ssize_t simio_pwritev(struct io *io, int fd, const struct iovec *iov, int n_iov,
                             uint64_t pos)
{
    struct simio *s = simio_of(io);
    size_t total = iov_total(iov, n_iov), n = total;
    bool is_short;
    struct inode *f = simio_begin_fd(s, SIMIO_WRITE, fd, pos, total, &is_short);
    uint8_t *bytes;

    if (f == NULL)
        return -1;
    if (is_short && n > 1)
        n = 1 + (size_t)simio_below(&s->rng, n - 1);
    n = (size_t)simio_take(s, f, pos, n);
    if (n == 0 && total > 0)
        return simio_fail(s, ENOSPC);
    bytes = iov_gather(iov, n_iov, total);
    if (n > 0)
        inode_change(s, f, false, pos, bytes, n);
    free(bytes);
    simio_mend(f, pos, n);
    simio_end(s, 0);
    return (ssize_t)n;
}

static int simio_fdatasync(struct io *io, int fd)
{
    struct simio *s = simio_of(io);
    struct inode *f = simio_begin_fd(s, SIMIO_SYNC, fd, 0, 0, NULL);

    if (f == NULL)
        return -1;
    inode_sync(f);
    return simio_end(s, 0);
}

static int simio_allocate(struct io *io, int fd, uint64_t size)
{
    struct simio *s = simio_of(io);
    struct inode *f = simio_begin_fd(s, SIMIO_ALLOCATE, fd, size, 0, NULL);

    if (f == NULL)
        return -1;
    if (s->space_honoured && simio_take(s, f, 0, size) < size)
        return simio_fail(s, ENOSPC);
    if (size > f->now->size)
        inode_change(s, f, true, size, NULL, 0);
    return simio_end(s, 0);
}

static int simio_truncate(struct io *io, int fd, uint64_t size)
{
    struct simio *s = simio_of(io);
    struct inode *f = simio_begin_fd(s, SIMIO_TRUNCATE, fd, size, 0, NULL);

    if (f == NULL)
        return -1;
    inode_change(s, f, true, size, NULL, 0);
    simio_give_back(f, size);
    return simio_end(s, 0);
}

static int simio_size(struct io *io, int fd, uint64_t *out)
{
    struct simio *s = simio_of(io);
    struct inode *f = simio_begin_fd(s, SIMIO_SIZE, fd, 0, 0, NULL);

    if (f == NULL)
        return -1;
    *out = f->now->size;
    return simio_end(s, 0);
}

static int simio_lock(struct io *io, int fd)
{
    struct simio *s = simio_of(io);
    struct inode *f = simio_begin_fd(s, SIMIO_LOCK, fd, 0, 0, NULL);

    if (f == NULL)
        return -1;
    if (f->lock_fd != 0 && f->lock_fd != fd)
        return simio_fail(s, EWOULDBLOCK);
    f->lock_fd = fd;
    return simio_end(s, 0);
}

static int simio_rename(struct io *io, const char *from_path, const char *to_path)
{
    struct simio *s = simio_of(io);
    struct place from, to;
    struct name *old;

    if (!simio_begin(s, SIMIO_RENAME, from_path, 0, 0, NULL))
        return simio_end(s, -1);
    if (!simio_split(s, from_path, &from) || !simio_split(s, to_path, &to))
        return simio_end(s, -1);
    old = names_find(&s->now, from.dir, from.text);
    if (old == NULL)
        return simio_fail(s, ENOENT);
    simio_rebind(s, old->inode, &from, &to);
    simio_collect(s);
    return simio_end(s, 0);
}

static int simio_link(struct io *io, const char *from_path, const char *to_path)
{
    struct simio *s = simio_of(io);
    struct place to;
    uint32_t inode;

    if (!simio_begin(s, SIMIO_LINK, to_path, 0, 0, NULL))
        return simio_end(s, -1);
    inode = simio_lookup(s, from_path);
    if (inode == NOWHERE || !simio_split(s, to_path, &to))
        return simio_end(s, -1);
    if (s->inodes[inode].is_dir)
        return simio_fail(s, EPERM);
    if (to.text[0] == '\0' || names_find(&s->now, to.dir, to.text) != NULL)
        return simio_fail(s, EEXIST);
    simio_rebind(s, inode, NULL, &to);
    return simio_end(s, 0);
}

static int simio_unlink(struct io *io, const char *path)
{
    struct simio *s = simio_of(io);
    struct place at;
    struct name *old;

    if (!simio_begin(s, SIMIO_UNLINK, path, 0, 0, NULL))
        return simio_end(s, -1);
    if (!simio_split(s, path, &at))
        return simio_end(s, -1);
    old = names_find(&s->now, at.dir, at.text);
    if (old == NULL)
        return simio_fail(s, ENOENT);
    if (s->inodes[old->inode].is_dir)
        return simio_fail(s, EISDIR);
    simio_rebind(s, old->inode, &at, NULL);
    simio_collect(s);
    return simio_end(s, 0);
}

static int simio_mkdir(struct io *io, const char *path)
{
    struct simio *s = simio_of(io);
    struct place at;

    if (!simio_begin(s, SIMIO_MKDIR, path, 0, 0, NULL))
        return simio_end(s, -1);
    if (!simio_split(s, path, &at))
        return simio_end(s, -1);
    if (at.text[0] == '\0' || names_find(&s->now, at.dir, at.text) != NULL)
        return simio_fail(s, EEXIST);
    simio_rebind(s, simio_new_inode(s, true), NULL, &at);
    return simio_end(s, 0);
}

static int simio_sync_dir(struct io *io, const char *path)
{
    struct simio *s = simio_of(io);
    uint32_t dir;

    if (!simio_begin(s, SIMIO_SYNC_DIR, path, 0, 0, NULL))
        return simio_end(s, -1);
    dir = simio_lookup(s, path);
    if (dir == NOWHERE)
        return simio_end(s, -1);
    if (!s->inodes[dir].is_dir)
        return simio_fail(s, ENOTDIR);
    for (size_t i = 0; i < s->n_rebinds; i++) {
        struct rebind *r = &s->rebinds[i];
        r->from.synced = r->from.synced || r->from.dir == dir;
        r->to.synced = r->to.synced || r->to.dir == dir;
    }
    simio_fold_names(s);
    simio_collect(s);
    return simio_end(s, 0);
}

static int simio_list(struct io *io, const char *path, int (*each)(void *ctx, const char *name),
                      void *ctx)
{
    struct simio *s = simio_of(io);
    struct names copy = { 0 };
    uint32_t dir;
    int rc = 0;

    if (!simio_begin(s, SIMIO_LIST, path, 0, 0, NULL))
        return simio_end(s, -1);
    dir = simio_lookup(s, path);
    if (dir == NOWHERE)
        return simio_end(s, -1);
    if (!s->inodes[dir].is_dir)
        return simio_fail(s, ENOTDIR);
    names_copy(&copy, &s->now);
    simio_end(s, 0);
    for (size_t i = 0; i < copy.n && rc == 0; i++)
        if (copy.at[i].dir == dir)
            rc = each(ctx, copy.at[i].text);
    free(copy.at);
    return rc;
}

static int simio_space(struct io *io, const char *path, uint64_t *free_bytes)
{
    struct simio *s = simio_of(io);
    uint64_t used;

    if (!simio_begin(s, SIMIO_SPACE, path, 0, 0, NULL))
        return simio_end(s, -1);
    used = simio_used_bytes(s);
    *free_bytes = s->capacity == 0     ? (uint64_t)1 << 40
                  : used < s->capacity ? s->capacity - used
                                       : 0;
    return simio_end(s, 0);
}

static uint64_t simio_wall_ms(struct io *io)
{
    struct simio *s = simio_of(io);
    uint64_t ns;

    pthread_mutex_lock(&s->lock);
    ns = s->wall_ns;
    pthread_mutex_unlock(&s->lock);
    return ns / 1000000;
}

static uint64_t simio_monotonic_ns(struct io *io)
{
    struct simio *s = simio_of(io);
    uint64_t ns;

    pthread_mutex_lock(&s->lock);
    ns = s->mono_ns;
    pthread_mutex_unlock(&s->lock);
    return ns;
}

static int simio_fill_random(struct io *io, void *buf, size_t n)
{
    struct simio *s = simio_of(io);
    uint8_t *p = buf;

    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)simio_random(&s->rng);
    return simio_end(s, 0);
}

/* ---- the disk itself --------------------------------------------------------------------------- */

static void simio_set_calls(struct simio *s)
{
    s->io = (struct io){
        .open = simio_open,
        .close = simio_close,
        .pread = simio_pread,
        .pwritev = simio_pwritev,
        .fdatasync = simio_fdatasync,
        .allocate = simio_allocate,
        .truncate = simio_truncate,
        .size = simio_size,
        .lock = simio_lock,
        .rename = simio_rename,
        .link = simio_link,
        .unlink = simio_unlink,
        .mkdir = simio_mkdir,
        .sync_dir = simio_sync_dir,
        .list = simio_list,
        .space = simio_space,
        .wall_ms = simio_wall_ms,
        .monotonic_ns = simio_monotonic_ns,
        .random = simio_fill_random,
    };
}

struct simio *simio_new(uint64_t seed)
{
    struct simio *s = simio_zalloc(sizeof *s);

    simio_set_calls(s);
    pthread_mutex_init(&s->lock, NULL);
    s->rng = seed;
    s->space_honoured = true;
    s->trace = getenv("SIMIO_TRACE") != NULL;
    s->wall_ns = (uint64_t)1700000000000 * 1000000;
    s->mono_ns = 1000000000;
    simio_new_inode(s, true);
    return s;
}

void simio_free(struct simio *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n_inodes; i++)
        inode_free(&s->inodes[i]);
    free(s->inodes);
    free(s->durable.at);
    free(s->now.at);
    free(s->rebinds);
    free(s->handles);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void *simio_dup(const void *at, size_t n)
{
    void *out = simio_alloc(NULL, n);

    if (n > 0)
        memcpy(out, at, n);
    return out;
}

static void inode_copy(struct inode *out, const struct inode *f)
{
    *out = *f;
    out->lock_fd = 0;
    if (!f->used)
        return;
    blob_ref(f->durable);
    blob_ref(f->now);
    for (size_t i = 0; i < f->n_changes; i++)
        f->changes[i]->refs++;
    out->cap_changes = f->n_changes;
    out->changes = simio_dup(f->changes, f->n_changes * sizeof(struct change *));
    out->taken = simio_dup(f->taken, f->n_blocks);
    out->broken = simio_dup(f->broken, f->n_broken * sizeof *f->broken);
}

struct simio *simio_copy(const struct simio *s)
{
    struct simio *out = simio_zalloc(sizeof *out);

    *out = *s;
    pthread_mutex_init(&out->lock, NULL);
    out->inodes = simio_alloc(NULL, s->n_inodes * sizeof *s->inodes);
    out->cap_inodes = s->n_inodes;
    for (size_t i = 0; i < s->n_inodes; i++)
        inode_copy(&out->inodes[i], &s->inodes[i]);
    out->durable = out->now = (struct names){ 0 };
    names_copy(&out->durable, &s->durable);
    names_copy(&out->now, &s->now);
    out->rebinds = simio_dup(s->rebinds, s->n_rebinds * sizeof *s->rebinds);
    out->cap_rebinds = s->n_rebinds;
    out->handles = NULL;
    out->n_handles = out->cap_handles = 0;
    out->hook = NULL;
    out->trace = false;
    out->fault = SIMIO_NO_FAULT;
    out->n_faults = 0;
    out->down = false;
    return out;
}

struct io *simio_io(struct simio *s)
{
    return &s->io;
}

void simio_restart(struct simio *s)
{
    for (size_t i = 0; i < s->n_handles; i++)
        s->handles[i].open = false;
    for (size_t i = 0; i < s->n_inodes; i++)
        s->inodes[i].lock_fd = 0;
    if (s->down)
        s->fault = SIMIO_NO_FAULT;
    s->down = false;
    simio_collect(s);
}

void simio_set_wall_ms(struct simio *s, uint64_t ms)
{
    s->wall_ns = ms * 1000000;
}

void simio_advance_ms(struct simio *s, uint64_t ms)
{
    s->wall_ns += ms * 1000000;
    s->mono_ns += ms * 1000000;
}

void simio_set_latency_ns(struct simio *s, enum simio_kind kind, uint64_t ns)
{
    s->latency_ns[kind] = ns;
}

uint64_t simio_n_ops(const struct simio *s)
{
    return s->n_ops;
}

const char *simio_kind_name(enum simio_kind kind)
{
    static const char *const names[SIMIO_N_KINDS] = { "open",  "create",   "read",     "write",
                                                      "sync",  "allocate", "truncate", "size",
                                                      "lock",  "rename",   "link",     "unlink",
                                                      "mkdir", "sync_dir", "list",     "space" };
    return names[kind];
}

char simio_mode_letter(enum simio_mode mode)
{
    return "KPRZGDM"[mode];
}

void simio_set_hook(struct simio *s, simio_hook *hook, void *ctx)
{
    s->hook = hook;
    s->hook_ctx = ctx;
}

void simio_fault_at(struct simio *s, uint64_t number, uint64_t n_times, enum simio_fault fault)
{
    s->fault_at = number;
    s->fault_times = n_times;
    s->fault = fault;
    s->n_faults = 0;
}

uint64_t simio_n_faults(const struct simio *s)
{
    return s->n_faults;
}

bool simio_is_down(const struct simio *s)
{
    return s->down;
}

void simio_set_sync_reverts(struct simio *s, bool reverts)
{
    s->sync_reverts = reverts;
}

void simio_set_capacity(struct simio *s, uint64_t bytes, bool honoured)
{
    s->capacity = bytes;
    s->space_honoured = honoured;
}

uint64_t simio_capacity(const struct simio *s)
{
    return s->capacity;
}

/* ---- looks and damage from outside ------------------------------------------------------------- */

static struct inode *simio_file(const struct simio *s, const char *path)
{
    uint32_t i = simio_lookup(s, path);
    return i == NOWHERE || s->inodes[i].is_dir ? NULL : &s->inodes[i];
}

const uint8_t *simio_bytes(const struct simio *s, const char *path, size_t *out_n)
{
    const struct inode *f = simio_file(s, path);

    if (f == NULL)
        return NULL;
    *out_n = (size_t)f->now->size;
    return f->now->bytes;
}

void simio_put(struct simio *s, const char *path, const void *bytes, size_t n)
{
    struct inode *f = simio_file(s, path);
    struct blob *b = blob_new(n);
    struct place at;

    if (n > 0)
        memcpy(b->bytes, bytes, n);
    if (f == NULL) {
        uint32_t inode = simio_new_inode(s, false);
        bool found = simio_split(s, path, &at);
        assert(found);
        names_bind(&s->now, at.dir, at.text, inode);
        names_bind(&s->durable, at.dir, at.text, inode);
        f = &s->inodes[inode];
    }
    inode_set_bytes(f, b);
}

void simio_poke(struct simio *s, const char *path, uint64_t pos, uint8_t byte)
{
    struct inode *f = simio_file(s, path);
    struct blob *b;

    assert(f != NULL && pos < f->now->size);
    b = blob_ref(f->now);
    blob_own(&b, b->size)->bytes[pos] = byte;
    inode_set_bytes(f, b);
}

void simio_cut(struct simio *s, const char *path, uint64_t size)
{
    struct inode *f = simio_file(s, path);
    struct blob *b;

    assert(f != NULL);
    b = blob_ref(f->now);
    blob_own(&b, size);
    inode_set_bytes(f, b);
}

void simio_remove(struct simio *s, const char *path)
{
    struct place at;
    struct name *found;
    struct names *both[2] = { &s->now, &s->durable };

    if (!simio_split(s, path, &at))
        return;
    for (int i = 0; i < 2; i++) {
        found = names_find(both[i], at.dir, at.text);
        if (found != NULL)
            *found = both[i]->at[--both[i]->n];
    }
    simio_collect(s);
}

void simio_break_sector(struct simio *s, const char *path, uint64_t pos)
{
    struct inode *f = simio_file(s, path);

    assert(f != NULL);
    f->broken = simio_alloc(f->broken, (f->n_broken + 1) * sizeof *f->broken);
    f->broken[f->n_broken++] = pos - pos % SIMIO_SECTOR;
}

static void simio_path_of(const struct simio *s, const struct name *x, char *out, size_t n)
{
    char below[4 * NAME_BYTES];

    snprintf(out, n, "%s", x->text);
    for (uint32_t dir = x->dir; dir != ROOT;) {
        const struct name *up = NULL;
        for (size_t i = 0; i < s->now.n && up == NULL; i++)
            if (s->now.at[i].inode == dir)
                up = &s->now.at[i];
        if (up == NULL)
            return;
        snprintf(below, sizeof below, "%s", out);
        snprintf(out, n, "%.*s/%.*s", NAME_BYTES, up->text, 3 * NAME_BYTES - 2, below);
        dir = up->dir;
    }
}

typedef char simio_path[4 * NAME_BYTES];

static int path_cmp(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* All paths of files (or directories) in order of name; the caller frees them. */
static simio_path *simio_paths(const struct simio *s, bool dirs, size_t *out_n)
{
    simio_path *paths = simio_alloc(NULL, s->now.n * sizeof *paths);
    size_t n = 0;

    for (size_t i = 0; i < s->now.n; i++)
        if (s->inodes[s->now.at[i].inode].is_dir == dirs)
            simio_path_of(s, &s->now.at[i], paths[n++], sizeof paths[0]);
    qsort(paths, n, sizeof *paths, path_cmp);
    *out_n = n;
    return paths;
}

void simio_each_file(const struct simio *s, void (*each)(void *ctx, const char *path), void *ctx)
{
    size_t n;
    simio_path *paths = simio_paths(s, false, &n);

    for (size_t i = 0; i < n; i++)
        each(ctx, paths[i]);
    free(paths);
}

static uint64_t hash_add(uint64_t h, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint64_t word;

    for (; n >= sizeof word; n -= sizeof word, p += sizeof word) {
        memcpy(&word, p, sizeof word);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    for (; n > 0; n--)
        h = (h ^ *p++) * 0x100000001b3u;
    return h ^ h >> 29;
}

/* Kept with the bytes, since copies of a disk share them. */
static uint64_t blob_hash(struct blob *b)
{
    if (b->hash == 0)
        b->hash = hash_add(b->size + 1, b->bytes, b->size) | 1;
    return b->hash;
}

uint64_t simio_digest(const struct simio *s)
{
    uint64_t h = 0xcbf29ce484222325u, hash;
    size_t n;

    for (int dirs = 0; dirs < 2; dirs++) {
        simio_path *paths = simio_paths(s, dirs, &n);
        for (size_t i = 0; i < n; i++) {
            h = hash_add(h, paths[i], strlen(paths[i]) + 1);
            hash = dirs ? 1 : blob_hash(simio_file(s, paths[i])->now);
            h = hash_add(h, &hash, sizeof hash);
        }
        free(paths);
    }
    return h;
}
