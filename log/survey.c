/*
 * survey.c - what of a segment is dead by the state of now.
 *
 * The list of streams settles most: a stream that is gone, or ends below its floor, is dead as a whole; one with neither
 * floor nor deleted entries is live. For the others the index is asked, item by item: of a block that the stream
 * has for itself it knows the range of IDs, so the set of deleted entries tells how many of its rows are dead; their
 * bytes are taken to be as those of the block's other rows. Only blocks that are shared, or that the floor cuts, are
 * read. IDs in the set that lie nowhere count for a block as if they did; there are few of those.
 *
 * Of the stream of changes, those below keep_from are counted in the same way as what is below a floor, and then those among
 * them that live are taken off: the host is asked how many there are in the segment's range of LSNs. A change that does not
 * live is as large as the others, by that count.
 */
#include "log/survey.h"

#include <assert.h>
#include <stdlib.h>
#include "log/entry.h"
#include "log/sweep.h"

enum { SURVEY_STEP_BYTES = 32 << 20 };

struct survey {
    struct segment_streams *list;
    struct sweep sweep;
    struct block_decoder *decoder;
    struct states states;
    struct segment_stream streams[STATES_MAX]; /* those of `states` */
    size_t at;                                 /* the one at hand */
    bool in_stream;                            /* the sweep is at an item of its */
    bool asked_changes;                        /* how many of them live, of the stream at hand */
    struct survey_result result;
    bool done;
};

