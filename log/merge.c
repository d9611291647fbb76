/*
 * merge.c - several segments into one.
 *
 * Inputs follow one another in the log, so of each stream the entries of one come before those of the next. The merge
 * goes through all streams in order of oid (the lists at the segments' ends, k ways), and for each stream through the
 * inputs that have it, in order of LSN. What is written are the entries that are live by the state that was asked for
 * the stream: it is alive, the ID is not below the floor, nor deleted. What dies meanwhile is written, and
 * stays dead by the same state.
 *
 *   gather: lists -> runs (oid, input) of up to STATES_MAX streams -> STEP_ASKS
 *   go:     run by run, block by block: skip, copy, or take rows -> STEP_WORKS now and then
 *
 * Three ways for a block: dead as a whole by its item in the index, it is not even read; live as a whole, its own
 * stream's, and at least half of the size that blocks should have, it is copied as it is compressed (unless the merge
 * is strong); else its rows are put one by one. Rows are copied into a buffer of the merge on the way, because
 * the writer refers to them until their block is full, and the blocks they come from must not wait for that; only those
 * of a block's size, which the writer takes at once, are not.
 *
 * Nothing is taken on trust that the output could carry on: order of keys over inputs, and that each run ends with the
 * ID that the list gives, with so many rows if all of them have been seen. Whatever is wrong is an error that
 * names the input.
 *
 * Folding: once the result takes the inputs' place, deleted entries of a stream between its first and its last ID in them
 * lie nowhere. IDs are in order over segments, so nothing outside of the inputs lies in between.
 *
 * The stream of changes (LOG_CHANGES_OID) has another measure. What is history, from keep_from on, is taken as it is, whole blocks
 * if possible. Of what is older only what lives is: asked a range of LSNs at a time, when an item or row comes of which it is
 * not known. A block that has nothing live is not read, one that has nothing else is copied. That a value was overwritten,
 * deleted or has expired is nowhere to be remembered: its LSN has left the set of the live ones and never comes back, so
 * what is left out is left out for good, and what is not yet can be found by nobody.
 *
 *   M1  A run is of the stream at_state; runs are in order of (oid, input).
 *   M2  rows_used bytes of `rows` belong to rows that the writer still refers to, or have been free since n_pending was 0.
 */
#include "log/merge.h"

#include <assert.h>
#include <stdlib.h>
#include "log/bug.h"
#include "log/entry.h"
#include "log/sweep.h"

enum {
    MERGE_RUNS_MAX = 4 * STATES_MAX, /* gathered at once, but all of one stream */
    MERGE_ROWS_BLOCKS = 4,           /* the buffer of rows, in blocks */
    MERGE_STRONG_LEVEL = 6, /* of zstd: a few hundredths less, at two thirds of the speed */
};

struct merge_input {
    struct segment_streams *list;
    struct segment_stream next; /* of the list, if there is one */
    bool more;
    struct sweep sweep;
};

struct merge_run {
    uint64_t oid, n;
    struct id last;
    uint32_t input;
};

struct merge {
    struct merge_options o; /* but inputs */
    uint32_t block_bytes;
    struct merge_input *inputs;
    size_t n_inputs;
    bool begun, done;
    struct block_decoder *decoder;
    struct segment_writer *writer; /* NULL: nothing live has come */
    struct segment_info result;
    bool has_result;

    struct states states;
    struct merge_run *runs; /* M1 */
    size_t n_runs, cap_runs, at_run, at_state;
    bool in_run; /* the run's sweep is at an item to be handled */
    uint32_t
        n_taken; /* rows of that item that have been handled: of changes, which may have to be asked between two */
    uint64_t n_seen; /* rows of the run so far */
    bool saw_all;    /* none of it has been skipped */
    struct id seen_last;

    uint64_t last_oid; /* what was put last */
    struct id last;
    bool any;

    uint8_t *rows; /* M2 */
    size_t rows_used, rows_cap;
    uint8_t *raw; /* a block that is copied */
    size_t raw_cap;

