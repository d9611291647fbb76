/*
 * world.c - the log, the disk under it and the model beside it.
 *
 * What must hold after a crash (docs/architecture.md has the promises):
 *
 *   W1  What is replayed is a prefix of the model's records, each with its LSN, clock, type and bytes.
 *   W2  It ends between two batches.
 *   W3  It holds all that durable_lsn ever passed; after a mere kill, all that written_lsn passed.
 *   W4  Records of class `interval` that were told and are lost span at most 2 T.
 *   W5  LSNs grow strictly over all starts, and no LSN is given twice; clocks never go back.
 *   W6  All that a start replayed is durable when it returns.
 *   W7  Watermarks only grow, durable <= written <= last record committed, and stand still after a failure.
 *
 * The log's own records (RECORD_SKIP) may stand anywhere between batches and are not in the model.
 */
#include "tests/lib/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/record.h"

enum { WORLD_T_MS = 1000, WORLD_SLACK_MS = 50 };

bool world_holds(const struct world *w)
{
    return w->result->why[0] == '\0';
}

bool world_fails(struct world *w, const char *format, ...)
{
    char text[900];
    va_list args;

    if (!world_holds(w))
        return false;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(w->result->why, sizeof w->result->why, "%s: %s", w->where, text);
    return false;
}

static void start_fails(struct start *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void start_fails(struct start *s, const char *format, ...)
{
    va_list args;

    if (s->why[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(s->why, sizeof s->why, format, args);
    va_end(args);
}

/* ---- records ----------------------------------------------------------------------------------- */

/* The bytes of a record follow from its LSN and length: eight random ones, then a sum. */
static uint64_t body_word(size_t n, uint64_t lsn)
{
    uint64_t rng = lsn * 0x2545f4914f6cdd1du + n;
    return simio_random(&rng);
}

static void body_fill(uint8_t *p, size_t n, uint64_t lsn)
{
    uint64_t word = body_word(n, lsn);

    for (; n >= sizeof word; p += sizeof word, n -= sizeof word, word += 0x9e3779b97f4a7c15u)
        memcpy(p, &word, sizeof word);
    memcpy(p, &word, n);
}

static bool body_equal(const uint8_t *p, size_t n, uint64_t lsn)
{
    uint64_t word = body_word(n, lsn), got;

    for (; n >= sizeof word; p += sizeof word, n -= sizeof word, word += 0x9e3779b97f4a7c15u) {
        memcpy(&got, p, sizeof got);
        if (got != word)
            return false;
    }
    return memcmp(p, &word, n) == 0;
}

static uint8_t type_of(uint64_t lsn)
{
    return lsn % 3 == 0 ? RECORD_ENTRY : (uint8_t)(RECORD_IGNORABLE + lsn % 100);
}

/* ---- starts ------------------------------------------------------------------------------------ */

/* In gaps mode, skips the model's records that are not there. */
static const struct record *start_expect(struct start *s, uint64_t lsn)
{
    const struct world *w = s->w;

    while (s->gaps && s->n < w->n_records && w->records[s->n].lsn < lsn)
        s->n++;
    return s->n < w->n_records ? &w->records[s->n] : NULL;
}

static int start_replay(void *ctx, const struct log_record *r, struct err *e)
{
    struct start *s = ctx;
    const struct record *want;

    (void)e;
    s->n_replayed++;
    if (r->lsn <= s->last_lsn)
        start_fails(s, "LSN %" PRIu64 " replayed after %" PRIu64, r->lsn, s->last_lsn);
    if (r->clock < s->last_clock)
        start_fails(s, "the clock goes back at LSN %" PRIu64, r->lsn);
    s->last_lsn = r->lsn;
    s->last_clock = r->clock;
    if (r->type == RECORD_SKIP)
        return OK;
    want = start_expect(s, r->lsn);
    if (want == NULL)
        start_fails(s, "LSN %" PRIu64 " was never appended, or is known to be lost", r->lsn);
    else if (want->lsn != r->lsn)
        start_fails(s, "LSN %" PRIu64 " replayed where %" PRIu64 " belongs", r->lsn, want->lsn);
    else if (want->clock != r->clock || want->type != r->type || want->len != r->len)
        start_fails(s, "LSN %" PRIu64 " replayed with another clock, type or length", r->lsn);
    else if (!body_equal(r->body, r->len, r->lsn))
        start_fails(s, "LSN %" PRIu64 " replayed with other bytes", r->lsn);
    s->n++;
    return OK;
}

/* One log_open; a full disk, which is a reason not to start, is given room and tried again. */
static void start_open(struct start *s, const struct world *w, struct simio *disk, bool salvage)
{
    struct log_options options = w->options;

    memset(s, 0, sizeof *s);
    s->w = w;
    s->gaps = salvage;
    options.io = simio_io(disk);
    options.host.replay = start_replay;
    options.host.ctx = s;
    options.salvage = salvage;
    w->result->n_opens++;
    s->rc = log_open(&options, &s->log, &s->info, &s->err);
    if (s->rc != ERR_FULL || simio_capacity(disk) == 0 || s->why[0] != '\0')
        return;
    simio_set_capacity(disk, 0, true);
    start_open(s, w, disk, salvage);
}

void start_run(struct start *s, const struct world *w, struct simio *disk, bool salvage)
{
    start_open(s, w, disk, salvage);
    if (s->rc != OK) {
        s->log = NULL;
        if (s->err.text[0] == '\0' || s->err.code != s->rc)
            start_fails(s, "log_open gave %d without a text", s->rc);
        return;
    }
    if (!s->gaps && s->n > 0 && s->n < w->n_records &&
        w->records[s->n - 1].batch == w->records[s->n].batch)
        start_fails(s, "a batch was torn: LSN %" PRIu64 " is its last",
                    w->records[s->n - 1].lsn); /* W2 */
    if (s->info.last_clock < s->last_clock)
        start_fails(s, "last_clock %" PRIu64 " is below that of the last record, %" PRIu64,
                    s->info.last_clock, s->last_clock); /* W5 */
    if (log_durable_lsn(s->log) < s->last_lsn || log_written_lsn(s->log) < s->last_lsn)
        start_fails(s, "what was replayed is not durable after the start"); /* W6 */
    if (s->info.n_records < s->n || log_failure(s->log, &s->err) != OK)
        start_fails(s, "a start that succeeded says %s, %" PRIu64 " records", s->err.text,
                    s->info.n_records);
}

/* W4: from the first `interval` record that is lost to the last that had been told. */
static void start_check_interval(struct start *s, const struct world *w)
{
    uint64_t first = 0, last = 0, limit = 2 * w->options.interval_ms + WORLD_SLACK_MS;

    for (size_t i = s->n; i < w->n_records; i++) {
        const struct record *r = &w->records[i];
        if (r->class != LOG_INTERVAL || r->written_ns == 0)
            continue;
        if (first == 0)
            first = r->written_ns;
        if (r->told_ns != 0)
            last = r->told_ns;
    }
    if (last > first && (last - first) / 1000000 > limit)
        start_fails(s, "told `interval` records of %" PRIu64 " ms are lost",
                    (last - first) / 1000000);
}

bool start_check(struct start *s, const struct world *w, enum simio_mode mode)
{
    uint64_t must = mode == SIMIO_KILL && !w->synced_only ? w->written : w->durable;

    if (s->rc != OK)
        start_fails(s, "the start failed: %s", s->err.text);
    else if (s->n < w->n_records && w->records[s->n].lsn <= must)
        start_fails(s, "LSN %" PRIu64 " is lost although %" PRIu64 " was %s", w->records[s->n].lsn,
                    must, must == w->durable ? "durable" : "written"); /* W3 */
    else if (mode != SIMIO_KILL && !w->synced_only)
        start_check_interval(s, w);
    return s->why[0] == '\0';
}

/* ---- the world --------------------------------------------------------------------------------- */

void world_init(struct world *w, uint64_t seed, struct crash_result *result)
{
    memset(w, 0, sizeof *w);
    w->disk = simio_new(seed);
    w->result = result;
    w->lsn_given = LOG_FIRST_LSN - 1;
    w->options = (struct log_options){
        .dir = WORLD_DIR,
        .file_bytes = LOG_FILE_BYTES_MIN,
        .batch_bytes_max = 1 << 20,
        .interval_ms = WORLD_T_MS,
    };
}

void world_fini(struct world *w)
{
    world_abandon(w);
    simio_free(w->disk);
    free(w->records);
}

void world_abandon(struct world *w)
{
    if (w->log != NULL)
        log_abandon(w->log);
    w->log = NULL;
    w->n_records = w->first_open; /* what was not committed is nowhere */
}

/* The model forgets what is lost. */
static void world_adopt(struct world *w, struct start *s)
{
    w->log = s->log;
    w->n_records = w->first_open = s->n;
    w->written = w->released = w->durable = s->last_lsn;
    w->last_committed = log_last_lsn(s->log);
    w->n_told = s->n;
    w->clock = s->info.last_clock;
    w->failed = false;
}

bool world_open(struct world *w, enum simio_mode mode, bool may_fail)
{
    bool closed = w->closed;
    struct start s;

    w->closed = false; /* a start that fails may have got past the point of no return */
    start_run(&s, w, w->disk, false);
    if (s.rc != OK && may_fail && s.why[0] == '\0')
        return false;
    if (s.rc == OK && closed && (!s.info.clean || log_last_lsn(s.log) != w->last_committed))
        start_fails(&s, "a start after a close: %s, last LSN %" PRIu64 " after %" PRIu64,
                    s.info.clean ? "clean" : "not clean", log_last_lsn(s.log), w->last_committed);
    if (!start_check(&s, w, mode)) {
        if (s.log != NULL)
            log_abandon(s.log);
        return world_fails(w, "%s", s.why);
    }
    world_adopt(w, &s);
    return true;
}

bool world_close(struct world *w)
{
    struct err e = { 0 };
    struct log *l = w->log;
    bool ok;

    world_commit(w, false);
    w->log = NULL; /* no watermarks from inside: it is freed there */
    ok = log_close(l, &e) == OK;
    if (ok && !w->failed) /* all of it is durable now */
        w->written = w->durable = w->lsn_given;
    w->closed = ok && !w->was_full && simio_capacity(w->disk) == 0 && simio_n_faults(w->disk) == 0;
    if (!ok)
        snprintf(w->close_error, sizeof w->close_error, "%.199s", e.text);
    if (ok && w->failed)
        world_fails(w, "log_close of a failed log gave no error");
    return ok;
}

static void world_add_record(struct world *w, uint64_t lsn, enum log_class class, size_t len)
{
    struct record *r;

    if (w->n_records == w->cap_records) {
        w->cap_records = w->cap_records ? 2 * w->cap_records : 256;
        w->records = realloc(w->records, w->cap_records * sizeof *w->records);
        if (w->records == NULL)
            abort();
    }
    r = &w->records[w->n_records++];
    *r = (struct record){
        .lsn = lsn, .clock = w->clock, .len = (uint32_t)len, .type = type_of(lsn)
    };
    r->class = (uint8_t) class;
    r->batch = w->n_batches;
}

bool world_append(struct world *w, enum log_class class, size_t n, size_t len)
{
    struct err e = { 0 };
    struct io *io = simio_io(w->disk);
    uint64_t lsn, now = io->wall_ms(io) << 16;
    int rc;

    if (w->log == NULL)
        return false;
    if (w->first_open == w->n_records) {
        w->clock = now > w->clock ? now : w->clock + 1;
        log_set_clock(w->log, w->clock);
    }
    rc = log_reserve(w->log, n * (len + 16), &e);
    if (rc != OK) {
        w->n_refused++;
        if (rc != ERR_FULL && !w->failed)
            world_fails(w, "log_reserve: %s", e.text);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t next = log_last_lsn(w->log) + 1;
        uint8_t *p = log_append(w->log, type_of(next), class, len, &lsn);
        body_fill(p, len, lsn);
        if (lsn != next || lsn <= w->lsn_given)
            return world_fails(w, "LSN %" PRIu64 " given after %" PRIu64, lsn,
                               w->lsn_given); /* W5 */
        w->lsn_given = lsn;
        world_add_record(w, lsn, class, len);
    }
    return true;
}

void world_commit(struct world *w, bool sync_now)
{
    uint8_t class = LOG_OS;

    if (w->log == NULL)
        return;
    for (size_t i = w->first_open; i < w->n_records; i++)
        if (w->records[i].class > class)
            class = w->records[i].class;
    for (size_t i = w->first_open; i < w->n_records; i++)
        w->records[i].class = class;
    if (w->first_open < w->n_records)
        w->n_batches++;
    w->first_open = w->n_records;
    w->last_committed = log_last_lsn(w->log);
    log_commit(w->log, sync_now);
    world_poll(w);
}

void world_step(struct world *w, size_t max)
{
    for (size_t n = 0; w->log != NULL && (max == 0 || n < max); n++) {
        bool more = log_step(w->log);
        world_poll(w);
        if (!more)
            return;
        if (n > 10000) {
            world_fails(w, "log_step never runs out of work");
            return;
        }
    }
}

/* Notes the records that the watermarks have passed by now. */
static void world_note(struct world *w, uint64_t now_ns)
{
    for (size_t i = w->n_told; i < w->first_open; i++) {
        struct record *r = &w->records[i];
        if (r->written_ns == 0 && r->lsn <= w->written)
            r->written_ns = now_ns;
        if (r->told_ns == 0 && r->lsn <= (r->class == LOG_ALWAYS ? w->durable : w->released))
            r->told_ns = now_ns;
    }
    while (w->n_told < w->first_open && w->records[w->n_told].told_ns != 0)
        w->n_told++;
}

void world_poll(struct world *w)
{
    struct io *io = simio_io(w->disk);
    uint64_t durable, written, released;
    struct err e = { 0 };

    if (w->log == NULL)
        return;
    durable = log_durable_lsn(w->log);
    released = log_released_lsn(w->log);
    written = log_written_lsn(w->log);
    if (durable < w->durable || written < w->written || released < w->released)
        world_fails(w, "a watermark went back"); /* W7 */
    if (durable > written || released > written || written > w->last_committed)
        world_fails(w,
                    "watermarks: durable %" PRIu64 ", released %" PRIu64 ", written %" PRIu64
                    ", last %" PRIu64,
                    durable, released, written, w->last_committed);
    if (w->failed && (durable > w->durable || written > w->written))
        world_fails(w, "a watermark moved after the log had failed");
    w->durable = durable;
    w->released = released;
    w->written = written;
    w->failed = log_failure(w->log, &e) != OK;
    w->was_full = w->was_full || log_is_full(w->log);
    world_note(w, io->monotonic_ns(io));
}

size_t world_untold(const struct world *w)
{
    size_t n = 0;

    for (size_t i = w->n_told; i < w->first_open; i++)
        n += w->records[i].told_ns == 0;
    return n;
}