int survey_new(struct segment *s, struct survey **out, struct err *e)
{
    struct survey *v = calloc(1, sizeof *v);

    if (v == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a survey");
    v->decoder = block_decoder_new();
    if (v->decoder == NULL) {
        free(v);
        return err_set(e, ERR_NOMEM, "no memory for a survey");
    }
    sweep_init(&v->sweep, s, v->decoder);
    *out = v;
    return OK;
}

void survey_free(struct survey *v)
{
    if (v == NULL)
        return;
    segment_streams_close(v->list);
    sweep_fini(&v->sweep);
    states_clear(&v->states);
    block_decoder_free(v->decoder);
    free(v);
}

struct states *survey_states(struct survey *v)
{
    return &v->states;
}

void survey_result(const struct survey *v, struct survey_result *out)
{
    assert(v->done);
    *out = v->result;
}

/* The next streams, whose states are to be asked; none: all have been. */
static int survey_gather(struct survey *v, struct err *e)
{
    bool more = true;

    states_clear(&v->states);
    v->at = 0;
    while (v->states.n < STATES_MAX) {
        struct segment_stream *s = &v->streams[v->states.n];
        int rc = segment_streams_next(v->list, s, &more, e);

        if (rc != OK || !more)
            return rc;
        v->states.oids[v->states.n++] = s->oid;
    }
    return OK;
}

static void survey_add(struct survey *v, uint64_t n, uint64_t bytes)
{
    v->result.n += n;
    v->result.bytes += bytes;
}

/* A block of the stream alone, above the floor. */
static void survey_count_own(struct survey *v, const struct log_stream_state *state)
{
    const struct segment_block *b = sweep_item(&v->sweep);
    uint64_t n = delset_count(state->deletes, b->first, b->last);

    if (n > b->n)
        n = b->n;
    survey_add(v, n, b->raw_bytes * n / b->n);
}

/* Whether an entry is gone, and what is before it. Of changes: is no history. */
static bool survey_is_below(const struct log_stream_state *state, uint64_t oid, struct id id)
{
    if (oid == LOG_CHANGES_OID)
        return id.seq < state->keep_from.seq;
    return id_cmp(id, state->floor) < 0;
}

static int survey_count_rows(struct survey *v, uint64_t oid, const struct log_stream_state *state,
                             struct err *e)
{
    const struct block_run *run;
    const struct block *b;
    int rc = sweep_load(&v->sweep, e);

    if (rc != OK)
        return rc;
    b = v->sweep.block;
    run = block_find(b, oid);
    for (uint32_t i = 0; run != NULL && i < run->n; i++) {
        uint32_t row = run->first + i;
        struct id id;

        entry_id(block_entry(b, row), &id);
        if (survey_is_below(state, oid, id) || delset_has(state->deletes, id))
            survey_add(v, 1, b->offsets[row + 1] - b->offsets[row]);
    }
    return OK;
}

static int survey_count_item(struct survey *v, uint64_t oid, const struct log_stream_state *state,
                             struct err *e)
{
    const struct segment_block *b = sweep_item(&v->sweep);

    if (!sweep_is_own(&v->sweep, oid))
        return survey_count_rows(v, oid, state, e);
    if (survey_is_below(state, oid, b->last))
        survey_add(v, b->n, b->raw_bytes);
    else if (survey_is_below(state, oid, b->first))
        return survey_count_rows(v, oid, state, e);
    else
        survey_count_own(v, state);
    return OK;
}

static bool survey_is_whole(const struct survey *v, const struct segment_stream *s,
                            const struct log_stream_state *state)
{
    if (s->oid == LOG_CHANGES_OID)
        return state->keep_from.seq <= segment_info(v->sweep.segment)->lsn_first;
    return id_cmp(state->floor, ID_MIN) == 0 && state->deletes == NULL;
}

/* Does an item's worth of the stream at hand, which it begins if not *more; *more then: it goes on. */
static int survey_go(struct survey *v, bool *more, struct err *e)
{
    const struct segment_stream *s = &v->streams[v->at];
    const struct log_stream_state *state = &v->states.states[v->at];
    bool goes_on = *more;
    int rc = OK;

    *more = false;
    if (!state->alive || survey_is_below(state, s->oid, s->last)) {
        survey_add(v, s->n, s->raw_bytes);
        return OK;
    }
    if (survey_is_whole(v, s, state))
        return OK;
    if (!goes_on)
        rc = sweep_seek(&v->sweep, s->oid, ID_MIN, more, e);
    if (rc == OK && !goes_on && !*more)
        return sweep_damage(&v->sweep, "a stream of the list of streams has no entries", e);
    if (rc == OK)
        rc = survey_count_item(v, s->oid, state, e);
    if (rc == OK)
        rc = sweep_next(&v->sweep, s->oid, more, e);
    return rc;
}

/* The changes have been counted, before all other streams: asks how many of those live. False if that need not be known. */
static bool survey_ask_changes(struct survey *v)
{
    const struct segment_info *info = segment_info(v->sweep.segment);
    const struct log_stream_state *state = &v->states.states[v->at];
    uint64_t last = state->keep_from.seq - 1;

    if (v->streams[v->at].oid != LOG_CHANGES_OID || !state->alive || v->result.n == 0)
        return false;
    states_count_changes(&v->states, info->lsn_first,
                         last < info->lsn_last ? last : info->lsn_last);
    return true;
}

static void survey_take_live_off(struct survey *v)
{
    struct survey_result *r = &v->result;
    uint64_t n = v->states.changes.n < r->n ? v->states.changes.n : r->n;

    r->bytes -= (uint64_t)((double)r->bytes * ((double)n / (double)r->n));
    r->n -= n;
}

static int survey_work(struct survey *v, struct err *e)
{
    uint64_t begun = v->sweep.bytes_read;

    if (v->asked_changes) {
        survey_take_live_off(v);
        v->asked_changes = false;
        v->at++;
    }
    while (v->at < v->states.n && v->sweep.bytes_read - begun < SURVEY_STEP_BYTES) {
        int rc = survey_go(v, &v->in_stream, e);
        if (rc != OK)
            return rc;
        if (v->in_stream)
            continue;
        v->asked_changes = survey_ask_changes(v);
        if (v->asked_changes)
            return OK;
        v->at++;
    }
    return OK;
}

int survey_step(struct survey *v, enum step *out, struct err *e)
{
    int rc = v->list != NULL ? OK : segment_streams_open(v->sweep.segment, &v->list, e);

    assert(!v->done);
    if (rc == OK)
        rc = survey_work(v, e);
    if (rc != OK)
        return rc;
    *out = v->asked_changes ? STEP_ASKS : STEP_WORKS;
    if (v->at < v->states.n)
        return OK;
    rc = survey_gather(v, e);
    if (rc != OK)
        return rc;
    v->done = v->states.n == 0;
    *out = v->done ? STEP_DONE : STEP_ASKS;
    return OK;
}