    struct merge_fold *folds; /* a reference of each `deletes` */
    size_t n_folds, cap_folds, given_folds;
    struct id fold_from; /* first ID of the stream at hand */
    bool fold_any;
    uint64_t step_begin, bytes_copied; /* read before this step; read by copying */
};

/* ---- beginning and end ---- */

int merge_new(const struct merge_options *o, struct merge **out, struct err *e)
{
    struct merge *m = calloc(1, sizeof *m);
    uint32_t wanted = o->strong ? BLOCK_RAW_DENSE : BLOCK_RAW_DEFAULT;

    if (m == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a merge");
    m->o = *o;
    m->o.inputs = NULL;
    if (m->o.step_bytes == 0)
        m->o.step_bytes = MERGE_STEP_BYTES;
    m->block_bytes = o->out.block_bytes != 0 ? o->out.block_bytes : wanted;
    m->o.out.block_bytes = m->block_bytes;
    m->rows_cap = MERGE_ROWS_BLOCKS * (size_t)m->block_bytes;
    m->rows = malloc(m->rows_cap);
    m->decoder = block_decoder_new();
    m->inputs = calloc(o->n_inputs > 0 ? o->n_inputs : 1, sizeof *m->inputs);
    if (m->rows == NULL || m->decoder == NULL || m->inputs == NULL) {
        merge_free(m);
        return err_set(e, ERR_NOMEM, "no memory for a merge");
    }
    m->n_inputs = o->n_inputs;
    for (size_t i = 0; i < o->n_inputs; i++)
        sweep_init(&m->inputs[i].sweep, o->inputs[i], m->decoder);
    *out = m;
    return OK;
}

void merge_free(struct merge *m)
{
    if (m == NULL)
        return;
    segment_discard(m->writer);
    for (size_t i = 0; i < m->n_inputs; i++) {
        segment_streams_close(m->inputs[i].list);
        sweep_fini(&m->inputs[i].sweep);
    }
    for (size_t i = 0; i < m->n_folds; i++)
        delset_unref((struct delset *)(uintptr_t)m->folds[i].deletes); /* M's own reference */
    states_clear(&m->states);
    block_decoder_free(m->decoder);
    free(m->inputs);
    free(m->runs);
    free(m->rows);
    free(m->raw);
    free(m->folds);
    free(m);
}

struct states *merge_states(struct merge *m)
{
    return &m->states;
}

bool merge_result(const struct merge *m, struct segment_info *out)
{
    assert(m->done);
    if (m->has_result)
        *out = m->result;
    return m->has_result;
}

uint64_t merge_bytes_read(const struct merge *m)
{
    uint64_t n = m->bytes_copied;

    for (size_t i = 0; i < m->n_inputs; i++)
        n += m->inputs[i].sweep.bytes_read;
    return n;
}

bool merge_fold_next(struct merge *m, struct merge_fold *out)
{
    assert(m->done);
    if (m->given_folds == m->n_folds)
        return false;
    *out = m->folds[m->given_folds++];
    return true;
}

/* ---- which streams come next ---- */

static int merge_next_of(struct merge_input *in, struct err *e)
{
    return segment_streams_next(in->list, &in->next, &in->more, e);
}

static int merge_begin(struct merge *m, struct err *e)
{
    for (size_t i = 0; i < m->n_inputs; i++) {
        struct merge_input *in = &m->inputs[i];
        int rc = segment_streams_open(in->sweep.segment, &in->list, e);
        if (rc == OK)
            rc = merge_next_of(in, e);
        if (rc != OK)
            return rc;
    }
    m->begun = true;
    return OK;
}

/* The lowest oid that the lists have next; false if all have ended. */
static bool merge_lowest(const struct merge *m, uint64_t *oid)
{
    bool any = false;

    for (size_t i = 0; i < m->n_inputs; i++) {
        const struct merge_input *in = &m->inputs[i];
        if (in->more && (!any || in->next.oid < *oid)) {
            *oid = in->next.oid;
            any = true;
        }
    }
    return any;
}

static int merge_add_run(struct merge *m, uint32_t input, struct err *e)
{
    const struct segment_stream *s = &m->inputs[input].next;

    if (m->n_runs == m->cap_runs) {
        size_t cap = m->cap_runs == 0 ? STATES_MAX : 2 * m->cap_runs;
        struct merge_run *runs = realloc(m->runs, cap * sizeof *runs);
        if (runs == NULL)
            return err_set(e, ERR_NOMEM, "no memory for a merge");
        m->runs = runs;
        m->cap_runs = cap;
    }
    m->runs[m->n_runs++] =
        (struct merge_run){ .oid = s->oid, .n = s->n, .last = s->last, .input = input };
    return OK;
}

/* The next streams, whose states are to be asked; none: all have been. */
static int merge_gather(struct merge *m, struct err *e)
{
    struct states *s = &m->states;
    uint64_t oid = 0;

    states_clear(s);
    m->n_runs = m->at_run = m->at_state = 0;
    while (s->n < STATES_MAX && m->n_runs < MERGE_RUNS_MAX && merge_lowest(m, &oid)) {
        for (size_t i = 0; i < m->n_inputs; i++) {
            int rc = OK;
            if (!m->inputs[i].more || m->inputs[i].next.oid != oid)
                continue;
            rc = merge_add_run(m, (uint32_t)i, e);
            if (rc == OK)
                rc = merge_next_of(&m->inputs[i], e);
            if (rc != OK)
                return rc;
        }
        s->oids[s->n++] = oid;
    }
    return OK;
}

/* ---- output ---- */

/* How a stream's entries are compressed. */
static void merge_codec(const struct merge *m, const struct log_stream_state *s,
                        enum block_codec *codec, int *level)
{
    *level = s->level;
    switch (s->codec) {
    case LOG_CODEC_NONE: *codec = BLOCK_NONE; return;
    case LOG_CODEC_LZ4: *codec = BLOCK_LZ4; return;
    case LOG_CODEC_ZSTD: *codec = BLOCK_ZSTD; break;
    case LOG_CODEC_AUTO:
        *codec = m->o.strong ? BLOCK_ZSTD : m->o.auto_codec;
        *level = m->o.strong ? 0 : m->o.auto_level;
        break;
    }
    if (m->o.strong && *codec == BLOCK_ZSTD && *level == 0)
        *level = MERGE_STRONG_LEVEL;
}

/* Something live comes, [first, last] of the stream: opens the output, and sees that it is behind what came before. */
static int merge_comes(struct merge *m, uint64_t oid, struct id first, struct id last,
                       struct err *e)
{
    if (m->any && (oid < m->last_oid || (oid == m->last_oid && id_cmp(first, m->last) <= 0)))
        return sweep_damage(&m->inputs[m->runs[m->at_run].input].sweep,
                            "entries are not in order over the segments", e);
    m->any = true;
    m->last_oid = oid;
    m->last = last;
    return m->writer != NULL ? OK : segment_create(&m->o.out, &m->writer, e);
}

/* Has the row outlive the block it lies in, if the writer will refer to it. */
static int merge_keep_row(struct merge *m, const uint8_t **entry, size_t len, struct err *e)
{
    if (len >= m->block_bytes)
        return OK;
    if (segment_n_pending(m->writer) == 0)
        m->rows_used = 0;
    if (m->rows_cap - m->rows_used < len) {
        int rc = segment_flush(m->writer, e);
        if (rc != OK)
            return rc;
        m->rows_used = 0;
    }
    memcpy(m->rows + m->rows_used, *entry, len);
    *entry = m->rows + m->rows_used;
    m->rows_used += len;
    return OK;
}

static int merge_put_row(struct merge *m, uint64_t oid, struct id id, const uint8_t *entry,
                         size_t len, struct err *e)
{
    enum block_codec codec = BLOCK_NONE;
    int level = 0;
    int rc = merge_comes(m, oid, id, id, e);

    if (rc == OK)
        rc = merge_keep_row(m, &entry, len, e);
    if (rc != OK)
        return rc;
    merge_codec(m, &m->states.states[m->at_state], &codec, &level);
    return segment_put(m->writer, oid, entry, len, codec, level, e);
}

static int merge_copy_block(struct merge *m, struct sweep *s, struct err *e)
{
    const struct segment_block *b = sweep_item(s);
    struct block_head head;
    int rc;

    if (m->raw_cap < b->bytes) {
        uint8_t *raw = realloc(m->raw, b->bytes); /* at most the input's size */
        if (raw == NULL)
            return err_set(e, ERR_NOMEM, "no memory for a block");
        m->raw = raw;
        m->raw_cap = b->bytes;
    }
    rc = segment_read_raw(s->segment, b, m->raw, &head, e);
    if (rc == OK)
        rc = merge_comes(m, b->oid, b->first, b->last, e);
    if (rc == OK)
        rc = segment_put_block(m->writer, b->oid, b->first, b->last, &head,
                               slice_of(m->raw, b->bytes), e);
    m->bytes_copied += b->bytes;
    return rc;
}

/* ---- one stream's run in one input ---- */

/* An ID of the stream at hand lies in the inputs. */
static void merge_saw(struct merge *m, struct id first, struct id last, uint64_t n)
{
    if (!m->fold_any)
        m->fold_from = first;
    m->fold_any = true;
    m->n_seen += n;
    m->seen_last = last;
}

static bool merge_may_copy(const struct merge *m, const struct sweep *s,
                           const struct log_stream_state *state)
{
    const struct segment_block *b = sweep_item(s);

    return !m->o.strong && b->raw_bytes >= m->block_bytes / 2 &&
           id_cmp(b->first, state->floor) >= 0 &&
           delset_count(state->deletes, b->first, b->last) == 0;
}

static int merge_take_rows(struct merge *m, struct sweep *s, const struct merge_run *run,
                           const struct log_stream_state *state, struct err *e)
{
    const struct block_run *rows;
    uint32_t row, end;
    int rc = sweep_load(s, e);

    if (rc != OK)
        return rc;
    rows = block_find(s->block, run->oid);
    if (rows == NULL)
        return OK;
    end = rows->first + rows->n;
    row = block_seek(s->block, rows, state->floor);
    m->saw_all = m->saw_all && row == rows->first;
    for (; row < end && rc == OK; row++) {
        const uint8_t *entry = block_entry(s->block, row);
        struct id id;

        entry_id(entry, &id);
        merge_saw(m, id, id, 1);
        if (!delset_has(state->deletes, id))
            rc = merge_put_row(m, run->oid, id, entry,
                               s->block->offsets[row + 1] - s->block->offsets[row], e);
    }
    return rc;
}

/* Takes the changes of an item row by row. Something may have to be asked before it goes on with the next one. */
static int merge_take_changed_rows(struct merge *m, struct sweep *s, uint64_t keep_from,
                                   struct err *e)
{
    const struct block_run *rows;
    int rc = sweep_load(s, e);

    if (rc != OK)
        return rc;
    rows = block_find(s->block, LOG_CHANGES_OID);
    while (rc == OK && rows != NULL && m->n_taken < rows->n) {
        uint32_t row = rows->first + m->n_taken;
        const uint8_t *entry = block_entry(s->block, row);
        struct id id;

        entry_id(entry, &id);
        if (id.seq < keep_from && !states_know_changes(&m->states, id.seq, id.seq)) {
            states_ask_changes(&m->states, id.seq, keep_from);
            return OK;
        }
        merge_saw(m, id, id, 1);
        if (id.seq >= keep_from || (states_change_lives(&m->states, id.seq) &&
                                    !(BUG(BUG_CHANGE_DROPPED) && m->n_taken > 0)))
            rc = merge_put_row(m, LOG_CHANGES_OID, id, entry,
                               s->block->offsets[row + 1] - s->block->offsets[row], e);
        m->n_taken++;
    }
    m->n_taken = 0;
    return rc;
}

/* Whether the item has changes alone, and nothing that may be left out; *dead: all of it may. */
static bool merge_is_uniform(const struct merge *m, const struct sweep *s, uint64_t keep_from,
                             bool *dead)
{
    const struct segment_block *b = sweep_item(s);
    uint64_t n_live;

    *dead = false;
    if (m->n_taken > 0 || !sweep_is_own(s, LOG_CHANGES_OID))
        return false;
    if (b->first.seq >= keep_from)
        return true;
    if (b->last.seq >= keep_from || !states_know_changes(&m->states, b->first.seq, b->last.seq))
        return false;
    n_live = states_n_live_changes(&m->states, b->first.seq, b->last.seq);
    *dead = n_live == 0;
    return *dead || n_live == b->n;
}

/* An item of changes: skips or copies it, or takes its rows. If something has to be asked, it is not done with it. */
static int merge_take_changes(struct merge *m, struct sweep *s,
                              const struct log_stream_state *state, struct err *e)
{
    const struct segment_block *b = sweep_item(s);
    uint64_t keep_from = BUG(BUG_HISTORY_DROPPED) ? UINT64_MAX : state->keep_from.seq;
    bool dead;

    if (BUG(BUG_CHANGES_KEPT))
        keep_from = 0;
    if (m->n_taken == 0 && sweep_is_own(s, LOG_CHANGES_OID) && b->first.seq < keep_from &&
        !states_know_changes(&m->states, b->first.seq, b->first.seq)) {
        states_ask_changes(&m->states, b->first.seq, keep_from);
        return OK;
    }
    if (!merge_is_uniform(m, s, keep_from, &dead) || (!dead && !merge_may_copy(m, s, state)))
        return merge_take_changed_rows(m, s, keep_from, e);
    merge_saw(m, b->first, b->last, b->n);
    return dead ? OK : merge_copy_block(m, s, e);
}

static int merge_take_item(struct merge *m, struct sweep *s, const struct merge_run *run,
                           const struct log_stream_state *state, struct err *e)
{
    const struct segment_block *b = sweep_item(s);

    if (run->oid == LOG_CHANGES_OID)
        return merge_take_changes(m, s, state, e);
    if (!sweep_is_own(s, run->oid) || !merge_may_copy(m, s, state))
        return merge_take_rows(m, s, run, state, e);
    merge_saw(m, b->first, b->last, b->n);
    return merge_copy_block(m, s, e);
}

/* The run has no more items: whether that was all that the list says. */
static int merge_check_run(struct merge *m, struct sweep *s, const struct merge_run *run,
                           struct err *e)
{
    if (id_cmp(m->seen_last, run->last) != 0 || (m->saw_all && m->n_seen != run->n))
        return sweep_damage(s, "a stream has other entries than the list of streams says", e);
    return OK;
}

/* Goes to where the run begins to be live; *more is false if it never is. */
static int merge_enter_run(struct merge *m, struct sweep *s, const struct merge_run *run,
                           const struct log_stream_state *state, bool *more, struct err *e)
{
    int rc;

    *more = false;
    if (!state->alive || id_cmp(run->last, state->floor) < 0)
        return OK;
    m->n_seen = 0;
    m->saw_all = id_cmp(state->floor, ID_MIN) == 0;
    m->seen_last = ID_MIN;
    rc = sweep_seek(s, run->oid, state->floor, more, e);
    if (rc == OK && !*more)
        rc = sweep_damage(s, "a stream of the list of streams has no entries", e);
    return rc;
}

/* Does one block's worth of the run at hand; *more: it goes on. */
static int merge_go(struct merge *m, bool *more, struct err *e)
{
    const struct merge_run *run = &m->runs[m->at_run];
    const struct log_stream_state *state = &m->states.states[m->at_state];
    struct sweep *s = &m->inputs[run->input].sweep;
    int rc = OK;

    assert(m->states.oids[m->at_state] == run->oid); /* M1 */
    if (!m->in_run) {
        rc = merge_enter_run(m, s, run, state, more, e);
        if (rc != OK || !*more)
            return rc;
    }
    rc = merge_take_item(m, s, run, state, e);
    if (rc != OK)
        return rc;
    if (m->states.changes.asked) { /* it goes on with the same item */
        *more = true;
        return OK;
    }
    *more = id_cmp(m->seen_last, run->last) < 0;
    if (*more) {
        rc = sweep_next(s, run->oid, more, e);
        if (rc != OK || *more)
            return rc;
    }
    return merge_check_run(m, s, run, e);
}

/* ---- folding ---- */

/* The stream at hand is complete: remembers what of its deleted entries is gone. */
static int merge_end_stream(struct merge *m, const struct merge_run *last_run, struct err *e)
{
    struct delset *deletes = m->states.states[m->at_state].deletes;
    struct merge_fold *folds;
    bool any =
        m->fold_any && deletes != NULL && delset_count(deletes, m->fold_from, last_run->last) > 0;

    m->fold_any = false;
    m->at_state++;
    if (!any)
        return OK;
    if (m->n_folds == m->cap_folds) {
        size_t cap = m->cap_folds == 0 ? 16 : 2 * m->cap_folds;
        folds = realloc(m->folds, cap * sizeof *folds);
        if (folds == NULL)
            return err_set(e, ERR_NOMEM, "no memory for a merge");
        m->folds = folds;
        m->cap_folds = cap;
    }
    m->folds[m->n_folds++] = (struct merge_fold){ .oid = last_run->oid,
                                                  .deletes = delset_ref(deletes),
                                                  .from = m->fold_from,
                                                  .to = last_run->last };
    return OK;
}

/* ---- steps ---- */

static int merge_finish(struct merge *m, struct err *e)
{
    struct segment_writer *w = m->writer;
    int rc = OK;

    m->writer = NULL;
    if (w != NULL)
        rc = segment_finish(w, &m->result, e);
    m->has_result = w != NULL && rc == OK;
    m->done = rc == OK;
    return rc;
}

/* Works through what has been gathered, until it is used up or enough has been read for a step. */
static int merge_work(struct merge *m, struct err *e)
{
    while (m->at_run < m->n_runs && !m->states.changes.asked &&
           merge_bytes_read(m) - m->step_begin < m->o.step_bytes) {
        const struct merge_run *run = &m->runs[m->at_run];
        int rc = merge_go(m, &m->in_run, e);

        if (rc != OK)
            return rc;
        if (m->in_run)
            continue;
        if (++m->at_run == m->n_runs || m->runs[m->at_run].oid != run->oid) {
            rc = merge_end_stream(m, run, e);
            if (rc != OK)
                return rc;
        }
    }
    return OK;
}

static int merge_do(struct merge *m, enum step *out, struct err *e)
{
    int rc = m->begun ? OK : merge_begin(m, e);

    if (rc == OK)
        rc = merge_work(m, e);
    if (rc != OK)
        return rc;
    *out = m->states.changes.asked ? STEP_ASKS : STEP_WORKS;
    if (m->at_run < m->n_runs)
        return OK;
    rc = merge_gather(m, e);
    if (rc != OK)
        return rc;
    *out = m->states.n > 0 ? STEP_ASKS : STEP_DONE;
    return m->states.n > 0 ? OK : merge_finish(m, e);
}

int merge_step(struct merge *m, enum step *out, struct err *e)
{
    int rc;

    assert(!m->done);
    m->step_begin = merge_bytes_read(m);
    rc = merge_do(m, out, e);
    if (rc != OK) {
        segment_discard(m->writer);
        m->writer = NULL;
    }
    return rc;
}
